// Edge-module is two modules of IoT Edge in one program, which know nothing but their
// environment. The sensor sends temperatures by its output "temperatures"; the filter
// takes them by its input of that name and passes on, by its output "hot", those above
// the threshold of its desired properties, which it reports.
//
//	go build -o edge-module ./examples/edge-module
//	iothub edge --with-hub --module 'sensor=./edge-module sensor' --module 'filter=./edge-module filter' \
//	  --route 'FROM /messages/modules/sensor/outputs/temperatures INTO BrokeredEndpoint("/modules/filter/inputs/temperatures")' \
//	  --route 'FROM /messages/modules/filter/outputs/hot INTO $upstream'
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/module"
)

// reading is a message of the sensor.
type reading struct {
	Temperature float64 `json:"temperature"`
}

func main() {
	log.SetFlags(0)
	// The runtime asks a module to end by SIGTERM, and gives it some seconds.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	client, err := module.NewClientFromEnvironment(nil)
	if err != nil {
		log.Fatal(err)
	}
	switch {
	case len(os.Args) == 2 && os.Args[1] == "sensor":
		err = sense(ctx, client)
	case len(os.Args) == 2 && os.Args[1] == "filter":
		err = filter(ctx, client)
	default:
		log.Fatal("usage: edge-module sensor|filter")
	}
	if err != nil {
		log.Fatal(err)
	}
	end, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := client.Close(end); err != nil { // waits until all is confirmed
		log.Fatal(err)
	}
}

// sense sends a temperature every second, of 15 to 34 degrees.
func sense(ctx context.Context, client *module.Client) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 0; ; n++ {
		payload, err := json.Marshal(reading{15 + float64(n*7%20)})
		if err != nil {
			return err
		}
		msg := &iothub.Message{Payload: payload, ContentType: "application/json", ContentEncoding: "utf-8"}
		if err := client.SendEventToOutputAsync("temperatures", msg, nil); err != nil {
			log.Print(err) // the queue is full: the edge hub has been away for long
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// filter passes on what is hot.
func filter(ctx context.Context, client *module.Client) error {
	var threshold atomic.Int64
	threshold.Store(25)
	err := client.HandleDesired(func(c *iothub.DesiredChange) {
		var desired struct{ Threshold *int64 }
		if err := json.Unmarshal(c.Patch, &desired); err != nil || desired.Threshold == nil {
			return
		}
		threshold.Store(*desired.Threshold)
		fmt.Println("threshold", *desired.Threshold)
		if err := client.UpdateReportedAsync(map[string]any{"threshold": *desired.Threshold}, nil); err != nil {
			log.Print(err)
		}
	})
	if err != nil {
		return err
	}
	client.HandleInput("temperatures", func(m *iothub.ReceivedMessage) iothub.Disposition {
		var r reading
		if err := json.Unmarshal(m.Payload, &r); err != nil {
			return iothub.DispositionRejected
		}
		if r.Temperature <= float64(threshold.Load()) {
			return iothub.DispositionAccepted
		}
		out := &iothub.Message{Payload: m.Payload, ContentType: "application/json", ContentEncoding: "utf-8", Properties: map[string]string{"alert": "hot"}}
		// The input is settled when the edge hub has the output: nothing is lost between.
		err := client.SendEventToOutputAsync("hot", out, func(c iothub.Confirmation) {
			by := iothub.DispositionAbandoned
			if c.Result == iothub.ConfirmOK {
				by = iothub.DispositionAccepted
				fmt.Println("passed on", r.Temperature)
			}
			if err := m.Settle(by); err != nil {
				log.Print(err) // the connection is gone, and the message comes again
			}
		})
		if err != nil {
			return iothub.DispositionAbandoned
		}
		return iothub.DispositionLater
	})
	client.Open()
	<-ctx.Done()
	return nil
}
