package netline

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// drip writes text octet by octet, one each interval, until the other end is
// closed; the channel is closed then.
func drip(w io.Writer, text string, interval time.Duration) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range len(text) {
			time.Sleep(interval)
			if _, err := io.WriteString(w, text[i:i+1]); err != nil {
				return
			}
		}
	}()
	return done
}

// TestLineTimeout: the limit is for the whole line, however steadily it comes.
func TestLineTimeout(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		err  error
		took time.Duration
	}{
		"in time":  {"NOOP\r\n", nil, time.Minute},
		"too slow": {"NOOP   \r\n", os.ErrDeadlineExceeded, 65 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			client, server := net.Pipe()
			c := newConn(server, &buffers{})
			began := time.Now()
			done := drip(client, tt.text, 10*time.Second)
			line, err := c.ReadLine(65 * time.Second)
			if took := time.Since(began); !errors.Is(err, tt.err) || took != tt.took {
				t.Errorf("%s: got %q, %v after %v; want %v after %v", name, line, err, took, tt.err, tt.took)
			}
			server.Close()
			client.Close()
			<-done
		})
	}
}

// TestContentRate: content has to come at a rate once the client was waited for
// long enough, and each read has its own limit.
func TestContentRate(t *testing.T) {
	for name, tt := range map[string]struct {
		interval time.Duration
		rate     int64
		want     error
		took     time.Duration
	}{
		"fast enough":      {time.Second, 1, io.EOF, 201 * time.Second},
		"too slow":         {2 * time.Second, 1, ErrTooSlow, 62 * time.Second},
		"any rate will do": {2 * time.Second, 0, io.EOF, 402 * time.Second},
		"silent too long":  {3 * time.Minute, 0, os.ErrDeadlineExceeded, 2 * time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			client, server := net.Pipe()
			c := newConn(server, &buffers{})
			began := time.Now()
			text := make([]byte, 200)
			for i := range text {
				text[i] = 'x'
			}
			done := drip(client, string(text), tt.interval)
			go func() { // the end comes one interval after the last octet
				<-done
				time.Sleep(tt.interval)
				client.Close()
			}()
			c.Content(2*time.Minute, time.Minute, tt.rate)
			var err error
			for buf := make([]byte, 100); err == nil; {
				_, err = c.Reader().Read(buf)
			}
			if took := time.Since(began); !errors.Is(err, tt.want) || took != tt.took {
				t.Errorf("%s: %v after %v; want %v after %v", name, err, took, tt.want, tt.took)
			}
			server.Close()
			<-done
			time.Sleep(tt.interval) // for the client's end
		})
	}
}
