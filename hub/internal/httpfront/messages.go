package httpfront

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// purgeReply is the answer to the purge of a queue (B3).
type purgeReply struct {
	DeviceID string  `json:"deviceId"`
	ModuleID *string `json:"moduleId"`
	Total    int     `json:"totalMessagesPurged"`
}

func purgeCommands(q *request) error {
	n, err := q.front.hub.PurgeC2D(q.r.Context(), q.path[1])
	if err != nil {
		return err
	}
	return q.reply("", purgeReply{DeviceID: q.path[1], Total: n})
}

// c2dBody is a cloud-to-device message as POST /iothub/devices/{id}/messages, which
// only this hub has, takes it: IoT Hub takes such messages over AMQP only.
type c2dBody struct {
	Body            []byte            `json:"body"` // base64 in JSON
	Properties      map[string]string `json:"properties"`
	MessageID       string            `json:"messageId"`
	CorrelationID   string            `json:"correlationId"`
	UserID          string            `json:"userId"`
	ContentType     string            `json:"contentType"`
	ContentEncoding string            `json:"contentEncoding"`
	Expiry          time.Time         `json:"expiryTimeUtc"`
	Ack             string            `json:"ack"`
}

func sendC2D(q *request) error {
	var b c2dBody
	if err := q.body(&b); err != nil {
		return err
	}
	m := core.Message{
		Payload: b.Body, MessageID: b.MessageID, CorrelationID: b.CorrelationID, UserID: b.UserID,
		ContentType: b.ContentType, ContentEncoding: b.ContentEncoding, Expiry: b.Expiry, Ack: b.Ack,
	}
	for _, name := range slices.Sorted(maps.Keys(b.Properties)) {
		m.Properties = append(m.Properties, core.Property{Name: name, Value: b.Properties[name]})
	}
	if err := q.front.hub.SendC2D(q.r.Context(), q.path[2], m); err != nil {
		return err
	}
	return q.noContent()
}

// receiveFeedback gives the feedback records there are, locked for a minute (B12).
func receiveFeedback(q *request) error {
	batch := q.front.hub.TryFeedback(core.MaxFeedbackBatch)
	if batch == nil {
		return q.noContent()
	}
	data, err := json.Marshal(batch.Records)
	if err != nil {
		return fmt.Errorf("encode the feedback: %w", err)
	}
	q.w.Header().Set("ETag", `"`+batch.LockToken+`"`)
	q.w.Header().Set("Content-Type", "application/vnd.microsoft.iothub.feedback.json")
	_, err = q.w.Write(data)
	q.writeFailed(err)
	return nil
}

func completeFeedback(q *request) error {
	s := core.Complete
	if q.query.Has("reject") {
		s = core.Reject
	}
	return q.settleFeedback(s)
}

func abandonFeedback(q *request) error { return q.settleFeedback(core.Abandon) }

func (q *request) settleFeedback(s core.Settlement) error {
	if err := q.front.hub.SettleFeedback(unquoted(q.path[3]), s); err != nil {
		return err
	}
	return q.noContent()
}

// unquoted takes the quotes off a lock token: clients put the ETag into the path
// as they got it.
func unquoted(token string) string {
	if n := len(token); n >= 2 && token[0] == '"' && token[n-1] == '"' {
		return token[1 : n-1]
	}
	return token
}
