package policytest

import (
	"errors"
	"fmt"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/ops/policytest/keys"
)

// doKey makes a key and gives it to an address.
func (w entries) doKey(args []any) (any, error) {
	address, err := asText(args, 0, "the address")
	kind, err2 := asText(args, 1, "the kind")
	o, err3 := asTable(args, 2)
	if err = errors.Join(err, err2, err3, only(o, "expires")); err != nil {
		return nil, err
	}
	a, err := envelope.ParseAddress(address)
	if err != nil {
		return nil, err
	}
	k, err := keys.New(kind, a, w.clock.Now(), lifetime(o["expires"], 10_000*24*time.Hour))
	if err != nil {
		return nil, err
	}
	w.secrets = append(w.secrets, k)
	_, err = w.keys.Add(w.ctx, a, k.Public)
	return nil, err
}

// doDecrypt is what a message holds that was encrypted to one of the test's
// keys.
func (w entries) doDecrypt(args []any) (any, error) {
	raw, err := asText(args, 0, "the message")
	if err != nil {
		return nil, err
	}
	var why error
	for _, k := range w.secrets {
		b, err := k.Decrypt([]byte(raw))
		if err == nil {
			return string(b), nil
		}
		why = errors.Join(why, err)
	}
	return nil, fmt.Errorf("the test has %d keys and none decrypts it: %w", len(w.secrets), why)
}
