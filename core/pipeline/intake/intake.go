// Package intake puts messages into the queue: those of clients, those that policies
// send, and DSNs. It expands and groups the recipients, runs the hooks of the queue,
// and commits the message with all messages that result from it.
//
//	intake.go        an incoming message, and its commit
//	build.go         the list of steps that make the messages of one commit
//	expand.go        recipients: aliases, queue.expand, duplicates
//	loop.go          alias loops
//	returnpath.go    return paths of forwarded mail (SRS), back to its sender
//	group.go         recipients grouped by destination; queue.commit
//	fork.go          messages that policies made from this one
//	submission.go    messages that policies send
//	dsn.go           delivery status notifications
//	rewrite.go       bodies that policies changed
//	sign.go          DKIM signatures
//	verification.go  SPF, DKIM and DMARC, when a policy asks for them
//	outgoing.go      the domain of ours whose outgoing mail a message is
//	budget.go        messages that made a policy exceed its budget
package intake

import (
	"context"
	"errors"
	"io"
	"time"

	"carteiro/core/internal/panics"
	"carteiro/core/message/envelope"
	"carteiro/core/message/mime"
	"carteiro/core/ops/clock"
	"carteiro/core/ops/telemetry"
	"carteiro/core/pipeline/commit"
	"carteiro/core/pipeline/events"
	"carteiro/core/pipeline/trail"
	"carteiro/core/service/auth"
	"carteiro/core/service/srs"
	"carteiro/core/service/verify"
	"carteiro/core/store"
	"carteiro/hooks"
)

// MaxDepth limits chains of messages that result from each other: mail that policies
// send about mail of policies, and forks of forks.
const MaxDepth = 5

// Store is the part of the store that an Intake uses beside its Writer.
type Store interface {
	commit.Drafter
	BodyReader
	AppendTrail(ctx context.Context, id envelope.ID, entries []envelope.TrailEntry) error
	Get(ctx context.Context, space, key string) ([]byte, error)
	Apply(ctx context.Context, effects []envelope.Effect) ([]int64, error)
}

// BodyReader reads bodies of the spool.
type BodyReader interface {
	Body(ctx context.Context, e *envelope.Envelope) (io.ReadCloser, error)
}

// Directory says which domains and addresses are ours; *auth.Directory is one.
type Directory interface {
	Local(domain string) bool
	Domains() []auth.Domain
	Resolve(ctx context.Context, a envelope.Address) (auth.Resolution, error)
}

// Parts are what an Intake is made of; all but Signer and ReturnPaths must be set.
type Parts struct {
	Hostname    string
	Expire      time.Duration // age at which a recipient is given up
	Store       Store
	Directory   Directory
	Resolver    verify.Resolver
	Writer      *commit.Writer
	Events      *events.Queue
	Log         *telemetry.Journal
	Clock       *clock.Clock
	Signer      Signer    // nil: nothing is signed
	ReturnPaths *srs.Ring // nil: there are no return paths of ours
}

// Intake makes messages and commits them.
type Intake struct {
	hostname    string
	expire      time.Duration
	store       Store
	dir         Directory
	resolver    verify.Resolver
	writer      *commit.Writer
	events      *events.Queue
	log         *telemetry.Journal
	clock       *clock.Clock
	signer      Signer
	returnPaths *srs.Ring
}

// New makes an Intake.
func New(p Parts) *Intake {
	return &Intake{hostname: p.Hostname, expire: p.Expire, store: p.Store, dir: p.Directory, resolver: p.Resolver, writer: p.Writer,
		events: p.Events, log: p.Log, clock: p.Clock, signer: p.Signer, returnPaths: p.ReturnPaths}
}

// Incoming is a message on its way into the queue.
type Incoming struct {
	Envelope   envelope.Envelope
	Header     *mime.Header
	Body       *Body
	Rcpts      []*envelope.Recipient
	Trail      []envelope.TrailEntry
	Gen        *hooks.Generation
	Due        time.Time            // not before
	Quarantine string               // why all recipients are quarantined; "": they are not
	PerRcpt    bool                 // the client gets a status for each recipient
	Sign       []envelope.Signature // that policies asked for
	Ours       bool                 // it is mail of our users, of clients that may relay or of policies
	Arrival    *envelope.Arrival    // nil: it came by no session
	Scores     []hooks.Score        // that policies gave
	Budget     *Budget              // nil: it came by no session

	forked   bool                     // policies made it from another message
	forkedBy []hooks.ForkMaker        // those policies
	maySign  func(domain string) bool // whether it may be signed for the domain of its author; nil: yes
	reports  bool                     // send DSNs about recipients that are rejected or expanded
	submits  int                      // index of its first submission in the unit's list
	rejected Rejections
	groups   []*envelope.Group
	expanded []*envelope.Recipient // see expansion.expanded
	forks    []fork
	message  *store.Message // in the unit; nil: nobody is left to deliver to
}

