// Package smtpout will hand messages to next hops; it defers all mail so far.
package smtpout

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"carteiro/core/mail"
)

type Config struct {
	Hostname     string
	Resolver     any
	AllowPrivate bool
	Source       []netip.Addr
	Log          *slog.Logger
	Now          func() time.Time
}
type Client struct{}

func New(Config) *Client { return &Client{} }
func (*Client) Send(_ context.Context, _ mail.NextHop, t mail.Transfer) []mail.Outcome {
	out := make([]mail.Outcome, len(t.Recipients))
	for i := range out {
		out[i].Status = mail.Status{Code: 451, Enhanced: "4.4.1", Text: "there is no outbound client yet"}
	}
	return out
}
func (*Client) Close() {}
