package testserver

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"carteiro/cmd/carteiro/internal/site"
	"carteiro/core/ops/admin"
	"carteiro/core/pipeline/operate"
	"carteiro/core/service/dns/dnsserver"
	"carteiro/core/service/verify"
)

// Command is a command of the command line, with the server's configuration.
func (s *Server) Command(args ...string) *exec.Cmd {
	return Command(append(args, "-c", s.ConfigFile())...)
}

// Try runs a command and returns everything that it printed.
func (s *Server) Try(args ...string) (string, error) {
	out, err := s.Command(args...).CombinedOutput()
	return string(out), err
}

// Ctl runs a command that has to succeed, and returns what it printed.
func (s *Server) Ctl(t testing.TB, args ...string) string {
	t.Helper()
	out, err := s.Try(args...)
	if err != nil {
		t.Fatalf("carteiro %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// Call asks the running server by its socket.
func (s *Server) Call(ctx context.Context, name string, args, answer any) error {
	client, err := admin.Dial(ctx, filepath.Join(s.Dir, "data", "admin.sock"))
	if err != nil {
		return err
	}
	raw, err := client.Call(ctx, name, args)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, answer)
}

// WriteFile writes a file into the server's folder, readable by its owner
// alone, and returns its path.
func (s *Server) WriteFile(t testing.TB, name, text string) string {
	t.Helper()
	WriteFiles(t, s.Dir, map[string]string{name: text})
	return filepath.Join(s.Dir, name)
}

// SetPolicy writes a script and has the server take it.
func (s *Server) SetPolicy(t testing.TB, name, text string) {
	t.Helper()
	s.WriteFile(t, filepath.Join("scripts", name), text)
	s.Ctl(t, "reload")
}

// Sendmail sends as alice by sendmail's interface, to one or several separated
// by spaces.
func (s *Server) Sendmail(t testing.TB, to, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	args := append([]string{"sendmail", "-c", s.ConfigFile(), "-f", "alice@example.com", "-i"}, strings.Fields(to)...)
	cmd := exec.CommandContext(ctx, Binary(), args...)
	cmd.Env = append(os.Environ(), RunAsCommand+"=1")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sendmail: %v\n%s", err, out)
	}
}

// RunClient runs a program in the server's folder with input and returns what it
// printed, and its exit status.
func RunClient(t testing.TB, s *Server, input, program string, args ...string) (string, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = s.Dir
	cmd.Env = append(os.Environ(), "HOME="+s.Dir, "LC_ALL=C")
	cmd.Stdin = strings.NewReader(input)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() < 0) {
		t.Fatalf("%s: %v\n%s", program, err, out)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// MustRunClient is RunClient for a program that has to succeed.
func MustRunClient(t testing.TB, s *Server, input, program string, args ...string) string {
	t.Helper()
	out, status := RunClient(t, s, input, program, args...)
	if status != 0 {
		t.Fatalf("%s %s: exit status %d\n%s\n%s", filepath.Base(program), strings.Join(args, " "), status, out, s.Log())
	}
	return out
}

// Folder is how many messages a folder of an account has.
func (s *Server) Folder(t testing.TB, account, name string) int64 {
	t.Helper()
	var r admin.AccountReport
	if err := s.Call(t.Context(), "account.show", admin.AccountArgs{Address: account}, &r); err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Folders {
		if f.Name == name {
			return f.Messages
		}
	}
	return 0
}

// WaitFolder waits until a folder has n messages.
func (s *Server) WaitFolder(t testing.TB, account, name string, n int64) {
	t.Helper()
	var got int64
	if !Poll(Patience, func() bool { got = s.Folder(t, account, name); return got == n }) {
		t.Errorf("%d messages in %s of %s, want %d", got, name, account, n)
	}
}

// WaitQueueEmpty waits until nothing is in the queue. What a delivery gives rise
// to is queued in the delivery's own commit, so nothing follows.
func (s *Server) WaitQueueEmpty(t testing.TB) {
	t.Helper()
	waitQueue(t, s, Patience, admin.QueueArgs{})
}

// WaitQueueEmptyWithin is WaitQueueEmpty with a time of its own.
func (s *Server) WaitQueueEmptyWithin(t testing.TB, within time.Duration) {
	t.Helper()
	waitQueue(t, s, within, admin.QueueArgs{})
}

// WaitQueueIdle waits until nothing is due: what is deferred or held may remain.
func (s *Server) WaitQueueIdle(t testing.TB) {
	t.Helper()
	waitQueue(t, s, Patience, admin.QueueArgs{Filter: operate.Filter{Status: "queued"}})
}

func waitQueue(t testing.TB, s *Server, within time.Duration, args admin.QueueArgs) {
	t.Helper()
	empty := 0 // a message that goes while another takes its place may hide both from one look
	var lines []admin.QueueLine
	var err error
	ok := Poll(within, func() bool {
		lines = nil
		if err = s.Call(t.Context(), "queue.list", args, &lines); err != nil || len(lines) > 0 {
			empty = 0
			return false
		}
		empty++
		return empty == 3
	})
	if !ok {
		t.Fatalf("the queue has %+v, %v, want nothing %s", lines, err, args.Status)
	}
}

// PublishDKIM makes a DKIM key for a domain and puts it into a zone.
func PublishDKIM(t testing.TB, s *Server, zone *dnsserver.Server, domain string) {
	t.Helper()
	var key verify.Key
	if err := json.Unmarshal([]byte(s.Ctl(t, "dkim", "generate", domain, "--json")), &key); err != nil {
		t.Fatal(err)
	}
	if err := zone.Add(key.Name + ". 60 IN TXT " + site.QuoteTXT(key.Record) + "\n"); err != nil {
		t.Fatal(err)
	}
}
