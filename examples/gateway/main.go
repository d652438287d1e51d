// Gateway is a leaf device: a device that has no way to the hub but through an IoT
// Edge device that it belongs to. Nothing in it knows of that. Its connection string
// names the gateway, and it trusts the gateway's authority:
//
//	go run ./examples/gateway --ca ./edge-data/hub/ca.pem \
//		--connection-string "HostName=hub.example;DeviceId=leaf;SharedAccessKey=…;GatewayHostName=gw.local"
//
// It sends a measurement every second, each confirmed as soon as the gateway has it
// on disk, whether the hub can be reached or not, and stops when the desired
// property "stop" is true.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
	"github.com/iothub-go/iothub/examples/internal/args"
)

func main() { args.Run("gateway", run) }

func run(ctx context.Context, connectionString string, o *iothub.ClientOptions) error {
	client, err := device.NewClientFromConnectionString(connectionString, o)
	if err != nil {
		return err
	}
	defer client.Close(context.Background())

	stop := make(chan struct{})
	err = client.HandleDesired(func(c *iothub.DesiredChange) {
		var desired struct{ Stop bool }
		if err := json.Unmarshal(c.Patch, &desired); err == nil && desired.Stop {
			close(stop)
		}
	})
	if err != nil {
		return err
	}
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for n := 1; ; n++ {
		body := fmt.Appendf(nil, `{"n":%d}`, n)
		if err := client.SendEvent(ctx, &iothub.Message{Payload: body, ContentType: "application/json", ContentEncoding: "utf-8"}); err != nil {
			return err
		}
		fmt.Printf("the gateway has event %d\n", n)
		select {
		case <-ticker.C:
		case <-stop:
			_, err := client.UpdateReported(ctx, map[string]any{"stopped": true})
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
