package envelope

import (
	"errors"
	"fmt"
	"strconv"
)

// Priority is the MT-PRIORITY of a message: -9 to 9, 0 for normal mail
// (RFC 6710 section 5).
type Priority int8

// ErrPriority is returned by ParsePriority.
var ErrPriority = errors.New("priority is not a number from -9 to 9")

// ParsePriority reads the value of the MT-PRIORITY parameter.
func ParsePriority(s string) (Priority, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < -9 || n > 9 || s[0] == '+' {
		return 0, fmt.Errorf("%w: %q", ErrPriority, s)
	}
	return Priority(n), nil
}

// Class is the queue class of a priority. Lower classes go first; ageing
// (core/pipeline/queue) keeps the higher ones from starving.
type Class uint8

// The classes, most urgent first. RFC 6710 asks only for an order; five
// classes keep the due index small.
const (
	Urgent  Class = iota // 5..9
	High                 // 1..4
	Normal               // 0
	Low                  // -4..-1
	Bulk                 // -9..-5
	Classes = int(iota)
)

// Class returns the class in which mail of this priority waits.
func (p Priority) Class() Class {
	switch {
	case p >= 5:
		return Urgent
	case p >= 1:
		return High
	case p == 0:
		return Normal
	case p >= -4:
		return Low
	}
	return Bulk
}

// String returns the class's name as metrics and `queue summary` print it.
func (c Class) String() string {
	return [...]string{"urgent", "high", "normal", "low", "bulk"}[min(int(c), Classes-1)]
}
