package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azeventhubs/v2"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/backend"
	"github.com/iothub-go/iothub/internal/link"
)

// Event is an event that a device has sent, or that the hub has made of what
// happened.
type Event struct {
	// Body is what the device sent, Properties its application properties;
	// values that are no text are shown as one.
	Body       []byte
	Properties map[string]string

	// DeviceID and ModuleID say who sent it, GenerationID which of those that
	// had the id one after the other, AuthMethod how it had proved that. The
	// hub vouches for them.
	DeviceID     string
	ModuleID     string
	GenerationID string
	AuthMethod   AuthMethod
	// Source is what the event is: "Telemetry", "twinChangeEvents", …
	Source string
	// ModelID and Component are those of Plug and Play.
	ModelID   string
	Component string

	// MessageID and the rest are what the sender set; empty is absent.
	MessageID       string
	CorrelationID   string
	UserID          string
	ContentType     string
	ContentEncoding string
	CreationTime    time.Time

	// Partition, Offset and SequenceNumber say where in the stream it is.
	Partition      string
	Offset         string
	SequenceNumber int64
	// EnqueuedTime is when the hub put it there.
	EnqueuedTime time.Time
	// Annotations are whatever else the hub says of it.
	Annotations map[string]any
}

// AuthMethod says how the sender of an event had authenticated.
type AuthMethod struct {
	// Scope is "device", "module" or "hub".
	Scope string `json:"scope"`
	// Type is "sas", "x509", …, Issuer "iothub" or who issued a certificate.
	Type   string `json:"type"`
	Issuer string `json:"issuer"`
}

// Position is a place in a partition to begin at. The zero value is its start.
type Position struct {
	what     byte // 0, 'n'ow, 't'ime, 'o'ffset, 's'equence number
	offset   string
	sequence int64
	time     time.Time
}

// FromStart is before the oldest event that the hub keeps.
func FromStart() Position { return Position{} }

// FromNow is behind the newest event there is when reading begins.
func FromNow() Position { return Position{what: 'n'} }

// FromTime is before the first event that the hub got at t or later.
func FromTime(t time.Time) Position { return Position{what: 't', time: t} }

// AfterOffset is behind the event at offset.
func AfterOffset(offset string) Position { return Position{what: 'o', offset: offset} }

// AfterSequence is behind the event with the sequence number n.
func AfterSequence(n int64) Position { return Position{what: 's', sequence: n} }

func (p Position) start() azeventhubs.StartPosition {
	yes := true
	switch p.what {
	case 'n':
		return azeventhubs.StartPosition{Latest: &yes}
	case 't':
		return azeventhubs.StartPosition{EnqueuedTime: &p.time, Inclusive: true}
	case 'o':
		return azeventhubs.StartPosition{Offset: &p.offset}
	case 's':
		return azeventhubs.StartPosition{SequenceNumber: &p.sequence}
	}
	return azeventhubs.StartPosition{Earliest: &yes}
}

// DefaultConsumerGroup is the one that every hub has.
const DefaultConsumerGroup = "$Default"

// EventsOptions are for [Events]. The zero value, and nil, are the defaults.
type EventsOptions struct {
	// ConsumerGroup is whose view of the stream it is; empty is
	// DefaultConsumerGroup. A group has at most five readers of a partition.
	ConsumerGroup string
	// OwnerLevel makes this the only reader of the partitions it reads: it ends
	// readers with a lower level or none. Nil is to share.
	OwnerLevel *int64
	// Prefetch is how many events of each partition may wait in memory; 0 is
	// 300.
	Prefetch int32
}

// Events reads the events of a hub by its Event Hubs-compatible endpoint. It is
// safe for use by many goroutines.
type Events struct {
	opts    *backend.Options
	events  EventsOptions
	resolve func(context.Context) (*endpoint, error)

	turn   backend.Turn // free while nobody connects
	mu     sync.Mutex
	client *azeventhubs.ConsumerClient // nil until needed
	hub    string
	closed bool

	partitions []string // nil until asked for
}

