// Package pki makes and keeps the private certificate authority and the server
// certificate of a hub, so that TLS is real from the first start on.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/iothub-go/iothub/internal/atomicfile"
)

const (
	caLifetime     = 10 * 365 * 24 * time.Hour
	serverLifetime = 120 * 24 * time.Hour
	// renewBefore is how long before its end a server certificate is replaced.
	renewBefore = 30 * 24 * time.Hour
	// backdate lets devices with a slow clock in.
	backdate = 24 * time.Hour

	caFile     = "ca.pem"
	caKeyFile  = "ca.key"
	serverFile = "server.pem"
	serverKey  = "server.key"
)

// PKI is a certificate authority and the server certificate it has signed. It
// does not change.
type PKI struct {
	caPEM  []byte
	ca     *x509.Certificate
	caKey  *ecdsa.PrivateKey
	server tls.Certificate
}

// Load reads the authority and the server certificate from the folder, making
// what is missing. The server certificate is made anew when it has less than 30
// days left or does not carry all of the names, which are added to localhost,
// 127.0.0.1, ::1 and the name of the machine. The authority lasts 10 years; after
// that Load fails, as clients have to be told of a new one.
//
// Files are written whole or not at all, for the owner only. With an empty dir
// nothing is kept.
func Load(dir string, names []string, now time.Time) (*PKI, error) {
	p := new(PKI)
	if err := p.loadCA(dir, now); err != nil {
		return nil, fmt.Errorf("pki: %w", err)
	}
	if err := p.loadServer(dir, allNames(names), now); err != nil {
		return nil, fmt.Errorf("pki: %w", err)
	}
	return p, nil
}

// CAPEM is the certificate of the authority, which clients have to trust.
func (p *PKI) CAPEM() []byte { return slices.Clone(p.caPEM) }

// Pool holds the certificate of the authority.
func (p *PKI) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.ca)
	return pool
}

// TLSConfig is for servers: TLS 1.2 or later, and a client certificate is asked
// for but neither needed nor checked against an authority; what it proves is for
// the hub to say. Each call gives a configuration of its own.
func (p *PKI) TLSConfig() *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{p.server},
		ClientAuth:   tls.RequestClientCert,
	}
}

// NotAfter is when the server certificate ends; a server that runs that long
// has to Load again before.
func (p *PKI) NotAfter() time.Time { return p.server.Leaf.NotAfter }

func allNames(names []string) []string {
	all := []string{"localhost", "127.0.0.1", "::1"}
	if host, err := os.Hostname(); err == nil {
		names = append([]string{host}, names...)
	}
	for _, name := range names {
		name = strings.ToLower(strings.Trim(name, "[]"))
		if name != "" && !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

func (p *PKI) loadCA(dir string, now time.Time) error {
	cert, key, certPEM, err := readPair(dir, caFile, caKeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return p.makeCA(dir, now)
	}
	if err != nil {
		return err
	}
	if now.After(cert.NotAfter) {
		return fmt.Errorf("the authority in %s ended on %s; remove %s and %s to make a new one, which clients must then be given",
			dir, cert.NotAfter.Format(time.DateOnly), caFile, caKeyFile)
	}
	p.ca, p.caKey, p.caPEM = cert, key, certPEM
	return nil
}

func (p *PKI) makeCA(dir string, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := newSerial()
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		// Part of the serial keeps the authorities of two hubs apart in a list.
		Subject:               pkix.Name{CommonName: fmt.Sprintf("iothub private CA %08x", serial.Uint64()>>32)},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caLifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	if p.ca, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	p.caKey = key
	p.caPEM = certPEM(der)
	return writePair(dir, caFile, caKeyFile, p.caPEM, key)
}

func (p *PKI) loadServer(dir string, names []string, now time.Time) error {
	// This pair can be made again at any time, so whatever is wrong with it, also
	// a crash between its two files, ends in a new one.
	cert, key, _, err := readPair(dir, serverFile, serverKey)
	if err != nil || !p.good(cert, names, now) {
		return p.makeServer(dir, names, now)
	}
	p.setServer(cert, key)
	return nil
}

func (p *PKI) setServer(cert *x509.Certificate, key *ecdsa.PrivateKey) {
	// The authority goes along, because some clients show it to trust it.
	p.server = tls.Certificate{Certificate: [][]byte{cert.Raw, p.ca.Raw}, PrivateKey: key, Leaf: cert}
}

func (p *PKI) good(cert *x509.Certificate, names []string, now time.Time) bool {
	if cert.CheckSignatureFrom(p.ca) != nil || now.Before(cert.NotBefore) || now.Add(renewBefore).After(cert.NotAfter) {
		return false
	}
	for _, name := range names {
		if cert.VerifyHostname(name) != nil {
			return false
		}
	}
	return true
}

func (p *PKI) makeServer(dir string, names []string, now time.Time) error {
	cert, key, err := p.sign(Request{CommonName: "iothub server", Names: names, NotAfter: now.Add(serverLifetime)}, now)
	if err != nil {
		return err
	}
	p.setServer(cert, key)
	return writePair(dir, serverFile, serverKey, certPEM(cert.Raw), key)
}

// Request is what a certificate is to be like.
type Request struct {
	CommonName string
	// Names are DNS names and IP addresses.
	Names []string
	// Client makes it one for clients, where it would be one for servers.
	Client bool
	// NotAfter is when it ends; the authority's end bounds it.
	NotAfter time.Time
}

// Issue makes a key and a certificate for it. certificate is PEM, with the authority
// behind it, key is PKCS #8 in PEM.
func (p *PKI) Issue(r Request, now time.Time) (certificate, key []byte, notAfter time.Time, err error) {
	cert, k, err := p.sign(r, now)
	if err != nil {
		return nil, nil, time.Time{}, fmt.Errorf("pki: %w", err)
	}
	if key, err = keyPEM(k); err != nil {
		return nil, nil, time.Time{}, fmt.Errorf("pki: %w", err)
	}
	return append(certPEM(cert.Raw), p.caPEM...), key, cert.NotAfter, nil
}

func (p *PKI) sign(r Request, now time.Time) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: r.CommonName},
		NotBefore:    now.Add(-backdate),
		NotAfter:     r.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if r.Client {
		template.ExtKeyUsage[0] = x509.ExtKeyUsageClientAuth
	}
	if template.NotAfter.After(p.ca.NotAfter) {
		template.NotAfter = p.ca.NotAfter
	}
	for _, name := range r.Names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, p.ca, key.Public(), p.caKey)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func keyPEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}

// readPair reads a certificate and its key; fs.ErrNotExist when either is missing.
func readPair(dir, certName, keyName string) (*x509.Certificate, *ecdsa.PrivateKey, []byte, error) {
	if dir == "" {
		return nil, nil, nil, fs.ErrNotExist
	}
	certPEM, err := os.ReadFile(filepath.Join(dir, certName))
	if err != nil {
		return nil, nil, nil, err
	}
	keyPEM, err := os.ReadFile(filepath.Join(dir, keyName))
	if err != nil {
		return nil, nil, nil, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("%s and %s in %s do not fit or are damaged: %w", certName, keyName, dir, err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, nil, nil, fmt.Errorf("%s in %s is not an ECDSA key", keyName, dir)
	}
	return pair.Leaf, key, certPEM, nil
}

// writePair keeps a certificate and its key. The key comes first: a certificate
// without one would be taken for a pair that is damaged.
func writePair(dir, certName, keyName string, cert []byte, key *ecdsa.PrivateKey) error {
	if dir == "" {
		return nil
	}
	text, err := keyPEM(key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(dir, keyName), text); err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, certName), cert)
}
