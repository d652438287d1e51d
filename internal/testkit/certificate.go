package testkit

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"
)

// Certificate is one with its key.
type Certificate struct {
	*x509.Certificate
	Key *ecdsa.PrivateKey
}

// Authority makes a certificate that may sign others: signed by issuer, or by itself when
// that is nil. It is valid from an hour ago, for another hour.
func Authority(t testing.TB, name string, issuer *Certificate) *Certificate {
	t.Helper()
	return NewCertificate(t, name, issuer, func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	})
}

// Leaf makes the certificate of a device, as Authority does.
func Leaf(t testing.TB, name string, issuer *Certificate) *Certificate {
	t.Helper()
	return NewCertificate(t, name, issuer, nil)
}

// NewCertificate is Leaf with a template that edit changes before it is signed.
func NewCertificate(t testing.TB, name string, issuer *Certificate, edit func(*x509.Certificate)) *Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	if edit != nil {
		edit(template)
	}
	if issuer == nil {
		issuer = &Certificate{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer.Certificate, key.Public(), issuer.Key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &Certificate{cert, key}
}

// TLS is the certificate as a client shows it, with those of authorities behind it.
func (c *Certificate) TLS(authorities ...*Certificate) tls.Certificate {
	shown := tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: c.Key, Leaf: c.Certificate}
	for _, a := range authorities {
		shown.Certificate = append(shown.Certificate, a.Raw)
	}
	return shown
}

// PEM is the certificate as text.
func (c *Certificate) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// KeyPEM is its key as text.
func (c *Certificate) KeyPEM(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.Key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}
