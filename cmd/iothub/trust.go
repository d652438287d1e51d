package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// trust returns a TLS configuration that trusts the authority in a PEM file
// beside those of the system; "" is the system's alone.
func trust(file string) (*tls.Config, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no PEM certificate: use the ca.pem of the hub's data folder", file)
	}
	return &tls.Config{RootCAs: pool}, nil
}
