// Command shape prints how a Go module is built: the sizes of files, functions
// and packages, how packages import each other, which types are large, which
// functions of different files call each other in a circle, and what is
// documented and tested. Several modules are printed side by side:
//
//	shape [FOLDER...]
//
// It reads the source of the module in each folder without testdata, vendor,
// modules within it and folders whose name begins with a dot or an underscore.
// Product is everything that is not in a file named _test.go. Lines are all lines
// of a file, with comments and empty ones. A column is a character; a tab is one
// too. A name has documentation when it or its group has a comment.
//
// Call cycles are found in the calls that the compiler can resolve; those by way
// of interfaces and function values are not seen. They need packages that build;
// where they do not, the row says so.
package main

import (
	"fmt"
	"io"
	"os"
)

func main() {
	folders := os.Args[1:]
	if len(folders) == 0 {
		folders = []string{"."}
	}
	if err := run(folders, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "shape:", err)
		os.Exit(1)
	}
}

// run measures the modules and prints the table.
func run(folders []string, out io.Writer) error {
	var shapes []*shape
	for _, folder := range folders {
		m, err := readModule(folder)
		if err != nil {
			return err
		}
		s := measure(m)
		s.cycles, s.cyclesErr = findCycles(m)
		shapes = append(shapes, s)
	}
	return write(out, shapes)
}
