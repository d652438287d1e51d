package dps

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"strings"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// maxCertificate bounds the text of a certificate.
const maxCertificate = 16 << 10

// parseCertificate reads PEM, base64 of PEM or base64 of DER.
func parseCertificate(text string) (*x509.Certificate, error) {
	if len(text) > maxCertificate {
		return nil, errors.New("it has more than 16 KiB")
	}
	data := []byte(text)
	if !bytes.Contains(data, []byte("-----BEGIN")) {
		der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
		if err != nil {
			return nil, errors.New("it is neither PEM nor base64")
		}
		data = der
	}
	if block, _ := pem.Decode(data); block != nil {
		data = block.Bytes
	}
	return x509.ParseCertificate(data)
}

// parse gives the certificates there are, of c, which may be nil.
func (c *X509Certificates) parse() ([]*x509.Certificate, error) {
	if c == nil {
		return nil, nil
	}
	var list []*x509.Certificate
	for _, one := range []*X509Certificate{c.Primary, c.Secondary} {
		if one == nil {
			continue
		}
		cert, err := parseCertificate(one.Certificate)
		if err != nil {
			return nil, err
		}
		list = append(list, cert)
	}
	return list, nil
}

// view is what back ends see: not the certificate, but what it says.
func (c *X509Certificates) view() *X509Certificates {
	if c == nil {
		return nil
	}
	var v X509Certificates
	if c.Primary != nil {
		v.Primary = &X509Certificate{Info: c.Primary.Info}
	}
	if c.Secondary != nil {
		v.Secondary = &X509Certificate{Info: c.Secondary.Info}
	}
	return &v
}

// complete makes certificates what is stored: DER in base64 with what it says. What
// has none is taken from had.
func (c *X509Certificates) complete(had *X509Certificates, authority bool) (*X509Certificates, error) {
	if had == nil {
		had = &X509Certificates{}
	}
	primary, err := c.Primary.complete(had.Primary, authority)
	if err != nil {
		return nil, err
	}
	secondary, err := c.Secondary.complete(had.Secondary, authority)
	if err != nil {
		return nil, err
	}
	if primary == nil {
		return nil, badRequest("a primary certificate is missing")
	}
	return &X509Certificates{Primary: primary, Secondary: secondary}, nil
}

func (c *X509Certificate) complete(had *X509Certificate, authority bool) (*X509Certificate, error) {
	switch {
	case c == nil || c.Certificate == "" && c.Info == nil:
		return nil, nil
	case c.Certificate == "" && had != nil:
		return had, nil
	}
	cert, err := parseCertificate(c.Certificate)
	if err != nil {
		return nil, badRequest("a certificate of the attestation cannot be read: %v", err)
	}
	if authority && !cert.IsCA {
		return nil, badRequest("the certificate of %q is for no authority (basic constraints), so it can sign none of devices", cert.Subject)
	}
	return &X509Certificate{Certificate: base64.StdEncoding.EncodeToString(cert.Raw), Info: infoOf(cert)}, nil
}

func infoOf(c *x509.Certificate) *CertificateInfo {
	s1, s256 := sha1.Sum(c.Raw), sha256.Sum256(c.Raw)
	return &CertificateInfo{
		SubjectName: c.Subject.String(), IssuerName: c.Issuer.String(),
		SHA1Thumbprint:   strings.ToUpper(hex.EncodeToString(s1[:])),
		SHA256Thumbprint: strings.ToUpper(hex.EncodeToString(s256[:])),
		NotBefore:        core.Time{Time: c.NotBefore}, NotAfter: core.Time{Time: c.NotAfter},
		SerialNumber: strings.ToUpper(hex.EncodeToString(c.SerialNumber.Bytes())), Version: c.Version,
	}
}

func (s *Service) x509Attestation(given, had *X509Attestation, group bool) (AttestationMechanism, error) {
	fail := func(err error) (AttestationMechanism, error) { return AttestationMechanism{}, err }
	if had == nil {
		had = &X509Attestation{}
	}
	if given == nil {
		given = had
	}
	n := 0
	for _, there := range []bool{given.ClientCertificates != nil, given.SigningCertificates != nil, given.CAReferences != nil} {
		if there {
			n++
		}
	}
	if n != 1 {
		return fail(badRequest("attestation x509 needs one of clientCertificates, signingCertificates and caReferences"))
	}
	var x X509Attestation
	var err error
	switch {
	case given.ClientCertificates != nil && group:
		err = badRequest("clientCertificates are for individual enrollments; a group has signingCertificates or caReferences")
	case given.SigningCertificates != nil && !group:
		err = badRequest("signingCertificates are for groups; an individual enrollment has clientCertificates or caReferences")
	case given.ClientCertificates != nil:
		x.ClientCertificates, err = given.ClientCertificates.complete(had.ClientCertificates, false)
	case given.SigningCertificates != nil:
		x.SigningCertificates, err = given.SigningCertificates.complete(had.SigningCertificates, true)
	default:
		x.CAReferences = given.CAReferences
		err = s.checkReferences(given.CAReferences)
	}
	if err != nil {
		return fail(err)
	}
	return AttestationMechanism{Type: AttestX509, X509: &x}, nil
}

func (s *Service) checkReferences(refs *CAReferences) error {
	if refs.Primary == "" {
		return badRequest("caReferences needs a primary")
	}
	for _, name := range []string{refs.Primary, refs.Secondary} {
		if name == "" {
			continue
		}
		a := s.authorities.get(keyOf(name))
		switch {
		case a.doc == nil:
			return badRequest("there is no certificate %.140q; add it first", name)
		case !a.doc.Verified:
			return badRequest("the certificate %.140q is not verified: prove that you have its key first", name)
		}
	}
	return nil
}

// signers are the certificates that may sign those of devices of an enrollment.
func (s *Service) signers(d *enrollmentDoc) []*x509.Certificate {
	x := d.Attestation.X509
	if x == nil || x.CAReferences == nil {
		return d.roots
	}
	var list []*x509.Certificate
	for _, name := range []string{x.CAReferences.Primary, x.CAReferences.Secondary} {
		if a := s.authorities.get(keyOf(name)); a.doc != nil && a.doc.Verified {
			list = append(list, a.doc.cert)
		}
	}
	return list
}
