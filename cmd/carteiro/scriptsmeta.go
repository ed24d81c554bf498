package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"carteiro/hooks/lua"
)

// editorSettings say to LuaLS what policies do not have, and where the test
// library is described.
const editorSettings = `{
  "runtime.version": "Lua 5.1",
  "runtime.builtin": {
    "basic": "default", "string": "default", "table": "default", "math": "default",
    "bit": "disable", "bit32": "disable", "coroutine": "disable", "debug": "disable", "ffi": "disable", "io": "disable",
    "jit": "disable", "os": "disable", "package": "disable", "utf8": "disable"
  },
  "workspace.library": [".carteiro"]
}
`

func scriptsMetaCommand() *cobra.Command {
	return &cobra.Command{
		Use:  "meta [DIR]",
		Args: cobra.MaximumNArgs(1),
		Short: "Write what editors (LuaLS) need to know the API: carteiro.lua, .luarc.json, the test library; without DIR carteiro.lua to " +
			"standard output",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				_, err := cmd.OutOrStdout().Write(lua.Annotations())
				return err
			}
			dir := args[0]
			// The server does not read folders that begin with a dot.
			library := filepath.Join(dir, ".carteiro", "carteiro", "test.lua")
			if err := os.MkdirAll(filepath.Dir(library), 0o755); err != nil {
				return err
			}
			for _, f := range []struct {
				name string
				text []byte
				own  bool // the user may have changed it
			}{{filepath.Join(dir, "carteiro.lua"), lua.Annotations(), false}, {library, lua.TestAnnotations(), false},
				{filepath.Join(dir, ".luarc.json"), []byte(editorSettings), true}} {
				if _, err := os.Stat(f.name); f.own && !errors.Is(err, fs.ErrNotExist) {
					fmt.Fprintf(cmd.OutOrStdout(), "%s exists already and was not changed\n", f.name)
					continue
				}
				if err := os.WriteFile(f.name, f.text, 0o644); err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), f.name)
			}
			return nil
		},
	}
}
