package dps

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// SignedBy finds the shortest chain from a device's certificate to one of the
// signers, over the certificates that it has shown with it. The depth is the number of
// certificates in the chain; the signer is nil when there is none.
func SignedBy(now time.Time, shown, signers []*x509.Certificate) (signer *x509.Certificate, depth int) {
	if len(signers) == 0 {
		return nil, 0
	}
	o := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	for _, c := range signers {
		o.Roots.AddCert(c)
	}
	for _, c := range shown[1:] {
		o.Intermediates.AddCert(c)
	}
	chains, err := shown[0].Verify(o)
	if err != nil {
		return nil, 0
	}
	for _, chain := range chains {
		// One that is a signer itself proves nothing about a signature.
		if n := len(chain); n > 1 && (depth == 0 || n < depth) {
			signer, depth = chain[n-1], n
		}
	}
	return signer, depth
}

// ParseAuthorities reads certificates in PEM, each of an authority. Other blocks, such as
// keys, are an error, for they do not belong there. No text is no certificate.
func ParseAuthorities(text []byte) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for rest := text; len(rest) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("a block is a %.40q, not a certificate", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		if !cert.IsCA {
			return nil, fmt.Errorf("the certificate of %q is for no authority (basic constraints)", cert.Subject)
		}
		list = append(list, cert)
	}
	if len(list) == 0 && len(text) > 0 {
		return nil, errors.New("there is no certificate in PEM")
	}
	return list, nil
}
