package crypt_test

import (
	"fmt"
	"io"
	"testing"
	"time"

	"carteiro/core/message/crypt"
	"carteiro/core/message/mime"
	"carteiro/core/ops/policytest/keys"
)

// BenchmarkEncrypt measures time and memory for a message.
func BenchmarkEncrypt(b *testing.B) {
	now := time.Now()
	for _, kind := range []string{crypt.OpenPGP, crypt.SMIME} {
		k, err := keys.New(kind, "bob@our.example", now.Add(-time.Hour), 24*time.Hour)
		if err != nil {
			b.Fatal(err)
		}
		e := parse(b, k.Public)
		for _, kib := range []int64{4, 1 << 10, 25 << 10} {
			b.Run(fmt.Sprintf("%s/%dKiB", kind, kib), func(b *testing.B) {
				b.SetBytes(kib << 10)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := crypt.Encrypt(b.Context(), e, mime.ParseHeader([]byte(letter+"\r\n")), io.LimitReader(zeros{}, kib<<10), io.Discard,
						now); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkParse measures the time to add a key.
func BenchmarkParse(b *testing.B) {
	for _, kind := range []string{crypt.OpenPGP, crypt.SMIME} {
		k, err := keys.New(kind, "bob@our.example", time.Now().Add(-time.Hour), 24*time.Hour)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(kind, func(b *testing.B) {
			for b.Loop() {
				if _, err := crypt.Parse(k.Public, time.Now()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
