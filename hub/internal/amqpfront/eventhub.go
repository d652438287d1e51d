package amqpfront

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/internal/wire/amqp"
)

// The Event Hubs-compatible endpoint: receivers of the events of a partition, and
// $management. (wire-service E)

const (
	selectorFilter = "apache.org:selector-filter:string"
	runtimeMetric  = "com.microsoft:enable-receiver-runtime-metric"
	// metricAge is how old what a receiver is told of its partition may be.
	metricAge = time.Second
)

// authorizeEvents lets in whoever may read events, by a token for the hub, the event
// hub, or the place in it. Some clients sign for a resource in lower case, so the
// fixed words are tried so, too: names are not told apart by case here.
func (l *link) authorizeEvents(hubs []string, rest ...string) error {
	var lower []string
	for _, word := range rest {
		lower = append(lower, strings.ToLower(word))
	}
	var first error
	for _, name := range hubs {
		for _, tail := range [][]string{rest, lower} {
			err := l.authorize(core.ServiceConnect, append([]string{name}, tail...)...)
			if err == nil {
				return nil
			}
			if first == nil {
				first = err
			}
		}
	}
	return first
}

// openEvents is a receiver of the events of a partition, for a consumer group:
// {event hub}/ConsumerGroups/{group}/Partitions/{partition}. (wire-service E5)
func openEvents(l *link) (serve, error) {
	name, group, partition := l.path[0], l.path[2], l.path[4]
	if err := l.authorizeEvents([]string{name}, "ConsumerGroups", group, "Partitions", partition); err != nil {
		return nil, err
	}
	front := l.c.front
	hub, err := front.hub.EventHub(name)
	if err != nil {
		return nil, err
	}
	if !hub.HasConsumerGroup(group) {
		return nil, core.NewError(core.CodeGenericNotFound, "the event hub %s has no consumer group %q", hub.Name(), group)
	}
	n, err := strconv.Atoi(partition)
	if err != nil || n < 0 || n >= hub.Partitions() {
		return nil, &amqp.Error{Condition: "com.microsoft:argument-out-of-range",
			Description: "The specified partition is invalid for an EventHub partition sender or receiver. It should be between 0 and " + strconv.Itoa(hub.Partitions()-1) + "."}
	}
	from, err := l.position()
	if err != nil {
		return nil, err
	}
	r := &eventReceiver{link: l, hub: hub, partition: n, key: strings.ToLower(strings.Join([]string{hub.Name(), group, partition}, "/"))}
	r.name = l.request.Properties.Text("com.microsoft:receiver-name")
	r.epoch, r.owns = epochOf(l.request.Properties)
	r.metrics = slices.Contains(l.request.DesiredCapabilities, runtimeMetric)
	// Whoever asks for nothing else gets events settled: nobody could give one
	// back, and some clients never settle.
	if !l.request.SenderSettleMode.OK || l.request.SenderSettleMode.V == amqp.SenderMixed {
		l.settled = true
	}
	if r.reader, err = hub.NewReader(l.ctx, from, n); err != nil {
		return nil, err
	}
	if err := front.receivers.add(r); err != nil {
		r.reader.Close()
		return nil, err
	}
	if l.answer.Source != nil {
		l.answer.Source.Filter = l.request.Source.Filter
	}
	// A link whose session ends while it is attached is never served.
	context.AfterFunc(l.ctx, func() {
		front.receivers.remove(r)
		if r.begin() {
			r.reader.Close()
		}
	})
	return r.serve, nil
}

func epochOf(p amqp.Map) (epoch int64, ok bool) {
	switch v := p.Get("com.microsoft:epoch").(type) {
	case int64:
		return v, true
	case int32:
		return int64(v), true
	case uint64:
		return int64(min(v, 1<<62)), true
	case uint32:
		return int64(v), true
	}
	return 0, false
}

// selector is what clients may ask for: the name of an annotation, the comparison,
// and the value with or without quotes.
var selector = regexp.MustCompile(`^\s*amqp\.annotation\.(x-opt-[a-z-]+)\s*(>=|>)\s*(?:'([^']*)'|"([^"]*)"|([^'"\s]+))\s*$`)

// position is where the filter of the source has the receiver begin; the start
// when there is none.
func (l *link) position() (core.Position, error) {
	if l.request.Source == nil {
		return core.FromStart(), nil
	}
	value := l.request.Source.Filter.Get(selectorFilter)
	if d, ok := value.(amqp.Described); ok {
		value = d.Value
	}
	if value == nil {
		return core.FromStart(), nil
	}
	text, _ := value.(string)
	m := selector.FindStringSubmatch(text)
	if m == nil {
		return core.Position{}, core.NewError(core.CodeArgumentInvalid, "the filter %q is none of those that event hubs have, such as amqp.annotation.x-opt-offset > '-1'", text)
	}
	inclusive, at := m[2] == ">=", m[3]+m[4]+m[5]
	if m[1] == "x-opt-offset" {
		return core.FromOffset(at, inclusive)
	}
	number, err := strconv.ParseInt(at, 10, 64)
	if err == nil {
		switch m[1] {
		case "x-opt-sequence-number":
			return core.FromSequence(number, inclusive), nil
		case "x-opt-enqueued-time", "x-opt-enqueuedtimeutc":
			if !inclusive {
				number++ // events are as old as a millisecond tells
			}
			return core.FromTime(time.UnixMilli(number)), nil
		}
	}
	return core.Position{}, core.NewError(core.CodeArgumentInvalid, "the filter %q is none of those that event hubs have", text)
}

