package pop3

import (
	"io"
	"strconv"
	"strings"
	"testing"
)

// BenchmarkRetr is one session that reads the same message again and again.
func BenchmarkRetr(b *testing.B) {
	for _, size := range []int{2 << 10, 1 << 20} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			text := strings.Repeat(strings.Repeat("x", 74)+"\r\n", size/76)
			d := serve(b, Config{InsecureAuth: true})
			d.m.put("mrose@example.com", text)
			c := dial(b, d.addr)
			c.login()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				c.send("RETR 3\r\n")
				c.line("+OK")
				if _, err := io.CopyN(io.Discard, c.r, int64(len(text)+3)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkLogin is a poll of a maildrop that holds 10,000 messages: login,
// STAT and QUIT over a new connection.
func BenchmarkLogin(b *testing.B) {
	d := serve(b, Config{InsecureAuth: true})
	for range 10_000 {
		d.m.put("mrose@example.com", first)
	}
	for b.Loop() {
		c := dial(b, d.addr)
		c.login()
		c.send("STAT\r\nQUIT\r\n")
		c.line("+OK")
		c.line("+OK")
		c.nc.Close()
	}
}
