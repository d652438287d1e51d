//go:build cgo && linux

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub/hub"
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
	cert, certPEM, keyPEM := certificate(t, "certified")
	symmetric := dps.AttestationMechanism{SymmetricKey: &service.SymmetricKey{Primary: key, Secondary: key}}
	for _, e := range []*dps.IndividualEnrollment{
		{RegistrationID: "reg1", DeviceID: "registered-1", Attestation: symmetric},
		{RegistrationID: "disabled", ProvisioningStatus: service.Disabled, Attestation: symmetric},
		{RegistrationID: "certified", Attestation: dps.ClientCertificates(cert, nil)},
	} {
		if _, err := c.CreateIndividualEnrollment(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	return append(w.env, "ID_SCOPE="+w.IDScope(), "DPS_MQTT="+mqtt.String(), "DPS_HTTPS="+https.String(), "NOBODY=127.0.0.1:1",
		"REGISTRATION_ID=reg1", "REGISTRATION_KEY="+key, "CERTIFICATE="+certPEM, "PRIVATE_KEY="+keyPEM)
}

// certificate makes one that signs itself.
func certificate(t *testing.T, name string) (cert *x509.Certificate, certPEM, keyPEM string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
}
