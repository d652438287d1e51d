package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"
)

type signer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue makes a certificate that by signs, or itself when that is nil.
func issue(t *testing.T, name string, isCA bool, by *signer, notAfter time.Time) *signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, IsCA: isCA, BasicConstraintsValid: true,
		NotBefore: notAfter.Add(-48 * time.Hour), NotAfter: notAfter}
	parent := &signer{template, key}
	if by != nil {
		parent = by
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.cert, key.Public(), parent.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{cert, key}
}

func TestSignedBy(t *testing.T) {
	now := time.Now()
	later := now.Add(time.Hour)
	root := issue(t, "root", true, nil, later)
	middle := issue(t, "middle", true, root, later)
	leaf := issue(t, "leaf", false, middle, later)
	old := issue(t, "old", false, root, now.Add(-time.Hour))
	below := issue(t, "below", false, leaf, later) // the leaf is no authority
	list := func(s ...*signer) (certs []*x509.Certificate) {
		for _, one := range s {
			certs = append(certs, one.cert)
		}
		return certs
	}
	for _, test := range []struct {
		name           string
		shown, signers []*x509.Certificate
		want           *signer
		depth          int
	}{
		{"whole chain", list(leaf, middle), list(root), root, 3},
		{"the nearest", list(leaf, middle), list(root, middle), middle, 2},
		{"chain with a hole", list(leaf), list(root), nil, 0},
		{"by whom nobody knows", list(leaf, middle), list(issue(t, "root", true, nil, later)), nil, 0},
		{"expired", list(old), list(root), nil, 0},
		{"itself", list(root), list(root), nil, 0},
		{"by a leaf", list(below, leaf, middle), list(root), nil, 0},
		{"no signers", list(leaf, middle), nil, nil, 0},
	} {
		got, depth := SignedBy(now, test.shown, test.signers)
		if depth != test.depth || (got == nil) != (test.want == nil) || got != nil && !got.Equal(test.want.cert) {
			t.Errorf("%s: %v at %d", test.name, got, depth)
		}
	}
}

func TestParseAuthorities(t *testing.T) {
	later := time.Now().Add(time.Hour)
	block := func(kind string, s *signer) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: s.cert.Raw}))
	}
	root, leaf := issue(t, "root", true, nil, later), issue(t, "leaf", false, nil, later)
	for _, test := range []struct {
		name, text string
		n          int
		want       string // in the error
	}{
		{"none", "", 0, ""},
		{"two", "# the first\n" + block("CERTIFICATE", root) + block("CERTIFICATE", root), 2, ""},
		{"not an authority", block("CERTIFICATE", leaf), 0, "CN=leaf"},
		{"a key", block("CERTIFICATE", root) + block("PRIVATE KEY", root), 0, "PRIVATE KEY"},
		{"no PEM", "root", 0, "PEM"},
		{"garbage", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})), 0, "x509"},
	} {
		list, err := ParseAuthorities([]byte(test.text))
		if len(list) != test.n || (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %d, %v", test.name, len(list), err)
		}
	}
}
