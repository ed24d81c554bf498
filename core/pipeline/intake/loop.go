package intake

import (
	"carteiro/core/message/envelope"
)

// aliasGraph remembers, while recipients are expanded, who stands for whom.
type aliasGraph struct {
	next      map[string][]string // to whom one led
	aliasOnly map[string]bool     // those who stand for others alone
}

func newAliasGraph() aliasGraph {
	return aliasGraph{next: map[string][]string{}, aliasOnly: map[string]bool{}}
}

func (l aliasGraph) add(from, to string) {
	if from != "" {
		l.next[from] = append(l.next[from], to)
	}
}

// leadsOut reports whether somebody can be reached who does not only stand for
// others.
func (l aliasGraph) leadsOut(from string, seen map[string]bool) bool {
	if !l.aliasOnly[from] {
		return true
	}
	seen[from] = true
	for _, to := range l.next[from] {
		if !seen[to] && l.leadsOut(to, seen) {
			return true
		}
	}
	return false
}

// rejectLoops rejects recipients of the transaction who, by way of aliases and
// policies, stand for nobody but themselves: each of them is a duplicate of
// another, and nobody would get the message nor hear of it.
func (x *expansion) rejectLoops(rcpts []*envelope.Recipient, keys map[*envelope.Recipient]string) {
	for _, r := range rcpts {
		key, ok := keys[r]
		if ok && x.rejected[r] == nil && !x.graph.leadsOut(key, map[string]bool{}) {
			x.reject(pendingRcpt{r: r, root: r}, envelope.Reject(554, "5.4.6", "recipient stands for itself"))
		}
	}
}
