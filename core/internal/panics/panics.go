// Package panics turns a panic in the work on one message into an error, so
// that it does not stop the work on the others.
package panics

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// ErrPanic is a fault of the server in the middle of work on one message.
var ErrPanic = errors.New("panic")

// Catch calls f and returns its error, or an error that is ErrPanic, with the
// traceback, if f panics.
func Catch(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v\n%s", ErrPanic, r, debug.Stack())
		}
	}()
	return f()
}
