package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// actAsMain, when it is set in the environment, makes the test binary the
// command itself: tests start carteiro as a process of its own by running
// themselves.
const actAsMain = "CARTEIRO_TEST_MAIN"

// binDir holds a link named carteiro to the test binary, for PATH.
var binDir string

func TestMain(m *testing.M) {
	if _, ok := os.LookupEnv(actAsMain); ok {
		main()
		return
	}
	os.Exit(withBin(m))
}

func withBin(m *testing.M) int {
	self, err := os.Executable()
	if err == nil {
		binDir, err = os.MkdirTemp("", "carteiro-bin-")
	}
	if err == nil {
		defer os.RemoveAll(binDir)
		err = os.Symlink(self, filepath.Join(binDir, "carteiro"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// carteiro is the path of the command; its environment needs actAsMain.
func carteiro() string { return filepath.Join(binDir, "carteiro") }
