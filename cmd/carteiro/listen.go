package main

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"carteiro/core"
	"carteiro/core/message/envelope"
	"carteiro/core/ops/admin"
	"carteiro/core/ops/config"
	"carteiro/core/protocol/httpin"
	"carteiro/core/protocol/netline"
	"carteiro/core/protocol/pop3"
	"carteiro/core/protocol/smtpin"
	"carteiro/core/protocol/smtpout"
	"carteiro/core/service/dns"
)

// smtpBackend is the pipeline as smtpin.Backend. It also looks up the client's
// name, which the trace field shows.
type smtpBackend struct {
	*core.Pipeline
	resolver *dns.Resolver
}

// nameWithin bounds how long a client waits for the look-up of its name.
const nameWithin = 2 * time.Second

func (i smtpBackend) Connect(ctx context.Context, s *envelope.Session) *envelope.Status {
	if ip := s.Remote.Addr().Unmap(); s.RDNS == "" && !ip.IsLoopback() && !ip.IsPrivate() {
		look, cancel := context.WithTimeout(ctx, nameWithin)
		s.RDNS = i.resolver.Verified(look, ip)
		cancel()
	}
	return i.Pipeline.Connect(ctx, s)
}

func (i smtpBackend) Data(ctx context.Context, s *envelope.Session, tx *envelope.Transaction, content io.Reader) smtpin.Outcome {
	st, each := i.Pipeline.Data(ctx, s, tx, content)
	return smtpin.Outcome{Status: st, Recipients: each}
}

// pop3Backend is the pipeline as pop3.Backend, without receive.connect, which is
// about clients that send mail.
type pop3Backend struct{ *core.Pipeline }

func (pop3Backend) Connect(context.Context, *envelope.Session) *envelope.Status { return nil }

func (s *server) smtpConfig(lc config.Listener) smtpin.Config {
	open := s.journal.Metrics.Sessions
	return smtpin.Config{Name: lc.Name, Protocol: lc.Protocol, Hostname: s.cfg.Hostname, Postmaster: envelope.Address(s.cfg.Postmaster),
		TLS: s.tlsFor(lc), Implicit: lc.TLS == "implicit", InsecureAuth: lc.InsecureAuth, RelayFrom: lc.RelayFrom,
		ProxyFrom: lc.ProxyFrom, XclientFrom: lc.XclientFrom, GreetDelay: lc.GreetDelay.Std(), MaxHold: s.cfg.Queue.Expire.Std() / 2,
		MaxSize: int64(lc.MaxSize), MaxConnections: lc.MaxConnections, MaxErrors: s.cfg.Limits.Errors, Limits: s.limits,
		Log: s.journal.Logger, Now: s.clock.Now,
		Observe: smtpin.Observe{Dialogue: s.dialogue, Open: func(name string) { open.WithLabelValues(name).Inc() },
			Closed: func(name string, _ time.Duration) { open.WithLabelValues(name).Dec() }}}
}

func (s *server) pop3Config(lc config.Listener) pop3.Config {
	m := s.journal.Metrics
	return pop3.Config{
		Name:           lc.Name,
		Hostname:       s.cfg.Hostname,
		TLS:            s.tlsFor(lc),
		Implicit:       lc.TLS == "implicit",
		InsecureAuth:   lc.InsecureAuth,
		APOP:           lc.APOP,
		ProxyFrom:      lc.ProxyFrom,
		LoginDelay:     lc.LoginDelay.Std(),
		MaxConnections: lc.MaxConnections,
		MaxErrors:      s.cfg.Limits.Errors,
		Limits:         s.limits,
		Log:            s.journal.Logger,
		Now:            s.clock.Now,
		Observe: pop3.Observe{Open: func(string) { m.PopSessions.Inc() }, Closed: func(string, time.Duration) { m.PopSessions.Dec() },
			Retrieved: func(string, int64) { m.Retrieved.Inc() }},
	}
}

// httpConfig is what an http listener serves: the pages of policies, metrics,
// health and, where a token is set, operators' calls.
func (s *server) httpConfig(lc config.Listener) httpin.Config {
	calls := sync.OnceValue(func() http.Handler { return s.service().Handler() }) // the server is not complete yet
	cfg := httpin.Config{
		Name:           lc.Name,
		InsecureAuth:   lc.InsecureAuth,
		Token:          s.cfg.Web.Secret,
		Calls:          http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { calls().ServeHTTP(w, r) }),
		Metrics:        admin.Metrics(s.journal),
		Health:         admin.Health(s.store),
		MaxConnections: lc.MaxConnections,
		Log:            s.journal.Logger,
	}
	if lc.TLS == "implicit" {
		cfg.TLS = s.certs.config()
	}
	return cfg
}

func (s *server) tlsFor(lc config.Listener) *tls.Config {
	if lc.TLS == "none" || s.certs == nil {
		return nil
	}
	return s.certs.config()
}

// maxClients is how many connections there are at once, over all listeners:
// each costs some kilobytes, with TLS some dozens.
const maxClients = 20_000

func (s *server) clientLimits() *netline.Limits {
	l := s.cfg.Limits
	rate := func(r config.Rate) netline.Rate { return netline.Rate{N: r.N, Per: r.Per} }
	var exempt []netip.Prefix
	if !s.cfg.LimitsGiven {
		exempt = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	}
	return netline.NewLimits(netline.LimitsConfig{
		Exempt:       exempt,
		Connections:  l.Connections,
		Network:      4 * l.Connections,
		Total:        maxClients,
		Messages:     rate(l.Messages),
		Recipients:   rate(l.Recipients),
		AuthFailures: rate(l.AuthFailures),
	}, s.clock.Now)
}

func (s *server) outbound() smtpout.Config {
	var source []netip.Addr
	for _, text := range s.cfg.Delivery.Source {
		if ip, err := netip.ParseAddr(text); err == nil {
			source = append(source, ip)
		}
	}
	return smtpout.Config{Hostname: s.cfg.Hostname, Resolver: s.resolver, AllowPrivate: s.cfg.Delivery.AllowPrivate, Source: source,
		Log: s.journal.Logger, Now: s.clock.Now}
}
