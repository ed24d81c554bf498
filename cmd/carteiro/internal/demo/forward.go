package demo

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"carteiro/core/ops/admin"
)

// stepForward: theboss forwards to bob, who has to agree. A message from bob
// goes the whole way round, and a DSN finds the way back by its return path.
func stepForward(ctx context.Context, d *demo) (string, error) {
	const boss, bob = "theboss@example.com", "bob@example.org"
	set := admin.SetArgs{Address: boss, Key: "forward", Value: `{"to": ["` + bob + `"], "keep": true}`}
	if err := d.com.ask(ctx, "account.set", set, &struct{}{}); err != nil {
		return "", err
	}
	fmt.Fprintf(d.out, "[%s] carteiro account set %s forward '%s'\n", d.com.name, boss, set.Value)
	asked, err := d.org.one(ctx, "bob")
	if err != nil {
		return "", err
	}
	token := regexp.MustCompile(`forward-confirm\+[0-9a-f]+@example\.com`).FindString(asked)
	if _, err := d.org.submit(ctx, bob, token,
		"From: "+bob+"\r\nTo: "+token+"\r\nSubject: Re: Confirm forwarding\r\n\r\nyes\r\n"); err != nil {
		return "", err
	}
	err = d.com.until(ctx, "had bob's answer", func() bool {
		var trails []admin.MessageTrail
		return d.com.ask(ctx, "explain", admin.ExplainArgs{What: token}, &trails) == nil && len(trails) > 0 && !trails[0].Queued
	})
	if err != nil {
		return "", err
	}
	if _, err := d.org.submit(ctx, bob, boss, "From: Bob <"+bob+">\r\nTo: "+boss+"\r\nSubject: Round trip\r\n\r\nback soon\r\n"); err != nil {
		return "", err
	}
	got, err := d.org.one(ctx, "bob")
	if err != nil {
		return "", err
	}
	path := regexp.MustCompile(`Return-Path: <(SRS0=[a-z2-7]+=[a-z2-7]+=example\.org=bob@example\.com)>`).FindStringSubmatch(got)
	if path == nil || !strings.Contains(got, "Delivered-To: "+boss) {
		return "", fmt.Errorf("%w: not forwarded by SRS: %.400s", errUnexpected, got)
	}
	kept, err := d.com.one(ctx, "theboss")
	if err == nil {
		err = checkHas(kept, "Return-Path: <"+bob+">", "Subject: Round trip", "back soon")
	}
	if err != nil {
		return "", err
	}
	if _, err := d.com.deliver(ctx, "", path[1],
		"From: MAILER-DAEMON@relay.example.org\r\nSubject: Undelivered\r\nAuto-Submitted: auto-replied\r\n\r\nmailbox full\r\n"); err != nil {
		return "", err
	}
	report, err := d.org.one(ctx, "bob")
	if err != nil {
		return "", err
	}
	return "bob answered one mail, then got a message under " + path[1] + "; a copy stayed; a DSN to that address reached him", checkHas(
		report,
		"Return-Path: <>",
		"Subject: Undelivered",
	)
}
