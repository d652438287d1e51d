// Twin is a device that does what its desired properties say and reports what
// it has done. Setting the desired property "done" ends it.
//
//	go run ./examples/twin --connection-string "…" --ca ./hub-data/ca.pem
package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
	"github.com/iothub-go/iothub/examples/internal/args"
)

func main() { args.Run("twin", run) }

func run(ctx context.Context, connectionString string, o *iothub.ClientOptions) error {
	client, err := device.NewClientFromConnectionString(connectionString, o)
	if err != nil {
		return err
	}
	defer client.Close(context.Background())

	done := make(chan struct{})
	// Each change comes once, in order, also those made while the device was
	// away; a deleted property comes as null.
	err = client.HandleDesired(func(c *iothub.DesiredChange) {
		fmt.Printf("desired version %d: %s\n", c.Version, c.Patch)
		var patch map[string]any
		if json.Unmarshal(c.Patch, &patch) != nil {
			return
		}
		// What was wished for is what it does from now on.
		client.UpdateReportedAsync(patch, func(version int64, err error) {
			fmt.Println("reported version", version, err)
			if patch["done"] != nil {
				close(done)
			}
		})
	})
	if err != nil {
		return err
	}
	select {
	case <-done:
	case <-ctx.Done():
		return ctx.Err()
	}
	twin, err := client.Twin(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("reported: %s\n", twin.Reported.Values)
	return nil
}
