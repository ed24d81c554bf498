package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"carteiro/core/ops/telemetry"
	"carteiro/core/protocol/httpin"
	"carteiro/hooks"
)

// parseNetwork reads a network or a single address; "" is every client.
func parseNetwork(s string) (netip.Prefix, error) {
	if s == "" {
		return netip.Prefix{}, nil
	}
	if ip, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%q is neither an address nor a network like 192.0.2.0/24", s)
	}
	return p, nil
}

// TraceFilter says which lines are wanted; an empty field accepts all.
type TraceFilter struct {
	IP      string // a client's address or network; lines without a client are left out then
	Hook    string // only calls at this hook
	Handler string // calls of handlers whose name holds this
	Address string // what is about this address
}

// values are the filter in a URL.
func (f TraceFilter) values() url.Values {
	return url.Values{"ip": {f.IP}, "hook": {f.Hook}, "handler": {f.Handler}, "address": {f.Address}}
}

// lineFilter makes a test of lines; it refuses a hook that does not exist.
func lineFilter(v url.Values) (func(telemetry.Line) bool, error) {
	network, err := parseNetwork(v.Get("ip"))
	if err != nil {
		return nil, err
	}
	hook, handler, address := v.Get("hook"), v.Get("handler"), v.Get("address")
	if _, ok := hooks.SpecOf(hooks.Point(hook)); hook != "" && !ok {
		return nil, fmt.Errorf("there is no hook %q%s", hook, hooks.Suggestion(hook, hooks.PointNames()))
	}
	return func(l telemetry.Line) bool {
		return (!network.IsValid() || network.Contains(l.Client)) && (hook == "" || l.What == "hook" && l.Text == hook) &&
			(handler == "" || strings.Contains(l.Handler, handler)) && (address == "" || l.Names(address))
	}, nil
}

// serveTrace streams lines as JSON, one a line, until the reader goes or
// the server stops.
func (s *Service) serveTrace(w http.ResponseWriter, r *http.Request) {
	keep, err := lineFilter(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	ctx, cancel := httpin.UntilStop(r.Context())
	defer cancel()
	lines := s.Journal.Tracer.Watch(ctx, keep)
	flush := http.NewResponseController(w)
	w.WriteHeader(http.StatusOK)
	flush.Flush()
	e := json.NewEncoder(w)
	for l := range lines {
		if e.Encode(l) != nil || flush.Flush() != nil {
			return
		}
	}
}

// Trace calls each with every line, until ctx ends, each returns false or the
// server stops.
func (c *Client) Trace(ctx context.Context, f TraceFilter, each func(telemetry.Line) bool) error {
	body, err := c.stream(ctx, "trace?"+f.values().Encode())
	if err != nil {
		return err
	}
	defer body.Close()
	d := json.NewDecoder(body)
	for {
		var l telemetry.Line
		if err := d.Decode(&l); err != nil {
			return nil // the server stopped, or we did
		}
		if !each(l) {
			return nil
		}
	}
}

// stream opens what the server writes for as long as somebody reads it.
func (c *Client) stream(ctx context.Context, what string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://admin/v1/"+what, nil)
	if err != nil {
		return nil, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusOK {
		return res.Body, nil
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 4096))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", res.Status, err)
	}
	return nil, fmt.Errorf("%s", bytes.TrimSpace(text))
}
