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
	r.reading = context.WithoutCancel(l.ctx)
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

	reading context.Context // for what does not wait: it ends with nothing
	message eventMessage

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
	e, err := r.reader.TryNext(r.reading)
	if errors.Is(err, core.ErrNoEvent) {
		e, err = r.reader.Next(ctx)
	}
	if err != nil {
		return nil, err
	}
	m := r.message.fill(&e)
	if r.metrics {
		m.DeliveryAnnotations = r.metric()
	}
	return &outgoing{Message: m}, nil
}

// metric tells a receiver how far its partition goes.
func (r *eventReceiver) metric() amqp.Map {
	now := r.link.c.now()
	if now.Sub(r.infoAt) > metricAge {
		if info, err := r.hub.PartitionInfo(r.reading, r.partition); err == nil {
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

// sender is what events of one sender and source have in common.
type sender struct{ device, module, authMethod, generation, model, source string }

// annotations are those that tell of the sender. (wire-service E5, F2)
func (s sender) annotations() amqp.Map {
	var m amqp.Map
	for _, a := range []struct {
		name amqp.Symbol
		text string
	}{
		{"iothub-connection-device-id", s.device},
		{"iothub-connection-module-id", s.module},
		{"iothub-connection-auth-method", s.authMethod},
		{"iothub-connection-auth-generation-id", s.generation},
		{"iothub-message-source", s.source},
		{"dt-dataschema", s.model},
	} {
		if a.text != "" {
			m = append(m, amqp.Entry{Key: a.name, Value: a.text})
		}
	}
	return m
}

// to is the property of that name of messages of devices.
func (s sender) to() string {
	switch {
	case s.source != core.SourceTelemetry.String():
		return ""
	case s.module != "":
		return "/devices/" + s.device + "/modules/" + s.module + "/messages/events"
	}
	return "/devices/" + s.device + "/messages/events"
}

// eventMessage makes events messages, one after the other in the same memory.
type eventMessage struct {
	message    amqp.Message
	standard   amqp.Properties
	properties amqp.Map
	data       [1][]byte

	of  sender // of the last event; what follows is made of it
	who amqp.Map
	to  string
}

// fill puts an event into the message, in the form of Event Hubs.
// (wire-service E5, F2)
func (r *eventMessage) fill(e *core.StoredEvent) *amqp.Message {
	if of := (sender{e.DeviceID, e.ModuleID, e.AuthMethod, e.GenerationID, e.ModelID, e.Source}); of != r.of {
		r.of, r.who, r.to = of, of.annotations(), of.to()
	}
	m, p := &r.message, &r.standard
	*p, r.data[0] = amqp.Properties{To: r.to}, e.Body
	m.Properties, m.Data = p, r.data[:]
	var at any = amqp.TimestampOf(e.EnqueuedTime.Time)
	annotations := append(m.MessageAnnotations[:0],
		amqp.Entry{Key: amqp.Symbol("x-opt-sequence-number"), Value: e.SequenceNumber},
		amqp.Entry{Key: amqp.Symbol("x-opt-offset"), Value: e.Offset},
		amqp.Entry{Key: amqp.Symbol("x-opt-enqueued-time"), Value: at},
		amqp.Entry{Key: amqp.Symbol("iothub-enqueuedtime"), Value: at})
	annotations = append(annotations, r.who...)
	properties := r.properties[:0]
	for name, value := range e.Properties {
		properties = append(properties, amqp.Entry{Key: name, Value: value})
	}
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
			properties = append(properties, amqp.Entry{Key: name, Value: value})
		default:
			if value != "" {
				annotations = append(annotations, amqp.Entry{Key: amqp.Symbol(name), Value: value})
			}
		}
	}
	m.MessageAnnotations, r.properties, m.ApplicationProperties = annotations, properties, nil
	if len(properties) > 0 {
		m.ApplicationProperties = properties
	}
	return m
}

// refuseEvents refuses links that would send events: they come from devices.
func refuseEvents(*link) (serve, error) {
	return nil, &amqp.Error{Condition: amqp.ErrCondNotAllowed, Description: "events come from devices and modules; nothing can be sent to an event hub of an IoT hub"}
}
