// Package iothubotel connects device and module clients to OpenTelemetry:
// metrics of what a client queues, sends, confirms and loses, and W3C trace
// context carried by message properties from the device through the hub to
// whoever reads the event.
//
//	tel, err := iothubotel.New(nil) // the global providers
//	stop, err := tel.Watch(client.Identity(), client.Stats)
//	defer stop()
//	…
//	err = tel.SendEventAsync(ctx, client, msg, confirm)
//
// and on the receiving side
//
//	client.HandleMessages(func(m *iothub.ReceivedMessage) iothub.Disposition {
//		ctx := tel.Extract(context.Background(), &m.Message)
//		…
//	})
//
// It is a module of its own, so that a device program without OpenTelemetry
// does not depend on it.
package iothubotel

import (
	"context"
	"errors"
	"maps"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/iothub-go/iothub"
)

// Scope is the name of the instrumentation scope of all metrics and spans.
const Scope = "github.com/iothub-go/iothub/otel"

// Options of a [Telemetry]. The zero value uses the global providers.
type Options struct {
	// MeterProvider and TracerProvider take the metrics and spans; nil is
	// OpenTelemetry's global one.
	MeterProvider  metric.MeterProvider
	TracerProvider trace.TracerProvider
	// Propagator writes the trace context into message properties and reads
	// it from them; nil is W3C trace context (traceparent, tracestate). The
	// names of its fields become names of application properties.
	Propagator propagation.TextMapPropagator
}

// Telemetry makes the metrics and spans of any number of clients. It is
// immutable and safe for concurrent use.
type Telemetry struct {
	meter      metric.Meter
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
	latency    metric.Float64Histogram
}

// New returns a Telemetry; o may be nil. The error is that of the meter
// provider.
func New(o *Options) (*Telemetry, error) {
	var c Options
	if o != nil {
		c = *o
	}
	if c.MeterProvider == nil {
		c.MeterProvider = otel.GetMeterProvider()
	}
	if c.TracerProvider == nil {
		c.TracerProvider = otel.GetTracerProvider()
	}
	if c.Propagator == nil {
		c.Propagator = propagation.TraceContext{}
	}
	t := &Telemetry{
		meter: c.MeterProvider.Meter(Scope), tracer: c.TracerProvider.Tracer(Scope), propagator: c.Propagator,
	}
	var err error
	t.latency, err = t.meter.Float64Histogram("iothub.client.confirmation.duration", metric.WithUnit("s"),
		metric.WithDescription("Time from the acceptance of a message to its confirmation, by result"),
		metric.WithExplicitBucketBoundaries(.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 3600))
	return t, err
}

// identity returns the attributes that say whose a metric or span is.
func identity(id iothub.Identity) []attribute.KeyValue {
	attrs := []attribute.KeyValue{attribute.String("iothub.device_id", id.DeviceID)}
	if id.IsModule() {
		attrs = append(attrs, attribute.String("iothub.module_id", id.ModuleID))
	}
	return attrs
}

// Sender is the part of a client that sends: *device.Client, *module.Client,
// *ll.DeviceClient and *ll.ModuleClient have it.
type Sender interface {
	// SendEventAsync accepts a message; see the client.
	SendEventAsync(msg *iothub.Message, confirm iothub.ConfirmFunc) error
	// Identity returns whom the client is for.
	Identity() iothub.Identity
}

// SendEventAsync sends msg through client, with a producer span that lasts
// until the confirmation and whose context travels in the message's properties,
// and records how long the confirmation took. msg and ctx are used during the
// call only, and msg is not changed. Returns and confirms as the client's
// SendEventAsync does; an ended ctx cancels nothing.
func (t *Telemetry) SendEventAsync(ctx context.Context, client Sender, msg *iothub.Message, confirm iothub.ConfirmFunc) error {
	if msg == nil {
		return client.SendEventAsync(nil, confirm)
	}
	id := client.Identity()
	attrs := identity(id)
	ctx, span := t.tracer.Start(ctx, "send "+id.String(), trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(attrs...),
		trace.WithAttributes(
			attribute.String("messaging.system", "iothub"),
			attribute.String("messaging.operation.type", "send"),
			attribute.Int("messaging.message.body.size", len(msg.Payload)),
		))
	if msg.MessageID != "" {
		span.SetAttributes(attribute.String("messaging.message.id", msg.MessageID))
	}
	err := client.SendEventAsync(t.Inject(ctx, msg), t.confirm(id, span, confirm))
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, "not accepted")
		span.End()
	}
	return err
}

