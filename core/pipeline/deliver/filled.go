package deliver

import (
	"context"
	"fmt"
	"io"
	"maps"

	"carteiro/core/message/envelope"
	"carteiro/core/pipeline/trail"
	"carteiro/core/store"
)

// makeFilledCopy makes a new message from a local copy with filled-in placeholders,
// because a mailbox entry refers to a whole stored body. A later attempt delivers it
// to the mailbox, without running deliver.local again.
//
// Crash: the new message and the outcome for the recipient are in one commit.
func (l *localDelivery) makeFilledCopy(ctx context.Context, r *envelope.Recipient, folder string, flags []string) error {
	open, _ := l.bodyOf(ctx, r)
	body, err := open()
	if err != nil {
		return err
	}
	defer body.Close()
	draft := l.u.Draft(ctx, l.store)
	if _, err := io.Copy(draft, body); err != nil {
		return fmt.Errorf("body of a copy of %s: %w", l.env.ID, err)
	}
	env := *l.env
	env.ID, env.Depth, env.Placeholders = envelope.NewID(l.now), l.env.Depth+1, nil
	one := envelope.Recipient{Address: r.Address, Orig: r.Orig, ORcpt: r.ORcpt, Notify: r.Notify, Sender: r.Sender, Edit: r.Edit,
		IsLocal: true,
		Meta:    maps.Clone(r.Meta), From: r.From, State: envelope.Queued, Filed: &envelope.Filing{Folder: folder, Flags: flags}}
	if r.Filed != nil {
		one.Filed.Anybody = r.Filed.Anybody
	}
	g := &envelope.Group{Key: l.g.Key, Kind: envelope.Mailbox, Domain: r.Address.Domain(), Priority: l.g.Priority, Due: l.now,
		Expires: l.g.Expires, Recipients: []envelope.Recipient{one}}
	made := envelope.TrailEntry{Time: l.now, Step: "queue", Rcpt: r.Address,
		Text: "copy of message " + l.env.ID.String() + " with a text of its own"}
	l.u.Messages = append(l.u.Messages, &store.Message{Envelope: env, Header: l.section, Draft: draft, Groups: []*envelope.Group{g},
		Trail: trail.Printable([]envelope.TrailEntry{made})})
	l.u.Trail = append(l.u.Trail, envelope.TrailEntry{Time: l.now, Step: "deliver", Rcpt: r.Address,
		Text: "goes on as message " + env.ID.String()})
	return nil
}
