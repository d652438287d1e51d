package dps_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/service"
	"github.com/iothub-go/iothub/service/dps"
)

// exampleClient returns a client of a service that ends with the example.
func exampleClient() (c *dps.Client, end func()) {
	server, err := hub.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := server.Listen(hub.HTTPS, "127.0.0.1:0"); err != nil {
		log.Fatal(err)
	}
	c, err = dps.NewClientFromConnectionString(server.ProvisioningConnectionString(), &dps.ClientOptions{TLS: &tls.Config{RootCAs: server.CertPool()}})
	if err != nil {
		log.Fatal(err)
	}
	return c, func() {
		_ = c.Close(context.Background())
		_ = server.Shutdown(context.Background())
	}
}

// A group lets a whole production line register: each device has a key that is
// derived from that of the group.
func ExampleClient_CreateEnrollmentGroup() {
	ctx := context.Background()
	client, end := exampleClient()
	defer end()

	group, err := client.CreateEnrollmentGroup(ctx, &dps.EnrollmentGroup{
		EnrollmentGroupID: "line-1",
		InitialTwin:       &dps.InitialTwin{Tags: json.RawMessage(`{"site":"north"}`)},
	})
	if err != nil {
		log.Fatal(err)
	}
	attestation, err := client.GetEnrollmentGroupAttestation(ctx, group.EnrollmentGroupID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(group.ProvisioningStatus, attestation.Type, attestation.SymmetricKey.Primary)
	// Output: enabled symmetricKey [redacted]
}

// An enrollment is changed by reading and writing it; its ETag tells when somebody
// else was faster.
func ExampleClient_UpdateIndividualEnrollment() {
	ctx := context.Background()
	client, end := exampleClient()
	defer end()

	if _, err := client.CreateIndividualEnrollment(ctx, &dps.IndividualEnrollment{RegistrationID: "dev1"}); err != nil {
		log.Fatal(err)
	}
	enrollment, err := client.GetIndividualEnrollment(ctx, "dev1")
	if err != nil {
		log.Fatal(err)
	}
	enrollment.ProvisioningStatus = service.Disabled
	if _, err := client.UpdateIndividualEnrollment(ctx, enrollment); err != nil {
		log.Fatal(err)
	}
	_, err = client.UpdateIndividualEnrollment(ctx, enrollment) // has the old ETag
	fmt.Println(iothub.KindOf(err))
	for e, err := range client.QueryIndividualEnrollments(ctx, "SELECT * FROM enrollments WHERE provisioningStatus = 'disabled'", nil) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(e.RegistrationID)
	}
	// Output:
	// precondition failed
	// dev1
}
