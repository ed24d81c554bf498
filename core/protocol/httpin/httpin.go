// Package httpin serves HTTP at one listener: the pages of policies below
// /b/BUNDLE/, GET /metrics and GET /health for monitors and, if a token is set, the
// calls of operators below /v1/. It limits what a client can use (connections, time,
// octets); the Backend answers the pages.
package httpin

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"time"

	"carteiro/hooks"
)

// Backend answers requests for pages. Calls come from many goroutines.
type Backend interface {
	// Web runs the policies for a request to a bundle, named without its
	// publisher. ok is false if no policy answers at that path. It blocks for the
	// policy and for the commit of its effects.
	Web(ctx context.Context, bundle string, req *hooks.Request) (answer hooks.Response, ok bool)
}

// Config is one listener's settings. What is called a default replaces a zero.
type Config struct {
	Name string // of the listener

	TLS          *tls.Config // from the first octet; nil: none
	InsecureAuth bool        // the token is taken without TLS from any host

	Token   string       // of operators (RFC 6750); "": no calls
	Calls   http.Handler // below /v1/, for clients with the token
	Metrics http.Handler
	Health  http.Handler

	// MaxConnections is a limit for the listener as a whole. There is none for one
	// client: most clients come through a reverse proxy, from one address.
	MaxConnections int   // 0: any number
	MaxBody        int64 // of a request for a page, in octets; default 1 MiB

	Header time.Duration // until the header section is complete; default 10 s
	Read   time.Duration // until the whole request is there, except a call; default 1 minute
	Write  time.Duration // until the answer is written, except that of a call; default 2 minutes
	Idle   time.Duration // between two requests of a connection; default 2 minutes
	Grace  time.Duration // for running requests when Serve is to end; default 5 s

	Log *slog.Logger
}

// Server is one listener's settings and its backend.
type Server struct {
	cfg     Config
	backend Backend
}

// New makes a Server; nothing runs until Serve.
func New(cfg Config, b Backend) *Server {
	return &Server{cfg: cfg.withDefaults(), backend: b}
}

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.Header, 10*time.Second)
	def(&c.Read, time.Minute)
	def(&c.Write, 2*time.Minute)
	def(&c.Idle, 2*time.Minute)
	def(&c.Grace, 5*time.Second)
	if c.MaxBody == 0 {
		c.MaxBody = 1 << 20
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Serve accepts on ln until ctx ends. Then running requests have Config.Grace
// to finish, and Serve returns when all are gone. It closes ln; the error is
// that of a listener that failed.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	ln = &limitedListener{Listener: ln, cfg: &s.cfg}
	if s.cfg.TLS != nil {
		ln = tls.NewListener(ln, s.cfg.TLS)
	}
	return Serve(ctx, ln, &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: s.cfg.Header,
		ReadTimeout:       s.cfg.Read,
		WriteTimeout:      s.cfg.Write,
		IdleTimeout:       s.cfg.Idle,
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelInfo),
	}, s.cfg.Grace)
}

// handler returns the handler with all paths.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/b/{bundle}/{path...}", s.servePage)
	if s.cfg.Metrics != nil {
		mux.Handle("GET /metrics", s.cfg.Metrics)
	}
	if s.cfg.Health != nil {
		mux.Handle("GET /health", s.cfg.Health)
	}
	if s.cfg.Token != "" {
		mux.Handle("/v1/", s.requireToken(s.cfg.Calls))
	}
	return mux
}
