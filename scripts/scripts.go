// Package scripts holds the policy that a new server starts with and the
// examples of the manual. A site's own scripts live in the folder that
// [scripts].dir names; `carteiro init` puts a copy of policy.lua there.
package scripts

import "embed"

//go:embed policy.lua examples
var files embed.FS

// Policy is the starting policy. The caller owns the result.
func Policy() []byte {
	b, err := files.ReadFile("policy.lua")
	if err != nil {
		panic(err) // compiled in
	}
	return b
}

// Examples is the folder of examples.
func Examples() embed.FS { return files }
