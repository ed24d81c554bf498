package core

import (
	"slices"
	"strings"

	"carteiro/core/message/envelope"
)

// links remember, while recipients are expanded, who stands for whom.
type links struct {
	next   map[string][]string // to whom one led
	passed map[string]bool     // those who stand for others alone
}

func newLinks() links { return links{next: map[string][]string{}, passed: map[string]bool{}} }

func (l links) add(from, to string) {
	if from != "" {
		l.next[from] = append(l.next[from], to)
	}
}

// end reports whether somebody can be reached who does not only stand for
// others.
func (l links) end(from string, seen map[string]bool) bool {
	if !l.passed[from] {
		return true
	}
	seen[from] = true
	for _, to := range l.next[from] {
		if !seen[to] && l.end(to, seen) {
			return true
		}
	}
	return false
}

// circles rejects recipients of the transaction who, by way of aliases and
// policies, stand for nobody but themselves: each of them is a duplicate of
// another, and nobody would get the message nor hear of it.
func (x *expansion) circles(rcpts []*envelope.Recipient, keys map[*envelope.Recipient]string) {
	for _, r := range rcpts {
		key, ok := keys[r]
		if ok && x.rejected[r] == nil && !x.links.end(key, map[string]bool{}) {
			x.reject(pendingRcpt{r: r, root: r}, envelope.Reject(554, "5.4.6", "recipient stands for itself"))
		}
	}
}

// goesRound reports whether mail that went by all these addresses would come by
// one of them again, or goes on and on: policies of several mailboxes may send
// it around without knowing of each other.
func goesRound(by []envelope.Change, to envelope.Address) bool {
	return len(by) > maxExpansion || slices.ContainsFunc(by, func(c envelope.Change) bool { return strings.EqualFold(string(c.Address), string(to)) })
}

// onward is the way of mail that leaves a recipient at deliver.local.
func onward(r *envelope.Recipient, by envelope.Change) []envelope.Change {
	by.Address = r.Address
	return append(slices.Clone(r.From), by)
}