// Rejections say why recipients of the transaction were refused by queue.expand.
type Rejections map[*envelope.Recipient]*envelope.Status

// size returns the octets of the message, whether its body is stored or not.
func (in *Incoming) size() int64 {
	if in.Body.Draft != nil {
		return int64(len(in.Header.Bytes())) + in.Body.Draft.Size()
	}
	return in.Envelope.Size
}

// earlierScore returns the spam score of a message whose single scores were not
// kept.
func (in *Incoming) earlierScore() float64 {
	if len(in.Scores) > 0 {
		return 0
	}
	return in.Envelope.Score
}

// Enqueue expands, groups and commits a message with all messages that result from
// it, and wakes the queue. A status says why the whole message was refused; nothing
// was written then. It returns the recipients that were rejected while others were
// accepted; they get a DSN, unless in.PerRcpt says that the client gets their status.
//
// Crash: before the commit returns, the store holds nothing or everything, and the
// client has no reply yet.
func (k *Intake) Enqueue(ctx context.Context, u *commit.Unit, in *Incoming) (Rejections, *envelope.Status) {
	in.reports = true
	if st := k.build(ctx, u, expandStep{in}, submissionsStep{in}); st != nil {
		return nil, st
	}
	if in.Gen != nil && in.Envelope.Auto == "" && in.Gen.Chain.HasObserver("accepted", "learned") {
		u.Events = append(append(u.Events, events.Learned(u.Pending.Effects)...), in.acceptedEvent())
	}
	if err := k.writer.Commit(ctx, in.Gen, u); err != nil {
		return nil, store.StatusOf(err)
	}
	if len(in.groups) == 0 { // discarded, or replaced by its forks: only its trail is stored
		if len(in.forks) == 0 {
			in.addTrail(envelope.TrailEntry{Time: k.clock.Now(), Step: "queue", Text: "nobody left to deliver to"})
		}
		if err := k.store.AppendTrail(context.WithoutCancel(ctx), in.Envelope.ID, trail.Printable(in.Trail)); err != nil {
			k.log.WarnContext(ctx, "trail not kept", "id", in.Envelope.ID.String(), "err", err)
		}
	}
	return in.rejected, nil
}

func (in *Incoming) addTrail(entries ...envelope.TrailEntry) { in.Trail = append(in.Trail, entries...) }

// acceptedEvent returns the event for a message that was accepted.
func (in *Incoming) acceptedEvent() events.Event {
	return events.Event{Name: "accepted", Data: map[string]any{
		"message": in.Envelope.ID.String(), "sender": string(in.Envelope.Sender), "to": events.Addresses(in.Rcpts), "recipients": len(in.Rcpts),
		"size": in.size(), "subject": in.Envelope.Subject, "client": in.Envelope.Client, "listener": in.Envelope.Listener,
		"user": string(in.Envelope.Identity)}}
}

// Apply commits the effects and submissions of a hook that does not belong to the
// commit of a message. It blocks until they are on disk.
func (k *Intake) Apply(ctx context.Context, gen *hooks.Generation, effects []envelope.Effect, submits []hooks.Submit) error {
	return panics.Catch(func() error {
		if len(submits) == 0 {
			return k.writer.Apply(ctx, effects)
		}
		u := &commit.Unit{Pending: hooks.Pending{Effects: effects}}
		defer u.Close()
		for _, s := range submits {
			if st := k.Submit(ctx, u, &envelope.Envelope{}, gen, s); st != nil {
				u.Rollback(commit.Savepoint{})
				return st
			}
		}
		err := k.writer.Commit(ctx, gen, u)
		if err != nil {
			u.Rollback(commit.Savepoint{})
		}
		return err
	})
}

// view returns the message as policies of the queue see it.
func (b *builder) view(in *Incoming) *hooks.Message {
	return &hooks.Message{Auth: b.Verification(&in.Envelope, in.Header, in.Body.Open),
		ID: in.Envelope.ID, Ours: in.Ours, Sender: in.Envelope.Sender, Size: in.size(), ReceivedAt: in.Envelope.ReceivedAt, Scores: in.Scores,
		Header: in.Header, Priority: in.Envelope.Priority, Meta: in.Envelope.Meta, Earlier: in.earlierScore(), Identity: in.Envelope.Identity,
		Listener: in.Envelope.Listener, Client: in.Envelope.Client, ForkMakers: in.forkedBy, Body: in.Body.Open}
}

// ReadStatus returns the status for a failed read or write of a message's octets. An
// error of the session is a status already; an error of the store is a sentinel.
func ReadStatus(err error) *envelope.Status {
	if st, ok := errors.AsType[*envelope.Status](err); ok {
		return st
	}
	if errors.Is(err, store.ErrFull) || errors.Is(err, store.ErrFailed) {
		return store.StatusOf(err)
	}
	return envelope.Defer(451, "4.3.0", "message was not received whole", err)
}
