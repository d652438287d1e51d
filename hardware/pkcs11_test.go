package hardware

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"crypto/elliptic"

	"github.com/ThalesGroup/crypto11"

	"github.com/iothub-go/iothub/provisioning"
	"github.com/iothub-go/iothub/service/dps"
)

// softHSM are the places where SoftHSM may be.
var softHSM = []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so", "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so"}

// token opens a new PKCS#11 token.
func token(t *testing.T) *crypto11.Context {
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, "softhsm2.conf")
	if err := os.WriteFile(conf, []byte("directories.tokendir = "+dir+"\nobjectstore.backend = file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", conf)
	if out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", "device", "--pin", "1234", "--so-pin", "5678").CombinedOutput(); err != nil {
		t.Fatalf("%v: apt-get install softhsm2\n%s", err, out)
	}
	for _, path := range softHSM {
		if !exists(path) {
			continue
		}
		c, err := crypto11.Configure(&crypto11.Config{Path: path, TokenLabel: "device", Pin: "1234"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	t.Fatalf("libsofthsm2.so is at none of %q: apt-get install softhsm2", softHSM)
	return nil
}

// certificate makes one that the key in the token signs.
func certificate(t *testing.T, name string, signer crypto.Signer) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: signer, Leaf: leaf}
}

// A device whose key never leaves a PKCS#11 token registers over each transport, and works
// with its hub over each.
func TestPKCS11(t *testing.T) {
	s, hsm := newSite(t), token(t)
	for kind, make := range map[string]func(id []byte) (crypto.Signer, error){
		"ecdsa": func(id []byte) (crypto.Signer, error) { return hsm.GenerateECDSAKeyPair(id, elliptic.P256()) },
		"rsa":   func(id []byte) (crypto.Signer, error) { return hsm.GenerateRSAKeyPair(id, 2048) },
	} {
		for _, transport := range []provisioning.Transport{provisioning.MQTT, provisioning.MQTTWebSocket, provisioning.HTTPS} {
			id := kind + "-" + transport.String()
			t.Run(id, func(t *testing.T) {
				signer, err := make([]byte(id))
				if err != nil {
					t.Fatal(err)
				}
				cert := certificate(t, id, signer)
				s := &site{T: t, Server: s.Server, api: s.api, mqtt: s.mqtt, https: s.https}
				s.enroll(id, dps.ClientCertificates(cert.Leaf, nil))
				a, err := provisioning.Register(t.Context(), s.config(id, provisioning.NewCertificateAttestation(cert), transport))
				if err != nil {
					t.Fatal(err)
				}
				s.works(a)
			})
		}
	}
}
