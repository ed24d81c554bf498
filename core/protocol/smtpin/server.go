package smtpin

import (
	"context"
	"net"

	"carteiro/core/message/envelope"
	"carteiro/core/protocol/netline"
)

// Server is one listener's settings and its backend.
type Server struct {
	cfg     Config
	backend Backend
	line    *netline.Server
	open    netline.Sessions
}

// New makes a Server; nothing runs until Serve.
func New(cfg Config, b Backend) *Server {
	cfg = cfg.withDefaults()
	srv := &Server{cfg: cfg, backend: b}
	srv.line = &netline.Server{
		Name:               cfg.Name,
		MaxConnections:     cfg.MaxConnections,
		ProxyFrom:          cfg.ProxyFrom,
		Limits:             cfg.Limits,
		Grace:              cfg.Grace,
		TLS:                cfg.TLS,
		Implicit:           cfg.Implicit,
		Handshake:          cfg.Timeouts.Handshake,
		Log:                cfg.Log,
		TooManyReply:       "421 4.3.2 " + cfg.Hostname + " too many connections, try later\r\n",
		TooManyFromIPReply: "421 4.7.0 " + cfg.Hostname + " too many connections from your address\r\n",
		Handle:             srv.session,
	}
	if f := cfg.Observe.Refused; f != nil {
		srv.line.Refused = func() { f(cfg.Name) }
	}
	return srv
}

// Serve accepts on ln until ctx ends. Then idle sessions get 421, content that
// is being received has Config.Grace to finish, all other connections are
// closed, and Serve returns when all sessions have ended. It closes ln; the
// error is that of a listener that failed. Several may run at once.
func (srv *Server) Serve(ctx context.Context, ln net.Listener) error {
	return srv.line.Serve(ctx, ln)
}

// Kick closes the connections of the sessions that match, at once and without
// a reply, and returns how many. Content that is being received is dropped; a
// running commit finishes. match gets copies that are as old as the session's
// greeting, login or XCLIENT, without Meta, and must not block.
func (srv *Server) Kick(match func(*envelope.Session) bool) int { return srv.open.Kick(match) }
