// C2d is a device that receives messages from the cloud, one at a time, and
// tells the hub when it is done with each. A message whose text is "stop" ends
// it.
//
//	go run ./examples/c2d --connection-string "…" --ca ./hub-data/ca.pem
package main

import (
	"context"
	"fmt"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
	"github.com/iothub-go/iothub/examples/internal/args"
)

func main() { args.Run("c2d", run) }

func run(ctx context.Context, connectionString string, o *iothub.ClientOptions) error {
	client, err := device.NewClientFromConnectionString(connectionString, o)
	if err != nil {
		return err
	}
	defer client.Close(context.Background())
	for {
		m, err := client.Receive(ctx)
		if err != nil {
			return err
		}
		fmt.Printf("received %s: %s %v\n", m.MessageID, m.Payload, m.Properties)
		// Only now does the hub forget it: had the program died before, the
		// message would come again.
		if err := m.Settle(iothub.DispositionAccepted); err != nil {
			return err
		}
		if string(m.Payload) == "stop" {
			return nil
		}
	}
}
