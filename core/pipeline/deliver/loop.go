package deliver

import (
	"slices"
	"strings"

	"carteiro/core/message/envelope"
	"carteiro/core/pipeline/intake"
)

// wouldLoop reports whether mail that went by all these addresses would come by
// one of them again, or goes on and on: policies of several mailboxes may send
// it around without knowing of each other.
func wouldLoop(by []envelope.Change, to envelope.Address) bool {
	visited := func(c envelope.Change) bool { return strings.EqualFold(string(c.Address), string(to)) }
	return len(by) > intake.MaxExpansion || slices.ContainsFunc(by, visited)
}

// appendHop returns the way of mail that leaves a recipient at deliver.local.
func appendHop(r *envelope.Recipient, by envelope.Change) []envelope.Change {
	by.Address = r.Address
	return append(slices.Clone(r.From), by)
}
