package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the server's counters. Labels are bounded: names of listeners,
// hooks and bundles, domains of ours, classes and results.
type Metrics struct {
	Connections   *prometheus.CounterVec   // smtp: listener
	Sessions      *prometheus.GaugeVec     // smtp: listener
	Received      *prometheus.CounterVec   // smtp: listener, result
	ReceivedBytes prometheus.Counter       // smtp
	Attempts      *prometheus.CounterVec   // delivery: kind, result
	Latency       *prometheus.HistogramVec // delivery: class; from acceptance to delivery
	Bounces       *prometheus.CounterVec   // delivery: action
	InFlight      prometheus.Gauge         // queue
	Window        *prometheus.GaugeVec     // queue: class
	Logins        *prometheus.CounterVec   // auth: protocol, result
	PopSessions   prometheus.Gauge         // pop3
	Retrieved     prometheus.Counter       // pop3
	HookSeconds   *prometheus.HistogramVec // script: hook
	HookFailures  *prometheus.CounterVec   // script: hook, bundle
	Reloads       *prometheus.CounterVec   // script: result, step at which it failed
	Events        *prometheus.CounterVec   // script: result
	BundleCalls   *prometheus.CounterVec   // bundle: bundle, domain ("": the server as a whole)
	BundleSteps   *prometheus.CounterVec   // bundle: bundle, domain
	BundleSubmits *prometheus.CounterVec   // bundle: bundle, domain
	BundleErrors  *prometheus.CounterVec   // bundle: bundle, domain
}

func newMetrics(reg *prometheus.Registry) *Metrics {
	f := factory{reg}
	return &Metrics{
		Connections:   f.counter("carteiro_smtp_connections_total", "Connections taken.", "listener"),
		Sessions:      f.gauge("carteiro_smtp_sessions", "Open sessions.", "listener"),
		Received:      f.counter("carteiro_smtp_messages_total", "Answers to the end of data.", "listener", "result"),
		ReceivedBytes: f.counter("carteiro_smtp_received_bytes_total", "Octets of accepted messages.").WithLabelValues(),
		Attempts:      f.counter("carteiro_delivery_attempts_total", "Outcomes, one per recipient and try.", "kind", "result"),
		Latency: f.histogram("carteiro_delivery_latency_seconds", "From acceptance to delivery.",
			[]float64{.01, .05, .25, 1, 5, 30, 300, 3600, 86400}, "class"),
		Bounces:  f.counter("carteiro_delivery_dsn_total", "Delivery status notifications made.", "action"),
		InFlight: f.gauge("carteiro_queue_inflight", "Groups being tried.").WithLabelValues(),
		Window:   f.gauge("carteiro_queue_window", "Due groups held in memory.", "class"),
		Logins:   f.counter("carteiro_auth_logins_total", "Login attempts.", "protocol", "result"),
		PopSessions: f.gauge("carteiro_pop3_sessions", "Open POP3 sessions.").
			WithLabelValues(),
		Retrieved: f.counter("carteiro_pop3_retrieved_total", "Messages sent by RETR.").WithLabelValues(),
		HookSeconds: f.histogram("carteiro_script_hook_seconds", "Wall time of hook calls.",
			[]float64{1e-6, 1e-5, 1e-4, 1e-3, 1e-2, .1, 1, 10}, "hook"),
		HookFailures: f.counter("carteiro_script_failures_total", "Hook calls that failed.", "hook", "bundle"),
		Events:       f.counter("carteiro_script_events_total", "Events for observe.event: handled, failed, parked, dropped.", "result"),
		Reloads:      f.counter("carteiro_script_reloads_total", "Reloads, and rollbacks.", "result", "step"),

		BundleCalls:   f.counter("carteiro_bundle_calls_total", "Calls of bundles' handlers.", "bundle", "domain"),
		BundleSteps:   f.counter("carteiro_bundle_instructions_total", "Instructions that bundles used.", "bundle", "domain"),
		BundleSubmits: f.counter("carteiro_bundle_submits_total", "Messages that bundles sent.", "bundle", "domain"),
		BundleErrors:  f.counter("carteiro_bundle_errors_total", "Calls of bundles' handlers that failed.", "bundle", "domain"),
	}
}

type factory struct{ reg *prometheus.Registry }

func (f factory) counter(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	f.reg.MustRegister(c)
	return c
}

func (f factory) gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	f.reg.MustRegister(g)
	return g
}

func (f factory) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	f.reg.MustRegister(h)
	return h
}
