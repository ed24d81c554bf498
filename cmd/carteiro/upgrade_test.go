package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"carteiro/cmd/carteiro/internal/testserver"
	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
	"carteiro/core/ops/config"
	"carteiro/core/pipeline/operate"
)

// store1Server is a copy of the server of store-1 with free ports. What failed in
// its policies when it was made is mended.
func store1Server(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../core/store/testdata/store-1")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "key"), 0o600); err != nil {
		t.Fatal(err)
	}
	replace := func(name string, pairs ...string) {
		path := filepath.Join(dir, name)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.NewReplacer(pairs...).Replace(string(b))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	replace("carteiro.toml", "127.0.0.1:2525", "127.0.0.1:0", "127.0.0.1:2587", "127.0.0.1:0")
	replace("scripts/archive.lua", `error("the archive is away")`, `kv.incr("archived late")`, `error("the webhook is away")`,
		`kv.incr("told late")`)
	replace("scripts/domains/two.example/archive.lua", `error("the archive of two is away")`, `kv.incr("archived late")`,
		`error("the second webhook is away")`, `kv.incr("told late")`)
	return dir
}

// TestUpgradeOfStore1: a server with a store of the first released format continues, with
// everything that waited in it. (Its store is compared record by record in
// core/store/badgerstore.)
func TestUpgradeOfStore1(t *testing.T) {
	cfg, err := config.Load(filepath.Join(store1Server(t), "carteiro.toml"))
	if err != nil {
		t.Fatal(err)
	}
	made := time.Date(2094, 12, 20, 18, 15, 0, 0, time.UTC)
	now := &clock.Clock{}
	now.Advance(made.Sub(now.Now()))
	var log bytes.Buffer
	ctx, stop := context.WithCancel(t.Context())
	s, err := openServer(ctx, cfg, serverOptions{clock: now, log: &log})
	if err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	testserver.Contains(t, log.String(), "store upgrade begins", "groups say what kind they are", "store upgrade done")
	served := make(chan error, 1)
	go func() { served <- s.serve(ctx) }()
	defer func() {
		stop()
		if err := <-served; err != nil {
			t.Errorf("%v\n%s", err, log.String())
		}
	}()
	value := func(space, key string) string {
		v, _ := s.store.Get(t.Context(), space, key)
		return string(v)
	}
	// Accounts, settings, grants.
	for user, password := range map[string]string{
		"ann@one.example":   "correct horse",
		"bob@one.example":   "battery staple",
		"carol@two.example": "secret of carol",
	} {
		if _, err := s.directory.Login(ctx, &envelope.Credentials{Mechanism: "PLAIN", User: user, Password: password}); err != nil {
			t.Errorf("%s: %v", user, err)
		}
	}
	if used, limit, err := s.store.Usage(ctx, "bob@one.example"); err != nil || used == 0 || limit != 10_000_000 {
		t.Errorf("bob uses %d of %d, %v", used, limit, err)
	}
	// The queue in every state.
	count := func(status string) int {
		found, err := s.pipeline.Queue(ctx, operate.Filter{Status: status}, 0)
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	for status, want := range map[string]int{"quarantine": 1, "held": 4} {
		if got := count(status); got != want {
			t.Errorf("%d messages %s, want %d", got, status, want)
		}
	}
	// Waiting events are handled, parked ones stay.
	testserver.Until(t, "waiting events are handled", func() bool {
		return value("scripts", "told late") == "1" && value("scripts/domains/two.example", "told late") == "1"
	})
	testserver.Until(t, "none waits", func() bool { return !s.pipeline.EventsDue(ctx) })
	events, err := s.pipeline.Events(ctx)
	if err != nil || events.Parked != 2 || events.Latest[0].Handler != "archive.lua 0" ||
		events.Latest[1].Handler != "two.example archive.lua 0" {
		t.Errorf("events: %+v, %v", events, err)
	}
	// Handlers that wait after the 250 run, each for its own domain.
	now.Advance(time.Hour)
	testserver.Until(t, "asynchronous handlers have run", func() bool {
		return value("scripts", "archived late") == "2" && value("scripts/domains/two.example", "archived late") == "1"
	})
	// Timers keep their time: those of an hour ran at 18:00, those of a day at 16:54.
	testserver.Until(t, "timers of an hour have run", func() bool { return value("scripts", "hourly") == "3" })
	ticks := func() string {
		return value("scripts", "ticks") + value("scripts/domains/two.example", "ticks") + value("acme/helper/two.example", "ticks")
	}
	if got := ticks(); got != "111" {
		t.Errorf("timers of a day ran before their time: %s", got)
	}
	now.Advance(22 * time.Hour)
	testserver.Until(t, "timers of a day have run", func() bool { return ticks() == "222" })
	checkGenerations(ctx, t, s)
}

// checkGenerations: generations from before the upgrade can still be taken.
func checkGenerations(ctx context.Context, t *testing.T, s *server) {
	t.Helper()
	if list, err := s.policies.List(ctx); err != nil || len(list) != 3 {
		t.Errorf("%d generations, want the two from before and this one, %v", len(list), err)
	} else if _, err := s.policies.Rollback(ctx, list[2].ID); err != nil {
		t.Errorf("rollback to a generation from before: %v", err)
	}
}
