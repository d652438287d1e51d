// Telemetry is the program a newcomer writes first: a module that sends a few
// measurements, is told of each that the hub has it, and closes.
//
//	go run ./examples/telemetry --connection-string "…" --ca ./hub-data/ca.pem
//
// The connection string may stand in IOTHUB_MODULE_CONNECTION_STRING instead.
// Against Azure leave --ca out.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"sync/atomic"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/module"
)

func main() {
	log.SetFlags(0)
	connectionString := flag.String("connection-string", os.Getenv("IOTHUB_MODULE_CONNECTION_STRING"), "connection string of a module")
	ca := flag.String("ca", "", "PEM `file` of the authority to trust, for a local hub; empty is the system's")
	count := flag.Int("count", 10, "how many events to send")
	flag.Parse()
	if err := run(*connectionString, *ca, *count); err != nil {
		log.Fatal("telemetry: ", err)
	}
}

func run(connectionString, ca string, count int) error {
	o := &module.ClientOptions{
		OnConnectionStatus: func(e iothub.ConnectionEvent) { log.Println("connection:", e) },
	}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return err
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%s holds no certificate", ca)
		}
		o.TLS = &tls.Config{RootCAs: roots}
	}
	client, err := module.NewClientFromConnectionString(connectionString, o)
	if err != nil {
		return err
	}

	var confirmed atomic.Int64
	sendErr := send(client, count, &confirmed)

	// Close waits until every accepted event has been confirmed.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := errors.Join(sendErr, client.Close(ctx)); err != nil {
		return err
	}
	if n := confirmed.Load(); n != int64(count) {
		return fmt.Errorf("%d of %d events were confirmed", n, count)
	}
	fmt.Printf("%d events confirmed\n", count)
	return nil
}

func send(client *module.Client, count int, confirmed *atomic.Int64) error {
	msg := &iothub.Message{ContentType: "application/json", ContentEncoding: "utf-8"}
	for i := range count {
		body, err := json.Marshal(map[string]any{"n": i, "temperature": 20 + float64(i%10)/10})
		if err != nil {
			return err
		}
		// The message is ours again as soon as SendEventAsync returns.
		msg.Payload = body
		err = client.SendEventAsync(msg, func(c iothub.Confirmation) {
			if c.Result != iothub.ConfirmOK {
				log.Printf("event %d: %v: %v", i, c.Result, c.Err)
				return
			}
			confirmed.Add(1)
		})
		if err != nil {
			return fmt.Errorf("event %d: %w", i, err)
		}
	}
	return nil
}
