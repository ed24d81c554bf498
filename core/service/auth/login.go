package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"carteiro/core/message/envelope"
)

// Login verifies credentials and returns the account. A user name without a
// domain is looked up in the first domain of the configuration, or in the only
// local one. It blocks while it computes a hash, and longer after
// wrong guesses for the same name: half a second, doubled with each, up to 8
// seconds, or until ctx ends. ErrCredentials does not say what was wrong.
// Tokens are ErrCredentials at once: policies verify them.
func (d *Directory) Login(ctx context.Context, cred *envelope.Credentials) (envelope.Address, error) {
	if cred.Token != "" {
		return "", fmt.Errorf("login %q by token: %w", shorten(cred.User), ErrCredentials)
	}
	a, err := d.loginName(cred.User)
	if err != nil {
		a = "" // as slow as a known name
	}
	key := strings.ToLower(cred.User)
	if err := d.throttle.wait(ctx, key, d.o.Clock.Now); err != nil {
		return "", err
	}
	acc, err := d.account(ctx, a)
	if err != nil && !errors.Is(err, ErrUnknown) {
		return "", err
	}
	ok := err == nil && d.verify(acc, cred)
	if err != nil && cred.Digest == "" && !isScram(cred) {
		d.checkPassword("", cred.Password)
	}
	if !ok {
		d.throttle.failed(key, d.o.Clock.Now())
		return "", fmt.Errorf("login %q: %w", shorten(cred.User), ErrCredentials)
	}
	if cred.Authzid != "" && cred.Authzid != cred.User && envelope.Address(strings.ToLower(cred.Authzid)) != acc.Address {
		return "", fmt.Errorf("login %q as %q: %w", shorten(cred.User), shorten(cred.Authzid), ErrCredentials)
	}
	d.throttle.succeeded(key)
	return acc.Address, nil
}

func shorten(s string) string { return s[:min(len(s), 100)] }

func (d *Directory) loginName(user string) (envelope.Address, error) {
	if !strings.Contains(user, "@") {
		if len(d.o.Domains) > 0 {
			user += "@" + strings.ToLower(d.o.Domains[0])
		} else if all := d.Domains(); len(all) == 1 {
			user += "@" + all[0].Name
		}
	}
	a, err := envelope.ParseAddress(user)
	return a.Base(), err
}

// isScram reports whether the SCRAM exchange has already verified the login.
func isScram(cred *envelope.Credentials) bool { return strings.HasPrefix(cred.Mechanism, "SCRAM-") }

func (d *Directory) verify(acc *Account, cred *envelope.Credentials) bool {
	if isScram(cred) {
		return cred.Proven
	}
	if cred.Digest != "" {
		if d.sealer == nil || len(acc.APOP) == 0 {
			return false
		}
		secret, err := d.sealer.open(acc.Address, acc.APOP)
		return err == nil && digestMatches(cred.Challenge, secret, cred.Digest)
	}
	if acc.Hash == "" || cred.Password == "" {
		d.checkPassword("", cred.Password)
		return false
	}
	now := d.o.Clock.Now()
	if d.passwordCache.knows(acc.Address, acc.Hash, cred.Password, now) {
		return true
	}
	if !d.checkPassword(acc.Hash, cred.Password) {
		return false
	}
	d.passwordCache.remember(acc.Address, acc.Hash, cred.Password, now)
	return true
}

// throttle delays logins with a name that had wrong guesses.
type throttle struct {
	mu    sync.Mutex
	wrong map[string]guesses
}

type guesses struct {
	n    int
	last time.Time
}

const (
	freeGuesses = 2
	firstDelay  = 500 * time.Millisecond
	maxDelay    = 8 * time.Second
	forgetAfter = 15 * time.Minute
	maxNames    = 100_000
)

// delay returns how long the next try with this name has to wait.
func (t *throttle) delay(key string, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.wrong[key]
	if g.n <= freeGuesses || now.Sub(g.last) > forgetAfter {
		return 0
	}
	return min(firstDelay<<min(g.n-freeGuesses-1, 10), maxDelay)
}

func (t *throttle) wait(ctx context.Context, key string, now func() time.Time) error {
	d := t.delay(key, now())
	if d == 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *throttle) failed(key string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.wrong == nil || len(t.wrong) >= maxNames {
		t.wrong = map[string]guesses{}
	}
	g := t.wrong[key]
	if now.Sub(g.last) > forgetAfter {
		g.n = 0
	}
	t.wrong[key] = guesses{n: g.n + 1, last: now}
}

func (t *throttle) succeeded(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.wrong, key)
}
