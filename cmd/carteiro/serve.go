package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"carteiro/core/ops/admin"
	"carteiro/core/ops/clock"
	"carteiro/core/ops/config"
	"carteiro/core/protocol/httpin"
	"carteiro/core/protocol/pop3"
	"carteiro/core/protocol/smtpin"
)

func serveCommand() *cobra.Command {
	var o options
	var testClock bool
	cmd := &cobra.Command{
		Use:   "serve -c FILE",
		Short: "Run the server: SIGHUP reloads, SIGTERM finishes running work and stops",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(o.config)
			if err != nil {
				return err
			}
			if testClock {
				if err := loopbackOnly(cfg); err != nil {
					return err
				}
			}
			var o serverOptions
			if testClock {
				o.clock = &clock.Clock{}
			}
			s, err := openServer(cmd.Context(), cfg, o)
			if err != nil {
				return err
			}
			return s.serve(cmd.Context())
		},
	}
	o.flags(cmd, false)
	cmd.Flags().BoolVar(&testClock, "test-clock", false, "let `carteiro clock advance` move time; loopback listeners only")
	return cmd
}

// operatorGrace is how long calls of operators may run on when the server stops.
const operatorGrace = 5 * time.Second

// serve binds every listener, says where, and runs until ctx ends or the
// store fails. It ends in the order listeners, sessions, queue, store.
func (s *server) serve(ctx context.Context) (err error) {
	defer func() {
		if e := s.close(); err == nil {
			err = e
		}
	}()
	// Before anybody can know that the server is there: a SIGHUP without a
	// channel would end the process.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	if err := s.bind(); err != nil {
		return err
	}
	socket, err := admin.Listen(socketPath(s.cfg))
	if err != nil {
		return usageError{err}
	}
	for _, l := range s.listeners {
		fmt.Printf("listener %s %s %s\n", l.config.Name, l.config.Protocol, l.Addr())
	}
	for _, name := range s.cfg.IgnoredSettings() {
		s.journal.WarnContext(ctx, "setting has no effect in this version", "setting", name)
	}
	s.journal.InfoContext(ctx, "serving", "hostname", s.cfg.Hostname, "version", version(), "generation", s.policies.Get().ID)

	// Sessions end before the queue does, so that what they accept last is
	// still tried; the queue ends before the store.
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	queue, _ := errgroup.WithContext(work)
	front, frontCtx := errgroup.WithContext(ctx)
	queue.Go(func() error {
		defer stopWork()
		return s.pipeline.Run(work)
	})
	for _, l := range s.listeners {
		front.Go(func() error { return l.serve(frontCtx, l.Listener) })
	}
	operators := &http.Server{Handler: s.service().Handler(), ReadHeaderTimeout: 10 * time.Second}
	front.Go(func() error { return httpin.Serve(frontCtx, socket, operators, operatorGrace) })
	front.Go(func() error { return s.signals(frontCtx, hup) })
	front.Go(func() error { return s.watchDelegates(frontCtx) })
	front.Go(func() error { s.lookForPrivateHosts(frontCtx); return nil })
	front.Go(func() error { return s.policies.Run(frontCtx, s.cfg.Scripts.Watch) })
	front.Go(func() error {
		select {
		case <-work.Done(): // the store failed: nothing may be acknowledged any more
			return errStopped
		case <-frontCtx.Done():
			return nil
		}
	})
	frontErr := front.Wait()
	stopWork()
	if err := queue.Wait(); err != nil {
		return err
	}
	if errors.Is(frontErr, errStopped) {
		return nil
	}
	return frontErr
}

// signals reloads on each signal until ctx ends.
func (s *server) signals(ctx context.Context, hup <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
			s.reload(ctx, "signal") // logs what is wrong; nothing changes then
		}
	}
}

// bind opens all listeners, or none.
func (s *server) bind() error {
	for _, lc := range s.cfg.Listeners {
		ln, err := net.Listen("tcp", lc.Addr)
		if err != nil {
			return usageError{fmt.Errorf("listener %s: %w", lc.Name, err)}
		}
		s.listeners = append(s.listeners, &listener{Listener: ln, serve: s.serveFunc(lc), config: lc})
	}
	return nil
}

// serveFunc is what answers at a listener.
func (s *server) serveFunc(lc config.Listener) func(context.Context, net.Listener) error {
	switch lc.Protocol {
	case "pop3":
		srv := pop3.New(s.pop3Config(lc), pop3Backend{s.pipeline}, s.store)
		s.maildrops = append(s.maildrops, srv)
		return srv.Serve
	case "http":
		return httpin.New(s.httpConfig(lc), s.pipeline).Serve
	}
	return smtpin.New(s.smtpConfig(lc), smtpBackend{s.pipeline, s.resolver}).Serve
}
