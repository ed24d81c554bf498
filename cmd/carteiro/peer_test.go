package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"carteiro/cmd/carteiro/internal/site"
	"carteiro/cmd/carteiro/internal/testserver"
)

// peer is another mail server, with its own folders, on loopback. It stays in the
// foreground and ends on SIGTERM.
type peer struct {
	name  string
	dir   string
	owner *user.User // whose processes handle mail
	cmd   *exec.Cmd
	done  chan struct{}
}

// newPeer makes the folders: conf for what only root reads, and those of subs
// for the owner.
func newPeer(t testing.TB, name, owner string, subs ...string) *peer {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skipf("%s needs root", name)
	}
	who, err := user.Lookup(owner)
	if err != nil {
		t.Skipf("the user of %s: %v", name, err)
	}
	// Its processes run as that user, who cannot get into t.TempDir.
	dir, err := os.MkdirTemp("", "carteiro-"+strings.ToLower(name)+"-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	p := &peer{name: name, dir: dir, owner: who}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, sub := range subs {
		if err := errors.Join(os.Mkdir(p.path(sub), 0o755), p.own(sub)); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func (p *peer) path(name string) string { return filepath.Join(p.dir, name) }

// own gives a file or folder to the owner.
func (p *peer) own(name string) error {
	var uid, gid int
	fmt.Sscan(p.owner.Uid, &uid)
	fmt.Sscan(p.owner.Gid, &gid)
	return os.Chown(p.path(name), uid, gid)
}

// write puts a file; what is in it is nobody's secret.
func (p *peer) write(t testing.TB, name, text string) {
	t.Helper()
	if err := errors.Join(os.WriteFile(p.path(name), []byte(text), 0o644), p.own(name)); err != nil {
		t.Fatal(err)
	}
}

// certificates writes cert.pem and key.pem for a name, and ca.pem, with which
// the server's certificate is verified.
func (p *peer) certificates(t testing.TB, name string, h *testserver.Server) {
	t.Helper()
	cert, key, err := site.SelfSigned(name, "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(h.Dir, "cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	p.write(t, "cert.pem", string(cert))
	p.write(t, "key.pem", string(key))
	p.write(t, "ca.pem", string(ca))
}

// start runs the program until the test ends, and returns when all ports
// answer.
func (p *peer) start(t testing.TB, ports []string, program string, args ...string) {
	t.Helper()
	out, err := os.Create(p.path("output"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p.cmd = exec.Command(program, args...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.done = make(chan struct{})
	go func() {
		defer close(p.done)
		p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.stop(t)
		if t.Failed() {
			t.Logf("%s said:\n%s", p.name, p.log())
		}
	})
	for _, port := range ports {
		p.await(t, port)
	}
}

func (p *peer) stop(t testing.TB) {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("stop %s, process %d: %v", p.name, p.cmd.Process.Pid, err)
	}
	select {
	case <-p.done:
	case <-time.After(testserver.Patience):
		t.Errorf("%s, process %d, did not end", p.name, p.cmd.Process.Pid)
		p.cmd.Process.Kill()
	}
}

// await returns when something greets at a port.
func (p *peer) await(t testing.TB, port string) {
	t.Helper()
	ok := testserver.Poll(testserver.Patience, func() bool {
		select {
		case <-p.done:
			t.Fatalf("%s ended\n%s", p.name, p.log())
		default:
		}
		w, err := testserver.Dial("127.0.0.1:" + port)
		if err != nil {
			return false
		}
		defer w.Close()
		_, err = w.ReadLine()
		w.Write([]byte("QUIT\r\n"))
		w.ReadLine()
		return err == nil
	})
	if !ok {
		t.Fatalf("%s does not answer within %v\n%s", p.name, testserver.Patience, p.log())
	}
}

// log is what the program printed, and its files log*.
func (p *peer) log() string {
	files, _ := filepath.Glob(p.path("log*"))
	var out strings.Builder
	for _, name := range append(files, p.path("output")) {
		b, _ := os.ReadFile(name)
		out.Write(b)
	}
	return out.String()
}

// mail waits for the only message in a maildir below the peer's folder, and
// removes it.
func (p *peer) mail(t testing.TB, maildir string) string {
	t.Helper()
	return takeFromMaildir(t, filepath.Join(p.dir, maildir))
}

// takeFromMaildir waits for the only message in a maildir, and removes it.
func takeFromMaildir(t testing.TB, maildir string) string {
	t.Helper()
	var files []string
	testserver.Until(t, "a message is in "+maildir, func() bool {
		var err error
		if files, err = filepath.Glob(filepath.Join(maildir, "new", "*")); err != nil {
			t.Fatal(err)
		}
		return len(files) > 0
	})
	if len(files) > 1 {
		t.Fatalf("%d messages in %s, want 1", len(files), maildir)
	}
	b, err := os.ReadFile(files[0])
	if err := errors.Join(err, os.Remove(files[0])); err != nil {
		t.Fatal(err)
	}
	return string(b)
}
