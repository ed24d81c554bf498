package dialogtest

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"carteiro/core/protocol/sasl"
)

// Scram is the client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), by the
// book: ask sends a response and gives the challenge that comes back.
type Scram struct {
	User, Password string
	GS2            string // header, "n,," where empty
	Binding        []byte // channel binding data
}

// errScram: the server gave no proof of its own.
var errScram = errors.New("the server does not know the password either")

// First returns the first response.
func (s Scram) First(nonce string) string { return s.gs2() + s.bare(nonce) }

func (s Scram) gs2() string {
	if s.GS2 == "" {
		return "n,,"
	}
	return s.GS2
}

func (s Scram) bare(nonce string) string { return "n=" + s.User + ",r=" + nonce }

// Run goes through the exchange up to the server's proof, which it checks. A
// refusal is the error of ask.
func (s Scram) Run(nonce string, ask func(response string) (challenge string, err error)) error {
	first, err := ask(s.First(nonce))
	if err != nil {
		return err
	}
	var salt []byte
	var all string
	rounds := 0
	for field := range strings.SplitSeq(first, ",") {
		key, value, _ := strings.Cut(field, "=")
		switch key {
		case "r":
			all = value
		case "s":
			salt, err = base64.StdEncoding.DecodeString(value)
		case "i":
			rounds, err = strconv.Atoi(value)
		}
		if err != nil {
			return err
		}
	}
	if !strings.HasPrefix(all, nonce) || all == nonce || rounds < 4096 || len(salt) == 0 {
		return fmt.Errorf("bad first challenge %q", first)
	}
	salted, err := pbkdf2.Key(sha256.New, s.Password, salt, rounds, 32)
	if err != nil {
		return err
	}
	without := "c=" + base64.StdEncoding.EncodeToString(append([]byte(s.gs2()), s.Binding...)) + ",r=" + all
	message := s.bare(nonce) + "," + first + "," + without
	key := mac(salted, "Client Key")
	stored := sha256.Sum256(key)
	proof := mac(stored[:], message)
	for i := range proof {
		proof[i] ^= key[i]
	}
	last, err := ask(without + ",p=" + base64.StdEncoding.EncodeToString(proof))
	if err != nil {
		return err
	}
	want := mac(mac(salted, "Server Key"), message)
	if got, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(last, "v=")); err != nil || !bytes.Equal(got, want) {
		return errScram
	}
	return nil
}

func mac(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// PasswordsOnly makes a backend offer PLAIN and LOGIN alone; a backend of a test
// embeds it.
type PasswordsOnly struct{}

// Scram returns nil: it is not offered.
func (PasswordsOnly) Scram(context.Context, bool, func(kind string) []byte) sasl.Exchange { return nil }

// Tokens reports that bearer tokens are not taken.
func (PasswordsOnly) Tokens() bool { return false }
