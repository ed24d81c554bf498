package lua_test

import (
	"fmt"
	"strings"
	"testing"

	"carteiro/hooks"
	"carteiro/hooks/hookstest"
)

// TestOptionsOfEveryHook: an option that means nothing at a hook is refused when
// the file loads; a start after an upgrade takes what earlier versions took.
func TestOptionsOfEveryHook(t *testing.T) {
	values := map[string]string{"order": "5", "tier": `"after"`, "on_error": `"continue"`, "listener": `"mx"`, "login": "true",
		"async": "false",
		"every": `"1h"`, "path": `"/x"`, "command": `"x"`, "events": `{ "accepted" }`}
	needs := map[hooks.Point]string{hooks.TimerTick: "every", hooks.WebRequest: "path", hooks.AdminCommand: "command"}
	for _, name := range hooks.PointNames() {
		spec, _ := hooks.SpecNamed(name)
		for option, value := range values {
			options := option + " = " + value
			if need := needs[spec.Point]; need != "" && need != option {
				options += ", " + need + " = " + values[need]
			}
			src := hookstest.Scripts(map[string]string{"a.lua": fmt.Sprintf("on(%q, { %s }, function() end)", name, options)})
			engine := hookstest.New(t).Engine
			_, err := engine.Load(t.Context(), []hooks.Source{src})
			if want := option + " has no effect at " + name; spec.HasOption(option) != (err == nil) || err != nil && !strings.Contains(err.Error(),
				want) {
				t.Errorf("%s at %s: %v; the option means something: %v", option, name, err, spec.HasOption(option))
			}
			if option != "listener" && option != "login" || err == nil {
				continue
			}
			if _, err := engine.Load(hooks.Lenient(t.Context()), []hooks.Source{src}); err != nil {
				t.Errorf("%s at %s, at a start: %v", option, name, err)
			}
		}
	}
}