// eventReceiver is one receiver of a partition.
type eventReceiver struct {
	link      *link
	hub       *core.EventHub
	partition int
	reader    *core.EventReader
	key       string // of the partition and the group
	name      string
	epoch     int64
	owns      bool // it has an epoch
	metrics   bool

	info   core.PartitionInfo
	infoAt time.Time

	begun atomic.Bool
}

// begin reports whether nobody else has begun to use the reader.
func (r *eventReceiver) begin() bool { return r.begun.CompareAndSwap(false, true) }

func (r *eventReceiver) serve(context.Context) error {
	if !r.begin() {
		return nil
	}
	defer r.reader.Close()
	return r.link.send(r.next)
}

// next gives the next event; what is there at once even when ctx has ended.
func (r *eventReceiver) next(ctx context.Context) (*outgoing, error) {
	e, err := r.reader.TryNext(context.WithoutCancel(ctx))
	if errors.Is(err, core.ErrNoEvent) {
		e, err = r.reader.Next(ctx)
	}
	if err != nil {
		return nil, err
	}
	m := eventMessage(&e)
	if r.metrics {
		m.DeliveryAnnotations = r.metric(ctx)
	}
	return &outgoing{Message: m}, nil
}

// metric tells a receiver how far its partition goes.
func (r *eventReceiver) metric(ctx context.Context) amqp.Map {
	now := r.link.c.now()
	if now.Sub(r.infoAt) > metricAge {
		if info, err := r.hub.PartitionInfo(context.WithoutCancel(ctx), r.partition); err == nil {
			r.info, r.infoAt = info, now
		}
	}
	return amqp.Map{
		{Key: amqp.Symbol("last_enqueued_sequence_number"), Value: r.info.LastSequenceNumber},
		{Key: amqp.Symbol("last_enqueued_offset"), Value: r.info.LastOffset},
		{Key: amqp.Symbol("last_enqueued_time_utc"), Value: amqp.TimestampOf(r.info.LastEnqueuedTime.Time)},
		{Key: amqp.Symbol("runtime_info_retrieval_time_utc"), Value: amqp.TimestampOf(r.infoAt)},
	}
}

// eventMessage is an event in the form of Event Hubs. (wire-service E5, F2)
func eventMessage(e *core.StoredEvent) *amqp.Message {
	at := amqp.TimestampOf(e.EnqueuedTime.Time)
	m := &amqp.Message{
		MessageAnnotations: make(amqp.Map, 0, 12),
		Properties:         &amqp.Properties{},
		Data:               [][]byte{e.Body},
	}
	annotate := func(name amqp.Symbol, value any) {
		if value != "" {
			m.MessageAnnotations = append(m.MessageAnnotations, amqp.Entry{Key: name, Value: value})
		}
	}
	annotate("x-opt-sequence-number", e.SequenceNumber)
	annotate("x-opt-offset", e.Offset)
	annotate("x-opt-enqueued-time", at)
	annotate("iothub-connection-device-id", e.DeviceID)
	annotate("iothub-connection-module-id", e.ModuleID)
	annotate("iothub-connection-auth-method", e.AuthMethod)
	annotate("iothub-connection-auth-generation-id", e.GenerationID)
	annotate("iothub-enqueuedtime", at)
	annotate("iothub-message-source", e.Source)
	annotate("dt-dataschema", e.ModelID)
	if len(e.Properties) > 0 {
		m.ApplicationProperties = make(amqp.Map, 0, len(e.Properties)+1)
		for name, value := range e.Properties {
			m.ApplicationProperties = append(m.ApplicationProperties, amqp.Entry{Key: name, Value: value})
		}
	}
	p := m.Properties
	for name, value := range e.System {
		switch name {
		case "message-id":
			p.MessageID = value
		case "correlation-id":
			p.CorrelationID = value
		case "user-id":
			p.UserID = []byte(value)
		case "content-type":
			p.ContentType = amqp.Symbol(value)
		case "content-encoding":
			p.ContentEncoding = amqp.Symbol(value)
		case "iothub-creation-time-utc", "iothub-message-schema":
			m.ApplicationProperties = append(m.ApplicationProperties, amqp.Entry{Key: name, Value: value})
		default:
			annotate(amqp.Symbol(name), value)
		}
	}
	if e.Source == core.SourceTelemetry.String() {
		p.To = "/devices/" + e.DeviceID
		if e.ModuleID != "" {
			p.To += "/modules/" + e.ModuleID
		}
		p.To += "/messages/events"
	}
	return m
}

// refuseEvents refuses links that would send events: they come from devices.
func refuseEvents(*link) (serve, error) {
	return nil, &amqp.Error{Condition: amqp.ErrCondNotAllowed, Description: "events come from devices and modules; nothing can be sent to an event hub of an IoT hub"}
}
