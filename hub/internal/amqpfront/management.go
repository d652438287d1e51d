package amqpfront

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/internal/wire/amqp"
)

// openManagement is where clients ask what an event hub and its partitions are
// like: $management, or {event hub}/$management. (wire-service E4)
func openManagement(l *link) (serve, error) {
	var names []string
	if len(l.path) > 1 {
		names = []string{l.path[0]}
	} else {
		for _, e := range l.c.front.hub.EventHubs() {
			names = append(names, e.Name())
		}
	}
	if err := l.authorizeEvents(names, "$management"); err != nil {
		return nil, err
	}
	if l.sends {
		return l.serveAnswers(), nil
	}
	l.window, l.maxMessage = 32, 64<<10
	return l.serveRequests(l.manage), nil
}

// manage answers one request.
func (l *link) manage(ctx context.Context, m *amqp.Message) (*amqp.Message, error) {
	body, err := l.read(ctx, m.ApplicationProperties)
	answer := &amqp.Message{Value: body, HasValue: true}
	status, text := 200, "OK"
	if err != nil {
		e := amqpError(err)
		status, text = 500, e.Description
		if known, ok := errors.AsType[*core.Error](err); ok {
			status, text = known.Status, known.Message
		}
		answer.Value = nil
		answer.ApplicationProperties = amqp.Map{{Key: "error-condition", Value: e.Condition}}
	}
	answer.ApplicationProperties = append(answer.ApplicationProperties,
		amqp.Entry{Key: "status-code", Value: int32(status)}, amqp.Entry{Key: "status-description", Value: text})
	return answer, nil
}

func (l *link) read(ctx context.Context, p amqp.Map) (any, error) {
	if op := p.Text("operation"); op != "READ" {
		return nil, core.NewError(core.CodeArgumentInvalid, "the operation is %q, it can be READ", op)
	}
	name := p.Text("name")
	hub, err := l.c.front.hub.EventHub(name)
	if err != nil {
		return nil, err
	}
	// A token for another event hub has let the link in.
	if err := l.mayRead(hub.Name()); err != nil {
		return nil, err
	}
	switch kind := p.Text("type"); {
	case strings.EqualFold(kind, "com.microsoft:eventhub"):
		var ids []string
		for i := range hub.Partitions() {
			ids = append(ids, strconv.Itoa(i))
		}
		return amqp.Map{
			{Key: "name", Value: name},
			{Key: "type", Value: "com.microsoft:eventhub"},
			{Key: "created_at", Value: amqp.TimestampOf(hub.Created())},
			{Key: "partition_count", Value: int32(len(ids))},
			{Key: "partition_ids", Value: amqp.StringArray(ids...)},
			{Key: "georeplication_factor", Value: int32(1)},
		}, nil
	case strings.EqualFold(kind, "com.microsoft:partition"):
		return partition(ctx, hub, name, p.Text("partition"), l.c.now())
	default:
		return nil, core.NewError(core.CodeArgumentInvalid, "the type is %q, it can be com.microsoft:eventhub and com.microsoft:partition", kind)
	}
}

func (l *link) mayRead(hub string) error {
	_, err := l.c.authorize(core.ServiceConnect, hub, "$management")
	return err
}

// never is the time of what has not happened, the beginning of the year 1.
var never = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)

func partition(ctx context.Context, hub *core.EventHub, name, id string, now time.Time) (any, error) {
	n, err := strconv.Atoi(id)
	if err != nil {
		n = -1
	}
	info, err := hub.PartitionInfo(ctx, n)
	if errors.Is(err, &core.Error{Code: core.CodePartitionNotFound}) {
		return nil, core.NewError(core.CodeGenericNotFound, "the event hub %s has no partition %q", name, id)
	}
	if err != nil {
		return nil, err
	}
	first, last, at := info.FirstSequenceNumber, info.LastSequenceNumber, info.LastEnqueuedTime.Time
	if info.Empty {
		first, at = last+1, never
	}
	return amqp.Map{
		{Key: "name", Value: name},
		{Key: "type", Value: "com.microsoft:partition"},
		{Key: "partition", Value: id},
		{Key: "begin_sequence_number", Value: first},
		{Key: "last_enqueued_sequence_number", Value: last},
		{Key: "last_enqueued_offset", Value: info.LastOffset},
		{Key: "last_enqueued_time_utc", Value: amqp.TimestampOf(at)},
		{Key: "is_partition_empty", Value: info.Empty},
		{Key: "runtime_info_retrieval_time_utc", Value: amqp.TimestampOf(now)},
	}, nil
}
