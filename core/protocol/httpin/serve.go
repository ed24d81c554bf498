package httpin

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// stopKey is the key of the context that Serve got, in those of its requests.
type stopKey struct{}

// Serve runs srv on ln until ctx ends. Then it closes ln, gives running
// requests grace, cancels the contexts of those that are left, and returns when
// all handlers have returned. The error is that of a listener that failed.
func Serve(ctx context.Context, ln net.Listener, srv *http.Server, grace time.Duration) error {
	requests, cancel := context.WithCancel(context.WithValue(context.WithoutCancel(ctx), stopKey{}, ctx))
	defer cancel()
	srv.BaseContext = func(net.Listener) context.Context { return requests }
	var running sync.RWMutex // each handler holds it for reading
	handler := srv.Handler
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		running.RLock()
		defer running.RUnlock()
		handler.ServeHTTP(w, r)
	})
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	err := srv.Serve(ln)
	if ctx.Err() != nil {
		err = nil
	}
	limited, done := context.WithTimeout(requests, grace)
	defer done()
	if srv.Shutdown(limited) != nil {
		cancel()
		srv.Close()
	}
	running.Lock()
	defer running.Unlock()
	return err
}

// UntilStop returns a context that ends with ctx, the context of a request, or
// when the server of the request is to stop: for streams that have no end of
// their own. Call cancel when the stream is over.
func UntilStop(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	server, ok := ctx.Value(stopKey{}).(context.Context)
	if !ok {
		return ctx, cancel
	}
	forget := context.AfterFunc(server, cancel)
	return ctx, func() { forget(); cancel() }
}

// limitedListener refuses connections above Config.MaxConnections.
type limitedListener struct {
	net.Listener
	cfg *Config

	mu   sync.Mutex
	open int
}

// crowded is the answer to a client above the limit, if the client expects no
// TLS.
const crowded = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 10\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

// Accept returns the next connection within the limit.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.enter() {
			return &limitedConn{Conn: conn, leave: sync.OnceFunc(l.leave)}, nil
		}
		l.cfg.Log.Info("connection refused", "listener", l.cfg.Name, "client", conn.RemoteAddr().String(), "reason",
			"connections of the listener")
		if l.cfg.TLS == nil {
			conn.SetDeadline(time.Now().Add(time.Second))
			io.WriteString(conn, crowded) // an empty send buffer takes it; the error does not matter
		}
		conn.Close()
	}
}

func (l *limitedListener) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cfg.MaxConnections > 0 && l.open >= l.cfg.MaxConnections {
		return false
	}
	l.open++
	return true
}

func (l *limitedListener) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
}

// limitedConn is a connection that counts until it is closed.
type limitedConn struct {
	net.Conn
	leave func()
}

// Close closes the connection and makes room for another.
func (c *limitedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
