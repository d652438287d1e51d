package module_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/module"
)

func Example() {
	client, err := module.NewClientFromConnectionString(os.Getenv("IOTHUB_MODULE_CONNECTION_STRING"), nil)
	if err != nil {
		log.Fatal(err)
	}
	msg := &iothub.Message{Payload: []byte(`{"temperature": 21.5}`), ContentType: "application/json", ContentEncoding: "utf-8"}
	err = client.SendEventAsync(msg, func(c iothub.Confirmation) { log.Println("confirmed:", c.Result, c.Err) })
	if err != nil {
		log.Print(err)
	}

	// Waits until everything accepted is confirmed, half a minute at most.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := client.Close(ctx); err != nil {
		log.Print(err)
	}
}

// A message that the hub did not take may be sent again from inside its
// confirmation: it was copied when it was accepted and is the caller's.
func ExampleClient_SendEventAsync() {
	var client *module.Client // from NewClientFromConnectionString
	msg := &iothub.Message{Payload: []byte("important")}

	var confirm iothub.ConfirmFunc
	confirm = func(c iothub.Confirmation) {
		if c.Result == iothub.ConfirmMessageTimeout {
			if err := client.SendEventAsync(msg, confirm); err != nil {
				log.Print(err)
			}
		}
	}
	switch err := client.SendEventAsync(msg, confirm); {
	case errors.Is(err, iothub.ErrQueueFull):
		log.Print("slow down: wait for confirmations, or use SendEvent")
	case err != nil:
		log.Print(err)
	}
}

// What the caller knows when its patience ends.
func ExampleClient_SendEvent() {
	var client *module.Client // from NewClientFromConnectionString
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	switch err := client.SendEvent(ctx, &iothub.Message{Payload: []byte("m")}); {
	case err == nil:
		log.Print("the hub has it")
	case iothub.NotSent(err):
		log.Print("it was not accepted and never will be sent: ", err)
	default:
		log.Print("it may still be sent, or have been: ", err)
	}
}

func ExampleClient_SendEventToOutputAsync() {
	var client *module.Client // from NewClientFromConnectionString
	err := client.SendEventToOutputAsync("alerts", &iothub.Message{Payload: []byte("hot")}, nil)
	if err != nil {
		log.Print(err)
	}
}

func ExampleClient_SendEventBatch() {
	var client *module.Client // from NewClientFromConnectionString
	msgs := []*iothub.Message{{Payload: []byte("1")}, {Payload: []byte("2")}}
	err := client.SendEventBatch(context.Background(), msgs)
	if be, ok := errors.AsType[*iothub.BatchError](err); ok {
		for i, err := range be.Errs {
			if err != nil {
				log.Printf("message %d: %v", i, err)
			}
		}
	}
}

func ExampleNewClientFromConnectionString() {
	_, err := module.NewClientFromConnectionString("HostName=hub.example;DeviceId=dev1;SharedAccessKey=AAECAwQFBgcICQoLDA0ODw==", nil)
	fmt.Println(err)
	// Output: iothub: connection string: invalid argument: ModuleId is missing: this is the connection string of a device; use package device
}
