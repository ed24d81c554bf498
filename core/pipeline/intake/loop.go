package intake

import (
	"carteiro/core/message/envelope"
)

// aliasGraph remembers, while recipients are expanded, which recipient was replaced
// by which others. Its keys are those of expansion.keyOf.
type aliasGraph struct {
	next      map[string][]string // the recipients that replace one
	aliasOnly map[string]bool     // recipients that were replaced and get no copy themselves
}

func newAliasGraph() aliasGraph {
	return aliasGraph{next: map[string][]string{}, aliasOnly: map[string]bool{}}
}

func (l aliasGraph) add(from, to string) {
	if from != "" {
		l.next[from] = append(l.next[from], to)
	}
}

// reachesOther reports whether from leads to a recipient that gets a copy.
func (l aliasGraph) reachesOther(from string, seen map[string]bool) bool {
	if !l.aliasOnly[from] {
		return true
	}
	seen[from] = true
	for _, to := range l.next[from] {
		if !seen[to] && l.reachesOther(to, seen) {
			return true
		}
	}
	return false
}

// rejectLoops rejects recipients of the transaction that aliases and policies lead
// only back to themselves. Each of them would be dropped as a duplicate of another,
// and nobody would get the message or a DSN.
func (x *expansion) rejectLoops(rcpts []*envelope.Recipient, keys map[*envelope.Recipient]string) {
	for _, r := range rcpts {
		key, ok := keys[r]
		if ok && x.rejected[r] == nil && !x.graph.reachesOther(key, map[string]bool{}) {
			x.reject(pendingRcpt{r: r, root: r}, envelope.Reject(554, "5.4.6", "alias loop: recipient leads only back to itself"))
		}
	}
}