// endpoint is where events are read.
type endpoint struct {
	host          string
	port          string // of AMQP; empty is 5671
	webSocketPort string // empty is 443
	hub           string
	secret        func() string // the rest of the connection string
	emulator      bool
}

// Events returns a reader of the hub's events, which finds the endpoint as IoT Hub
// tells it, by a redirect over AMQP. It needs a connection string: IoT Hub takes no
// tokens of Entra ID there. It does no I/O.
func (c *Client) Events(o *EventsOptions) *Events {
	return newEvents(c.opts, o, c.redirect)
}

// NewEventsFromConnectionString returns a reader of the events at an Event
// Hubs-compatible endpoint: Endpoint=sb://…;SharedAccessKeyName=…;
// SharedAccessKey=…;EntityPath=…. It does no I/O.
func NewEventsFromConnectionString(connectionString string, o *ClientOptions, events *EventsOptions) (*Events, error) {
	opts, err := (*backend.Options)(o).WithDefaults()
	if err != nil {
		return nil, err
	}
	p, err := azeventhubs.ParseConnectionString(connectionString)
	if err != nil {
		return nil, &iothub.Error{Op: "connection string", Kind: iothub.KindInvalidArgument,
			Err: errors.New("it is none of Event Hubs: Endpoint=sb://…;SharedAccessKeyName=…;SharedAccessKey=…;EntityPath=…")}
	}
	if p.EntityPath == nil || *p.EntityPath == "" {
		return nil, &iothub.Error{Op: "connection string", Kind: iothub.KindInvalidArgument, Err: errors.New("EntityPath is missing: the Event Hubs-compatible name")}
	}
	at := &endpoint{hub: *p.EntityPath, emulator: p.Emulator}
	at.host, at.port = link.SplitHost(strings.TrimSuffix(p.FullyQualifiedNamespace, "/"))
	at.webSocketPort = at.port
	at.secret = func() string { return secretPart(connectionString) }
	return newEvents(opts, events, func(context.Context) (*endpoint, error) { return at, nil }), nil
}

func newEvents(opts *backend.Options, o *EventsOptions, resolve func(context.Context) (*endpoint, error)) *Events {
	e := &Events{opts: opts, resolve: resolve, turn: backend.NewTurn()}
	if o != nil {
		e.events = *o
	}
	if e.events.ConsumerGroup == "" {
		e.events.ConsumerGroup = DefaultConsumerGroup
	}
	return e
}

// secretPart returns the parts of a connection string that authenticate.
func secretPart(connectionString string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(connectionString, ";") {
		name, value, _ := strings.Cut(part, "=")
		for _, known := range []string{"SharedAccessKeyName", "SharedAccessKey", "SharedAccessSignature"} {
			if strings.EqualFold(strings.TrimSpace(name), known) {
				b.WriteString(";" + known + "=" + value)
			}
		}
	}
	return b.String()
}

// open returns the client of the endpoint, made when it is not there.
func (e *Events) open(ctx context.Context) (*azeventhubs.ConsumerClient, error) {
	if err := e.turn.Take(ctx); err != nil {
		return nil, err
	}
	defer e.turn.Give()
	e.mu.Lock()
	client, closed := e.client, e.closed
	e.mu.Unlock()
	switch {
	case closed:
		return nil, iothub.ErrClosed
	case client != nil:
		return client, nil
	}
	at, err := e.resolve(ctx)
	if err != nil {
		return nil, err
	}
	if client, err = e.connect(at); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, iothub.ErrClosed // nothing is connected yet
	}
	e.client, e.hub = client, at.hub
	return client, nil
}

