package badgerstore_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
	"carteiro/core/store/badgerstore"
	"carteiro/core/store/storetest"
)

// crashDir names the directory in which a copy of the test binary works until
// it is killed.
const crashDir = "CARTEIRO_TEST_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		fmt.Fprintln(os.Stderr, victim(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const crashOwner = envelope.Address("b@example.com")

// victim commits and settles under load, and prints a line after each
// acknowledgement and before each settlement.
func victim(dir string) error {
	s, err := badgerstore.Open(badgerstore.Options{Dir: dir, Log: quiet})
	if err != nil {
		return err
	}
	ctx := context.Background()
	go s.Run(ctx)
	errs := make(chan error)
	for n := range 24 {
		go func() {
			for i := 0; ; i++ {
				if err := victimMail(ctx, s, n+i); err != nil {
					errs <- err
					return
				}
			}
		}()
	}
	return <-errs
}

func victimMail(ctx context.Context, s *badgerstore.Store, i int) error {
	m := message(crashOwner)
	id := m.Envelope.ID
	d := s.Draft(ctx)
	if _, err := d.Write([]byte(crashBody(id, i))); err != nil {
		return err
	}
	m.Draft = d
	if err := s.Commit(ctx, nil, m); err != nil {
		return err
	}
	say("committed", id)
	if i%3 == 0 {
		return nil
	}
	x := settled(m)
	if i%3 == 1 {
		x.Deliveries = []store.Delivery{{Owner: crashOwner, Message: id, Source: &m.Envelope, Size: m.Envelope.Size}}
	}
	say([]string{"", "delivering", "relaying"}[i%3], id)
	if err := s.Settle(ctx, x); err != nil {
		return err
	}
	say("settled", id)
	return nil
}

// say writes one line with one system call, so that a kill never cuts it.
func say(what string, id envelope.ID) { os.Stdout.WriteString(what + " " + id.String() + "\n") }

// crashBody is long for some messages, so that chunks are written too.
func crashBody(id envelope.ID, i int) string {
	n := 20
	if i%40 == 0 {
		n = 30_000
	}
	return strings.Repeat("body of "+id.String()+"\r\n", n)
}

// ledger is what the victims said, by message.
type ledger map[string]map[string]bool

// TestKill kills a loaded process a few times and audits its store: nothing
// acknowledged may be lost, half there, or there twice.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills processes")
	}
	dir, said := t.TempDir(), ledger{}
	for round := range 4 {
		said.kill(t, dir, time.Duration(150+round*70)*time.Millisecond)
		s := open(t, badgerstore.Options{Dir: dir})
		said.audit(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(said) < 100 {
		t.Errorf("only %d messages: too little load", len(said))
	}
	t.Logf("%d messages acknowledged", len(said))
}

// kill lets a victim work for a while and notes what it says to the end.
func (l ledger) kill(t *testing.T, dir string, after time.Duration) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var timer sync.Once
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		timer.Do(func() { time.AfterFunc(after, func() { cmd.Process.Kill() }) })
		what, id, _ := strings.Cut(lines.Text(), " ")
		if l[id] == nil {
			l[id] = map[string]bool{}
		}
		l[id][what] = true
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != -1 {
		t.Fatalf("the victim was not killed: %v", err)
	}
}

func (l ledger) audit(t *testing.T, s *badgerstore.Store) {
	t.Helper()
	items := itemsOf(t, s)
	for text, said := range l {
		id, err := envelope.ParseID(text)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Envelope(t.Context(), id)
		there := err == nil
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Errorf("message %s: %v", id, err)
		}
		began := said["delivering"] || said["relaying"]
		switch {
		case !began && !there:
			t.Errorf("message %s was acknowledged and is lost", id)
		case said["settled"] && there:
			t.Errorf("message %s was settled and is back", id)
		case there && items[text] > 0:
			t.Errorf("message %s is spooled and delivered", id)
		case said["delivering"] && !there && items[text] != 1:
			t.Errorf("message %s was delivered %d times", id, items[text])
		}
	}
	for e, err := range s.Messages(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if b := readAll(t, s, e); !strings.HasPrefix(string(b), "body of "+e.ID.String()+"\r\n") {
			t.Errorf("message %s has another's body", e.ID)
		}
	}
	if err := errors.Join(s.Sweep(t.Context(), true), s.Audit(), storetest.Check(t.Context(), s, crashOwner)); err != nil {
		t.Error(err)
	}
}

// itemsOf counts the items by the message that their octets name.
func itemsOf(t *testing.T, s *badgerstore.Store) map[string]int {
	t.Helper()
	counts := map[string]int{}
	box, err := s.Mailbox(t.Context(), crashOwner, "")
	if err != nil {
		t.Fatal(err)
	}
	for i, err := range s.Items(t.Context(), box.ID) {
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.Open(t.Context(), box.ID, i.UID)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 200)
		n, _ := r.Read(b)
		m, _ := r.Read(b[n:])
		r.Close()
		_, rest, _ := strings.Cut(string(b[:n+m]), "body of ")
		counts[rest[:26]]++
	}
	return counts
}
