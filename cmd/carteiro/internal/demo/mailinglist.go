package demo

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"carteiro/core/ops/admin"
	"carteiro/hooks"
)

// list carries out `carteiro list VERB ARGS...` and prints it.
func (s *server) list(ctx context.Context, verb string, args ...string) (string, error) {
	cmd := hooks.Command{Name: "list", Verb: verb, Args: args}
	if verb == "create" {
		cmd.Options = map[string]string{"owner": "theboss@example.com"}
	}
	var answer admin.CommandAnswer
	err := s.ask(ctx, "command", cmd, &answer)
	fmt.Fprintf(s.out, "[%s] carteiro list %s %s: %s\n", s.name, verb, strings.Join(args, " "), strings.TrimSpace(answer.Body))
	return answer.Body, err
}

// stepList: a mailing list with a member on each server. One posts, both get
// it, each with a return path of its own; one click takes a member out.
func stepList(ctx context.Context, d *demo) (string, error) {
	const devs = "devs@example.com"
	if _, err := d.com.list(ctx, "create", devs); err != nil {
		return "", err
	}
	if _, err := d.com.list(ctx, "subscribe", devs, "alice@example.com", "bob@example.org"); err != nil {
		return "", err
	}
	if _, err := d.org.submit(ctx, "bob@example.org", devs,
		"From: Bob <bob@example.org>\r\nTo: "+devs+"\r\nSubject: Release\r\n\r\nIt is out.\r\n"); err != nil {
		return "", err
	}
	fromBob, err := d.org.one(ctx, "bob")
	if err != nil {
		return "", err
	}
	if err := checkHas(fromBob, "Return-Path: <devs-bounces+bob=example.org=", "From: Bob <bob@example.org>\r\n",
		"List-Id: <devs.example.com>\r\n", "It is out.\r\n"); err != nil {
		return "", err
	}
	got, err := d.com.one(ctx, "alice")
	if err != nil {
		return "", err
	}
	if err := checkHas(got, "Return-Path: <devs-bounces+alice=example.com=", "List-Id: <devs.example.com>\r\n",
		"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"); err != nil {
		return "", err
	}
	link := regexp.MustCompile(`List-Unsubscribe:\s+<https://([^>]*)>`).FindStringSubmatch(got)
	if link == nil {
		return "", fmt.Errorf("%w: no link to leave", errUnexpected)
	}
	if err := d.com.click(ctx, link[1]); err != nil {
		return "", err
	}
	if left, err := d.com.list(ctx, "members", devs); err != nil || left != "bob@example.org\n" {
		return "", fmt.Errorf("%w members %q, %w", errUnexpected, left, err)
	}
	goodbye, err := d.com.one(ctx, "alice")
	if err != nil {
		return "", err
	}
	return "posted once, a copy for each member with its own return path; one click and alice is out", checkHas(
		goodbye,
		"Subject: You left devs",
		"Return-Path: <>",
	)
}

// click does what a mail program does with a List-Unsubscribe link (RFC 8058
// section 3.2), at the server's own listener, for the demo has no proxy.
func (s *server) click(ctx context.Context, link string) error {
	u, err := url.Parse("https://" + link)
	if err != nil {
		return err
	}
	at := fmt.Sprintf("http://127.0.0.1:%d%s", s.ports.web, u.EscapedPath())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at, strings.NewReader("List-Unsubscribe=One-Click"))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	io.Copy(io.Discard, res.Body)
	fmt.Fprintf(s.out, "[%s] POST %s: %s\n", s.name, u.EscapedPath(), res.Status)
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%w answer: %s", errUnexpected, res.Status)
	}
	return nil
}