// connect makes the client of an endpoint. It connects later.
func (e *Events) connect(at *endpoint) (*azeventhubs.ConsumerClient, error) {
	name := at.host
	if at.port != "" {
		name = net.JoinHostPort(at.host, at.port)
	}
	text := "Endpoint=sb://" + name + "/" + at.secret()
	o := &azeventhubs.ConsumerClientOptions{
		ApplicationID: "iothub-go",
		RetryOptions:  azeventhubs.RetryOptions{MaxRetries: 3, RetryDelay: 500 * time.Millisecond, MaxRetryDelay: 10 * time.Second},
	}
	if at.emulator {
		text += ";UseDevelopmentEmulator=true"
	} else {
		path := link.Path{Port: "5671"}
		if at.port != "" {
			path.Port = at.port
		}
		if e.opts.WebSocket {
			path.Port = "443"
			if at.webSocketPort != "" {
				path.Port = at.webSocketPort
			}
			path.WebSocket = &link.WebSocket{Path: "/$servicebus/websocket", Subprotocol: webSocketProtocol}
		}
		d, err := link.NewDialer(at.host, nil, e.opts.Link(), path)
		if err != nil {
			return nil, err
		}
		// Whatever it is called, it opens the connection: here with the
		// client's own way through proxies and with its trust.
		o.NewWebSocketConn = func(ctx context.Context, _ azeventhubs.WebSocketConnParams) (net.Conn, error) { return d.Dial(ctx) }
	}
	c, err := azeventhubs.NewConsumerClientFromConnectionString(text, at.hub, e.events.ConsumerGroup, o)
	if err != nil {
		return nil, &iothub.Error{Op: "events", Kind: iothub.KindInvalidArgument, Err: errors.New("the endpoint and the key make no connection string of Event Hubs")}
	}
	return c, nil
}

// Partitions returns the ids of the partitions of the stream.
func (e *Events) Partitions(ctx context.Context) ([]string, error) {
	const op = "event partitions"
	client, err := e.open(ctx)
	if err != nil {
		return nil, amqpError(ctx, op, err)
	}
	e.mu.Lock()
	known := slices.Clone(e.partitions)
	e.mu.Unlock()
	if known != nil { // they never change, and each question costs the library a goroutine
		return known, nil
	}
	p, err := client.GetEventHubProperties(ctx, nil)
	if err != nil {
		return nil, eventsError(ctx, op, err)
	}
	ids := slices.Sorted(slices.Values(p.PartitionIDs))
	e.mu.Lock()
	e.partitions = slices.Clone(ids)
	e.mu.Unlock()
	return ids, nil
}

// Read returns the events of a partition, beginning at from, as they come. A
// connection that is lost is made again, and reading goes on behind the last event:
// none is left out or comes twice. It ends with ctx, with [Events.Close] and with a
// refusal that waiting does not cure, each of which is the last error it gives.
func (e *Events) Read(ctx context.Context, partition string, from Position) iter.Seq2[*Event, error] {
	return func(yield func(*Event, error) bool) {
		at := from
		for n := 1; ; n++ {
			read, more, err := e.readUntilLost(ctx, partition, &at, yield)
			if !more {
				return
			}
			if read {
				n = 1
			}
			if ctx.Err() != nil || !iothub.Retryable(err) || iothub.KindOf(err) == iothub.KindTLS || e.opts.Retry.Strategy == iothub.RetryNone {
				yield(nil, err)
				return
			}
			e.opts.Logger.Info("reading events again", "partition", partition, "error", err)
			if e := pause(ctx, e.opts.Retry.Delay(n, rand.Float64())); e != nil {
				yield(nil, amqpError(ctx, "read events", e))
				return
			}
		}
	}
}

