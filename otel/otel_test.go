package iothubotel_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/ll"
	"github.com/iothub-go/iothub/module"
	iothubotel "github.com/iothub-go/iothub/otel"
)

var (
	_ iothubotel.Sender = (*device.Client)(nil)
	_ iothubotel.Sender = (*module.Client)(nil)
	_ iothubotel.Sender = (*ll.DeviceClient)(nil)
	_ iothubotel.Sender = (*ll.ModuleClient)(nil)
)

// kit is a Telemetry whose output a test can read.
type kit struct {
	*iothubotel.Telemetry
	t      *testing.T
	reader *sdkmetric.ManualReader
	spans  *tracetest.SpanRecorder
	tracer trace.Tracer
}

func newKit(t *testing.T) *kit {
	t.Helper()
	k := &kit{t: t, reader: sdkmetric.NewManualReader(), spans: tracetest.NewSpanRecorder()}
	tp := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(k.spans))
	var err error
	k.Telemetry, err = iothubotel.New(&iothubotel.Options{
		MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(k.reader)), TracerProvider: tp,
	})
	if err != nil {
		t.Fatal(err)
	}
	k.tracer = tp.Tracer("test")
	return k
}

// metrics returns what is collected now, as text: name, identity, value.
func (k *kit) metrics() map[string]string {
	k.t.Helper()
	var rm metricdata.ResourceMetrics
	if err := k.reader.Collect(k.t.Context(), &rm); err != nil {
		k.t.Fatal(err)
	}
	got := map[string]string{}
	for _, sm := range rm.ScopeMetrics {
		if sm.Scope.Name != iothubotel.Scope {
			k.t.Errorf("scope %s", sm.Scope.Name)
		}
		for _, m := range sm.Metrics {
			switch d := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range d.DataPoints {
					got[m.Name+" "+p.Attributes.Encoded(attributes{})] = fmt.Sprintf("%d %v %s", p.Value, d.IsMonotonic, m.Unit)
				}
			case metricdata.Histogram[float64]:
				for _, p := range d.DataPoints {
					got[m.Name+" "+p.Attributes.Encoded(attributes{})] = fmt.Sprintf("%d times, %s", p.Count, m.Unit)
				}
			default:
				k.t.Errorf("%s is a %T", m.Name, d)
			}
		}
	}
	return got
}

// fake is a client that confirms what it is told to.
type fake struct {
	sent    []*iothub.Message
	outcome iothub.Confirmation
	refuse  error
	hold    bool
}

func (f *fake) Identity() iothub.Identity { return iothub.Identity{DeviceID: "d", ModuleID: "m"} }
func (f *fake) SendEventAsync(m *iothub.Message, confirm iothub.ConfirmFunc) error {
	if f.refuse != nil {
		return f.refuse
	}
	f.sent = append(f.sent, m)
	if !f.hold {
		confirm(f.outcome)
	}
	return nil
}

func TestWatch(t *testing.T) {
	k := newKit(t)
	st := iothub.Stats{Queued: 1, QueuedBytes: 2, InFlight: 3, Confirmed: 4, Failed: 5, Resent: 6, Connects: 7, Reconnects: 8, ConnectFails: 9}
	stop, err := k.Watch(iothub.Identity{DeviceID: "a"}, func() iothub.Stats { return st })
	if err != nil {
		t.Fatal(err)
	}
	stop2, err := k.Watch(iothub.Identity{DeviceID: "b", ModuleID: "m"}, func() iothub.Stats { return iothub.Stats{Queued: 11} })
	if err != nil {
		t.Fatal(err)
	}
	got := k.metrics()
	for i, want := range []string{"queued", "queued.size", "in_flight", "confirmed", "failed", "resent", "connects", "reconnects", "connect.failures"} {
		unit := "{message}"
		switch {
		case i == 1:
			unit = "By"
		case i == 8:
			unit = "{attempt}"
		case i > 5:
			unit = "{connection}"
		}
		if s := got["iothub.client."+want+" iothub.device_id=a"]; s != fmt.Sprintf("%d %v %s", i+1, i > 2, unit) {
			t.Errorf("%s is %q", want, s)
		}
	}
	if s := got["iothub.client.queued iothub.device_id=b,iothub.module_id=m"]; s != "11 false {message}" {
		t.Errorf("the module has %q", s)
	}
	if err := errors.Join(stop(), stop2()); err != nil {
		t.Fatal(err)
	}
	if got := k.metrics(); len(got) != 0 {
		t.Errorf("after stop: %v", slices.Collect(maps.Keys(got)))
	}
}

