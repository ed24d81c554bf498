package receive

import (
	"context"
	"time"

	"carteiro/core/message/envelope"
)

// completeSubmission completes a user's message (RFC 6409 8): it adds From, Date
// and Message-ID if they are missing, removes Bcc, and checks the authors with
// mayBeFrom if the user logged in.
func (r *Receiver) completeSubmission(ctx context.Context, c *content) *envelope.Status {
	h := c.header
	for _, name := range []string{"From", "Sender", "Date", "Message-ID", "Subject", "To", "Cc", "Reply-To"} {
		if h.Count(name) > 1 {
			return envelope.Reject(550, "5.6.0", "more than one "+name+" field")
		}
	}
	h.Remove("Bcc")
	h.Remove("Resent-Bcc")
	if author := c.defaultAuthor(); !h.Has("From") && author != "" {
		h.Append("From", string(author))
	}
	if c.s.Identity != nil {
		if st := r.senders.mayBeFrom(ctx, c); st != nil {
			return st
		}
	}
	now := r.clock.Now()
	if !h.Has("Date") {
		h.Append("Date", now.Format(time.RFC1123Z))
	}
	if !h.Has("Message-ID") {
		h.Append("Message-ID", "<"+c.tx.ID.String()+"@"+r.hostname+">")
	}
	return nil
}
