package main

import (
	"context"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"carteiro/cmd/carteiro/internal/testserver"
)

// contextOf is for code that a script runs within the test itself.
func contextOf() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), testserver.Patience)
}

// commandPaths are all commands that do something, with their parents' names.
func commandPaths(cmd *cobra.Command) []string {
	var out []string
	for _, sub := range cmd.Commands() {
		if sub.HasSubCommands() {
			out = append(out, commandPaths(sub)...)
		} else {
			out = append(out, sub.CommandPath())
		}
	}
	return out
}

// TestTree: every command says what it does, in one line, and rejects what it
// does not know with a usage error.
func TestTree(t *testing.T) {
	for _, path := range commandPaths(root()) {
		cmd := root()
		name := strings.Fields(path)[1:]
		found, _, err := cmd.Find(name)
		if err != nil {
			t.Fatal(err)
		}
		if found.Short == "" || strings.Contains(found.Short, "\n") {
			t.Errorf("%s: short help is %q", path, found.Short)
		}
		if found.DisableFlagParsing || found.Name() == "help" {
			continue
		}
		cmd.SetArgs(append(name, "--no-such-flag"))
		err = cmd.ExecuteContext(t.Context())
		if _, ok := err.(usageError); !ok {
			t.Errorf("%s --no-such-flag: %v is no usage error", path, err)
		}
	}
}
