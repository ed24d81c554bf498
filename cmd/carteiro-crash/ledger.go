package main

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// answer is what the server answered to a message.
type answer int

const (
	unknown answer = iota // the connection ended first: all recipients have it once, or none
	kept                  // 250: every recipient has it once
	refused               // 4xx or 5xx: nobody has it
)

// entry is one message of the ledger.
type entry struct {
	said answer
	to   []string
	sum  string // of the body
}

// Ledger records the server's answer to each message. It is safe for concurrent
// use.
type Ledger struct {
	mu      sync.Mutex
	entries []entry
}

// Open enters a message before it is sent and returns its number.
func (l *Ledger) Open(to []string, sum string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, entry{to: to, sum: sum})
	return len(l.entries) - 1
}

// Record records the server's answer.
func (l *Ledger) Record(n int, s answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries[n].said = s
}

// Count returns how many messages got an answer.
func (l *Ledger) Count(s answer) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, e := range l.entries {
		if e.said == s {
			n++
		}
	}
	return n
}

// Found is one message in a mailbox.
type Found struct {
	Account string
	Number  int    // -1: not a message of the ledger, or its header is damaged
	Sum     string // of the body as it was read
}

// AuditResult is the result of an audit.
type AuditResult struct {
	Kills                  int
	SlowestStart           time.Duration
	Kept, Unknown, Refused int
	Read                   int
	Faults                 []string // lost, doubled, damaged, half; one a line
}

// Audit compares the mailboxes with the ledger.
func (l *Ledger) Audit(found []Found) AuditResult {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := AuditResult{Read: len(found)}
	fault := func(format string, args ...any) { v.Faults = append(v.Faults, fmt.Sprintf(format, args...)) }
	copies := make([]map[string]int, len(l.entries))
	for _, f := range found {
		if f.Number < 0 || f.Number >= len(l.entries) {
			fault("damaged: a message in the mailbox of %s is none of ours", f.Account)
			continue
		}
		if f.Sum != l.entries[f.Number].sum {
			fault("damaged: message %d in the mailbox of %s has another body", f.Number, f.Account)
		}
		if copies[f.Number] == nil {
			copies[f.Number] = map[string]int{}
		}
		copies[f.Number][f.Account]++
	}
	for n, e := range l.entries {
		have := 0
		for _, to := range e.to {
			c := copies[n][to]
			have += min(c, 1)
			if c > 1 {
				fault("doubled: message %d is %d times in the mailbox of %s", n, c, to)
			}
			delete(copies[n], to)
		}
		for who := range copies[n] {
			fault("astray: message %d is in the mailbox of %s", n, who)
		}
		switch e.said {
		case kept:
			v.Kept++
			if have < len(e.to) {
				fault("lost: message %d was answered with 250, %d of %d recipients have it", n, have, len(e.to))
			}
		case refused:
			v.Refused++
			if have > 0 {
				fault("kept: message %d was refused, %d of %d recipients have it", n, have, len(e.to))
			}
		case unknown:
			v.Unknown++
			if have != 0 && have != len(e.to) {
				fault("half: message %d reached %d of %d recipients", n, have, len(e.to))
			}
		}
	}
	return v
}

// Err is nil when the audit found nothing wrong and had something to audit.
func (v AuditResult) Err() error {
	switch {
	case len(v.Faults) > 0:
		return fmt.Errorf("%d faults", len(v.Faults))
	case v.Kept == 0:
		return fmt.Errorf("the server accepted nothing, so nothing was tested")
	}
	return nil
}

func (v AuditResult) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d kills, slowest start %d ms\n", v.Kills, v.SlowestStart.Milliseconds())
	fmt.Fprintf(&b, "%d messages answered with 250, %d refused, %d without an answer; %d read in the mailboxes\n", v.Kept, v.Refused,
		v.Unknown, v.Read)
	for i, f := range v.Faults {
		if i == 20 {
			fmt.Fprintf(&b, "and %d more\n", len(v.Faults)-i)
			break
		}
		fmt.Fprintln(&b, f)
	}
	if len(v.Faults) == 0 {
		fmt.Fprintln(&b, "nothing lost, doubled, damaged or half")
	}
	return b.String()
}
