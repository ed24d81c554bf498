package hooks

import _ "embed"

// Manual is README.md, which the declarations write: every hook, object and
// function. `carteiro help hooks` prints it.
//
//go:embed README.md
var Manual string
