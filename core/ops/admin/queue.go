package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/pipeline/operate"
	"carteiro/core/store"
)

// QueueArgs select messages.
type QueueArgs struct {
	operate.Filter
	Limit int `json:"limit,omitempty"`
}

// QueueLine is one group of a message as `queue list` prints it.
type QueueLine struct {
	ID         string    `json:"id"`
	Status     string    `json:"status"`
	Sender     string    `json:"sender"`
	Recipients []string  `json:"recipients"`
	Key        string    `json:"key"`
	Class      string    `json:"class"`
	Size       int64     `json:"size"`
	Received   time.Time `json:"received"`
	Due        time.Time `json:"due,omitzero"`
	Attempts   int       `json:"attempts"`
	Reason     string    `json:"reason,omitempty"` // of a hold, or the last reply
	Subject    string    `json:"subject,omitempty"`
}

func queueList(ctx context.Context, s *Service, args QueueArgs) (any, error) {
	if s.Pipeline == nil {
		return nil, ErrUnavailable
	}
	found, err := s.Pipeline.Queue(ctx, args.Filter, args.Limit)
	if err != nil {
		return nil, err
	}
	out := []QueueLine{}
	for _, q := range found {
		for _, g := range q.Groups {
			if line, ok := queueLine(q.Envelope, g); ok && (args.Status == "" || line.Status == args.Status) {
				out = append(out, line)
			}
		}
	}
	return out, nil
}

// queueLine describes a group that still has something to do.
func queueLine(env *envelope.Envelope, g *envelope.Group) (QueueLine, bool) {
	line := QueueLine{
		ID: env.ID.String(), Status: operate.Status(g), Sender: string(env.Sender), Key: g.Key, Class: g.Priority.Class().String(),
		Size: env.Size, Received: env.ReceivedAt, Attempts: g.Attempts, Reason: g.Reason, Subject: env.Subject,
	}
	if !g.Held {
		line.Due = g.Due
	}
	for _, r := range g.Recipients {
		if r.State.Done() {
			continue
		}
		line.Recipients = append(line.Recipients, string(r.Address))
		if r.Last != nil && line.Reason == "" {
			line.Reason = r.Last.Reply()
		}
	}
	return line, len(line.Recipients) > 0
}

// QueueMessage is the answer of "queue.show".
type QueueMessage struct {
	Envelope   *envelope.Envelope   `json:"envelope"`
	Groups     []QueueGroup         `json:"groups"`
	Recipients []envelope.Recipient `json:"recipients"`
	Header     string               `json:"header"`
}

// QueueGroup is a group of a QueueMessage. Local and Expand are for clients that are older
// than the field Kind.
type QueueGroup struct {
	*envelope.Group
	Local  bool `json:"local,omitempty"`
	Expand bool `json:"expand,omitempty"`
}

func queueShow(ctx context.Context, s *Service, args QueueArgs) (any, error) {
	if s.Pipeline == nil {
		return nil, ErrUnavailable
	}
	if args.ID == "" {
		return nil, errors.New("which message? give its id")
	}
	found, err := s.Pipeline.Queue(ctx, operate.Filter{ID: args.ID}, 1)
	if err != nil {
		return nil, err
	}
	m := QueueMessage{Envelope: found[0].Envelope}
	for _, g := range found[0].Groups {
		m.Groups = append(m.Groups, QueueGroup{g, g.Kind != envelope.Remote, g.Kind == envelope.HeldForGroup})
		m.Recipients = append(m.Recipients, g.Recipients...)
	}
	header, err := s.Store.Header(ctx, m.Envelope)
	m.Header = string(header)
	return m, err
}

// QueueSum is one line of `queue summary`.
type QueueSum struct {
	Key        string    `json:"key"`
	Status     string    `json:"status"`
	Messages   int       `json:"messages"`
	Recipients int       `json:"recipients"`
	Bytes      int64     `json:"bytes"`
	Oldest     time.Time `json:"oldest"`
}

func queueSummary(ctx context.Context, s *Service, args QueueArgs) (any, error) {
	if s.Pipeline == nil {
		return nil, ErrUnavailable
	}
	found, err := s.Pipeline.Queue(ctx, args.Filter, 0)
	if err != nil {
		return nil, err
	}
	sums := map[[2]string]*QueueSum{}
	for _, q := range found {
		for _, g := range q.Groups {
			line, ok := queueLine(q.Envelope, g)
			if !ok {
				continue
			}
			k := [2]string{line.Key, line.Status}
			if sums[k] == nil {
				sums[k] = &QueueSum{Key: line.Key, Status: line.Status, Oldest: line.Received}
			}
			sum := sums[k]
			sum.Messages++
			sum.Recipients += len(line.Recipients)
			sum.Bytes += line.Size
			if line.Received.Before(sum.Oldest) {
				sum.Oldest = line.Received
			}
		}
	}
	out := []QueueSum{}
	for _, sum := range sums {
		out = append(out, *sum)
	}
	slices.SortFunc(out, func(a, b QueueSum) int { return strings.Compare(a.Key+a.Status, b.Key+b.Status) })
	return out, nil
}

// operations are what queue.operate can do.
var operations = []operate.Operation{operate.OpHold, operate.OpRelease, operate.OpRetry, operate.OpBounce, operate.OpDrop}

// OperateArgs say what to do with all messages that a filter selects.
type OperateArgs struct {
	operate.Filter
	Operation operate.Operation `json:"operation"`
	Reason    string            `json:"reason,omitempty"`
	All       bool              `json:"all,omitempty"` // needed for an empty filter
}

// OperateReport is the answer of "queue.operate".
type OperateReport struct {
	Changed []string `json:"changed"`
	Failed  []string `json:"failed"`
}

func queueOperate(ctx context.Context, s *Service, args OperateArgs) (any, error) {
	if s.Pipeline == nil {
		return nil, ErrUnavailable
	}
	if !slices.Contains(operations, args.Operation) {
		return nil, fmt.Errorf("operation: %q is none of hold, release, retry, bounce, drop", args.Operation)
	}
	if args.Filter.Empty() && !args.All {
		return nil, errors.New("which messages? give --id, another filter, or --all")
	}
	found, err := s.Pipeline.Queue(ctx, args.Filter, 0)
	if err != nil {
		return nil, err
	}
	out := OperateReport{Changed: []string{}, Failed: []string{}}
	for _, q := range found {
		err := s.Pipeline.Operate(ctx, args.Operation, q.Envelope.ID, args.Reason)
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			out.Failed = append(out.Failed, err.Error())
		default:
			out.Changed = append(out.Changed, q.Envelope.ID.String())
		}
	}
	if len(out.Failed) > 0 {
		return nil, fmt.Errorf("%d changed; %s", len(out.Changed), strings.Join(out.Failed, "; "))
	}
	return out, nil
}
