package deliver

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/pipeline/intake"
	"carteiro/core/pipeline/trail"
	"carteiro/core/store"
)

// signers caches one signer for each signature, so that the body that most copies
// share is hashed once in an attempt. Each copy has a header section of its own.
type signers map[string]func(*mime.Header) (string, error)

// bodyOf is the body of a recipient's copy, and by how much it is longer than
// the one that is stored.
func (a *attempt) bodyOf(ctx context.Context, r *envelope.Recipient) (open func() (io.ReadCloser, error), longer int64) {
	stored := func() (io.ReadCloser, error) { return a.store.Body(ctx, a.env) }
	if !a.hasPlaceholders(r) {
		return stored, 0
	}
	_, longer = mime.Filled(nil, a.env.Marks, r.Fill)
	return func() (io.ReadCloser, error) {
		body, err := stored()
		if err != nil {
			return nil, err
		}
		filled, _ := mime.Filled(body, a.env.Marks, r.Fill)
		return struct {
			io.Reader
			io.Closer
		}{filled, body}, nil
	}, longer
}

// hasPlaceholders reports whether a recipient's copy has a body of its own.
func (a *attempt) hasPlaceholders(r *envelope.Recipient) bool {
	return slices.ContainsFunc(a.env.Marks, func(m envelope.Mark) bool { _, ok := r.Fill[m.Name]; return ok })
}

// signature is what a copy with this header section gets on its way out or
// into a mailbox: the signatures that were asked for, "" where the message was
// signed on its way in, and on top, if it leaves, the seal of a domain that
// vouches for how the message arrived.
func (a *attempt) signature(ctx context.Context, r *envelope.Recipient, section []byte, leaves bool) (string, *envelope.Status) {
	seal := r.ARC != "" && leaves && !a.env.Ours
	if a.signer == nil || len(a.env.Sign) == 0 && !seal {
		return "", nil
	}
	h, all := mime.ParseHeader(section), ""
	body, _ := a.bodyOf(ctx, r)
	add := func(what string, prepare func() (func(*mime.Header) (string, error), error)) error {
		sign := a.signers[what]
		if sign == nil || a.hasPlaceholders(r) {
			made, err := prepare()
			if err != nil {
				return err
			}
			if sign = made; !a.hasPlaceholders(r) {
				a.signers[what] = made
			}
		}
		fields, err := sign(h)
		if err == nil && fields != "" {
			h.PrependRaw(fields)
			all = fields + all
		}
		return err
	}
	for i, s := range a.env.Sign {
		if err := add(fmt.Sprint(i), func() (func(*mime.Header) (string, error), error) { return a.signer.Sign(s, body) }); err != nil {
			return "", intake.Unsigned(err)
		}
	}
	if seal {
		err := add("arc "+r.ARC, func() (func(*mime.Header) (string, error), error) {
			arrived, err := a.arrivalResults(ctx)
			if err != nil || arrived == nil {
				return func(*mime.Header) (string, error) { return "", nil }, err
			}
			return a.signer.Seal(r.ARC, arrived, body)
		})
		if err != nil {
			return "", intake.Unsigned(err)
		}
	}
	return all, nil
}

// arrivalResults is what was found about the message when it came, nil for one that
// no client sent.
func (a *attempt) arrivalResults(ctx context.Context) (*envelope.AuthResults, error) {
	if a.msg.Auth == nil {
		return nil, nil
	}
	return a.msg.Auth(ctx)
}

// makeFilledCopy makes a message of a local copy with a body of its own, to be put
// into a mailbox by an attempt of its own: a body can be shared only whole.
// Everything about it is decided; no policy is asked again.
//
// Crash: it is in the commit that says what became of the recipient.
func (a *attempt) makeFilledCopy(ctx context.Context, r *envelope.Recipient, folder string, flags []string) error {
	open, _ := a.bodyOf(ctx, r)
	body, err := open()
	if err != nil {
		return err
	}
	defer body.Close()
	draft := a.u.Draft(ctx, a.store)
	if _, err := io.Copy(draft, body); err != nil {
		return fmt.Errorf("body of a copy of %s: %w", a.env.ID, err)
	}
	env := *a.env
	env.ID, env.Depth, env.Marks = envelope.NewID(a.now), a.env.Depth+1, nil
	one := envelope.Recipient{Address: r.Address, Orig: r.Orig, ORcpt: r.ORcpt, Notify: r.Notify, Sender: r.Sender, Edit: r.Edit, IsLocal: true,
		Meta: maps.Clone(r.Meta), From: r.From, State: envelope.Queued, Filed: &envelope.Filing{Folder: folder, Flags: flags}}
	if r.Filed != nil {
		one.Filed.Anybody = r.Filed.Anybody
	}
	g := &envelope.Group{Key: a.g.Key, Kind: envelope.Mailbox, Domain: r.Address.Domain(), Priority: a.g.Priority, Due: a.now, Expires: a.g.Expires, Recipients: []envelope.Recipient{one}}
	a.u.Messages = append(a.u.Messages, &store.Message{Envelope: env, Header: a.section, Draft: draft, Groups: []*envelope.Group{g},
		Trail: trail.Printable([]envelope.TrailEntry{{Time: a.now, Step: "queue", Rcpt: r.Address, Text: "copy of message " + a.env.ID.String() + " with a text of its own"}})})
	a.u.Trail = append(a.u.Trail, envelope.TrailEntry{Time: a.now, Step: "deliver", Rcpt: r.Address, Text: "goes on as message " + env.ID.String()})
	return nil
}
