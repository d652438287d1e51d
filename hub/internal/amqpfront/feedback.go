package amqpfront

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/internal/wire/amqp"
)

const feedbackType = "application/vnd.microsoft.iothub.feedback.json"

// openFeedback is where back ends hear what has become of their messages, up to 64
// records at a time. (wire-service D5)
func openFeedback(l *link) (serve, error) {
	hub := l.c.front.hub
	return func(context.Context) error {
		return l.send(func(ctx context.Context) (*outgoing, error) {
			batch, err := hub.Feedback(ctx, core.MaxFeedbackBatch)
			if err != nil {
				return nil, err
			}
			body, err := json.Marshal(batch.Records)
			if err != nil {
				_ = hub.SettleFeedback(batch.LockToken, core.Abandon) // it is locked, or comes again by itself
				return nil, fmt.Errorf("encode feedback: %w", err)
			}
			return l.notice(feedbackType, body, batch.LockToken, hub.SettleFeedback), nil
		})
	}, nil
}

// notice makes the message that tells a back end something, to be settled by its
// lock token.
func (l *link) notice(contentType amqp.Symbol, body []byte, lock string, settle func(string, core.Settlement) error) *outgoing {
	hub := l.c.front.hub
	name, _, _ := strings.Cut(hub.HostName(), ".")
	return &outgoing{
		Tag: lockTag(lock),
		Message: &amqp.Message{
			MessageAnnotations: amqp.Map{{Key: amqp.Symbol("iothub-enqueuedtime"), Value: amqp.TimestampOf(hub.Now())}},
			Properties:         &amqp.Properties{MessageID: lock, UserID: []byte(name), ContentType: contentType, ContentEncoding: "utf-8"},
			Data:               [][]byte{body},
		},
		settled: func(state amqp.State) amqp.State {
			how := core.Abandon
			switch state.Kind {
			case amqp.CodeAccepted:
				how = core.Complete
			case amqp.CodeRejected:
				how = core.Reject
			}
			if err := settle(lock, how); err != nil {
				return amqp.Rejected(amqpError(err))
			}
			return state
		},
	}
}

// lockTag gives a lock token, a GUID, in the layout of .NET, of which clients make
// a GUID again: its first three groups have their low byte first.
func lockTag(token string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(token, "-", ""))
	if err != nil || len(b) != 16 {
		return []byte(token)[:min(len(token), amqp.MaxDeliveryTag)] // no GUID: the hub's own tokens are
	}
	return []byte{
		b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6],
		b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15],
	}
}

// newTrackingID makes the id by which an error is found in the log.
func newTrackingID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}