func TestSend(t *testing.T) {
	k := newKit(t)
	f := &fake{}
	ctx, parent := k.tracer.Start(t.Context(), "parent")
	msg := &iothub.Message{Payload: []byte("x"), MessageID: "id1", Properties: map[string]string{"a": "b"}}
	confirmed := 0
	if err := k.SendEventAsync(ctx, f, msg, func(iothub.Confirmation) { confirmed++ }); err != nil {
		t.Fatal(err)
	}
	if err := k.SendEvent(ctx, f, &iothub.Message{}); err != nil {
		t.Fatal(err)
	}
	f.outcome = iothub.Confirmation{Result: iothub.ConfirmMessageTimeout, Err: iothub.ErrMessageTimeout}
	if err := k.SendEvent(ctx, f, msg); !errors.Is(err, iothub.ErrMessageTimeout) {
		t.Error(err)
	}
	f.outcome = iothub.Confirmation{Result: iothub.ConfirmError}
	if err := k.SendEvent(ctx, f, msg); err == nil {
		t.Error("no error")
	}
	f.refuse = iothub.ErrQueueFull
	if err := k.SendEvent(ctx, f, msg); !errors.Is(err, iothub.ErrQueueFull) {
		t.Error(err)
	}
	f.refuse, f.hold = nil, true
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := k.SendEvent(ended, f, msg); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	parent.End()

	if len(msg.Properties) != 1 || confirmed != 1 {
		t.Errorf("the caller's message was changed: %v; confirmed %d times", msg.Properties, confirmed)
	}
	spans := k.spans.Ended()
	for i, want := range []struct {
		status codes.Code
		sent   int
	}{{codes.Unset, 0}, {codes.Unset, 1}, {codes.Error, 2}, {codes.Error, 3}, {codes.Error, -1}} {
		s := spans[i]
		if s.Name() != "send d/m" || s.SpanKind() != trace.SpanKindProducer || s.Status().Code != want.status || s.Parent().SpanID() != parent.SpanContext().SpanID() {
			t.Errorf("span %d: %s %v %v", i, s.Name(), s.SpanKind(), s.Status())
		}
		if want.sent >= 0 {
			id := s.SpanContext()
			if got := f.sent[want.sent].Properties["traceparent"]; got != fmt.Sprintf("00-%s-%s-01", id.TraceID(), id.SpanID()) {
				t.Errorf("message %d carries %q", i, got)
			}
		}
	}
	got := k.metrics()
	for result, n := range map[string]int{"OK": 2, "MESSAGE_TIMEOUT": 1, "ERROR": 1} {
		if s := got["iothub.client.confirmation.duration iothub.device_id=d,iothub.module_id=m,iothub.result="+result]; s != fmt.Sprintf("%d times, s", n) {
			t.Errorf("%s: %q", result, s)
		}
	}
	// Without a trace of the caller's own, and by Confirm.
	f.hold, f.outcome = false, iothub.Confirmation{}
	if err := f.SendEventAsync(msg, k.Confirm(f.Identity(), nil)); err != nil {
		t.Fatal(err)
	}
	if s := k.metrics()["iothub.client.confirmation.duration iothub.device_id=d,iothub.module_id=m,iothub.result=OK"]; s != "3 times, s" {
		t.Error(s)
	}
	f.refuse = iothub.ErrClosed
	if err := k.SendEventAsync(ctx, f, nil, nil); !errors.Is(err, iothub.ErrClosed) {
		t.Errorf("no message: %v", err)
	}
}

