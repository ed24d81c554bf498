package lua

import (
	"context"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	glua "github.com/yuin/gopher-lua"

	"carteiro/core/service/dns"
)

// Resolver answers DNS questions. Errors wrap dns.ErrNXDomain, dns.ErrTimeout
// or dns.ErrServFail; others count as the last. An empty answer is told to
// scripts as "nxdomain".
type Resolver interface {
	A(ctx context.Context, name string) ([]netip.Addr, error)
	AAAA(ctx context.Context, name string) ([]netip.Addr, error)
	MX(ctx context.Context, name string) ([]dns.MX, error)
	TXT(ctx context.Context, name string) ([]string, error)
	PTR(ctx context.Context, ip netip.Addr) ([]string, error)
}

var dnsModule = module{
	name: "dns",
	doc:  `DNS queries, at most 50 per call. Each returns a list, or nil and "nxdomain", "timeout" or "servfail"`,
	functions: []function{
		{name: "a", call: dnsQuery("a"), sig: "a(name)", doc: "IPv4 addresses", blocks: true},
		{name: "aaaa", call: dnsQuery("aaaa"), sig: "aaaa(name)", doc: "IPv6 addresses", blocks: true},
		{name: "mx", call: dnsQuery("mx"), sig: "mx(name)", doc: "list of { host, preference }, the most preferred first", blocks: true},
		{name: "txt", call: dnsQuery("txt"), sig: "txt(name)", doc: "texts", blocks: true},
		{name: "ptr", call: dnsQuery("ptr"), sig: "ptr(ip)", doc: "names of an address", blocks: true},
		{name: "rbl", call: dnsRBL, sig: "rbl(ip, zone)", doc: "the codes with which a DNS block list lists an address, or nil", blocks: true},
		{
			name:   "batch",
			call:   dnsBatch,
			sig:    "batch{ {\"a\", name}, {\"mx\", name}, ... }",
			doc:    "sends all queries at once; returns a list that has for each the list of its answers or the text of its error",
			blocks: true,
		},
	},
}

// ask puts one question and returns plain data.
func ask(ctx context.Context, r Resolver, kind, name string) (any, error) {
	switch kind {
	case "a", "aaaa":
		query := r.A
		if kind == "aaaa" {
			query = r.AAAA
		}
		ips, err := query(ctx, name)
		list := make([]any, len(ips))
		for i, ip := range ips {
			list[i] = ip.String()
		}
		return list, err
	case "mx":
		mxs, err := r.MX(ctx, name)
		list := make([]any, len(mxs))
		for i, mx := range mxs {
			list[i] = map[string]any{"host": mx.Host, "preference": float64(mx.Preference)}
		}
		return list, err
	case "txt":
		txts, err := r.TXT(ctx, name)
		return anyList(txts), err
	}
	ip, err := netip.ParseAddr(name)
	if err != nil {
		return nil, dns.ErrNXDomain
	}
	names, err := r.PTR(ctx, ip.Unmap())
	return anyList(names), err
}

func anyList(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

// errorWord returns the word for an error.
func errorWord(err error) string {
	switch {
	case errors.Is(err, dns.ErrNXDomain):
		return "nxdomain"
	case errors.Is(err, dns.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	}
	return "servfail"
}

// requireResolver opens the DNS for one question. A question is cut off at the
// call's own deadline.
func requireResolver(L *glua.LState) (context.Context, context.CancelFunc, Resolver) {
	st := stateOf(L)
	c := st.currentCall(L, "dns")
	if st.generation.engine.Resolver == nil {
		L.RaiseError("dns: the server has no resolver")
	}
	st.budget.spendOne(L, &st.budget.dns, "dns questions")
	ctx, cancel := context.WithDeadline(c.ctx, st.budget.deadline())
	return ctx, cancel, st.generation.engine.Resolver
}

func pushAnswer(L *glua.LState, answer any, err error) int {
	st := stateOf(L)
	st.budget.checkLimits() // the question may have taken all the time there was
	if list, ok := answer.([]any); err == nil && ok && len(list) == 0 {
		err = dns.ErrNXDomain
	}
	if err != nil {
		L.Push(glua.LNil)
		L.Push(glua.LString(errorWord(err)))
		return 2
	}
	L.Push(st.toLua(L, answer))
	return 1
}

func dnsQuery(kind string) glua.LGFunction {
	return func(L *glua.LState) int {
		name := stringArgument(L, 1, "dns."+kind, "name")
		ctx, cancel, r := requireResolver(L)
		defer cancel()
		answer, err := ask(ctx, r, kind, name)
		return pushAnswer(L, answer, err)
	}
}

func dnsRBL(L *glua.LState) int {
	ip, err := netip.ParseAddr(stringArgument(L, 1, "dns.rbl", "ip"))
	zone := strings.Trim(stringArgument(L, 2, "dns.rbl", "zone"), ".")
	if err != nil {
		L.RaiseError("dns.rbl: %s", err.Error())
	}
	ctx, cancel, r := requireResolver(L)
	defer cancel()
	answer, err := ask(ctx, r, "a", reverseName(ip.Unmap())+"."+zone)
	return pushAnswer(L, answer, err)
}

// reverseName returns an address as block lists name it (RFC 5782 2.1, 2.4).
func reverseName(ip netip.Addr) string {
	b := ip.AsSlice()
	parts := make([]string, 0, 2*len(b))
	for i := len(b) - 1; i >= 0; i-- {
		if ip.Is4() {
			parts = append(parts, strconv.Itoa(int(b[i])))
		} else {
			parts = append(parts, strconv.FormatUint(uint64(b[i]&15), 16), strconv.FormatUint(uint64(b[i]>>4), 16))
		}
	}
	return strings.Join(parts, ".")
}

func dnsBatch(L *glua.LState) int {
	st := stateOf(L)
	list, ok := L.Get(1).(*glua.LTable)
	if !ok {
		L.RaiseError("dns.batch: a list of questions expected, got %s", typeOf(L.Get(1)))
	}
	type question struct{ kind, name string }
	var questions []question
	for i := 1; i <= length(st, list); i++ {
		q, _ := at(list, i).(*glua.LTable)
		if q == nil {
			L.RaiseError("dns.batch: question %d must be like { \"a\", name }", i)
		}
		kind, name := tostringPlain(q.RawGetInt(1)), tostringPlain(q.RawGetInt(2))
		if !oneOf(kind, "a", "aaaa", "mx", "txt", "ptr") {
			L.RaiseError("dns.batch: question %d: %q is not a, aaaa, mx, txt or ptr", i, kind)
		}
		questions = append(questions, question{kind, name})
	}
	answers := make([]any, len(questions))
	var wg sync.WaitGroup
	for i, q := range questions {
		ctx, cancel, r := requireResolver(L)
		defer cancel()
		wg.Go(func() {
			answer, err := ask(ctx, r, q.kind, q.name)
			if list, ok := answer.([]any); err == nil && ok && len(list) == 0 {
				err = dns.ErrNXDomain
			}
			if answers[i] = answer; err != nil {
				answers[i] = errorWord(err)
			}
		})
	}
	wg.Wait()
	return pushAnswer(L, answers, nil)
}

func oneOf(s string, list ...string) bool {
	for _, x := range list {
		if s == x {
			return true
		}
	}
	return false
}
