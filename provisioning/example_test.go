package provisioning_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/provisioning"
)

func ExampleRegister() {
	key, err := provisioning.NewKeyAttestation(os.Getenv("DEVICE_KEY"))
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	a, err := provisioning.Register(ctx, &provisioning.Config{IDScope: "0ne00000001", RegistrationID: "sensor-1", Attestation: key})
	if err != nil {
		log.Printf("%v; what to do: %v", err, iothub.ActionOf(err))
		return
	}
	log.Printf("%s is a device of %s", a.DeviceID, a.HubHostName)
}

// The common name of the certificate is the registration id.
func ExampleNewCertificateAttestation() {
	cert, err := tls.LoadX509KeyPair("sensor-1-chain.pem", "sensor-1.key")
	if err != nil {
		log.Fatal(err)
	}
	a, err := provisioning.Register(context.Background(), &provisioning.Config{
		IDScope: "0ne00000001", Attestation: provisioning.NewCertificateAttestation(cert),
	})
	log.Print(a, err)
}

// The key of a group stays in the factory; the device gets its own.
func ExampleDeriveKey() {
	key, err := provisioning.DeriveKey("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "dev1")
	fmt.Println(key, err)
	// Output: jgNHkpsSyy5knqEYC62lGiPQlRRClkZht9bpLre3fa0= <nil>
}
