package amqpfront

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/iothub-go/iothub/hub/internal/core"
)

const fileNotificationType = "application/vnd.microsoft.iothub.filenotification.json"

// openFileNotifications is where back ends hear of files that devices have
// uploaded, one at a time. (wire-service D6)
func openFileNotifications(l *link) (serve, error) {
	hub := l.c.front.hub
	return func(context.Context) error {
		return l.send(func(ctx context.Context) (*outgoing, error) {
			n, err := hub.FileNotification(ctx)
			if err != nil {
				return nil, err
			}
			body, err := json.Marshal(n)
			if err != nil {
				_ = hub.SettleFileNotification(n.LockToken, core.Abandon) // it is locked, or comes again by itself
				return nil, fmt.Errorf("encode the notification: %w", err)
			}
			return l.notice(fileNotificationType, body, n.LockToken, hub.SettleFileNotification), nil
		})
	}, nil
}
