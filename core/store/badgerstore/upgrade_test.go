package badgerstore_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"carteiro/core/store/badgerstore"
)

// TestUpgradeCutOff: the process ends at each commit of the upgrade, before it
// or after it, and the next start finds everything.
func TestUpgradeCutOff(t *testing.T) {
	want, err := os.ReadFile(filepath.Join(store1, "contents.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, persisted := range []bool{false, true} {
		cuts := 0
		for finished := false; !finished; cuts++ {
			o := copyStore1(t)
			_, err := badgerstore.Open(badgerstore.CutOffUpgrade(o, cuts, persisted))
			if finished = err == nil; !finished && !errors.Is(err, badgerstore.ErrCutOff) {
				t.Fatalf("cut off at commit %d: %v", cuts, err)
			}
			if finished {
				break
			}
			s := open(t, o)
			if got := strings.Join(contentsOf(t, s), "\n") + "\n"; got != string(want) {
				t.Errorf("cut off at commit %d (written: %v): another content", cuts, persisted)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if cuts < 10 {
			t.Errorf("the upgrade had %d commits to cut off, want at least 10", cuts)
		}
	}
}

// TestUpgradeOnce: a store of the present format is not changed at a start.
func TestUpgradeOnce(t *testing.T) {
	o := copyStore1(t)
	s := open(t, o)
	if v := s.Stats().Version; v < 2 {
		t.Errorf("format %d", v)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := badgerstore.Open(badgerstore.CutOffUpgrade(o, 0, false))
	if err != nil {
		t.Fatalf("the second start upgrades again: %v", err)
	}
	again.Close()
}

// TestUpgradeDamaged: a record that cannot be read ends the upgrade and names
// its step; nothing is lost.
func TestUpgradeDamaged(t *testing.T) {
	o := copyStore1(t)
	damaged := badgerstore.DamageDuringUpgrade(o)
	if _, err := badgerstore.Open(damaged); err == nil ||
		!strings.Contains(err.Error(), "upgrade from format 1 to 2 (groups say what kind they are)") {
		t.Errorf("%v", err)
	}
}
