package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"carteiro/cmd/carteiro/internal/testserver"
)

// readme follows the README: it runs the lines of its sh blocks one after the other in one
// folder, and puts its lua block into the file that the text names. It changes only ports,
// so that the test need not run as root.
type readme struct {
	t       *testing.T
	dir     string
	servers []*exec.Cmd
	output  map[string]string // by command line
}

var fence = regexp.MustCompile("(?s)```(sh|lua)\n(.*?)```")

func TestREADME(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	r := &readme{t: t, dir: t.TempDir(), output: map[string]string{}}
	defer r.stop()
	for _, block := range fence.FindAllStringSubmatch(string(text), -1) {
		if block[1] == "lua" {
			r.write("play/scripts/hello.lua", block[2])
			continue
		}
		for line := range strings.SplitSeq(strings.TrimSpace(block[2]), "\n") {
			r.run(line)
		}
	}
	for command, want := range map[string]string{
		"carteiro init":          "First account: you@example.com",
		"carteiro check":         "is good",
		"carteiro account list":  "ann@example.com",
		"carteiro reload":        "generation",
		"carteiro explain":       "hello.lua",
		"carteiro scripts order": "policy.lua",
		"carteiro help config":   "limits.connections",
	} {
		found := false
		for line, out := range r.output {
			found = found || strings.HasPrefix(line, command) && strings.Contains(out, want)
		}
		if !found {
			t.Errorf("the README shows no %q that prints %q", command, want)
		}
	}
}

// TestREADMECommands: the two commands for a fresh machine are those that CI
// runs.
func TestREADMECommands(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	ci, err := os.ReadFile("../../.ci/run")
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile("../../.ci/test")
	if err != nil {
		t.Fatal(err)
	}
	ran := strings.ReplaceAll(string(ci)+string(tests), `"$@" `, "") // arguments of who calls .ci/test
	for _, command := range []string{"go run ./cmd/carteiro demo", "go test ./..."} {
		if !bytes.Contains(text, []byte("\n    "+command)) || !strings.Contains(ran, command) {
			t.Errorf("%q is not in the README and in CI", command)
		}
	}
}

func (r *readme) write(name, text string) {
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *readme) command(line string) *exec.Cmd {
	cmd := exec.Command("sh", "-c", "exec "+line)
	if strings.Contains(line, "|") {
		cmd = exec.Command("sh", "-c", line)
	}
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "PATH="+testserver.BinDir()+":"+os.Getenv("PATH"), testserver.RunAsCommand+"=1")
	return cmd
}

func (r *readme) run(line string) {
	r.t.Helper()
	switch {
	case strings.HasPrefix(line, "carteiro serve"):
		r.loopback("mail/carteiro.toml")
		r.serve(line, "mail/carteiro.toml")
	case strings.HasPrefix(line, "carteiro dev"):
		r.stop()
		r.serve(line+" --port-offset "+strconv.Itoa(freeOffset(r.t)), "play/carteiro.toml")
	default:
		out, err := r.command(line).CombinedOutput()
		if err != nil {
			r.t.Fatalf("%s\n%v\n%s", line, err, out)
		}
		r.output[line] = string(out)
	}
}

// loopback moves the listeners of a configuration to free ports.
func (r *readme) loopback(name string) {
	path := filepath.Join(r.dir, name)
	text, err := os.ReadFile(path)
	if err != nil {
		r.t.Fatal(err)
	}
	text = regexp.MustCompile(`addr( *)= "(?:127\.0\.0\.1)?:\d+"`).ReplaceAll(text, []byte(`addr$1= "127.0.0.1:0"`))
	if err := os.WriteFile(path, text, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// serve starts a server and waits until it answers `status`.
func (r *readme) serve(line, config string) {
	r.t.Helper()
	cmd := r.command(line)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.servers = append(r.servers, cmd)
	if testserver.Poll(testserver.Patience, func() bool { return r.command("carteiro status -c "+config).Run() == nil }) {
		return
	}
	r.stop()
	r.t.Fatalf("%s never answered:\n%s", line, log.String())
}

func (r *readme) stop() {
	for _, cmd := range r.servers {
		ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
		context.AfterFunc(ctx, func() { cmd.Process.Kill() })
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
		cancel()
	}
	r.servers = nil
}