// readUntilLost reads events until an error, or until the reader has enough, in
// which case more is false. It moves at along.
func (e *Events) readUntilLost(ctx context.Context, partition string, at *Position, yield func(*Event, error) bool) (read, more bool, err error) {
	const op = "read events"
	client, err := e.open(ctx)
	if err != nil {
		return false, true, amqpError(ctx, op, err)
	}
	p, err := client.NewPartitionClient(partition, &azeventhubs.PartitionClientOptions{
		StartPosition: at.start(), OwnerLevel: e.events.OwnerLevel, Prefetch: e.events.Prefetch,
	})
	if err != nil {
		return false, true, eventsError(ctx, op, err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = p.Close(ctx) // the link ends with the connection at the latest
	}()
	for {
		// One at a time: more would wait until there are as many.
		list, err := p.ReceiveEvents(ctx, 1, nil)
		if err != nil {
			if e.isClosed() {
				err = iothub.ErrClosed
			}
			return read, true, eventsError(ctx, op, err)
		}
		for _, r := range list {
			ev := newEvent(partition, r)
			read, *at = true, AfterSequence(ev.SequenceNumber)
			if !yield(ev, nil) {
				return true, false, nil
			}
		}
	}
}

func (e *Events) isClosed() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.closed
}

// Close ends all reading and the connection.
func (e *Events) Close(ctx context.Context) error {
	e.mu.Lock()
	client := e.client
	e.closed, e.client = true, nil
	e.mu.Unlock()
	if client == nil {
		return nil
	}
	if err := client.Close(ctx); err != nil {
		return eventsError(ctx, "close", err)
	}
	return nil
}

// newEvent takes what Event Hubs has apart.
func newEvent(partition string, r *azeventhubs.ReceivedEventData) *Event {
	e := &Event{Body: r.Body, Partition: partition, Offset: r.Offset, SequenceNumber: r.SequenceNumber}
	if r.EnqueuedTime != nil {
		e.EnqueuedTime = *r.EnqueuedTime
	}
	if len(r.Properties) > 0 {
		e.Properties = make(map[string]string, len(r.Properties))
		for k, v := range r.Properties {
			e.Properties[k] = textOf(v)
		}
	}
	if raw := r.RawAMQPMessage; raw != nil {
		if e.Body == nil {
			e.Body = slices.Concat(raw.Body.Data...)
		}
		if p := raw.Properties; p != nil {
			e.MessageID, e.CorrelationID, e.UserID = textOf(p.MessageID), textOf(p.CorrelationID), string(p.UserID)
			e.ContentType, e.ContentEncoding = textOf(p.ContentType), textOf(p.ContentEncoding)
			if p.CreationTime != nil {
				e.CreationTime = *p.CreationTime
			}
		}
	}
	texts := map[string]*string{
		"iothub-connection-device-id": &e.DeviceID, "iothub-connection-module-id": &e.ModuleID,
		"iothub-connection-auth-generation-id": &e.GenerationID, "iothub-message-source": &e.Source,
		"dt-dataschema": &e.ModelID, "dt-subject": &e.Component,
	}
	for k, v := range r.SystemProperties {
		if into, ok := texts[k]; ok {
			*into = textOf(v)
		} else if k == "iothub-connection-auth-method" {
			_ = json.Unmarshal([]byte(textOf(v)), &e.AuthMethod) // what does not say how says nothing
		} else {
			if e.Annotations == nil {
				e.Annotations = map[string]any{}
			}
			e.Annotations[k] = v
		}
	}
	return e
}

// textOf shows a value of AMQP as text, "" for none.
func textOf(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case *string:
		if v == nil {
			return ""
		}
		return *v
	case []byte:
		return string(v)
	}
	return fmt.Sprint(v)
}

// eventsError makes an error of package azeventhubs an *iothub.Error.
func eventsError(ctx context.Context, op string, err error) error {
	e, ok := errors.AsType[*azeventhubs.Error](err)
	if !ok || ctx.Err() != nil {
		return amqpError(ctx, op, err)
	}
	out := &iothub.Error{Op: op, Kind: iothub.KindUnknown, Err: err}
	switch e.Code {
	case azeventhubs.ErrorCodeUnauthorizedAccess:
		out.Kind = iothub.KindUnauthorized
	case azeventhubs.ErrorCodeConnectionLost:
		out.Kind, out.Retryable = iothub.KindNetwork, true
	case azeventhubs.ErrorCodeOwnershipLost:
		out.Kind = iothub.KindConflict // another reader has a higher owner level
	}
	return out
}
