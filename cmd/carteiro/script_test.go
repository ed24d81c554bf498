package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"carteiro/cmd/carteiro/internal/testserver"
	"carteiro/hooks"
)

// TestScripts runs testdata/script/*.txtar: the command line as users see it. In addition
// to the commands of testscript there are
//
//	setup DIR [FILE]             a configuration with all listeners, a certificate, two
//	                             accounts; FILE is added to it; sets $CONF
//	serve DIR [FLAG...]          starts its server; sets $mx $submission $submissions $lmtp $pop3 $pop3s $web
//	signal DIR TERM|INT|KILL|HUP sends a signal; waits for the end, except with HUP
//	status N COMMAND...          like exec, and wants exit status N
//	until REGEXP COMMAND...      again and again until standard output matches
//	send ADDR FROM TO,... FILE   one message by SMTP; prints the last reply, sets $ID
//	pop ADDR USER N              waits for N messages, reads and removes them
//	smtp ADDR COMMAND...         sends one command after the other, prints the replies
//	get URL                      sends a request as a browser does; prints status and body
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Condition: func(cond string) (bool, error) {
			if cond == "moved" { // .ci/othertime moved the time of this process alone
				return os.Getenv("CARTEIRO_TIME_MOVED") != "", nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", testserver.BinDir()+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv(testserver.RunAsCommand, "1")
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("NOW", strconv.FormatInt(time.Now().Unix(), 10)) // which tests may have moved
			env.Values[servers{}] = map[string]*testserver.Server{}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"setup": cmdSetup, "serve": cmdServe, "signal": cmdSignal, "status": cmdStatus, "until": cmdUntil,
			"send": cmdSend, "fails": cmdFails, "pop": cmdPop, "smtp": cmdSMTP, "get": cmdGet,
		},
	})
}

// servers is the key of a script's servers, by folder.
type servers struct{}

func serverAt(ts *testscript.TestScript, dir string) *testserver.Server {
	all := ts.Value(servers{}).(map[string]*testserver.Server)
	h := all[dir]
	if h == nil {
		h = &testserver.Server{Dir: ts.MkAbs(dir)}
		all[dir] = h
	}
	return h
}

func want(ts *testscript.TestScript, ok bool, usage string) {
	if !ok {
		ts.Fatalf("usage: %s", usage)
	}
}

func cmdSetup(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && (len(args) == 1 || len(args) == 2), "setup DIR [FILE]")
	h, extra := serverAt(ts, args[0]), ""
	if len(args) == 2 {
		extra = ts.ReadFile(args[1])
	}
	ctx, cancel := contextOf()
	defer cancel()
	ts.Check(h.Build(ctx, extra))
	ts.Setenv("CONF", h.ConfigFile())
}

func cmdServe(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) > 0, "serve DIR [FLAG...]")
	h := serverAt(ts, args[0])
	ts.Check(h.Start(args[1:]...))
	done, process := h.Done, h.Process
	ts.Defer(func() {
		if h.Running() {
			h.Stop(syscall.SIGKILL)
		} else if h.Done == done && !h.Stopped {
			ts.Logf("the server in %s ended by itself: %s\n%s", args[0], process.ProcessState, h.Log())
		}
	})
	for _, name := range []string{"mx", "submission", "submissions", "lmtp", "pop3", "pop3s", "web"} {
		ts.Setenv(name, h.Addr(name))
	}
}

var signals = map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "KILL": syscall.SIGKILL, "HUP": syscall.SIGHUP}

func cmdSignal(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 2 && signals[args[1]] != 0, "signal DIR TERM|INT|KILL|HUP")
	h, sig := serverAt(ts, args[0]), signals[args[1]]
	if sig == syscall.SIGHUP {
		ts.Check(h.Process.Process.Signal(sig))
		return
	}
	status, err := h.Stop(sig)
	ts.Check(err)
	if sig != syscall.SIGKILL && status != 0 {
		ts.Fatalf("exit status %d after %s\n%s", status, args[1], h.Log())
	}
}

