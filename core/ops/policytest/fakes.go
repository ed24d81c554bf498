package policytest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"

	"carteiro/core/message/envelope"
	"carteiro/core/protocol/milter"
	"carteiro/core/service/dns"
	"carteiro/hooks/lua"
)

// fakeDNS is the DNS of a world: it has only the records that the test put there.
type fakeDNS struct {
	mu    sync.Mutex
	zone  map[string]map[string]any // by name: "a", "mx", ...
	fails map[string]error          // by "mx" or "mx name"; "" is all
}

func newFakeDNS() *fakeDNS {
	return &fakeDNS{zone: map[string]map[string]any{}, fails: map[string]error{}}
}

func key(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// failing is the error that the test set for such a question, or nil.
func (n *fakeDNS) failing(kind, name string) error {
	for _, k := range []string{"", kind, kind + " " + key(name)} {
		if err := n.fails[k]; err != nil {
			return err
		}
	}
	return nil
}

// find returns the records of a kind that a name has.
func (n *fakeDNS) find(kind, name string) (any, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.failing(kind, name); err != nil {
		return nil, err
	}
	if v := n.zone[key(name)][kind]; v != nil {
		return v, nil
	}
	return nil, dns.ErrNXDomain
}

func (n *fakeDNS) addrs(kind, name string) ([]netip.Addr, error) {
	v, err := n.find(kind, name)
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, s := range texts(v) {
		ip, err := netip.ParseAddr(s)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", dns.ErrServFail, err)
		}
		out = append(out, ip)
	}
	return out, nil
}

// A implements lua.Resolver.
func (n *fakeDNS) A(_ context.Context, name string) ([]netip.Addr, error) { return n.addrs("a", name) }

// AAAA implements lua.Resolver.
func (n *fakeDNS) AAAA(_ context.Context, name string) ([]netip.Addr, error) {
	return n.addrs("aaaa", name)
}

// MX implements lua.Resolver. A text is a host of preference 10.
func (n *fakeDNS) MX(_ context.Context, name string) ([]dns.MX, error) {
	v, err := n.find("mx", name)
	if err != nil {
		return nil, err
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v} // a name, or one { host =, preference = }
	}
	var out []dns.MX
	for _, one := range list {
		mx := dns.MX{Host: fmt.Sprint(one), Preference: 10}
		if m, ok := one.(map[string]any); ok {
			mx.Host = text(m, "host", "")
			if p, ok := m["preference"].(float64); ok {
				mx.Preference = uint16(p)
			}
		}
		out = append(out, mx)
	}
	slices.SortStableFunc(out, func(a, b dns.MX) int { return int(a.Preference) - int(b.Preference) })
	return out, nil
}

// TXT implements lua.Resolver.
func (n *fakeDNS) TXT(_ context.Context, name string) ([]string, error) {
	v, err := n.find("txt", name)
	return texts(v), err
}

// PTR implements lua.Resolver.
func (n *fakeDNS) PTR(_ context.Context, ip netip.Addr) ([]string, error) {
	v, err := n.find("ptr", ip.String())
	return texts(v), err
}

// put adds to the zone.
func (n *fakeDNS) put(zone map[string]any) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for name, v := range zone {
		records, ok := v.(map[string]any)
		if !ok {
			return fmt.Errorf("%w: t.dns: %s must be a table like { a = \"192.0.2.1\", mx = \"mx.example\" }", errArguments, name)
		}
		if err := only(records, "a", "aaaa", "mx", "txt", "ptr"); err != nil {
			return err
		}
		if n.zone[key(name)] == nil {
			n.zone[key(name)] = map[string]any{}
		}
		maps.Copy(n.zone[key(name)], records)
	}
	return nil
}

var outcomes = map[string]error{"nxdomain": dns.ErrNXDomain, "timeout": dns.ErrTimeout, "servfail": dns.ErrServFail}

