package deliver

import (
	"slices"
	"strings"

	"carteiro/core/message/envelope"
	"carteiro/core/pipeline/intake"
)

// wouldLoop reports whether mail that was forwarded by all these addresses would come
// to one of them again, or was forwarded too often: policies of several mailboxes
// may forward mail to each other.
func wouldLoop(by []envelope.Change, to envelope.Address) bool {
	visited := func(c envelope.Change) bool { return strings.EqualFold(string(c.Address), string(to)) }
	return len(by) > intake.MaxExpansion || slices.ContainsFunc(by, visited)
}

// appendHop returns the addresses that forwarded the mail of a recipient, with the
// recipient added.
func appendHop(r *envelope.Recipient, by envelope.Change) []envelope.Change {
	by.Address = r.Address
	return append(slices.Clone(r.From), by)
}