func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) > 1, "status N COMMAND...")
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != n {
		ts.Fatalf("exit status %d, want %d", got, n)
	}
}

func cmdUntil(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) > 1, "until REGEXP COMMAND...")
	re, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	ok := testserver.Poll(testserver.Patience, func() bool {
		err = ts.Exec(args[1], args[2:]...)
		return err == nil && re.MatchString(ts.ReadFile("stdout"))
	})
	if !ok {
		ts.Fatalf("no match for %q within %v, %v", args[0], testserver.Patience, err)
	}
}

func cmdSend(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, len(args) == 4, "[!] send ADDR FROM TO,... FILE")
	helo := "EHLO client.example.net"
	if args[0] == ts.Getenv("lmtp") {
		helo = "LHLO client.example.net"
	}
	reply, err := testserver.SendSMTP(args[0], helo, strings.Trim(args[1], "<>"), strings.Split(args[2], ","), ts.ReadFile(args[3]))
	ts.Check(err)
	ts.Stdout().Write([]byte(reply + "\n"))
	if ok := reply[0] == '2'; ok == neg {
		ts.Fatalf("the last reply is %s", reply)
	}
	if _, id, ok := strings.Cut(reply, "queued as "); ok {
		ts.Setenv("ID", id)
	}
}

// cmdFails sends the same message so many times; each has to be deferred.
func cmdFails(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 3, "fails ADDR N FILE")
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	for range n {
		reply, err := testserver.SendSMTP(args[0], "EHLO client.example.net", "x@example.net", []string{"bob@example.com"}, ts.ReadFile(args[2]))
		ts.Check(err)
		if reply[0] == '2' {
			return // rolled back by now
		}
		if reply[0] != '4' {
			ts.Fatalf("the last reply is %s", reply)
		}
	}
}

func cmdPop(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 3, "pop ADDR USER N")
	n, err := strconv.Atoi(args[2])
	ts.Check(err)
	got, err := testserver.WaitPOP3(args[0], args[1], n)
	ts.Check(err)
	if len(got) != n {
		ts.Fatalf("%d messages for %s, want %d\n%s", len(got), args[1], n, strings.Join(got, "\n---\n"))
	}
	ts.Stdout().Write([]byte(strings.Join(got, "\n---\n")))
}

func cmdSMTP(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) > 1, "smtp ADDR COMMAND...")
	w, err := testserver.Dial(args[0])
	ts.Check(err)
	defer w.Close()
	for _, c := range append([]string{""}, args[1:]...) {
		code, text, err := w.SMTP(c)
		ts.Check(err)
		for line := range strings.SplitSeq(text, "\n") {
			ts.Stdout().Write([]byte(strconv.Itoa(code) + " " + line + "\n"))
		}
	}
}

func cmdGet(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 1, "get URL")
	resp, err := http.Get(args[0])
	ts.Check(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	ts.Check(err)
	fmt.Fprintf(ts.Stdout(), "%d %s\n", resp.StatusCode, body)
}

// TestDoorsComplete: the script that meets each hook by the door of its users
// has all of them, so that a new one cannot come without.
func TestDoorsComplete(t *testing.T) {
	b, err := os.ReadFile("testdata/script/doors.txtar")
	if err != nil {
		t.Fatal(err)
	}
	_, all, _ := strings.Cut(string(b), "-- all --\n")
	all, _, _ = strings.Cut(all, "-- ")
	for _, s := range hooks.Specs() {
		if !slices.Contains(strings.Split(all, "\n"), string(s.Point)) {
			t.Errorf("no door to %s", s.Point)
		}
	}
}

// TestScriptsComplete: every command of the tree is used in a script, so that
// a new one cannot come without.
func TestScriptsComplete(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	var text strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(b)
	}
	for _, path := range commandPaths(root()) {
		// serve has another command here; demo and dev have other tests.
		if path == "carteiro demo" || path == "carteiro dev" {
			continue
		}
		if !regexp.MustCompile(regexp.QuoteMeta(path) + `(\s|$)`).MatchString(text.String()) {
			t.Errorf("no script runs %q", path)
		}
	}
}
