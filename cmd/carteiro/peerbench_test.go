package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"carteiro/cmd/carteiro/internal/testserver"
)

// The benchmarks BenchmarkPeers* measure Carteiro and other mail servers with the same
// client, carteiro-load, one after the other on the same disk. All are separate processes
// and sync the mail that they accept. Run them with -benchtime 1x: one operation is many
// messages, and ns/op is the time of one. There are several rounds, so that other load of
// the machine affects all servers: the names of later rounds end in #01, #02 and so on,
// and the median of all rounds is the result.
const peerRounds = 5

// loader returns carteiro-load.
func loader(b *testing.B) func(args ...string) load {
	b.Helper()
	program := filepath.Join(b.TempDir(), "carteiro-load")
	if out, err := exec.CommandContext(b.Context(), "go", "build", "-o", program, "../carteiro-load").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return func(args ...string) (ran load) {
		cmd := exec.CommandContext(b.Context(), program, args...)
		out, err := cmd.Output()
		if err == nil {
			err = json.Unmarshal(out, &ran)
		}
		if err != nil {
			b.Fatalf("carteiro-load %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return ran
	}
}

// load is what is used of its report.
type load struct {
	Messages int     `json:"messages"`
	Seconds  float64 `json:"seconds"`
}

// perMessage runs an operation for the benchmark's time.
func perMessage(b *testing.B, run func() load) {
	var sum load
	for b.Loop() {
		ran := run()
		sum.Messages += ran.Messages
		sum.Seconds += ran.Seconds
	}
	b.ReportMetric(sum.Seconds*1e9/float64(sum.Messages), "ns/op")
	b.ReportMetric(float64(sum.Messages)/sum.Seconds, "msg/s")
}

// idle waits until the instance's queue is empty.
func (p *postfix) idle(b testing.TB) {
	b.Helper()
	testserver.UntilWithin(b, 2*time.Minute, "Postfix's queue is empty", func() bool {
		n := 0
		for _, queue := range []string{"maildrop", "incoming", "active", "deferred"} {
			filepath.WalkDir(filepath.Join(p.dir, "queue", queue), func(_ string, e fs.DirEntry, err error) error {
				if err == nil && !e.IsDir() {
					n++
				}
				return nil // a file that has just gone is none
			})
		}
		return n == 0
	})
}

// BenchmarkPeersRetr reads a maildrop of 1,000 messages of 8 KiB, one RETR
// after the other on one connection, of Carteiro and of Dovecot. Carteiro's
// store is encrypted, as it is wherever a key is configured.
func BenchmarkPeersRetr(b *testing.B) {
	const messages, size = 1000, 8 << 10
	program := need(b, "dovecot")
	h := testserver.New(b, "[[listener]]\nname = \"plain\"\nprotocol = \"pop3\"\naddr = \"127.0.0.1:0\"\ninsecure_auth = true\n")
	testserver.UntilWithin(b, 2*time.Minute, "the listener is there", func() bool { return h.Addr("plain") != "" })
	d := &dovecot{lmtp: testserver.FreePort(b), pop3: testserver.FreePort(b)}
	startDovecot(b, program, d, h)
	carteiroLoad := loader(b)
	carteiroLoad("smtp", "--server", h.Addr("mx"), "--to", "alice@example.com", "--messages", strconv.Itoa(messages), "--size",
		strconv.Itoa(size))
	h.WaitQueueEmpty(b)
	text := "Subject: load\n\n" + strings.Repeat(strings.Repeat("carteiro ", 8)+"\n", size/74)
	for range messages {
		if reply, err := testserver.SendSMTP("127.0.0.1:"+d.lmtp, "LHLO client.example.net", "load@load.example",
			[]string{"carol@example.org"}, text); err != nil || !strings.HasPrefix(reply, "250 ") {
			b.Fatalf("Dovecot: %s, %v", reply, err)
		}
	}
	read := func(addr, user, password string) func() load {
		return func() (sum load) {
			for range 3 { // sessions: one takes too short a time
				ran := carteiroLoad("pop3", "--server", addr, "--user", user, "--password", password, "--messages", strconv.Itoa(messages))
				if ran.Messages != messages {
					b.Fatalf("%d messages were read", ran.Messages)
				}
				sum.Messages += ran.Messages
				sum.Seconds += ran.Seconds
			}
			return sum
		}
	}
	servers := []struct {
		name string
		run  func() load
	}{
		{"carteiro", read(h.Addr("plain"), "alice@example.com", testserver.Password)},
		{"dovecot", read("127.0.0.1:"+d.pop3, "carol@example.org", strings.ReplaceAll(testserver.Password, " ", "-"))},
	}
	for _, server := range servers {
		server.run() // the first session builds what the server caches
	}
	for range peerRounds {
		for _, server := range servers {
			b.Run(server.name, func(b *testing.B) { perMessage(b, server.run) })
		}
	}
}

// BenchmarkPeersIntake sends messages of 4 KiB, each acknowledged before the
// next of its connection, to Carteiro and to Postfix; both deliver them to a
// mailbox meanwhile. What one has left to do is done before it is the
// other's turn.
func BenchmarkPeersIntake(b *testing.B) {
	program := need(b, "postfix")
	p := newPostfix(b)
	h := testserver.New(b, "")
	p.more = "in_flow_delay = 0\n" // it would hold clients back while it delivers
	p.start(b, program, h)
	carteiroLoad := loader(b)
	for range peerRounds {
		for _, size := range []struct{ connections, messages int }{{1, 200}, {10, 1000}, {100, 2000}} {
			for _, server := range []struct {
				name, addr, to string
				idle           func(testing.TB)
			}{
				{"carteiro", h.Addr("mx"), "alice@example.com", h.WaitQueueEmpty},
				{"postfix", "127.0.0.1:" + p.port, "carol@example.net", p.idle},
			} {
				b.Run(fmt.Sprintf("%s/%d", server.name, size.connections), func(b *testing.B) {
					perMessage(b, func() load {
						return carteiroLoad("smtp", "--server", server.addr, "--to", server.to, "--size", "4096",
							"--connections", strconv.Itoa(size.connections), "--messages", strconv.Itoa(size.messages))
					})
				})
				server.idle(b)
			}
		}
	}
}
