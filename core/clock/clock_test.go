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

func TestNilClockIsTheSystems(t *testing.T) {
	var c *Clock
	if d := time.Since(c.Now()); d < 0 || d > time.Minute {
		t.Errorf("nil clock is %v off", d)
	}
	if c.Moved() != nil {
		t.Error("a nil clock cannot move")
	}
}
