package main

import (
	"net/http"
	"sync"

	"carteiro/core/ops/admin"
	"carteiro/core/ops/config"
	"carteiro/core/protocol/httpin"
)

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
