package pki_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/iothub-go/iothub/hub/internal/pki"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func load(t *testing.T, dir string, at time.Time, names ...string) *pki.PKI {
	t.Helper()
	p, err := pki.Load(dir, names, at)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func leaf(p *pki.PKI) *x509.Certificate { return p.TLSConfig().Certificates[0].Leaf }

func TestCertificates(t *testing.T) {
	p := load(t, "", now, "My-Hub.example", "10.1.2.3", "[fd00::1]", "")
	for _, name := range []string{"localhost", "127.0.0.1", "::1", "my-hub.example", "10.1.2.3", "fd00::1"} {
		opts := x509.VerifyOptions{Roots: p.Pool(), CurrentTime: now, DNSName: name}
		if _, err := leaf(p).Verify(opts); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left := p.NotAfter().Sub(now); left < 90*24*time.Hour {
		t.Errorf("valid for %v only", left)
	}
	block, _ := pem.Decode(p.CAPEM())
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil || !ca.IsCA || ca.NotAfter.Sub(now) < 9*365*24*time.Hour {
		t.Errorf("authority: %v, %v", ca.NotAfter, err)
	}
}

// TestHandshake: the chain is good for a client that trusts the authority, and a
// client certificate is handed on unchecked.
func TestHandshake(t *testing.T) {
	p := load(t, "", time.Now())
	clientSide, serverSide := net.Pipe()
	defer clientSide.Close()
	defer serverSide.Close()
	client := tls.Client(clientSide, &tls.Config{
		RootCAs: p.Pool(), ServerName: "localhost", MaxVersion: tls.VersionTLS12, Certificates: p.TLSConfig().Certificates,
	})
	server := tls.Server(serverSide, p.TLSConfig())
	served := make(chan error, 1)
	go func() { served <- server.Handshake() }()
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	if n := len(server.ConnectionState().PeerCertificates); n == 0 {
		t.Error("the client certificate did not arrive")
	}
}

func TestKeepsAndRenews(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	first := load(t, dir, now, "a.example")
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 4 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f.Name(), info.Mode(), err)
		}
	}
	same := load(t, dir, now.Add(24*time.Hour), "a.example")
	if !leaf(same).Equal(leaf(first)) || string(same.CAPEM()) != string(first.CAPEM()) {
		t.Error("made again without need")
	}
	late := load(t, dir, first.NotAfter().Add(-29*24*time.Hour), "a.example")
	if leaf(late).Equal(leaf(first)) || string(late.CAPEM()) != string(first.CAPEM()) {
		t.Error("not renewed 29 days before its end, or by another authority")
	}
	named := load(t, dir, now, "b.example")
	if err := leaf(named).VerifyHostname("b.example"); err != nil {
		t.Error(err)
	}
}

// TestRepairsTheServerPair: a crash between the two files leaves a key without
// its certificate. Both can be made again.
func TestRepairsTheServerPair(t *testing.T) {
	dir := t.TempDir()
	first := load(t, dir, now)
	if err := os.Remove(filepath.Join(dir, "server.pem")); err != nil {
		t.Fatal(err)
	}
	again := load(t, dir, now)
	if err := leaf(again).CheckSignatureFrom(caOf(t, first)); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.Load(dir, nil, now); err == nil {
		t.Error("a damaged authority was replaced in silence")
	}
}

func TestAnEndedAuthorityIsAnError(t *testing.T) {
	dir := t.TempDir()
	load(t, dir, now)
	if _, err := pki.Load(dir, nil, now.AddDate(11, 0, 0)); err == nil {
		t.Error("loaded an authority that has ended")
	}
}

func caOf(t *testing.T, p *pki.PKI) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(p.CAPEM())
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}
