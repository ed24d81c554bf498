package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"

	"carteiro/core/message/envelope"
)

// argon2id with 19 MiB, two passes and one lane (RFC 9106 section 4 leaves the
// choice to the application; this one is OWASP's): about 30 ms on one core.
const (
	argonTime   = 2
	argonMemory = 19 << 10 // KiB
	argonKey    = 32
	maxHashing  = 8 // argon2id runs at once: 152 MiB at most
)

var b64 = base64.RawStdEncoding

// hashPassword makes a PHC string of a password.
func (d *AccountTable) hashPassword(password string) string {
	memory, passes := uint32(argonMemory), uint32(argonTime)
	if d.o.WeakHash {
		memory, passes = 64, 1
	}
	salt := make([]byte, 16)
	rand.Read(salt)
	d.hashing <- struct{}{}
	defer func() { <-d.hashing }()
	key := argon2.IDKey([]byte(password), salt, passes, memory, 1, argonKey)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=1$%s$%s", argon2.Version, memory, passes, b64.EncodeToString(salt), b64.EncodeToString(key))
}

// checkPassword verifies a password against a PHC string in constant time. An empty
// or unreadable one costs as much and never matches.
func (d *AccountTable) checkPassword(hash, password string) bool {
	memory, passes, salt, want, ok := parseHash(hash)
	if !ok {
		memory, passes, salt = argonMemory, argonTime, make([]byte, 16)
		if d.o.WeakHash {
			memory, passes = 64, 1
		}
	}
	d.hashing <- struct{}{}
	defer func() { <-d.hashing }()
	got := argon2.IDKey([]byte(password), salt, passes, memory, 1, argonKey)
	return subtle.ConstantTimeCompare(got, want) == 1 && ok
}

func parseHash(s string) (memory, passes uint32, salt, key []byte, ok bool) {
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return 0, 0, nil, nil, false
	}
	var lanes uint32
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &passes, &lanes); n != 3 || err != nil || lanes != 1 {
		return 0, 0, nil, nil, false
	}
	salt, err1 := b64.DecodeString(parts[4])
	key, err2 := b64.DecodeString(parts[5])
	ok = err1 == nil && err2 == nil && len(key) == argonKey && memory <= 1<<20 && passes >= 1 && passes <= 100
	return memory, passes, salt, key, ok
}

// passwordCache keeps keyed digests of passwords that matched, so that a client
// that polls does not need a hash each time. A changed password changes the
// stored hash, which is part of the digest.
type passwordCache struct {
	mu   sync.Mutex
	key  [32]byte
	seen map[envelope.Address]proof
}

type proof struct {
	sum   [32]byte
	until time.Time
}

const verifiedFor = 5 * time.Minute

func (v *passwordCache) sum(hash, password string) (out [32]byte) {
	if v.seen == nil {
		rand.Read(v.key[:])
		v.seen = map[envelope.Address]proof{}
	}
	m := hmac.New(sha256.New, v.key[:])
	m.Write([]byte(hash))
	m.Write([]byte{0})
	m.Write([]byte(password))
	m.Sum(out[:0])
	return out
}

func (v *passwordCache) knows(a envelope.Address, hash, password string, now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	sum := v.sum(hash, password)
	p, ok := v.seen[a]
	return ok && now.Before(p.until) && hmac.Equal(p.sum[:], sum[:])
}

func (v *passwordCache) remember(a envelope.Address, hash, password string, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	sum := v.sum(hash, password)
	if len(v.seen) > 10_000 {
		clear(v.seen)
	}
	v.seen[a] = proof{sum: sum, until: now.Add(verifiedFor)}
}
