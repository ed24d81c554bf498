package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"carteiro/core/ops/admin"
	"carteiro/core/service/audit"
)

// write has bob send alice a note, and waits until she has it.
func (d *demo) write(ctx context.Context, subject string) error {
	_, err := d.org.submit(
		ctx,
		"bob@example.org",
		"alice@example.com",
		"From: bob@example.org\r\nTo: alice@example.com\r\nSubject: "+subject+"\r\n\r\nAre you there?\r\n",
	)
	if err != nil {
		return err
	}
	got, err := d.com.one(ctx, "alice")
	if err != nil {
		return err
	}
	return checkHas(got, "Subject: "+subject)
}

func stepAutoreply(ctx context.Context, d *demo) (string, error) {
	set := func(value string) error {
		fmt.Fprintf(d.out, "[%s] carteiro account set alice@example.com vacation '%s'\n", d.com.name, value)
		return d.com.ask(ctx, "account.set", admin.SetArgs{Address: "alice@example.com", Key: "vacation", Value: value}, &struct{}{})
	}
	err := set(`{"active": true, "text": "I am away", "days": 0}`)
	if err == nil || !strings.Contains(err.Error(), "days") {
		return "", fmt.Errorf("a bad setting was accepted: %v", err)
	}
	fmt.Fprintf(d.out, "[%s] %v\n", d.com.name, err)
	if err := set(`{"active": true, "text": "I am away, {name}", "from": "2001-01-01", "timezone": "Europe/Lisbon"}`); err != nil {
		return "", err
	}
	if err := d.write(ctx, "Coffee?"); err != nil {
		return "", err
	}
	got, err := d.org.one(ctx, "bob")
	if err != nil {
		return "", err
	}
	if err := checkHas(got, "Return-Path: <>", "Auto-Submitted: auto-replied", "Subject: Auto: Coffee?", "In-Reply-To: <",
		"I am away, bob@example.org"); err != nil {
		return "", err
	}
	// If there were an answer to the second note, it would be in a queue before
	// the note is read.
	if err := d.write(ctx, "Tea?"); err != nil {
		return "", err
	}
	for _, s := range []*server{d.com, d.org} {
		if err := s.idle(ctx); err != nil {
			return "", err
		}
	}
	if more, err := d.org.drain(ctx, "bob"); err != nil || len(more) > 0 {
		return "", fmt.Errorf("bob was answered again: %q, %v", more, err)
	}
	return "bob got one answer that alice is away; both his messages are in her inbox", set("null")
}

// idle waits until a server's queue is empty.
func (s *server) idle(ctx context.Context) error {
	return s.until(ctx, "emptied its queue", func() bool {
		var lines []admin.QueueLine
		return s.ask(ctx, "queue.list", admin.QueueArgs{}, &lines) == nil && len(lines) == 0
	})
}

// forTheBoss has alice send bob a note whose From is theboss.
func (d *demo) forTheBoss(ctx context.Context) error {
	_, err := d.com.submit(
		ctx,
		"alice@example.com",
		"bob@example.org",
		"From: The Boss <theboss@example.com>\r\nTo: bob@example.org\r\nSubject: Figures\r\n\r\nBy noon, please.\r\n",
	)
	return err
}

func stepDelegation(ctx context.Context, d *demo) (string, error) {
	if err := d.forTheBoss(ctx); err == nil || !strings.Contains(err.Error(), "550 5.7.1") {
		return "", fmt.Errorf("without a right: %v", err)
	}
	grant := func(call, right string) error {
		fmt.Fprintf(d.out, "[%s] carteiro %s theboss@example.com alice@example.com %s\n", d.com.name, strings.Replace(call, ".", " ", 1), right)
		return d.com.ask(ctx, call, admin.GrantArgs{Owner: "theboss@example.com", Delegate: "alice@example.com", Right: right}, &struct{}{})
	}
	for _, right := range []string{"send-on-behalf", "send-as"} {
		if err := errors.Join(grant("account.grant", right), d.forTheBoss(ctx)); err != nil {
			return "", err
		}
		got, err := d.org.one(ctx, "bob")
		if err != nil {
			return "", err
		}
		if err := checkHas(got, "From: The Boss <theboss@example.com>"); err != nil {
			return "", err
		}
		if named := strings.Contains(got, "\nSender: alice@example.com"); named != (right == "send-on-behalf") {
			return "", fmt.Errorf("with %s, Sender is there: %v", right, named)
		}
	}
	if err := d.com.mailbox(ctx, "theboss@example.com", "Sent", 2); err != nil {
		return "", err
	}
	var list []audit.Entry
	if err := d.com.ask(ctx, "account.audit", admin.AuditArgs{Owner: "theboss@example.com"}, &list); err != nil {
		return "", err
	}
	for _, e := range list {
		fmt.Fprintf(
			d.out,
			"[%s] carteiro account audit theboss@example.com: %s %s %s as %s from %s\n",
			d.com.name,
			e.Who,
			e.Action,
			e.Right,
			e.As,
			e.IP,
		)
	}
	if len(list) != 2 || list[0].Who != "alice@example.com" || list[0].Right != "send-as" {
		return "", fmt.Errorf("the audit says %v", list)
	}
	if err := grant("account.revoke", ""); err != nil {
		return "", err
	}
	if err := d.forTheBoss(ctx); err == nil || !strings.Contains(err.Error(), "550 5.7.1") {
		return "", fmt.Errorf("after the revocation: %v", err)
	}
	return "Sender names alice unless she may send as the boss; copies in the boss's Sent, an audit record of who sent, and no more after " +
		"revoke", nil
}
