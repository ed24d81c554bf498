package lua

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	glua "github.com/yuin/gopher-lua"

	"carteiro/hooks"
)

// Doer makes HTTP requests for scripts. It must not follow redirects: where
// they lead is not among the hosts that were granted.
type Doer interface {
	Do(req *http.Request) (*http.Response, error)
}

// Limits of the http module.
const (
	maxHTTPBody  = 1 << 20 // octets, of a request and of an answer
	maxHTTPField = 8 << 10
)

var httpModule = module{
	name: "http",
	doc: "HTTP requests to the hosts that were granted (for scripts by `[scripts] http`, for bundles by their manifest), at most 5 per " +
		`call. Only public addresses are connected to, unless the grant is an address or ends in " private". Options: headers, ` +
		"type (of the body), timeout. Redirects are returned and not followed. A request cannot be undone when the handler " +
		"fails or runs again for the same message: it has the same Idempotency-Key then",
	functions: []function{
		{
			name: "get",
			call: httpGet,
			sig:  "get(url, { headers =, timeout = })",
			doc: `{ status, headers, body }, or nil and "timeout", "tls" or "unreachable". For a host that has no public address and was not ` +
				"granted as private, the second result says what to write. Names of headers are in lower case; a body has at most 1 MiB",
			blocks: true,
		},
		{
			name:   "post",
			call:   httpPost,
			sig:    "post(url, body, { headers =, type =, timeout = })",
			doc:    "like get; a table as body is sent as JSON",
			blocks: true,
		},
		{
			name:   "batch",
			call:   httpBatch,
			sig:    "batch{ { url = }, { url =, body =, ... }, ... }",
			doc:    "sends all requests at once; returns a list that has for each the answer or the text of its error",
			blocks: true,
		},
	},
}

// httpCall is one call of a function of the module.
type httpCall struct {
	st   *state
	L    *glua.LState
	what string // the function, as errors name it
}

// exchange is one request to be made.
type exchange struct {
	req     *http.Request
	timeout time.Duration
	host    string // as it was granted
	private bool   // it may be one of a private network
}

var httpOptions = []string{"headers", "type", "timeout"}

// newExchange checks a request. raw is its body: nil for a GET.
func (h httpCall) newExchange(target string, raw glua.LValue, options glua.LValue) exchange {
	st, L, what := h.st, h.L, h.what
	c := st.currentCall(L, what)
	if st.generation.engine.HTTP == nil {
		L.RaiseError("%s: the server makes no HTTP requests", what)
	}
	st.budget.spendOne(L, &st.budget.http, "http requests")
	u, err := url.Parse(target)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		L.RaiseError("%s: %q is not a URL with http:// or https://", what, target)
	}
	host := HostPort(u)
	granted, private := hooks.HTTPGrantFor(c.source.src.HTTP, host)
	if !granted {
		L.RaiseError("%s: %s is not among the hosts that were granted%s", what, host, grantHint(c.source))
	}
	method, body, kind := http.MethodGet, "", ""
	if raw != glua.LNil {
		method = http.MethodPost
		body, kind = h.body(raw)
	}
	req, err := http.NewRequest(method, u.String(), strings.NewReader(body))
	if err != nil {
		L.RaiseError("%s: %s", what, err.Error())
	}
	x := exchange{req: req, host: host, private: private}
	req.Header.Set("User-Agent", "Carteiro")
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	req.Header.Set("Idempotency-Key", c.idempotencyKey())
	x.options(L, what, options)
	return x
}

func grantHint(u *loadedSource) string {
	if u.src.Bundle == "" {
		return "; see http in [scripts] of the configuration"
	}
	return "; see http in [capabilities] of bundle.toml"
}

// HostPort returns where a URL leads, "host:port", as the lists of hosts that are
// granted have it.
func HostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return hooks.HTTPHost(u.Hostname(), port)
}

// body returns the body of a request and its type.
func (h httpCall) body(raw glua.LValue) (body, kind string) {
	L, what := h.L, h.what
	if _, ok := raw.(*glua.LTable); ok {
		v, err := toPlain(raw)
		var b []byte
		if err == nil {
			b, err = appendJSON(nil, v)
		}
		if err != nil {
			L.RaiseError("%s: body: %s", what, err.Error())
		}
		body, kind = string(b), "application/json"
	} else {
		if !stringable(raw) {
			L.RaiseError("%s: body must be a text or a table, got %s", what, typeOf(raw))
		}
		body, kind = tostringPlain(raw), "application/octet-stream"
	}
	if len(body) > maxHTTPBody {
		L.RaiseError("%s: body has %d octets, %d are allowed", what, len(body), maxHTTPBody)
	}
	h.st.budget.chargeMemory(L, int64(len(body)))
	return body, kind
}

func (x *exchange) options(L *glua.LState, what string, v glua.LValue) {
	if v == glua.LNil {
		return
	}
	t, ok := v.(*glua.LTable)
	if !ok {
		L.RaiseError("%s: options must be a table, got %s", what, typeOf(v))
	}
	for k, v := t.Next(glua.LNil); k != glua.LNil; k, v = t.Next(k) {
		switch key := tostringPlain(k); key {
		case "url", "body": // of batch
		case "timeout":
			x.timeout = durationArgument(L, v, what+": timeout")
		case "type":
			x.req.Header.Set("Content-Type", httpField(L, what, v))
		case "headers":
			fields, ok := v.(*glua.LTable)
			if !ok {
				L.RaiseError("%s: headers must be a table, got %s", what, typeOf(v))
			}
			for n, value := fields.Next(glua.LNil); n != glua.LNil; n, value = fields.Next(n) {
				name := httpField(L, what, n)
				if !token(name) {
					L.RaiseError("%s: %q is not the name of a header field", what, name)
				}
				if strings.EqualFold(name, "Host") || strings.EqualFold(name, "Idempotency-Key") {
					L.RaiseError("%s: the server sets the header field %s itself", what, name)
				}
				x.req.Header.Set(name, httpField(L, what, value))
			}
		default:
			L.RaiseError("%s: unknown option %s%s", what, key, hooks.Suggestion(key, httpOptions))
		}
	}
}

