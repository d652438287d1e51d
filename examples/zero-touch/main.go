// Zero-touch is a device that nobody has set up: it knows an id scope, its own id, and a
// secret, and finds its hub by itself, again and again if it is moved. Everything stands
// in the environment, as it would in the memory of a device that leaves a factory:
//
//	export IOTHUB_DPS_ID_SCOPE=0ne00000001     # of the provisioning service
//	export IOTHUB_DPS_REGISTRATION_ID=sensor-1
//	export IOTHUB_DPS_KEY=…                    # of this device: iothub dps derive-key sensor-1
//	go run ./examples/zero-touch
//
// With IOTHUB_DPS_CERTIFICATE and IOTHUB_DPS_PRIVATE_KEY, two PEM files, it proves itself
// by a certificate, and its id is the common name. For a local hub IOTHUB_DPS_ENDPOINT is
// its host name, and IOTHUB_CA_FILE the ca.pem of its data folder.
package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
	"github.com/iothub-go/iothub/provisioning"
)

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal("zero-touch: ", err)
	}
}

func run(ctx context.Context) error {
	attestation, err := secret()
	if err != nil {
		return err
	}
	config := &provisioning.Config{
		Endpoint:       os.Getenv("IOTHUB_DPS_ENDPOINT"),
		IDScope:        os.Getenv("IOTHUB_DPS_ID_SCOPE"),
		RegistrationID: os.Getenv("IOTHUB_DPS_REGISTRATION_ID"),
		Attestation:    attestation,
		// What was found is kept, so that the next start needs no provisioning service.
		StateFile: cmp.Or(os.Getenv("IOTHUB_STATE_FILE"), "zero-touch.json"),
		OnAssigned: func(a *provisioning.Assignment) {
			fmt.Printf("assigned to %s as %s\n", a.HubHostName, a.DeviceID)
		},
	}
	roots, err := trusted(os.Getenv("IOTHUB_CA_FILE"))
	if err != nil {
		return err
	}
	client, err := device.NewClientFromProvisioning(config, &device.ClientOptions{
		TLS: &tls.Config{RootCAs: roots},
		OnConnectionStatus: func(e iothub.ConnectionEvent) {
			if e.Err != nil {
				log.Printf("%v; what to do: %v", e.Err, iothub.ActionOf(e.Err))
			}
		},
	})
	if err != nil {
		return err
	}
	defer client.Close(context.Background())

	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for n := 1; n <= 10; n++ {
		body := fmt.Appendf(nil, `{"n":%d}`, n)
		if err := client.SendEvent(ctx, &iothub.Message{Payload: body, ContentType: "application/json", ContentEncoding: "utf-8"}); err != nil {
			return err
		}
		fmt.Printf("the hub has event %d\n", n)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// secret is what the device proves itself with.
func secret() (*provisioning.Attestation, error) {
	if file := os.Getenv("IOTHUB_DPS_CERTIFICATE"); file != "" {
		cert, err := tls.LoadX509KeyPair(file, os.Getenv("IOTHUB_DPS_PRIVATE_KEY"))
		if err != nil {
			return nil, err
		}
		return provisioning.NewCertificateAttestation(cert), nil
	}
	return provisioning.NewKeyAttestation(os.Getenv("IOTHUB_DPS_KEY"))
}

// trusted is the authority in a file; nil are those of the system.
func trusted(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return roots, nil
}
