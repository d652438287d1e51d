package delivery

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// publishTimeout bounds one delivery.
const publishTimeout = 30 * time.Second

// bus publishes events to NATS.
type bus struct {
	endpoint *core.NATSEndpoint
	config   Config
	conn     *nats.Conn // nil until the first delivery
	stream   jetstream.JetStream
}

func (c Config) newNATS(e *core.NATSEndpoint) (core.Deliverer, error) {
	u, err := url.Parse(e.URL)
	if err != nil || u.Host == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
		return nil, fmt.Errorf("the URL of endpoint %s is not one of nats, tls, ws or wss", e.Name)
	}
	return &bus{endpoint: e, config: c}, nil
}

// connect connects once; a connection that is lost is not kept, because what
// calls again after a pause of its own need not find one that buffers.
func (b *bus) connect(ctx context.Context) error {
	if b.conn != nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	options := []nats.Option{nats.Name("iothub " + b.config.HubName), nats.NoReconnect(), nats.Timeout(10 * time.Second)}
	if b.config.TLS != nil && strings.HasPrefix(b.endpoint.URL, "tls:") {
		options = append(options, nats.Secure(b.config.TLS))
	}
	conn, err := nats.Connect(b.endpoint.URL, options...)
	if err != nil {
		return fmt.Errorf("connect to endpoint %s: %w", b.endpoint.Name, err)
	}
	b.conn = conn
	if b.endpoint.JetStream {
		if b.stream, err = jetstream.New(conn); err != nil {
			return err
		}
	}
	return nil
}

// Deliver publishes the events in order, each as one message: properties are its
// headers. It returns when the server has all of them or, with JetStream, when
// streams have stored them.
func (b *bus) Deliver(ctx context.Context, events []core.StoredEvent) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	if err := b.connect(ctx); err != nil {
		return err
	}
	err := b.publish(ctx, events)
	if err != nil {
		b.Close()
		b.conn = nil
		return fmt.Errorf("publish to endpoint %s: %w", b.endpoint.Name, err)
	}
	return nil
}

func (b *bus) publish(ctx context.Context, events []core.StoredEvent) error {
	for i := range events {
		m := b.message(&events[i])
		if b.stream == nil {
			if err := b.conn.PublishMsg(m); err != nil {
				return err
			}
			continue
		}
		// The id lets the stream pass over what it has already.
		if _, err := b.stream.PublishMsg(ctx, m, jetstream.WithMsgID(b.endpoint.Name+"-"+events[i].Offset)); err != nil {
			return err
		}
	}
	if b.stream == nil {
		return b.conn.FlushWithContext(ctx)
	}
	return nil
}

func (b *bus) message(e *core.StoredEvent) *nats.Msg {
	m := nats.NewMsg(subject(b.endpoint.Subject, e))
	m.Data = e.Body
	r := recordOf(e)
	for _, name := range slices.Sorted(maps.Keys(r.System)) {
		setHeader(m, "iothub-"+name, r.System[name])
	}
	setHeader(m, "iothub-enqueuedTime", e.EnqueuedTime.UTC().Format(time.RFC3339Nano))
	for _, name := range slices.Sorted(maps.Keys(e.Properties)) {
		setHeader(m, name, e.Properties[name])
	}
	return m
}

// setHeader leaves out what a header cannot carry; it would end it early.
func setHeader(m *nats.Msg, name, value string) {
	if name == "" || strings.ContainsAny(name, ": \r\n") || strings.ContainsAny(value, "\r\n") {
		return
	}
	m.Header[name] = []string{value}
}

// subject fills in a subject. What an id holds that means something in subjects
// becomes an underscore.
func subject(pattern string, e *core.StoredEvent) string {
	token := strings.NewReplacer(".", "_", "*", "_", ">", "_", " ", "_")
	module := e.ModuleID
	if module == "" {
		module = "-"
	}
	return strings.NewReplacer("{deviceId}", token.Replace(e.DeviceID), "{moduleId}", token.Replace(module),
		"{source}", e.Source).Replace(pattern)
}

// Close ends the connection.
func (b *bus) Close() {
	if b.conn != nil {
		b.conn.Close()
	}
}
