package lua_test

import (
	"strings"
	"testing"

	"carteiro/hooks"
	"carteiro/hooks/hookstest"
)

func TestWebRequest(t *testing.T) {
	w := hookstest.New(t).Script(`
on("web.request", { path = "/leave" }, function(req)
  if req.method ~= "POST" or req.form["List-Unsubscribe"] ~= "One-Click" then
    return response { status = 405, type = "text/plain", body = "post it", headers = { Allow = "POST" } }
  end
  kv.set("gone:" .. req.query.who, req.ip)
  return response { body = req.path .. " " .. req.headers["user-agent"] .. " " .. #req.body }
end)`)
	if p := w.Generation.Chain.Handlers(hooks.WebRequest)[0].Info().Path; p != "/leave" {
		t.Errorf("path %q", p)
	}
	a := w.Ask(&hooks.Event{Point: hooks.WebRequest, Req: &hooks.Request{Method: "GET", Path: "/leave"}})
	if a.Err() != "" || a.Action != hooks.Respond || a.Response.Status != 405 || a.Response.Headers["Allow"] != "POST" ||
		a.Response.Body != "post it" {
		t.Errorf("GET: %+v %s", a.Response, a.Err())
	}
	a = w.Ask(&hooks.Event{Point: hooks.WebRequest, Req: &hooks.Request{Method: "POST", Path: "/leave/x", IP: "192.0.2.7", Body: "abc",
		Query: map[string]string{"who": "bob"},
		Form:  map[string]string{"List-Unsubscribe": "One-Click"}, Headers: map[string]string{"user-agent": "test"}}})
	if a.Err() != "" || a.Response.Status != 200 || a.Response.Body != "/leave/x test 3" || a.Response.Type != "text/html; charset=utf-8" {
		t.Errorf("POST: %+v %s", a.Response, a.Err())
	}
	if _, err := w.KV.Get(t.Context(), "scripts", "gone:bob"); err != nil {
		t.Errorf("the effect is missing: %v", err)
	}
	for text, want := range map[string]string{
		`on("web.request", function() end)`:                      "needs the option path",
		`on("web.request", { path = "x" }, function() end)`:      "path is for web.request",
		`on("receive.mail", { path = "/x" }, function() end)`:    "path is for web.request",
		`on("receive.mail", function() return response { } end)`: "response",
	} {
		if _, err := w.Engine.Load(t.Context(), []hooks.Source{hookstest.Scripts(map[string]string{"a.lua": text})}); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestResponseCannotInject(t *testing.T) {
	w := hookstest.New(t).Script(`on("web.request", { path = "/x" }, function(req)
return response { headers = { ["X-A"] = "b\r\nSet-Cookie: c" } } end)`)
	if a := w.Ask(&hooks.Event{Point: hooks.WebRequest, Req: &hooks.Request{}}); !strings.Contains(a.Err(), "one line") {
		t.Errorf("%+v %s", a.Verdict, a.Err())
	}
}
