package service_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"log"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/service"
)

// exampleClient returns a client of a hub in memory.
func exampleClient() (client *service.Client, end func()) {
	ctx := context.Background()
	srv, err := hub.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := srv.Listen(hub.HTTPS, "127.0.0.1:0"); err != nil {
		log.Fatal(err)
	}
	client, err = service.NewClientFromConnectionString(srv.ServiceConnectionString(),
		&service.ClientOptions{TLS: &tls.Config{RootCAs: srv.CertPool()}}) // Azure needs no options
	if err != nil {
		log.Fatal(err)
	}
	return client, func() {
		_ = client.Close(ctx)
		_ = srv.Shutdown(ctx)
	}
}

// A device is made, and refused a second time.
func Example() {
	ctx := context.Background()
	client, end := exampleClient()
	defer end()

	device, err := client.CreateDevice(ctx, &service.Device{DeviceID: "dev1"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(device.DeviceID, device.Status, device.Authentication.SymmetricKey.Primary)

	_, err = client.CreateDevice(ctx, &service.Device{DeviceID: "dev1"})
	fmt.Println(iothub.KindOf(err))
	// Output:
	// dev1 enabled [redacted]
	// conflict
}

// Change a device as it was read: somebody else's change in between is not lost.
func ExampleClient_UpdateDevice() {
	ctx := context.Background()
	client, end := exampleClient()
	defer end()
	if _, err := client.CreateDevice(ctx, &service.Device{DeviceID: "dev1"}); err != nil {
		log.Fatal(err)
	}

	device, err := client.GetDevice(ctx, "dev1")
	if err != nil {
		log.Fatal(err)
	}
	device.Status, device.StatusReason = service.Disabled, "stolen"
	if device, err = client.UpdateDevice(ctx, device); iothub.KindOf(err) == iothub.KindPreconditionFailed {
		fmt.Println("somebody was faster: read it again")
	} else if err != nil {
		log.Fatal(err)
	}
	fmt.Println(device.Status, device.StatusReason)
	// Output: disabled stolen
}

// Tags are for back ends, desired properties are for the device.
func ExampleClient_PatchTwin() {
	ctx := context.Background()
	client, end := exampleClient()
	defer end()
	if _, err := client.CreateDevice(ctx, &service.Device{DeviceID: "dev1"}); err != nil {
		log.Fatal(err)
	}

	twin, err := client.PatchTwin(ctx, "dev1", "", &service.TwinUpdate{
		Tags:    map[string]any{"site": "north"},
		Desired: map[string]any{"interval": 30},
	})
	if err != nil {
		log.Fatal(err)
	}
	var tags struct{ Site string }
	if err := twin.DecodeTags(&tags); err != nil {
		log.Fatal(err)
	}
	fmt.Println(tags.Site, string(twin.Properties.Desired.Values), twin.Properties.Desired.Version)
	// Output: north {"interval":30} 2
}

// EditTwin repeats the change when somebody else was faster.
func ExampleClient_EditTwin() {
	ctx := context.Background()
	client, end := exampleClient()
	defer end()
	if _, err := client.CreateDevice(ctx, &service.Device{DeviceID: "dev1"}); err != nil {
		log.Fatal(err)
	}

	for range 3 {
		twin, err := client.EditTwin(ctx, "dev1", "", func(t *service.Twin) (*service.TwinUpdate, error) {
			var tags struct{ Visits int }
			err := t.DecodeTags(&tags)
			return &service.TwinUpdate{Tags: map[string]any{"visits": tags.Visits + 1}}, err
		})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(twin.Tags))
	}
	// Output:
	// {"visits":1}
	// {"visits":2}
	// {"visits":3}
}

// Many changes at once say which of them failed.
func ExampleClient_Bulk() {
	ctx := context.Background()
	client, end := exampleClient()
	defer end()

	err := client.Bulk(ctx, []*service.BulkItem{
		{DeviceID: "dev1", Mode: service.BulkCreate, Tags: map[string]any{"site": "north"}},
		{DeviceID: "dev2", Mode: service.BulkCreate},
		{DeviceID: "nobody", Mode: service.BulkDelete},
	})
	if failed, ok := err.(*service.BulkError); ok {
		for _, item := range failed.Items {
			fmt.Println(item.DeviceID, item.Operation, item.Err.Kind)
		}
	}
	devices, err := client.ListDevices(ctx, 0)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(devices), "devices")
	// Output:
	// nobody delete not found
	// 2 devices
}

// A credential of package azidentity fits by an adapter:
//
//	source := service.TokenSourceFunc(func(ctx context.Context, scope string) (iothub.Token, error) {
//		t, err := credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{scope}})
//		return iothub.Token{Value: t.Token, Expires: t.ExpiresOn}, err
//	})
func ExampleNewClient() {
	source := service.TokenSourceFunc(func(ctx context.Context, scope string) (iothub.Token, error) {
		return iothub.Token{Value: "from a vault"}, nil
	})
	client, err := service.NewClient("myhub.azure-devices.net", source, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(client)
	// Output: service.Client(myhub.azure-devices.net)
}
