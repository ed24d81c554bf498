package main

import (
	"net"
	"strconv"
	"time"

	"carteiro/core"
	"carteiro/core/message/envelope"
	"carteiro/core/ops/config"
	"carteiro/core/pipeline/queue"
	"carteiro/core/protocol/milter"
)

// pipelineConfig is the configuration in the pipeline's words.
func (s *server) pipelineConfig() core.Config {
	c := s.cfg
	out := core.Config{Hostname: c.Hostname, Expire: c.Queue.Expire.Std(), Port: c.Delivery.Port,
		NextHops: map[string]envelope.NextHop{}, Shaping: map[string]queue.Shaping{},
		Reports: core.AggregateReports{From: envelope.Address(c.DMARC.Reports), Organization: c.DMARC.Organization}}
	for _, d := range c.Queue.Retry {
		out.Retry = append(out.Retry, d.Std())
	}
	if c.Queue.Warn != nil {
		out.Warn = c.Queue.Warn.Std()
	}
	if r := c.Relay; r != nil {
		hop := nextHop("relay", config.NextHop{Host: r.Host, User: r.User, Secret: r.Secret})
		if hop.User != "" && hop.TLS == envelope.TLSMay && !loopback(hop) {
			hop.TLS = envelope.TLSVerify // a password goes over it
		}
		out.Relay = &hop
	}
	for domain, h := range c.NextHops {
		out.NextHops[domain] = nextHop(domain, h)
	}
	for key, sh := range c.Shaping {
		shaping := queue.Shaping{Connections: sh.Connections}
		if sh.Rate.N > 0 {
			shaping.Every = sh.Rate.Per / time.Duration(sh.Rate.N)
		}
		out.Shaping[key] = shaping
	}
	return out
}

// milters are the filters that policies may ask.
func milters(cfg *config.Config) *milter.Client {
	filters := map[string]milter.Filter{}
	for name, m := range cfg.Milters {
		filters[name] = milter.Filter{Network: m.Network(), Addr: m.Addr, Timeout: m.Timeout.Std()}
	}
	return milter.New(filters)
}

func nextHop(name string, h config.NextHop) envelope.NextHop {
	host, port, _ := net.SplitHostPort(h.Host)
	n, _ := strconv.Atoi(port)
	hop := envelope.NextHop{
		Name:       name,
		Hosts:      []envelope.Host{{Name: host, Port: n}},
		LMTP:       h.Protocol == "lmtp",
		TLS:        envelope.TLSPolicy(h.TLS),
		Implicit:   n == 465,
		User:       h.User,
		Password:   h.Secret,
		Configured: true,
	}
	if hop.TLS == "" {
		hop.TLS = envelope.TLSMay
	}
	return hop
}

func loopback(hop envelope.NextHop) bool {
	ip := net.ParseIP(hop.Hosts[0].Name)
	return ip != nil && ip.IsLoopback()
}
