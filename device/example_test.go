package device_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
)

func Example() {
	client, err := device.NewClientFromConnectionString(os.Getenv("IOTHUB_DEVICE_CONNECTION_STRING"), &device.ClientOptions{
		OnConnectionStatus: func(e iothub.ConnectionEvent) { log.Println(e) },
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := client.SendEvent(ctx, &iothub.Message{Payload: []byte("hello")}); err != nil {
		log.Print(err)
	}
	if err := client.Close(ctx); err != nil {
		log.Print(err)
	}
}

// A device that proves itself with an X.509 certificate.
func ExampleNewClientFromConnectionString_x509() {
	cert, err := tls.LoadX509KeyPair("device.pem", "device.key")
	if err != nil {
		log.Fatal(err)
	}
	client, err := device.NewClientFromConnectionString("HostName=hub.example;DeviceId=dev1;x509=true", &device.ClientOptions{
		Credential: iothub.NewCertificateCredential(cert),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close(context.Background())
	client.Open()
}

func ExampleClient_SendEventAsync() {
	var client *device.Client // from NewClientFromConnectionString
	msg := &iothub.Message{}
	for i := range 1000 {
		// One message is enough: each call copies what it sends.
		msg.Payload = fmt.Appendf(msg.Payload[:0], `{"n": %d}`, i)
		if err := client.SendEventAsync(msg, nil); err != nil {
			log.Print(err)
			return
		}
	}
}

func ExampleClient_Stats() {
	client, err := device.NewClientFromConnectionString("HostName=hub.example;DeviceId=dev1;SharedAccessKey=AAECAwQFBgcICQoLDA0ODw==", nil)
	if err != nil {
		log.Fatal(err)
	}
	st := client.Stats()
	fmt.Println(client.Identity(), st.Queued, st.InFlight, st.Confirmed)
	if err := client.Close(context.Background()); err != nil {
		log.Print(err)
	}
	// Output: dev1 0 0 0
}
