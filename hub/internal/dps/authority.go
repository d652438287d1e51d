package dps

import (
	"context"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// CACertificate is the certificate of an authority, by a name, as Azure Resource
// Manager has it. Enrollments may refer to it once it is verified: by a certificate
// that it has signed for the verification code, which proves that whoever added it
// has its key.
type CACertificate struct {
	Name       string                  `json:"name"`
	ETag       string                  `json:"etag"`
	Properties CACertificateProperties `json:"properties"`
}

// CACertificateProperties are what there is to know of a [CACertificate].
type CACertificateProperties struct {
	Subject    string    `json:"subject"`
	Expiry     core.Time `json:"expiry"`
	Thumbprint string    `json:"thumbprint"` // SHA-1, as in Azure
	IsVerified bool      `json:"isVerified"`
	Created    core.Time `json:"created"`
	Updated    core.Time `json:"updated"`
	// Certificate is base64 of DER.
	Certificate string `json:"certificate"`
	// VerificationCode is there from when it is generated until it is used.
	VerificationCode string `json:"verificationCode,omitempty"`
}

type authorityDoc struct {
	Name     string    `json:"name"`
	DER      []byte    `json:"der"`
	Verified bool      `json:"verified"`
	Code     string    `json:"code,omitempty"`
	Created  core.Time `json:"created"`
	Updated  core.Time `json:"updated"`

	cert *x509.Certificate
}

func (d *authorityDoc) open() (err error) {
	d.cert, err = x509.ParseCertificate(d.DER)
	return err
}

func authorityView(r row[authorityDoc]) CACertificate {
	d, info := r.doc, infoOf(r.doc.cert)
	return CACertificate{Name: d.Name, ETag: etagOf(r.rev), Properties: CACertificateProperties{
		Subject: info.SubjectName, Expiry: info.NotAfter, Thumbprint: info.SHA1Thumbprint, IsVerified: d.Verified,
		Created: d.Created, Updated: d.Updated, Certificate: base64.StdEncoding.EncodeToString(d.DER), VerificationCode: d.Code,
	}}
}

// Certificates returns the certificates of authorities, by name.
func (s *Service) Certificates() []CACertificate {
	list := []CACertificate{}
	for r := range s.authorities.all("") {
		list = append(list, authorityView(r))
	}
	return list
}

// Certificate returns the certificate of a name; 404204 when there is none.
func (s *Service) Certificate(name string) (CACertificate, error) {
	r, err := s.authority(name, "")
	if err != nil {
		return CACertificate{}, err
	}
	return authorityView(r), nil
}

func (s *Service) authority(name, etag string) (row[authorityDoc], error) {
	r := s.authorities.get(keyOf(name))
	switch {
	case r.doc == nil:
		return r, NewError(CodeNotFound, "there is no certificate %.140q", name)
	case !etagMatches(etag, r.rev):
		return r, precondition(name)
	}
	return r, nil
}

// PutCertificate adds the certificate of an authority, PEM or base64 of DER, or
// replaces the one of that name if etag is its ETag or [core.AnyETag]. It is not
// verified then, unless verified says that who adds it vouches for it, which Azure
// allows too.
func (s *Service) PutCertificate(ctx context.Context, name, certificate string, verified bool, etag string) (CACertificate, error) {
	if err := validateID("the name of the certificate", name); err != nil {
		return CACertificate{}, err
	}
	cert, err := parseCertificate(certificate)
	if err != nil {
		return CACertificate{}, badRequest("the certificate cannot be read: %v", err)
	}
	if !cert.IsCA {
		return CACertificate{}, badRequest("the certificate of %q is for no authority (basic constraints)", cert.Subject)
	}
	s.write.Lock()
	defer s.write.Unlock()
	old := s.authorities.get(keyOf(name))
	switch {
	case old.doc != nil && etag == "":
		return CACertificate{}, conflict("certificate", name)
	case old.doc != nil && !etagMatches(etag, old.rev):
		return CACertificate{}, precondition(name)
	case old.doc == nil && s.authorities.len() >= maxAuthorities:
		return CACertificate{}, NewError(CodeLimit, "there are %d certificates, the limit", maxAuthorities)
	}
	now := s.stamp()
	doc := &authorityDoc{Name: name, DER: cert.Raw, Verified: verified, Created: now, Updated: now, cert: cert}
	if old.doc != nil {
		doc.Created = old.doc.Created
	}
	return s.storeAuthority(ctx, doc, old)
}

func (s *Service) storeAuthority(ctx context.Context, doc *authorityDoc, old row[authorityDoc]) (CACertificate, error) {
	r, err := s.authorities.put(ctx, keyOf(doc.Name), doc, old)
	if err != nil {
		return CACertificate{}, s.stored("certificate", err)
	}
	return authorityView(r), nil
}

// DeleteCertificate removes a certificate that no enrollment refers to.
func (s *Service) DeleteCertificate(ctx context.Context, name, etag string) error {
	s.write.Lock()
	defer s.write.Unlock()
	r, err := s.authority(name, etag)
	if err != nil {
		return err
	}
	for _, t := range []*table[enrollmentDoc]{&s.groups, &s.enrollments} {
		for e := range t.all("") {
			if x := e.doc.Attestation.X509; x != nil && x.CAReferences != nil &&
				(strings.EqualFold(x.CAReferences.Primary, name) || strings.EqualFold(x.CAReferences.Secondary, name)) {
				return NewError(CodeConflict, "the enrollment %q refers to the certificate %q", e.doc.id(), name)
			}
		}
	}
	if err := s.authorities.remove(ctx, r); err != nil {
		return s.stored("delete certificate", err)
	}
	return nil
}

// VerificationCode makes a new verification code for a certificate.
func (s *Service) VerificationCode(ctx context.Context, name, etag string) (CACertificate, error) {
	s.write.Lock()
	defer s.write.Unlock()
	r, err := s.authority(name, etag)
	if err != nil {
		return CACertificate{}, err
	}
	doc := *r.doc
	doc.Code, doc.Updated = strings.ToUpper(hex.EncodeToString(randomBytes(24))), s.stamp()
	return s.storeAuthority(ctx, &doc, r)
}

// VerifyCertificate takes the proof: a certificate that the authority has signed,
// whose common name is the verification code. The code then is used up.
func (s *Service) VerifyCertificate(ctx context.Context, name, proof, etag string) (CACertificate, error) {
	s.write.Lock()
	defer s.write.Unlock()
	r, err := s.authority(name, etag)
	if err != nil {
		return CACertificate{}, err
	}
	cert, err := parseCertificate(proof)
	if err != nil {
		return CACertificate{}, badRequest("the verification certificate cannot be read: %v", err)
	}
	now := s.now()
	switch {
	case r.doc.Code == "":
		return CACertificate{}, badRequest("the certificate %q waits for no proof: generate a verification code first", name)
	case subtle.ConstantTimeCompare([]byte(cert.Subject.CommonName), []byte(r.doc.Code)) == 0:
		return CACertificate{}, badRequest("the common name of the verification certificate is not the verification code")
	case cert.CheckSignatureFrom(r.doc.cert) != nil:
		return CACertificate{}, badRequest("the verification certificate is not signed by %q", r.doc.cert.Subject)
	case now.Before(cert.NotBefore) || now.After(cert.NotAfter):
		return CACertificate{}, badRequest("the verification certificate is not valid now")
	}
	doc := *r.doc
	doc.Verified, doc.Code, doc.Updated = true, "", s.stamp()
	return s.storeAuthority(ctx, &doc, r)
}

// Vouches reports whether a verified authority has signed the certificate of a device or
// module, the first one, over those that were shown with it.
func (s *Service) Vouches(now time.Time, shown []*x509.Certificate) bool {
	var verified []*x509.Certificate
	for r := range s.authorities.all("") {
		if r.doc.Verified {
			verified = append(verified, r.doc.cert)
		}
	}
	signer, _ := SignedBy(now, shown, verified)
	return signer != nil
}
