package clock

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestAdvanceWakesAndMoves(t *testing.T) {
	var c Clock
	before, moved := c.Now(), c.Moved()
	select {
	case <-moved:
		t.Fatal("moved before Advance")
	default:
	}
	c.Advance(time.Hour)
	<-moved
	if got := c.Now().Sub(before); got < time.Hour || got > time.Hour+time.Minute {
		t.Errorf("after Advance(1h) the clock is %v ahead", got)
	}
	if c.Moved() == moved {
		t.Error("Moved still returns the closed channel")
	}
}

func TestStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := time.Date(2026, 2, 3, 4, 5, 6, 7, time.UTC)
		c := Still(at)
		moved := c.Moved()
		time.Sleep(time.Hour)
		if got := c.Now(); !got.Equal(at) {
			t.Errorf("an hour later it shows %v, want %v", got, at)
		}
		c.Advance(time.Minute)
		<-moved
		if got, want := c.Now(), at.Add(time.Minute); !got.Equal(want) {
			t.Errorf("advanced by a minute it shows %v, want %v", got, want)
		}
	})
}

// TestRunning: a clock that does not stand still shows the system's time and
// what was added.
func TestRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Clock
		before := c.Now()
		time.Sleep(time.Hour)
		c.Advance(time.Minute)
		if got, want := c.Now().Sub(before), time.Hour+time.Minute; got != want {
			t.Errorf("moved by %v, want %v", got, want)
		}
	})
}

func TestRestart(t *testing.T) {
	at := time.Date(2026, 2, 3, 4, 5, 6, 7, time.UTC)
	c := Still(at)
	c.Advance(time.Hour)
	moved, earlier := c.Moved(), at.AddDate(-3, 0, 0)
	c.Restart(earlier)
	<-moved
	if got := c.Now(); !got.Equal(earlier) {
		t.Errorf("shows %v, want %v", got, earlier)
	}
	defer func() {
		if recover() == nil {
			t.Error("a clock that runs was set")
		}
	}()
	new(Clock).Restart(at)
}

func TestNilClockIsTheSystems(t *testing.T) {
	var c *Clock
	if d := time.Since(c.Now()); d < 0 || d > time.Minute {
		t.Errorf("nil clock is %v off", d)
	}
	if c.Moved() != nil {
		t.Error("a nil clock cannot move")
	}
}
