package examples_test

import (
	"context"
	"crypto/tls"
	"path/filepath"
	"testing"
	"time"

	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/provisioning"
	"github.com/iothub-go/iothub/service"
	"github.com/iothub-go/iothub/service/dps"
)

// A device that has only a key of its own finds its hub, and finds it again when somebody
// has deleted it there; its second start needs no provisioning service.
func TestZeroTouch(t *testing.T) {
	const groupKey = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	s := startHub(t, nil)
	if _, err := s.Listen(hub.HTTPS, "127.0.0.1:0"); err != nil { // for back ends
		t.Fatal(err)
	}
	mqtt, err := s.Listen(hub.MQTT, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	trust := &service.ClientOptions{TLS: &tls.Config{RootCAs: s.CertPool()}}
	enrollments, err := dps.NewClientFromConnectionString(s.ProvisioningConnectionString(), trust)
	if err != nil {
		t.Fatal(err)
	}
	defer enrollments.Close(context.Background())
	if _, err := enrollments.CreateEnrollmentGroup(ctx, &dps.EnrollmentGroup{EnrollmentGroupID: "line-1", Attestation: dps.AttestationMechanism{
		SymmetricKey: &service.SymmetricKey{Primary: groupKey, Secondary: groupKey},
	}}); err != nil {
		t.Fatal(err)
	}
	key, err := provisioning.DeriveKey(groupKey, "sensor-1")
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"IOTHUB_DPS_ENDPOINT": mqtt.String(), "IOTHUB_DPS_ID_SCOPE": s.IDScope(), "IOTHUB_DPS_REGISTRATION_ID": "sensor-1",
		"IOTHUB_DPS_KEY": key, "IOTHUB_CA_FILE": writeCA(t, s), "IOTHUB_STATE_FILE": filepath.Join(t.TempDir(), "state.json"),
	} {
		t.Setenv(name, value)
	}
	back, err := service.NewClientFromConnectionString(s.ServiceConnectionString(), trust)
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close(context.Background())

	p := startProgram(t, "zero-touch")
	p.expect("as sensor-1")
	p.expect("the hub has event 1")
	if err := back.DeleteDevice(ctx, "sensor-1", service.AnyETag); err != nil {
		t.Fatal(err)
	}
	p.expect("as sensor-1")
	p.expect("the hub has event 10")
	p.end()

	if err := enrollments.DeleteEnrollmentGroup(ctx, "line-1", service.AnyETag); err != nil {
		t.Fatal(err)
	}
	p = startProgram(t, "zero-touch")
	p.expect("the hub has event 1")
	if len(p.seen) != 1 {
		t.Errorf("it said %q", p.seen)
	}
}