// fail has questions fail: "dns", "dns.mx" or "dns.mx NAME".
func (n *fakeDNS) fail(what, how string) error {
	err := outcomes[how]
	kind, ok := strings.CutPrefix(what, "dns")
	if !ok || err == nil {
		return fmt.Errorf("%w: t.fail: %q, %q; %s", errArguments, what, how, faultsKnown)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	kind, name, _ := strings.Cut(strings.TrimPrefix(kind, "."), " ")
	if kind != "" && !slices.Contains([]string{"a", "aaaa", "mx", "txt", "ptr"}, kind) {
		return fmt.Errorf("%w: t.fail: there is no kind %q of names; %s", errArguments, kind, faultsKnown)
	}
	if strings.ContainsAny(name, " \t") {
		return fmt.Errorf("%w: t.fail: %q is not a name; %s", errArguments, name, faultsKnown)
	}
	n.fails[strings.TrimSpace(kind+" "+key(name))] = err
	return nil
}

// fakeMX is the DNS for the pipeline: a domain without records of the test has the MX host
// mx.DOMAIN, so that mail can be sent.
type fakeMX struct{ *fakeDNS }

func (r fakeMX) MX(ctx context.Context, name string) ([]dns.MX, error) {
	r.mu.Lock()
	unknown := r.zone[key(name)] == nil && r.failing("mx", name) == nil
	r.mu.Unlock()
	if unknown {
		return []dns.MX{{Host: "mx." + key(name), Preference: 10}}, nil
	}
	return r.fakeDNS.MX(ctx, name)
}

// fakeHosts are the servers of others.
type fakeHosts struct {
	mu      sync.Mutex
	answers map[string]any // by address, domain or "*"
	got     []map[string]any
}

// Send implements core.Transport.
func (h *fakeHosts) Send(_ context.Context, hop envelope.NextHop, t envelope.Transfer) []envelope.Outcome {
	raw := ""
	if r, err := t.Open(); err == nil {
		b, _ := io.ReadAll(r)
		raw = string(b)
		r.Close()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []envelope.Outcome
	var to []string
	for _, rc := range t.Recipients {
		st := h.answer(rc.Address)
		out = append(out, envelope.Outcome{Status: st, Host: hop.Hosts[0].Name})
		if st.Code < 300 {
			to = append(to, string(rc.Address))
		}
	}
	if len(to) > 0 {
		m := messageTable(string(t.Sender), to, raw)
		m["host"], m["port"], m["lmtp"] = hop.Hosts[0].Name, float64(hop.Hosts[0].Port), hop.LMTP
		h.got = append(h.got, m)
	}
	return out
}

func (h *fakeHosts) put(answers map[string]any) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.Copy(h.answers, answers)
	return nil
}

// answer is what a recipient's server says: 250 unless the test says
// otherwise.
func (h *fakeHosts) answer(a envelope.Address) envelope.Status {
	for _, k := range []string{string(a), a.Domain(), "*"} {
		if v, ok := h.answers[k]; ok {
			st, _ := readReply(v) // put saw that it is right
			return st
		}
	}
	return envelope.Status{Code: 250, Enhanced: "2.0.0", Text: "ok"}
}

func (h *fakeHosts) sent(from int) []any {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := []any{}
	for _, m := range h.got[from:] {
		out = append(out, m)
	}
	return out
}

// fakeWeb is the web of a world: answers by "URL" or "METHOD URL".
type fakeWeb struct {
	mu      sync.Mutex
	answers map[string]any
	got     []any
}

func (w *fakeWeb) put(answers map[string]any) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.Copy(w.answers, answers)
	return nil
}

func (w *fakeWeb) requests() []any {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Concat([]any{}, w.got)
}

// hosts are the hosts of the answers, as "host:port".
func (w *fakeWeb) hosts() (list []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for k := range w.answers {
		_, target, ok := strings.Cut(k, " ")
		if !ok {
			target = k
		}
		if u, err := url.Parse(target); err == nil {
			list = append(list, lua.HostPort(u))
		}
	}
	return list
}

type timeoutError struct{}

func (timeoutError) Error() string   { return "timeout" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }

// Do implements lua.Doer.
func (w *fakeWeb) Do(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.got = append(w.got, map[string]any{
		"method": req.Method,
		"url":    req.URL.String(),
		"body":   string(body),
		"key":    req.Header.Get("Idempotency-Key"),
	})
	for _, k := range []string{req.Method + " " + req.URL.String(), req.URL.String()} {
		switch a := w.answers[k].(type) {
		case string:
			switch a {
			case "timeout":
				return nil, timeoutError{}
			case "tls":
				return nil, fmt.Errorf("%s: tls: said by the test", k)
			}
			return nil, fmt.Errorf("%s: %s", k, a)
		case map[string]any:
			return response(a), nil
		}
	}
	return nil, fmt.Errorf("the test has no answer for %s %s", req.Method, req.URL)
}

func response(a map[string]any) *http.Response {
	res := &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader([]byte(text(a, "body", ""))))}
	if n, ok := a["status"].(float64); ok {
		res.StatusCode = int(n)
	}
	if fields, ok := a["headers"].(map[string]any); ok {
		for k, v := range fields {
			res.Header.Set(k, fmt.Sprint(v))
		}
	}
	return res
}

// fakeMilters are the milters of a world.
type fakeMilters map[string]*milter.Answer

// Names implements lua.Milters.
func (f fakeMilters) Names() []string { return slices.Sorted(maps.Keys(f)) }

// Scan implements lua.Milters.
func (f fakeMilters) Scan(_ context.Context, name string, _ *milter.Message) (*milter.Answer, error) {
	if f[name] == nil {
		return nil, fmt.Errorf("%w: %s", milter.ErrFilter, name)
	}
	return f[name], nil
}

// put sets answers: an action, or { action =, code =, text =, changes = }.
func (f fakeMilters) put(answers map[string]any) error {
	for name, v := range answers {
		a := &milter.Answer{}
		switch v := v.(type) {
		case string:
			if a.Action = v; v == "unreachable" {
				a = nil
			}
		case map[string]any:
			code, _ := v["code"].(float64)
			a.Action, a.Reason = text(v, "action", milter.Accept), text(v, "reason", "")
			a.Status = envelope.Status{Code: int(code), Enhanced: text(v, "enhanced", ""), Text: text(v, "text", "")}
			list, _ := v["changes"].([]any)
			for _, one := range list {
				m, _ := one.(map[string]any)
				index, _ := m["index"].(float64)
				a.Changes = append(a.Changes, milter.Change{
					Op:    text(m, "op", ""),
					Name:  text(m, "name", ""),
					Value: text(m, "value", ""),
					Index: int(index),
				})
			}
		default:
			return fmt.Errorf("%w: t.milter: %s must be an action or a table", errArguments, name)
		}
		f[name] = a
	}
	return nil
}
