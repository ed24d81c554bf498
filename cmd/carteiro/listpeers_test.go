package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"carteiro/cmd/carteiro/internal/testserver"
)

// listPeer is a list manager behind Postfix, with the list list@example.net.
type listPeer struct {
	*postfix
	name string
}

// newListPeer runs Postfix with a transport for the list; the copies go to the
// sink that Carteiro's go to.
func newListPeer(b *testing.B, name, program string, l *listRig, transport, services string) listPeer {
	b.Helper()
	p := newPostfix(b)
	p.more = fmt.Sprintf("in_flow_delay = 0\nsmtpd_client_connection_count_limit = 0\n"+
		"transport_maps = inline:{ { list@example.net = %s }, { out.test = smtp:[127.0.0.1]:%s } }\n"+
		"virtual_mailbox_maps = inline:{ list@example.net=list/ }\n"+
		"smtp_tls_security_level = none\nlmtp_tls_security_level = none\nrecipient_delimiter = +\n", transport, l.mx.Port())
	p.services = strings.ReplaceAll(services, "DIR", p.dir)
	p.start(b, program, testserver.New(b, "")) // for its certificate
	return listPeer{p, name}
}

// newMlmmj makes a list of mlmmj.
func newMlmmj(b *testing.B, program string, l *listRig, members string) listPeer {
	b.Helper()
	p := newListPeer(b, "mlmmj", program, l, "mlmmj:list",
		"mlmmj unix - n n - 1 pipe flags=ORhu user=nobody argv=/usr/bin/mlmmj-receive -F -L DIR/list/\n")
	dir := filepath.Join(p.dir, "list")
	for _, sub := range []string{"incoming", "queue/discarded", "archive", "text", "subconf", "unsubconf", "bounce", "control",
		"moderation", "subscribers.d", "digesters.d", "requeue", "nomailsubs.d"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o777); err != nil {
			b.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"control/listaddress": "list@example.net\n",
		"control/relayhost":   "127.0.0.1\n",
		"control/smtpport":    p.port + "\n",
		"control/owner":       "owner@example.net\n",
		"control/tocc":        "",
		"control/noarchive":   "",
		"control/delimiter":   "+\n",
		"subscribers.d/m":     members,
		"index":               "0",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			b.Fatal(err)
		}
	}
	if out, err := exec.CommandContext(b.Context(), "chown", "-R", "nobody", dir).CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return p
}

const mailmanConfig = `[mailman]
layout: here
site_owner: owner@example.net
[paths.here]
var_dir: %[1]s
bin_dir: /usr/lib/mailman3/bin
[database]
class: mailman.database.sqlite.SQLiteDatabase
url: sqlite:///%[1]s/mailman.db
[mta]
incoming: mailman.mta.null.NullMTA
lmtp_host: 127.0.0.1
lmtp_port: %[2]s
smtp_host: 127.0.0.1
smtp_port: %[3]s
verp_delivery_interval: 1
[webservice]
hostname: 127.0.0.1
port: %[4]s
admin_user: admin
admin_pass: secret
`

// newMailman makes a list of Mailman 3, which Postfix reaches by LMTP. To take
// in the members takes minutes.
func newMailman(b *testing.B, program string, l *listRig, members string) listPeer {
	b.Helper()
	lmtp, web := testserver.FreePort(b), testserver.FreePort(b)
	p := newListPeer(b, "mailman", program, l, "lmtp:[127.0.0.1]:"+lmtp, "")
	owner, err := user.Lookup("list")
	if err != nil {
		b.Fatalf("Mailman's user: %v", err)
	}
	uid, err1 := strconv.ParseUint(owner.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(owner.Gid, 10, 32)
	dir := filepath.Join(p.dir, "mailman")
	config, roster := filepath.Join(p.dir, "mailman.cfg"), filepath.Join(p.dir, "roster")
	for _, err := range []error{err1, err2, os.Mkdir(dir, 0o755), os.Chown(dir, int(uid), int(gid)),
		os.WriteFile(roster, []byte(members), 0o644),
		os.WriteFile(config, fmt.Appendf(nil, mailmanConfig, dir, lmtp, p.port, web), 0o644)} {
		if err != nil {
			b.Fatal(err)
		}
	}
	command := func(name string, args ...string) *exec.Cmd {
		c := exec.Command(filepath.Join("/usr/lib/mailman3/bin", name), append([]string{"-C", config}, args...)...)
		c.Dir = dir
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		return c
	}
	for _, args := range [][]string{{"create", "-d", "list@example.net"}, {"addmembers", "-W", roster, "list@example.net"}} {
		if out, err := command("mailman", args...).CombinedOutput(); err != nil {
			b.Fatalf("mailman %v: %v\n%s", args, err, out)
		}
	}
	master := command("master")
	if err := master.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		master.Process.Signal(syscall.SIGTERM) // it ends its runners, and waits for them
		master.Wait()
	})
	testserver.UntilWithin(b, 2*time.Minute, "Mailman answers", func() bool {
		w, err := testserver.Dial("127.0.0.1:" + lmtp)
		if err == nil {
			w.Close()
		}
		return err == nil
	})
	return p
}

// post gives a message to Postfix, which hands it to the list manager.
func (p listPeer) post(b *testing.B, text string) string {
	reply, err := testserver.SendSMTP("127.0.0.1:"+p.port, "EHLO client.test", "m1@out.test", []string{"list@example.net"}, text)
	if err != nil {
		b.Fatal(err)
	}
	return reply
}
