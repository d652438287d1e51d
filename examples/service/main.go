// Service is a back end: it creates a device, gives it settings, looks for devices
// by query, calls a method of the device, sends it a message and waits for the
// feedback, and prints the events that devices send.
//
//	go run ./examples/service --connection-string "…" --ca ./hub-data/ca.pem
//
// The connection string is that of the service, which iothub hub prints. The
// program prints the one of the device that it makes, and waits for it: start
// ./examples/method with it, for one.
package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/examples/internal/args"
	"github.com/iothub-go/iothub/service"
)

const deviceID = "example-device"

func main() { args.Run("service", run) }

func run(ctx context.Context, connectionString string, o *iothub.ClientOptions) error {
	// AMQP over WebSockets needs no port but that of HTTPS.
	client, err := service.NewClientFromConnectionString(connectionString, &service.ClientOptions{TLS: o.TLS, WebSocket: true})
	if err != nil {
		return err
	}
	defer client.Close(context.Background())

	device, err := client.CreateDevice(ctx, &service.Device{DeviceID: deviceID})
	if iothub.KindOf(err) == iothub.KindConflict { // from an earlier run
		device, err = client.GetDevice(ctx, deviceID)
	}
	if err != nil {
		return err
	}
	fmt.Println("device:", device.ConnectionString(client.HostName()))

	twin, err := client.PatchTwin(ctx, deviceID, "", &service.TwinUpdate{
		Tags:    map[string]any{"site": "north"},
		Desired: map[string]any{"interval": 30},
	})
	if err != nil {
		return err
	}
	fmt.Println("twin:", string(twin.Tags), string(twin.Properties.Desired.Values))

	for twin, err := range client.QueryTwins(ctx, "SELECT * FROM devices WHERE tags.site = "+service.Quote("north"), nil) {
		if err != nil {
			return err
		}
		fmt.Println("in the north:", twin.DeviceID)
	}

	if err := call(ctx, client); err != nil {
		return err
	}
	if err := message(ctx, client); err != nil {
		return err
	}
	return events(ctx, client)
}

// call waits for the device to connect and calls a method.
func call(ctx context.Context, client *service.Client) error {
	answer, err := client.InvokeMethod(ctx, deviceID, "", "add", []byte("[1,2,3.5]"), &service.MethodOptions{ConnectTimeout: time.Minute})
	if err != nil {
		return err
	}
	fmt.Println("add answered:", answer.Status, string(answer.Payload))
	return nil
}

// message sends a message and waits until the device has completed it.
func message(ctx context.Context, client *service.Client) error {
	err := client.SendC2D(ctx, deviceID, &iothub.Message{Payload: []byte("hello"), MessageID: "m1", Ack: "full"})
	if err != nil {
		return err
	}
	fmt.Println("sent m1")
	for batch, err := range client.Feedback(nil).All(ctx) {
		if err != nil {
			return err
		}
		if err := batch.Complete(ctx); err != nil {
			return err
		}
		for _, r := range batch.Body {
			fmt.Println("feedback:", r.DeviceID, r.MessageID, r.Status)
			if r.MessageID == "m1" {
				return nil
			}
		}
	}
	return nil
}

var errStop = errors.New("enough")

// events prints events until one says "stop".
func events(ctx context.Context, client *service.Client) error {
	reader := client.Events(nil)
	defer reader.Close(context.Background())
	err := reader.Run(ctx, func(_ context.Context, e *service.Event) error {
		fmt.Printf("event of %s: %s %v\n", e.DeviceID, e.Body, e.Properties)
		if string(e.Body) == "stop" {
			return errStop
		}
		return nil
	}, &service.RunOptions{From: service.FromStart()})
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}
