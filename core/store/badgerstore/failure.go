package badgerstore

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"carteiro/core/store"
)

// failure keeps the first failure of the disk. It is also Badger's logger,
// because Badger only logs that a value log could not be flushed. It logs this
// before the commit returns, so the committer, which checks for a failure
// afterwards, acknowledges nothing that is not on disk.
type failure struct {
	log    *slog.Logger
	mu     sync.Mutex
	cause  error
	failed chan struct{} // closed with the first failure
}

func newFailure(log *slog.Logger) *failure {
	return &failure{log: log, failed: make(chan struct{})}
}

// fail stops all writes to the store and returns the first failure.
func (l *failure) fail(cause error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause == nil {
		l.cause = fmt.Errorf("%w: %w", store.ErrFailed, cause)
		close(l.failed)
	}
	return l.cause
}

// err is nil or the failure, which is ErrFailed.
func (l *failure) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}

// Errorf is what Badger calls when something went wrong.
func (l *failure) Errorf(format string, args ...any) {
	text := strings.TrimSpace(fmt.Sprintf(format, args...))
	l.log.Error("badger", "text", text)
	for _, fatal := range []string{"curlf sync", "writeRequests", "flushing memtable", "flush memtable"} {
		if strings.Contains(text, fatal) {
			l.fail(fmt.Errorf("badger: %s", text))
			return
		}
	}
}

// Warningf logs a warning of Badger.
func (l *failure) Warningf(format string, args ...any) {
	l.log.Warn("badger", "text", strings.TrimSpace(fmt.Sprintf(format, args...)))
}

// Infof drops messages that are only for developers of Badger.
func (l *failure) Infof(string, ...any) {}

// Debugf drops those too.
func (l *failure) Debugf(string, ...any) {}
