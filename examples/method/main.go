// Method is a device with two direct methods: "add" answers at once, "reboot"
// later, from another goroutine, and then the program ends.
//
//	go run ./examples/method --connection-string "…" --ca ./hub-data/ca.pem
package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
	"github.com/iothub-go/iothub/examples/internal/args"
)

func main() { args.Run("method", run) }

func run(ctx context.Context, connectionString string, o *iothub.ClientOptions) error {
	client, err := device.NewClientFromConnectionString(connectionString, o)
	if err != nil {
		return err
	}
	defer client.Close(context.Background())

	client.HandleMethod("add", func(r *iothub.MethodRequest) *iothub.MethodResponse {
		var numbers []float64
		if err := json.Unmarshal(r.Payload, &numbers); err != nil {
			return &iothub.MethodResponse{Status: 400, Payload: []byte(`"an array of numbers, please"`)}
		}
		sum := 0.0
		for _, n := range numbers {
			sum += n
		}
		return &iothub.MethodResponse{Status: 200, Payload: fmt.Append(nil, sum)}
	})

	rebooted := make(chan error, 1)
	client.HandleMethod("reboot", func(r *iothub.MethodRequest) *iothub.MethodResponse {
		go func() { // as long as it takes, while other callbacks run
			fmt.Println("rebooting")
			rebooted <- r.Respond(200, []byte(`{"rebooted":true}`))
		}()
		return nil // answered later
	})
	fmt.Println("ready")
	select {
	case err := <-rebooted:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
