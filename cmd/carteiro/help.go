package main

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"carteiro/hooks"
)

// manual holds one page for each topic of `carteiro help TOPIC`.
//
//go:embed manual/*.md
var manual embed.FS

func topics() []string {
	var out []string
	pages, _ := fs.Glob(manual, "manual/*.md")
	for _, p := range pages {
		out = append(out, strings.TrimSuffix(strings.TrimPrefix(p, "manual/"), ".md"))
	}
	return append(out, "hooks")
}

// manualPage finds the text of a topic.
func manualPage(topic string) ([]byte, bool) {
	if topic == "hooks" {
		return []byte(hooks.Manual), true
	}
	text, err := manual.ReadFile("manual/" + topic + ".md")
	return text, err == nil
}

func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND|TOPIC]",
		Short: "Help about a command, or a topic: " + strings.Join(topics(), ", "),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if text, ok := manualPage(args[0]); ok {
					_, err := cmd.OutOrStdout().Write(text)
					return err
				}
			}
			found, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return usage("no help on %q; topics are %s", strings.Join(args, " "), strings.Join(topics(), ", "))
			}
			if err := found.Help(); err != nil {
				return err
			}
			if found == root {
				fmt.Fprintf(cmd.OutOrStdout(), "\nTopics: %s\n", strings.Join(topics(), ", "))
			}
			return nil
		},
	}
}
