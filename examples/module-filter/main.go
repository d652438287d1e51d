// Module-filter is a module between two others: what comes in by its input
// "temperatures" goes out by its output "hot" if it is hot enough, and is
// completed only when the hub has taken it. A message "stop" ends it.
//
//	go run ./examples/module-filter --connection-string "…" --ca ./hub-data/ca.pem
package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/examples/internal/args"
	"github.com/iothub-go/iothub/module"
)

func main() { args.Run("module-filter", run) }

func run(ctx context.Context, connectionString string, o *iothub.ClientOptions) error {
	client, err := module.NewClientFromConnectionString(connectionString, o)
	if err != nil {
		return err
	}
	defer client.Close(context.Background())

	stop := make(chan struct{})
	client.HandleInput("temperatures", func(m *iothub.ReceivedMessage) iothub.Disposition {
		var reading struct {
			Temperature float64 `json:"temperature"`
		}
		switch {
		case string(m.Payload) == "stop":
			close(stop)
			return iothub.DispositionAccepted
		case json.Unmarshal(m.Payload, &reading) != nil:
			return iothub.DispositionRejected
		case reading.Temperature < 30:
			fmt.Println("dropped", reading.Temperature)
			return iothub.DispositionAccepted
		}
		out := &iothub.Message{Payload: m.Payload, Properties: map[string]string{"alert": "hot"}}
		err := client.SendEventToOutputAsync("hot", out, func(c iothub.Confirmation) {
			fmt.Println("passed on", reading.Temperature, c.Result)
			if c.Result == iothub.ConfirmOK {
				m.Settle(iothub.DispositionAccepted)
			} else {
				m.Settle(iothub.DispositionAbandoned)
			}
		})
		if err != nil {
			return iothub.DispositionAbandoned
		}
		return iothub.DispositionLater
	})
	fmt.Println("ready")
	select {
	case <-stop:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
