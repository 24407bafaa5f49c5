// Package wecomotel gives package wecom metrics and traces by OpenTelemetry.
//
//	telemetry, err := wecomotel.New(nil, nil) // the global providers
//	…
//	auth, err := wecom.New(wecom.Options{
//		…
//		Observe:   telemetry.Observe,
//		Transport: telemetry.Transport(nil),
//	})
//
// No attribute, span name or span status holds a secret, an access token, a code, a state, a
// person's id or anything else that a browser chooses. URLs are reduced to the operation.
//
// Do not put otelhttp's Transport around Options.Transport: it records the
// whole URL, and in WeCom's API the secret, the access token and the code stand there.
//
// # Metrics
//
//	wecom.signin.starts           counter    browsers sent to WeCom; outcome: first, restart
//	wecom.signins                 counter    codes that came back; outcome, errcode
//	wecom.signin.duration         histogram  seconds from the code to the session; outcome
//	wecom.signouts                counter    people who signed out
//	wecom.rechecks                counter    members found to be gone; outcome
//	wecom.refusals                counter    requests answered with a failure; outcome: its code, errcode
//	wecom.token.refreshes         counter    access tokens asked of WeCom; outcome, errcode
//	wecom.session_store.duration  histogram  seconds that a store other than memory took; operation, outcome
//	wecom.call.duration           histogram  seconds that a call to WeCom took; operation, status or error type
//
// The attributes are wecom.outcome, wecom.errcode (0 for none) and wecom.operation; those of calls
// are also http.response.status_code and error.type.
//
// # Traces
//
// A sign-in is a span "wecom signin". Each call to WeCom is a span of kind client, named by
// its operation: "wecom auth/getuserinfo". Both are children of the request's span, if there is
// one. A refresh of the access token serves many requests and belongs to none: its call begins a trace of its own.
// Trace headers are not sent to WeCom.
package wecomotel

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/wecomauth/wecom"
)

const scope = "github.com/wecomauth/wecom/adapters/wecomotel"

// The attributes that are not OpenTelemetry's own.
const (
	outcomeKey   = attribute.Key("wecom.outcome")
	errcodeKey   = attribute.Key("wecom.errcode")
	operationKey = attribute.Key("wecom.operation")
)

// Telemetry turns what a middleware does into metrics and spans. Make one with
// [New]; it serves any number of middlewares and clients and is safe for concurrent
// use. The zero Telemetry panics.
type Telemetry struct {
	tracer trace.Tracer

	starts, signIns, signOuts, rechecks, refusals, tokens metric.Int64Counter

	signInTime, storeTime, callTime metric.Float64Histogram
}

// New makes the instruments. A nil provider stands for the global one: what is
// registered there later counts too.
func New(meters metric.MeterProvider, tracers trace.TracerProvider) (*Telemetry, error) {
	if meters == nil {
		meters = otel.GetMeterProvider()
	}
	if tracers == nil {
		tracers = otel.GetTracerProvider()
	}
	meter := meters.Meter(scope)
	var errs []error
	counter := func(name, unit, description string) metric.Int64Counter {
		c, err := meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(description))
		errs = append(errs, err)
		return c
	}
	// From a store on the same machine to the deadline of a sign-in.
	bounds := metric.WithExplicitBucketBoundaries(.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2, 5, 10)
	histogram := func(name, description string) metric.Float64Histogram {
		h, err := meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description), bounds)
		errs = append(errs, err)
		return h
	}
	t := &Telemetry{
		tracer:     tracers.Tracer(scope),
		starts:     counter("wecom.signin.starts", "{start}", "Browsers sent to WeCom."),
		signIns:    counter("wecom.signins", "{signin}", "Codes that came back from WeCom."),
		signOuts:   counter("wecom.signouts", "{signout}", "People who signed out."),
		rechecks:   counter("wecom.rechecks", "{recheck}", "Members who were found to be gone."),
		refusals:   counter("wecom.refusals", "{request}", "Requests that were answered with a failure."),
		tokens:     counter("wecom.token.refreshes", "{refresh}", "Access tokens asked of WeCom."),
		signInTime: histogram("wecom.signin.duration", "Time from the code to the session."),
		storeTime:  histogram("wecom.session_store.duration", "Time that the session store took."),
		callTime:   histogram("wecom.call.duration", "Time that a call to WeCom took."),
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return t, nil
}

// Observe is for [wecom.Options].Observe.
func (t *Telemetry) Observe(ctx context.Context, e wecom.Event) {
	outcome := outcomeKey.String(word(e.Outcome))
	errcode := errcodeKey.Int(e.ErrCode)
	switch e.Name {
	case "start":
		t.starts.Add(ctx, 1, metric.WithAttributes(outcome))
	case "signin":
		t.signIns.Add(ctx, 1, metric.WithAttributes(outcome, errcode))
		t.signInTime.Record(ctx, e.Duration.Seconds(), metric.WithAttributes(outcome))
		t.signInSpan(ctx, e, outcome, errcode)
	case "signout":
		t.signOuts.Add(ctx, 1)
	case "recheck":
		t.rechecks.Add(ctx, 1, metric.WithAttributes(outcome))
	case "refused":
		t.refusals.Add(ctx, 1, metric.WithAttributes(outcome, errcode))
	case "token":
		t.tokens.Add(ctx, 1, metric.WithAttributes(outcome, errcode))
	default:
		if operation, ok := strings.CutPrefix(e.Name, "store_"); ok {
			t.storeTime.Record(ctx, e.Duration.Seconds(), metric.WithAttributes(operationKey.String(word(operation)), outcome))
		}
	}
}

// signInSpan records a sign-in when it has ended.
func (t *Telemetry) signInSpan(ctx context.Context, e wecom.Event, outcome, errcode attribute.KeyValue) {
	end := time.Now()
	_, span := t.tracer.Start(ctx, "wecom signin", trace.WithTimestamp(end.Add(-e.Duration)), trace.WithAttributes(outcome, errcode))
	switch e.Outcome {
	case "ok", "start_over", "not_allowed", "outsider", "linked_corp": // nothing for anybody to fix
	default:
		span.SetStatus(codes.Error, outcome.Value.AsString())
	}
	span.End(trace.WithTimestamp(end))
}

var aWord = regexp.MustCompile(`^[a-z][a-z_]{0,39}$`)

// word keeps everything but words out of attributes: a program's own Provider may
// return a Failure with any code.
func word(s string) string {
	if aWord.MatchString(s) {
		return s
	}
	return "other"
}
