package panics

import (
	"errors"
	"strings"
	"testing"
)

func TestCatch(t *testing.T) {
	mine := errors.New("mine")
	if err := Catch(func() error { return mine }); err != mine {
		t.Errorf("Catch returned %v, want the function's own error", err)
	}
	if err := Catch(func() error { return nil }); err != nil {
		t.Errorf("Catch returned %v, want nil", err)
	}
	err := Catch(func() error { panic("broken") })
	if !errors.Is(err, ErrPanic) || !strings.Contains(err.Error(), "broken") || !strings.Contains(err.Error(), "TestCatch") {
		t.Errorf("Catch returned %v, want ErrPanic with its reason and the traceback", err)
	}
}
