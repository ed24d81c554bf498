package main

import (
	"context"
	"time"

	"carteiro/core/message/envelope"
)

// delegatesWatched is how often the sessions of delegates are looked at. A
// right may end by a revocation, its last day, a change of a group or the end
// of an account, and none of them may be outlived by a second.
const delegatesWatched = 200 * time.Millisecond

// watchDelegates closes open sessions at mailboxes of others whose right to
// them is over, until ctx ends. Nothing that was marked is removed then.
func (s *server) watchDelegates(ctx context.Context) error {
	tick := time.NewTicker(delegatesWatched)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.closeRevoked(ctx)
		}
	}
}

func (s *server) closeRevoked(ctx context.Context) {
	for _, srv := range s.maildrops {
		var open []*envelope.Session
		srv.Kick(func(m *envelope.Session) bool {
			if m.Identity != nil && m.Identity.Delegate != "" {
				open = append(open, m)
			}
			return false
		})
		over := map[string]bool{}
		for _, m := range open {
			if s.pipeline.Overstays(ctx, m.Identity) {
				over[m.ID] = true
				s.journal.InfoContext(ctx, "delegate's session closed", "id", m.ID, "owner", string(m.Identity.User), "delegate",
					string(m.Identity.Delegate))
			}
		}
		if len(over) > 0 {
			srv.Kick(func(m *envelope.Session) bool { return over[m.ID] })
		}
	}
}
