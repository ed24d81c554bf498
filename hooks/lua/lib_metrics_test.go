package lua_test

import (
	"testing"

	"carteiro/core/ops/telemetry"
	"carteiro/hooks/hookstest"
)

func TestMetrics(t *testing.T) {
	j := telemetry.Discard()
	w := hookstest.NewWith(t, hookstest.Options{Metrics: j.Counted})
	body := `
local function is(got, want) if got ~= want then error("got " .. tostring(got) .. ", want " .. tostring(want), 2) end end
on("receive.mail", function(session, tx)
  metrics.counter("mails", { kind = "good" }) metrics.counter("mails", 2, { kind = "bad" }) metrics.counter("plain")
  metrics.gauge("level", -3) metrics.histogram("took", 0.5)
  if tx.sender == "fails@a.example" then error("x") end
  is(pcall(metrics.counter, "mails"), false) is(pcall(metrics.gauge, "plain_total", 1), false) is(pcall(metrics.counter, "Bad name"), false)
  is(pcall(metrics.counter, "mails", -1, { kind = "x" }), false) is(pcall(metrics.gauge, "level", 0/0), false)
is(pcall(metrics.counter, "x", { a = {} }), false)
  is(pcall(metrics.counter, "x", { a = ("x"):rep(65) }), false)
is(pcall(metrics.counter, "x", { a = 1, b = 2, c = 3, d = 4, e = 5 }), false)
  for i = 1, 200 do metrics.counter("many", { n = i }) end
end)`
	w.Load(hookstest.Scripts(map[string]string{"a.lua": body}), hookstest.Bundle("acme/my-bundle", map[string]string{"init.lua": body}))
	for _, sender := range []string{"a@a.example", "fails@a.example"} {
		a := w.Ask(mailEvent(sender))
		if failed := a.Err() != ""; failed != (sender == "fails@a.example") {
			t.Fatalf("%s: %s", sender, a.Err())
		}
	}
	got, many := map[string]float64{}, 0
	families, err := j.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetName() + "=" + l.GetValue()
			}
			got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetHistogram().GetSampleSum()
			if f.GetName() == "carteiro_script_policy_many_total" {
				many++
			}
		}
	}
	for name, want := range map[string]float64{
		"carteiro_script_policy_mails_total kind=bad": 2, "carteiro_script_policy_mails_total kind=good": 1,
		"carteiro_script_policy_plain_total": 1,
		"carteiro_script_policy_level":       -3, "carteiro_script_policy_took": 0.5, "carteiro_bundle_policy_acme_my_bundle_plain_total": 1,
		"carteiro_script_policy_many_total n=other": 100,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	if many != 101 {
		t.Errorf("%d series", many)
	}
}
