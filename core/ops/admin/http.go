package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"carteiro/core/ops/telemetry"
	"carteiro/core/pipeline/policyrun"
	"carteiro/core/store"
)

// maxArgs bounds the arguments of a call; settings are the largest.
const maxArgs = 4 << 20

// decodeStrict reads exactly one JSON value, without unknown fields.
func decodeStrict(raw []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("arguments: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("arguments: more than one value")
	}
	return nil
}

type failure struct {
	Error string `json:"error"`
	// Kind is "no-command" if no policy has the command; else "".
	Kind string `json:"kind,omitempty"`
}

const noCommand = "no-command"

func (s *Service) serveCall(w http.ResponseWriter, r *http.Request) {
	args, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxArgs))
	var answer any
	if err == nil {
		answer, err = s.Call(r.Context(), r.PathValue("name"), args)
	}
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusUnprocessableEntity)
		f := failure{Error: err.Error()}
		if errors.Is(err, policyrun.ErrNoCommand) {
			f.Kind = noCommand
		}
		answer = f
	}
	json.NewEncoder(w).Encode(answer)
}

// Metrics serves the journal's registry to Prometheus.
func Metrics(j *telemetry.Journal) http.Handler {
	return promhttp.HandlerFor(j.Registry, promhttp.HandlerOpts{})
}

// Health answers 200 while the store takes writes, else 503.
func Health(st store.Store) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if st.Stats().Failed {
			http.Error(w, "storage failed", http.StatusServiceUnavailable)
			return
		}
		io.WriteString(w, "ok\n")
	}
}

// Listen makes the admin socket, which only its owner can open. What an
// earlier server left there goes; the store's lock has made sure that it runs
// no more.
func Listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		ln.Close()
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	return ln, nil
}

// Client calls a running server.
type Client struct{ http http.Client }

// Dial makes a client for a socket; ErrNoServer if nobody answers there.
func Dial(ctx context.Context, path string) (*Client, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoServer, err)
	}
	c.Close()
	return &Client{http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}}, nil
}

// ErrNoServer: no server listens at the admin socket.
var ErrNoServer = errors.New("no running server")

// ErrNoCommand: the server runs, and no policy has the command.
var ErrNoCommand = policyrun.ErrNoCommand

// Call does a call; the error of one that failed is the server's text.
func (c *Client) Call(ctx context.Context, name string, args any) (json.RawMessage, error) {
	raw, err := json.Marshal(args)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://admin/v1/"+name, bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoServer, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		var f failure
		if json.Unmarshal(body, &f) != nil || f.Error == "" {
			f.Error = resp.Status
		}
		if f.Kind == noCommand {
			return nil, ErrNoCommand
		}
		return nil, errors.New(f.Error)
	}
	return body, nil
}
