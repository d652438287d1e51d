// Command device is the device that the test of the page talks to. It sends what
// stands on each line of its standard input as an event, answers the method
// "echo", and prints each message that it receives.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"os"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
)

func main() {
	if err := run(context.Background(), os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, connectionString, caFile string) error {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	client, err := device.NewClientFromConnectionString(connectionString, &device.ClientOptions{TLS: &tls.Config{RootCAs: roots}})
	if err != nil {
		return err
	}
	defer client.Close(ctx)
	client.HandleMethod("echo", func(r *iothub.MethodRequest) *iothub.MethodResponse {
		return &iothub.MethodResponse{Status: 207, Payload: r.Payload}
	})
	client.HandleMessages(func(m *iothub.ReceivedMessage) iothub.Disposition {
		fmt.Printf("message %s %v\n", m.Payload, m.Properties)
		return iothub.DispositionAccepted
	})
	if _, err := client.UpdateReported(ctx, map[string]any{"firmware": "1.0"}); err != nil {
		return err
	}
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		msg := &iothub.Message{Payload: lines.Bytes(), Properties: map[string]string{"note": `<img src=x onerror="window.hurt=1">`}}
		if err := client.SendEvent(ctx, msg); err != nil {
			return err
		}
	}
	return nil
}
