package hub_test

import (
	"context"
	"fmt"
	"log"
	"strings"

	"github.com/iothub-go/iothub/hub"
)

// A hub in memory, as a test of a device program uses it.
func Example() {
	ctx := context.Background()
	srv, err := hub.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = srv.Shutdown(ctx) }()
	if _, err := srv.Listen(hub.MQTT, "127.0.0.1:0"); err != nil {
		log.Fatal(err)
	}
	if _, err := srv.CreateDevice(ctx, "dev1"); err != nil {
		log.Fatal(err)
	}
	connectionString, err := srv.DeviceConnectionString("dev1")
	if err != nil {
		log.Fatal(err)
	}
	// Give the device connectionString and let it trust srv.CertPool().
	fmt.Println(strings.Contains(connectionString, ";DeviceId=dev1;SharedAccessKey="))

	// What it has sent so far:
	for e, err := range srv.Events(ctx, &hub.EventsOptions{NoWait: true}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %s\n", e.DeviceID, e.Body)
	}
	// Output: true
}
