package clock

import (
	"testing"
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
	at := time.Date(2026, 2, 3, 4, 5, 6, 7, time.UTC)
	c := Still(at)
	moved := c.Moved()
	time.Sleep(time.Millisecond)
	if got := c.Now(); !got.Equal(at) {
		t.Errorf("it runs: %v", got)
	}
	c.Advance(time.Minute)
	<-moved
	if got := c.Now(); !got.Equal(at.Add(time.Minute)) {
		t.Errorf("a minute later it shows %v", got)
	}
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