func TestPropagation(t *testing.T) {
	k := newKit(t)
	state, err := trace.ParseTraceState("vendor=1")
	if err != nil {
		t.Fatal(err)
	}
	sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled, TraceState: state})
	for _, properties := range []map[string]string{nil, {"a": "b", "traceparent": "old"}} {
		m := k.Inject(trace.ContextWithSpanContext(t.Context(), sc), &iothub.Message{Properties: properties})
		if m.Properties["traceparent"] != "00-01000000000000000000000000000000-0200000000000000-01" || m.Properties["tracestate"] != "vendor=1" || m.Properties["a"] != properties["a"] {
			t.Errorf("%v", m.Properties)
		}
		if err := m.Validate(); err != nil {
			t.Error(err)
		}
		if got := trace.SpanContextFromContext(k.Extract(t.Context(), m)); !got.Equal(sc.WithRemote(true)) {
			t.Errorf("%v", got)
		}
	}
	m := &iothub.Message{}
	if k.Inject(t.Context(), m) != m || trace.SpanContextFromContext(k.Extract(t.Context(), m)).IsValid() {
		t.Error("no trace makes one")
	}
	for _, bad := range []string{"", "x", "00-0-0-00", strings.Repeat("f", 1000)} {
		if ctx := k.ExtractProperties(t.Context(), map[string]string{"traceparent": bad}); trace.SpanContextFromContext(ctx).IsValid() {
			t.Errorf("%q is a trace", bad)
		}
	}
	h := k.HandleMessages(iothub.Identity{DeviceID: "d"}, func(ctx context.Context, m *iothub.ReceivedMessage) iothub.Disposition {
		if trace.SpanContextFromContext(ctx).TraceID() != sc.TraceID() {
			t.Error("the handler is not in the sender's trace")
		}
		return iothub.DispositionRejected
	})
	if d := h(iothub.NewReceivedMessage(*k.Inject(trace.ContextWithSpanContext(t.Context(), sc), m), nil)); d != iothub.DispositionRejected {
		t.Error(d)
	}
	if s := k.spans.Ended()[0]; s.Name() != "process d" || s.SpanKind() != trace.SpanKindConsumer || s.Parent().SpanID() != sc.SpanID() {
		t.Errorf("%s %v", s.Name(), s.SpanKind())
	}
}

// One trace id from the device through a hub to who reads the event.
func TestTraceThroughHub(t *testing.T) {
	s, err := hub.New(&hub.Options{HostNames: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown(context.Background())
	addr, err := s.Listen(hub.MQTT, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateDevice(t.Context(), "dev1"); err != nil {
		t.Fatal(err)
	}
	text, err := s.DeviceConnectionString("dev1")
	if err != nil {
		t.Fatal(err)
	}
	cs, err := iothub.ParseConnectionString(text)
	if err != nil {
		t.Fatal(err)
	}
	c, err := device.NewClientFromConnectionString(strings.Replace(text, cs.HostName, addr.String(), 1), &device.ClientOptions{TLS: &tls.Config{RootCAs: s.CertPool()}})
	if err != nil {
		t.Fatal(err)
	}
	k := newKit(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ctx, span := k.tracer.Start(ctx, "measure")
	if err := k.SendEvent(ctx, c, &iothub.Message{Payload: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	found := false
	for e, err := range s.Events(ctx, &hub.EventsOptions{NoWait: true}) {
		if err != nil {
			t.Fatal(err)
		}
		got := trace.SpanContextFromContext(k.ExtractProperties(context.Background(), e.Properties))
		found = got.TraceID() == span.SpanContext().TraceID()
	}
	if !found {
		t.Error("the event does not carry the trace")
	}
	if err := c.Close(ctx); err != nil {
		t.Error(err)
	}
}

func TestGlobalProviders(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	otel.SetMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)))
	tel, err := iothubotel.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tel.Watch(iothub.Identity{DeviceID: "a"}, func() iothub.Stats { return iothub.Stats{} }); err != nil {
		t.Fatal(err)
	}
	var rm metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &rm); err != nil || len(rm.ScopeMetrics) != 1 {
		t.Errorf("%v, %v", rm, err)
	}
	if _, err := iothubotel.New(&iothubotel.Options{Propagator: propagation.Baggage{}}); err != nil {
		t.Error(err)
	}
}

// attributes writes a set of attributes as name=value, in order.
type attributes struct{}

func (attributes) Encode(i attribute.Iterator) string {
	var all []string
	for i.Next() {
		kv := i.Attribute()
		all = append(all, string(kv.Key)+"="+kv.Value.String())
	}
	slices.Sort(all)
	return strings.Join(all, ",")
}

func (attributes) ID() attribute.EncoderID { return attribute.EncoderID{} }