func httpField(L *glua.LState, what string, v glua.LValue) string {
	s := tostringPlain(v)
	if !stringable(v) || len(s) > maxHTTPField || controlIndex(s) >= 0 {
		L.RaiseError("%s: headers must be texts of one line, up to %d octets", what, maxHTTPField)
	}
	return s
}

// idempotencyKey names the n-th request of this handler for this message and
// recipient: the same when a crash or a retry of the client's makes the
// handler run again. Without a message it is the session's.
func (c *call) idempotencyKey() string {
	c.requests++
	e := c.event
	id := c.message()
	switch {
	case id != "":
	case e.Tx != nil:
		id = e.Tx.ID.String()
	case e.Session != nil:
		id = e.Session.ID
	default:
		id = e.Now.UTC().Format(time.RFC3339Nano)
	}
	rcpt, attempt := "", 0
	if e.Rcpt != nil {
		rcpt = string(e.Rcpt.Address)
	}
	if e.Attempt != nil {
		attempt = e.Attempt.Number
	} else if e.Result != nil {
		attempt = e.Result.Attempt
	}
	info := &c.handler.info
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s\x00%s\x00%d\x00%d", id, info.Key(), c.domain, rcpt, attempt, c.requests))
	return hex.EncodeToString(sum[:16])
}

// do makes one request within the call's time. The answer is plain data.
func (h httpCall) do(x exchange) (map[string]any, error) {
	until := h.st.budget.deadline()
	if x.timeout > 0 && time.Now().Add(x.timeout).Before(until) {
		until = time.Now().Add(x.timeout)
	}
	ctx, cancel := context.WithDeadline(h.st.call.ctx, until)
	defer cancel()
	if x.private {
		ctx = context.WithValue(ctx, privateKey{}, true)
	}
	res, err := h.st.generation.engine.HTTP.Do(x.req.WithContext(ctx))
	if errors.Is(err, ErrPrivate) {
		return nil, h.refusedHost(x)
	}
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxHTTPBody+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxHTTPBody {
		return nil, errTooLong
	}
	headers := make(map[string]any, len(res.Header))
	for name, values := range res.Header {
		headers[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	return map[string]any{"status": float64(res.StatusCode), "headers": headers, "body": string(body)}, nil
}

var errTooLong = errors.New("answer is too long")

// httpOutcome returns the word for an error. It names no addresses.
func httpOutcome(err error) string {
	timeout, _ := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, context.DeadlineExceeded), timeout != nil && timeout.Timeout():
		return "timeout"
	case errors.Is(err, errTooLong):
		return "too long"
	case errors.Is(err, ErrPrivate):
		return err.Error()
	case strings.Contains(err.Error(), "tls: ") || strings.Contains(err.Error(), "x509: "):
		return "tls"
	}
	return "unreachable"
}

func (h httpCall) push(answer map[string]any, err error) int {
	h.st.budget.checkLimits() // it may have taken all the time there was
	if err != nil {
		h.L.Push(glua.LNil)
		h.L.Push(glua.LString(httpOutcome(err)))
		return 2
	}
	h.L.Push(h.st.toLua(h.L, answer))
	return 1
}

func httpGet(L *glua.LState) int {
	h := httpCall{stateOf(L), L, "http.get"}
	answer, err := h.do(h.newExchange(stringArgument(L, 1, h.what, "url"), glua.LNil, L.Get(2)))
	return h.push(answer, err)
}

func httpPost(L *glua.LState) int {
	h := httpCall{stateOf(L), L, "http.post"}
	body := L.Get(2)
	if body == glua.LNil {
		body = glua.LString("")
	}
	answer, err := h.do(h.newExchange(stringArgument(L, 1, h.what, "url"), body, L.Get(3)))
	return h.push(answer, err)
}

func httpBatch(L *glua.LState) int {
	h := httpCall{stateOf(L), L, "http.batch"}
	list, ok := L.Get(1).(*glua.LTable)
	if !ok {
		L.RaiseError("http.batch: a list of requests expected, got %s", typeOf(L.Get(1)))
	}
	var requests []exchange
	for i := 1; i <= length(h.st, list); i++ {
		r, _ := at(list, i).(*glua.LTable)
		if r == nil {
			L.RaiseError("http.batch: request %d must be like { url = \"https://...\" }", i)
		}
		requests = append(requests, h.newExchange(tostringPlain(r.RawGetString("url")), r.RawGetString("body"), r))
	}
	answers := make([]any, len(requests))
	var wg sync.WaitGroup
	for i, x := range requests {
		wg.Go(func() {
			answer, err := h.do(x)
			if answers[i] = answer; err != nil {
				answers[i] = httpOutcome(err)
			}
		})
	}
	wg.Wait()
	h.st.budget.checkLimits()
	L.Push(h.st.toLua(L, answers))
	return 1
}
