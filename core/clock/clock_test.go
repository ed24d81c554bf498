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

func TestNilClockIsTheSystems(t *testing.T) {
	var c *Clock
	if d := time.Since(c.Now()); d < 0 || d > time.Minute {
		t.Errorf("nil clock is %v off", d)
	}
	if c.Moved() != nil {
		t.Error("a nil clock cannot move")
	}
}
