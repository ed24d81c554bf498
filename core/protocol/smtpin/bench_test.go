package smtpin

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"

	"carteiro/core/internal/dialogtest"
	"carteiro/core/message/envelope"
)

// BenchmarkData measures only the reader of DATA, on lines of 76 octets.
func BenchmarkData(b *testing.B) {
	line := strings.Repeat("x", 74) + "\r\n"
	for _, size := range []int{2 << 10, 64 << 10, 1 << 20} {
		text := []byte(strings.Repeat(line, size/len(line)) + ".\r\n")
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			src := bytes.NewReader(nil)
			r := bufio.NewReaderSize(src, 16<<10)
			buf := make([]byte, 32<<10)
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				src.Reset(text)
				r.Reset(src)
				c := &content{src: &dotReader{r: r, bol: true}, wholeLines: true, max: 1 << 30}
				for {
					if _, err := c.Read(buf); err == io.EOF {
						break
					} else if err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// discardBackend accepts everything and keeps nothing.
type discardBackend struct{ dialogtest.PasswordsOnly }

func (discardBackend) Connect(context.Context, *envelope.Session) *envelope.Status      { return nil }
func (discardBackend) Helo(context.Context, *envelope.Session, string) *envelope.Status { return nil }
func (discardBackend) Auth(context.Context, *envelope.Session, *envelope.Credentials) (*envelope.Identity, *envelope.Status) {
	return nil, nil
}
func (discardBackend) Mail(context.Context, *envelope.Session, *envelope.Transaction) *envelope.Status {
	return nil
}
func (discardBackend) Rcpt(context.Context, *envelope.Session, *envelope.Transaction, *envelope.Recipient) *envelope.Status {
	return nil
}
func (discardBackend) Data(_ context.Context, _ *envelope.Session, _ *envelope.Transaction, content io.Reader) Outcome {
	_, err := io.Copy(io.Discard, content)
	return Outcome{Status: envelope.StatusOf(err)}
}
func (discardBackend) End(*envelope.Session, *envelope.Transaction) {}
func (discardBackend) Close(*envelope.Session)                      {}

// BenchmarkSessions sends messages of 2 KiB and 64 KiB over 1, 10 and 100
// connections by a client that pipelines the envelope. The client's work is
// in the figure.
func BenchmarkSessions(b *testing.B) {
	for _, size := range []int{2 << 10, 64 << 10} {
		text := strings.Repeat(strings.Repeat("x", 74)+"\r\n", size/76) + ".\r\n"
		for _, conns := range []int{1, 10, 100} {
			b.Run(strconv.Itoa(size)+"/"+strconv.Itoa(conns), func(b *testing.B) { sessions(b, conns, text) })
		}
	}
}

func sessions(b *testing.B, conns int, text string) {
	addr, stop := start(b, New(Config{Hostname: "mx.example.com"}, discardBackend{}))
	var clients []net.Conn
	for range conns {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		clients = append(clients, nc)
	}
	work := make(chan struct{})
	done := make(chan error, conns)
	for _, nc := range clients {
		go func() { done <- sendAll(nc, text, work) }()
	}
	b.SetBytes(int64(len(text)))
	b.ResetTimer()
	for range b.N {
		work <- struct{}{}
	}
	close(work)
	for range conns {
		if err := <-done; err != nil {
			b.Error(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	if err := stop(); err != nil {
		b.Error(err)
	}
}

func sendAll(nc net.Conn, text string, work <-chan struct{}) error {
	defer nc.Close()
	r := bufio.NewReader(nc)
	w := bufio.NewWriterSize(nc, 64<<10)
	skip := func(n int) error {
		if err := w.Flush(); err != nil {
			return err
		}
		for n > 0 {
			line, err := r.ReadSlice('\n')
			if err != nil {
				return err
			}
			if line[3] == ' ' {
				n--
			}
		}
		return nil
	}
	w.WriteString("EHLO c.example\r\n")
	if err := skip(2); err != nil {
		return err
	}
	for range work {
		w.WriteString("MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n")
		if err := skip(3); err != nil {
			return err
		}
		w.WriteString(text)
		if err := skip(1); err != nil {
			return err
		}
	}
	return nil
}
