package main

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/wecomauth/wecom"
)

// metrics are what Prometheus reads. No label holds anything that a client chooses.
type metrics struct {
	registry       *prometheus.Registry
	starts         *prometheus.CounterVec
	signIns        *prometheus.CounterVec
	signInTime     prometheus.Histogram
	signOuts       prometheus.Counter
	removed        *prometheus.CounterVec
	refused        *prometheus.CounterVec
	requests       *prometheus.CounterVec
	requestTime    *prometheus.HistogramVec
	upstreamErrors *prometheus.CounterVec
}

func newMetrics() *metrics {
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "wecom", Name: name, Help: help}, labels)
	}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		starts:   counters("signin_starts_total", "Browsers sent to WeCom: first, or restart after a lost attempt.", "kind"),
		signIns:  counters("signins_total", "Codes that came back from WeCom, by outcome and WeCom's errcode.", "outcome", "errcode"),
		signInTime: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "wecom", Name: "signin_duration_seconds",
			Help: "Time from the code to the session.", Buckets: prometheus.DefBuckets}),
		signOuts: prometheus.NewCounter(prometheus.CounterOpts{Namespace: "wecom", Name: "signouts_total", Help: "People who signed out."}),
		removed:  counters("rechecks_total", "Members whom a recheck found to be gone, by outcome.", "outcome"),
		refused:  counters("refused_total", "Requests answered with a failure, by its code and WeCom's errcode.", "code", "errcode"),
		requests: counters("gateway_requests_total", "Requests by route and class of the status.", "route", "class"),
		requestTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "wecom", Name: "gateway_request_duration_seconds",
			Help: "Time of whole requests by route.", Buckets: prometheus.DefBuckets}, []string{"route"}),
		upstreamErrors: counters("gateway_upstream_errors_total", "Requests that the upstream did not answer.", "reason"),
	}
	m.registry.MustRegister(m.starts, m.signIns, m.signInTime, m.signOuts, m.removed, m.refused, m.requests, m.requestTime, m.upstreamErrors,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	// A series that begins with 1 shows Prometheus no increase: what the alerts ask for begins with 0.
	m.starts.WithLabelValues("first")
	m.starts.WithLabelValues("restart")
	m.signIns.WithLabelValues("ok", "0")
	m.removed.WithLabelValues("revoked")
	for _, code := range [...]string{"session_store", "setup_fault", "too_many_attempts", "wecom_unavailable"} {
		m.refused.WithLabelValues(code, "0")
	}
	m.upstreamErrors.WithLabelValues("timeout")
	m.upstreamErrors.WithLabelValues("unreachable")
	return m
}

// event counts what the middleware observes.
func (m *metrics) event(_ context.Context, e wecom.Event) {
	errcode := strconv.Itoa(e.ErrCode)
	switch e.Name {
	case "start":
		m.starts.WithLabelValues(e.Outcome).Inc()
	case "signin":
		m.signIns.WithLabelValues(e.Outcome, errcode).Inc()
		m.signInTime.Observe(e.Duration.Seconds())
	case "signout":
		m.signOuts.Inc()
	case "recheck":
		m.removed.WithLabelValues(e.Outcome).Inc()
	case "refused":
		m.refused.WithLabelValues(e.Outcome, errcode).Inc()
	}
}

func (m *metrics) request(route string, status int, took time.Duration) {
	class := "none"
	if status > 0 {
		class = strconv.Itoa(status/100) + "xx"
	}
	m.requests.WithLabelValues(route, class).Inc()
	m.requestTime.WithLabelValues(route).Observe(took.Seconds())
}

func (m *metrics) upstreamError(reason string) { m.upstreamErrors.WithLabelValues(reason).Inc() }

func (m *metrics) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry}))
	return mux
}
