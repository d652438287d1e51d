// Command mkcert makes client certificates for the conformance tests: NAME.crt and
// NAME.key in the folder given first, self-signed for NAME. For NAME/AUTHORITY/ROOT it is
// signed by AUTHORITY, which ROOT has signed; NAME.crt then has AUTHORITY's behind it,
// and ROOT.crt is made too.
//
//	go run ./conformance/mkcert DIR NAME...
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: mkcert DIR NAME[/AUTHORITY...]...")
		os.Exit(2)
	}
	for _, names := range os.Args[2:] {
		if err := write(os.Args[1], strings.Split(names, "/")); err != nil {
			fmt.Fprintln(os.Stderr, "mkcert:", err)
			os.Exit(1)
		}
	}
}

// pair is a certificate with its key.
type pair struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// write makes a chain, the leaf first.
func write(dir string, names []string) error {
	var issuer *pair
	var chain []byte
	for i, name := range slices.Backward(names) {
		p, err := issue(name, i > 0, issuer)
		if err != nil {
			return err
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Raw})
		file := filepath.Join(dir, name+".crt")
		switch {
		case i == 0:
			err = p.save(dir, name, append(text, chain...))
		case issuer == nil: // everybody has to know it, so nobody shows it
			err = os.WriteFile(file, text, 0o600)
		default:
			chain = append(text, chain...)
		}
		if err != nil {
			return err
		}
		issuer = p
	}
	return nil
}

// issue makes a certificate, signed by issuer, or by itself when that is nil.
func issue(name string, authority bool, issuer *pair) (*pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if authority {
		template.KeyUsage, template.ExtKeyUsage, template.IsCA, template.BasicConstraintsValid = x509.KeyUsageCertSign, nil, true, true
	}
	if issuer == nil {
		issuer = &pair{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer.cert, key.Public(), issuer.key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &pair{cert, key}, err
}

// save writes a leaf: its chain and its key.
func (p *pair) save(dir, name string, chain []byte) error {
	private, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, name+".crt"), chain, 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600)
}
