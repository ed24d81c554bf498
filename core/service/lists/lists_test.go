package lists_test

import (
	"errors"
	"slices"
	"testing"

	"carteiro/core/message/envelope"
	"carteiro/core/service/lists"
	"carteiro/core/store"
	"carteiro/hooks/hookstest"
)

func TestGroups(t *testing.T) {
	ctx := t.Context()
	g := lists.New(&hookstest.KV{})
	if _, err := g.Settings(ctx, "devs@our.example"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("settings of no group: %v", err)
	}
	apply := func(f envelope.Effect, err error) {
		t.Helper()
		if err == nil {
			err = g.Apply(ctx, f)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	apply(lists.Configure("Devs@our.example", map[string]any{"post": "members"}))
	apply(lists.Configure("other@our.example", nil))
	apply(lists.Put("devs@our.example", lists.Member{Address: "B@x.example", Attributes: map[string]any{"mode": "digest"}}))
	apply(lists.Put("devs@our.example", lists.Member{Address: "a@x.example"}))
	apply(lists.Put("devs@our.example", lists.Member{Address: "a@x.example", Attributes: map[string]any{"mode": "none"}}))
	if s, err := g.Settings(ctx, "devs@our.example"); err != nil || s["post"] != "members" {
		t.Errorf("settings %v, %v", s, err)
	}
	members := func() (list []string) {
		for m, err := range g.Members(ctx, "devs@our.example") {
			if err != nil {
				t.Fatal(err)
			}
			mode, _ := m.Attributes["mode"].(string)
			list = append(list, string(m.Address)+" "+mode)
		}
		return list
	}
	if got := members(); !slices.Equal(got, []string{"a@x.example none", "b@x.example digest"}) {
		t.Errorf("members %q", got)
	}
	if m, err := g.Member(ctx, "devs@our.example", "b@X.example"); err == nil {
		t.Errorf("%v: domains are canonical before they come here", m)
	}
	if m, err := g.Member(ctx, "devs@our.example", "B@x.example"); err != nil || m.Attributes["mode"] != "digest" {
		t.Errorf("member %v, %v", m, err)
	}
	apply(lists.Remove("devs@our.example", "a@x.example"), nil)
	if _, err := g.Member(ctx, "devs@our.example", "a@x.example"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("removed member: %v", err)
	}
	if err := g.Delete(ctx, "devs@our.example"); err != nil || len(members()) != 0 {
		t.Errorf("after delete: %v, %v", members(), err)
	}
	var names []string
	for n, err := range g.All(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, n)
	}
	if !slices.Equal(names, []string{"other@our.example"}) {
		t.Errorf("groups %q", names)
	}
	for _, bad := range []string{"", "a\nb", string(make([]byte, 300))} {
		if _, err := lists.Configure(bad, nil); !errors.Is(err, lists.ErrName) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
