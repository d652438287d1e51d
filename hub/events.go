package hub

import (
	"context"
	"iter"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// Event is a message that a device or module has sent, as the hub stored it.
type Event struct {
	// Partition is where the event is kept; all events of a device are in one.
	Partition int
	// SequenceNumber grows by one from event to event in a partition.
	SequenceNumber int64
	// Offset is the place in the partition, for EventsOptions.From.
	Offset       string
	EnqueuedTime time.Time
	DeviceID     string
	ModuleID     string // empty for a device
	ModelID      string // announced by the device when it connected
	// AuthMethod is a JSON text that says how the sender proved who it is, and
	// GenerationID tells identities of the same name apart.
	AuthMethod   string
	GenerationID string
	// Properties are the application properties, SystemProperties the others,
	// by their AMQP names: message-id, content-type, …
	Properties       map[string]string
	SystemProperties map[string]string
	Body             []byte
	// Source is where the event comes from: "Telemetry", or for events of the hub
	// itself "twinChangeEvents", "deviceLifecycleEvents",
	// "deviceConnectionStateEvents" or "digitalTwinChangeEvents".
	Source string
}

// EventsOptions say which events to read. The zero value, and nil, are all that
// the hub keeps and all that come.
type EventsOptions struct {
	// EventHub is the event hub to read, by its name; the built-in one when it is
	// empty.
	EventHub string
	// Partitions are the partitions to read; none means all.
	Partitions []int
	// From is where to begin: "start", the default; "now", behind the newest
	// event; a time in RFC 3339; or the offset of the last event already read,
	// which holds for its partition only.
	From string
	// DeviceID, when it is not empty, leaves out the events of other devices.
	DeviceID string
	// NoWait ends the reading at the newest event instead of waiting for more.
	NoWait bool
}

// Events returns an iterator over events. Each range over it reads anew; "now"
// is when the range begins. Events of one partition come in order. The iteration
// ends after the first error: that of ctx, or ErrServerClosed.
func (s *Server) Events(ctx context.Context, o *EventsOptions) iter.Seq2[*Event, error] {
	var opts EventsOptions
	if o != nil {
		opts = *o
	}
	return func(yield func(*Event, error) bool) {
		r, err := s.newReader(ctx, opts)
		if err != nil {
			yield(nil, err)
			return
		}
		defer r.Close()
		next := r.Next
		if opts.NoWait {
			next = r.TryNext
		}
		for {
			e, err := next(ctx)
			switch {
			case err == core.ErrNoEvent:
				return
			case err != nil:
				if ctx.Err() == nil {
					err = s.failed("events", err)
				}
				yield(nil, err)
				return
			case opts.DeviceID != "" && e.DeviceID != opts.DeviceID:
				continue
			}
			if !yield(eventOf(&e), nil) {
				return
			}
		}
	}
}

func (s *Server) newReader(ctx context.Context, opts EventsOptions) (*core.EventReader, error) {
	if s.isClosed() {
		return nil, ErrServerClosed
	}
	from := core.FromStart()
	if opts.From != "" {
		var err error
		if from, err = core.ParsePosition(opts.From); err != nil {
			return nil, s.failed("events", err)
		}
	}
	name := opts.EventHub
	if name == "" {
		name = s.hub.BuiltIn().Name()
	}
	e, err := s.hub.EventHub(name)
	if err != nil {
		return nil, s.failed("events", err)
	}
	r, err := e.NewReader(ctx, from, opts.Partitions...)
	if err != nil {
		return nil, s.failed("events", err)
	}
	return r, nil
}

func eventOf(e *core.StoredEvent) *Event {
	return &Event{
		Partition: e.Partition, SequenceNumber: e.SequenceNumber, Offset: e.Offset,
		EnqueuedTime: e.EnqueuedTime.Time, DeviceID: e.DeviceID, ModuleID: e.ModuleID, ModelID: e.ModelID,
		AuthMethod: e.AuthMethod, GenerationID: e.GenerationID,
		Properties: e.Properties, SystemProperties: e.System, Body: e.Body, Source: e.Source,
	}
}
