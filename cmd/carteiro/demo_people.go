package main

import (
	"context"
	"fmt"
	"strings"

	"carteiro/core/admin"
)

// write has bob send alice a note, and waits until she has it.
func (st *stage) write(ctx context.Context, subject string) error {
	_, err := st.org.submit(ctx, "bob@example.org", "alice@example.com", "From: bob@example.org\r\nTo: alice@example.com\r\nSubject: "+subject+"\r\n\r\nAre you there?\r\n")
	if err != nil {
		return err
	}
	got, err := st.com.one(ctx, "alice")
	if err != nil {
		return err
	}
	return holds(got, "Subject: "+subject)
}

func stepAutoreply(ctx context.Context, st *stage) (string, error) {
	set := func(value string) error {
		fmt.Fprintf(st.out, "[%s] carteiro account set alice@example.com vacation '%s'\n", st.com.name, value)
		return st.com.ask(ctx, "account.set", admin.SetArgs{Address: "alice@example.com", Key: "vacation", Value: value}, &struct{}{})
	}
	err := set(`{"active": true, "text": "I am away", "days": 0}`)
	if err == nil || !strings.Contains(err.Error(), "days") {
		return "", fmt.Errorf("a bad setting was taken: %v", err)
	}
	fmt.Fprintf(st.out, "[%s] %v\n", st.com.name, err)
	if err := set(`{"active": true, "text": "I am away, {name}", "from": "2001-01-01", "timezone": "Europe/Lisbon"}`); err != nil {
		return "", err
	}
	if err := st.write(ctx, "Coffee?"); err != nil {
		return "", err
	}
	got, err := st.org.one(ctx, "bob")
	if err != nil {
		return "", err
	}
	if err := holds(got, "Return-Path: <>", "Auto-Submitted: auto-replied", "Subject: Auto: Coffee?", "In-Reply-To: <", "I am away, bob@example.org"); err != nil {
		return "", err
	}
	// The answer to the second note, if there were one, would be on its way
	// before the note is read.
	if err := st.write(ctx, "Tea?"); err != nil {
		return "", err
	}
	for _, a := range []*actor{st.com, st.org} {
		if err := a.idle(ctx); err != nil {
			return "", err
		}
	}
	if more, err := st.org.drain(ctx, "bob"); err != nil || len(more) > 0 {
		return "", fmt.Errorf("bob was answered again: %q, %v", more, err)
	}
	return "bob heard once that alice is away; both his messages are in her inbox", set("null")
}

// idle waits until a server's queue is empty.
func (a *actor) idle(ctx context.Context) error {
	return a.until(ctx, "emptied its queue", func() bool {
		var lines []admin.QueueLine
		return a.ask(ctx, "queue.list", admin.QueueArgs{}, &lines) == nil && len(lines) == 0
	})
}
