//go:build cgo && linux

package main

import (
	"context"
	"crypto/tls"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/testkit"
	"github.com/iothub-go/iothub/service"
	"github.com/iothub-go/iothub/service/dps"
)

// Devices that register, by a key and by a certificate, in both layers.
func TestRegistration(t *testing.T) {
	inDialects(t, "registration", func(t *testing.T, bin string) {
		t.Parallel() // most of it is waiting
		start(t, bin, newFactory(t)...).finish()
	})
}

// The example finds its hub and sends to it.
func TestProvisioningExample(t *testing.T) {
	set := map[string]string{}
	for _, pair := range newFactory(t) {
		name, value, _ := strings.Cut(pair, "=")
		set[name] = value
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, []byte(set["HUB_CA"]), 0o600); err != nil {
		t.Fatal(err)
	}
	bin := compileFile(t, "c11", filepath.Join("examples", "provisioning.c"))
	out, err := exec.CommandContext(t.Context(), bin, set["DPS_MQTT"], set["ID_SCOPE"], set["REGISTRATION_ID"], set["REGISTRATION_KEY"], ca).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "registered-1 is a device of ") || !strings.Contains(string(out), "IOTHUB_CLIENT_CONFIRMATION_OK") {
		t.Errorf("%v\n%s", err, out)
	}
}

// newFactory is a hub with enrollments, as the environment of the program.
func newFactory(t *testing.T) []string {
	t.Helper()
	const key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	w := newWorld(t, nil)
	mqtt, err := w.Listen(hub.MQTT, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	https, err := w.Listen(hub.HTTPS, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := dps.NewClientFromConnectionString(w.ProvisioningConnectionString(), &service.ClientOptions{TLS: &tls.Config{RootCAs: w.CertPool()}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	cert := testkit.Leaf(t, "certified", nil)
	symmetric := dps.AttestationMechanism{SymmetricKey: &service.SymmetricKey{Primary: key, Secondary: key}}
	for _, e := range []*dps.IndividualEnrollment{
		{RegistrationID: "reg1", DeviceID: "registered-1", Attestation: symmetric},
		{RegistrationID: "disabled", ProvisioningStatus: service.Disabled, Attestation: symmetric},
		{RegistrationID: "certified", Attestation: dps.ClientCertificates(cert.Certificate, nil)},
	} {
		if _, err := c.CreateIndividualEnrollment(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	return append(w.env, "ID_SCOPE="+w.IDScope(), "DPS_MQTT="+mqtt.String(), "DPS_HTTPS="+https.String(), "NOBODY=127.0.0.1:1",
		"REGISTRATION_ID=reg1", "REGISTRATION_KEY="+key, "CERTIFICATE="+string(cert.PEM()), "PRIVATE_KEY="+string(cert.KeyPEM(t)))
}