// SendEvent is SendEventAsync that waits for the confirmation, or until ctx
// ends, after which the message stays queued. It waits where it is called, so it
// is not for inside a callback, nor for the clients of package ll.
func (t *Telemetry) SendEvent(ctx context.Context, client Sender, msg *iothub.Message) error {
	done := make(chan iothub.Confirmation, 1)
	if err := t.SendEventAsync(ctx, client, msg, func(c iothub.Confirmation) { done <- c }); err != nil {
		return err
	}
	select {
	case c := <-done:
		if c.Result == iothub.ConfirmOK {
			return nil
		}
		if c.Err != nil {
			return c.Err
		}
		return errors.New("iothub: " + c.Result.String())
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Confirm returns a confirm function that records how long the confirmation
// took from now on and then calls confirm, which may be nil. It is for programs
// that make their own spans.
func (t *Telemetry) Confirm(id iothub.Identity, confirm iothub.ConfirmFunc) iothub.ConfirmFunc {
	return t.confirm(id, nil, confirm)
}

// confirm ends span, which may be nil, too.
func (t *Telemetry) confirm(id iothub.Identity, span trace.Span, confirm iothub.ConfirmFunc) iothub.ConfirmFunc {
	begun := time.Now()
	return func(c iothub.Confirmation) {
		result := attribute.String("iothub.result", c.Result.String())
		attrs := metric.WithAttributes(append(identity(id), result)...)
		// Not the caller's ctx: it is long over.
		t.latency.Record(context.Background(), time.Since(begun).Seconds(), attrs)
		if span != nil {
			span.SetAttributes(result)
			if c.Result != iothub.ConfirmOK {
				if c.Err != nil {
					span.RecordError(c.Err)
				}
				span.SetStatus(codes.Error, c.Result.String())
			}
			span.End()
		}
		if confirm != nil {
			confirm(c)
		}
	}
}

// Inject returns a shallow copy of msg whose properties carry the trace context
// of ctx, or msg itself when ctx has none.
func (t *Telemetry) Inject(ctx context.Context, msg *iothub.Message) *iothub.Message {
	carrier := propagation.MapCarrier{}
	t.propagator.Inject(ctx, carrier)
	if len(carrier) == 0 {
		return msg
	}
	c := *msg
	c.Properties = maps.Clone(msg.Properties)
	if c.Properties == nil {
		c.Properties = carrier
	} else {
		maps.Copy(c.Properties, carrier)
	}
	return &c
}

// Extract returns ctx with the trace context that the properties of msg carry:
// a span that is started in it belongs to the trace of the sender. Without one
// it returns ctx.
func (t *Telemetry) Extract(ctx context.Context, msg *iothub.Message) context.Context {
	return t.ExtractProperties(ctx, msg.Properties)
}

// ExtractProperties is Extract from properties alone, such as those of an event
// that a back end reads.
func (t *Telemetry) ExtractProperties(ctx context.Context, properties map[string]string) context.Context {
	return t.propagator.Extract(ctx, propagation.MapCarrier(properties))
}

// HandleMessages returns a handler that runs h in a consumer span which belongs
// to the trace of the sender. The span ends when h returns, also when h keeps
// the message for later.
func (t *Telemetry) HandleMessages(id iothub.Identity, h func(context.Context, *iothub.ReceivedMessage) iothub.Disposition) iothub.MessageHandler {
	attrs := identity(id)
	return func(m *iothub.ReceivedMessage) iothub.Disposition {
		ctx, span := t.tracer.Start(t.Extract(context.Background(), &m.Message), "process "+id.String(),
			trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(attrs...),
			trace.WithAttributes(
				attribute.String("messaging.system", "iothub"),
				attribute.String("messaging.operation.type", "process"),
				attribute.Int("messaging.message.body.size", len(m.Payload)),
			))
		defer span.End()
		d := h(ctx, m)
		span.SetAttributes(attribute.String("iothub.disposition", d.String()))
		return d
	}
}
