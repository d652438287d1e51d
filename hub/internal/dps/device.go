package dps

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/internal/sas"
)

// Provisioning is the service as devices see it, through a protocol head. Errors are
// *core.Error. (wire-device F)
type Provisioning interface {
	// Challenge gives what only the TPM with these keys can open: the key that its
	// token has to be signed with.
	Challenge(ctx context.Context, c TPMChallenge) ([]byte, error)
	// SignUp checks the credential of a device.
	SignUp(now time.Time, c Credential) (Registration, error)
}

// TPMChallenge names a TPM that wants to prove itself. The keys are TPM2B_PUBLIC.
type TPMChallenge struct {
	IDScope, RegistrationID        string
	EndorsementKey, StorageRootKey []byte
}

// Credential is what a device shows to be provisioned.
type Credential struct {
	IDScope, RegistrationID string
	// Token is a shared access signature. When it is empty the certificates count.
	Token string
	// Certificates are those of the TLS handshake, the leaf first. The handshake
	// has proved that the device has the leaf's key.
	Certificates []*x509.Certificate
	// StorageRootKey is that of the challenge, where the protocol does not repeat it
	// in the request.
	StorageRootKey []byte
}

// Registration is what a device may do that has proved itself. Answers are JSON.
// (wire-device F.3)
type Registration interface {
	// Expires is when the credential runs out; zero if it does not.
	Expires() time.Time
	// Register begins the registration; request is the JSON of the device.
	Register(ctx context.Context, request []byte) (Answer, error)
	// Operation tells what has become of it.
	Operation(ctx context.Context, id string) (Answer, error)
	// Lookup tells what the registration is now; 404204 when there was none.
	Lookup() (Answer, error)
}

// Answer is an answer to a device that is provisioned.
type Answer struct {
	// Status is 202 while there is something to wait for, then 200.
	Status int
	Body   []byte
	// Operation is the id to ask for; empty when there is nothing to wait for.
	Operation string
	// RetryAfter is when to ask again; zero when there is nothing to wait for.
	RetryAfter time.Duration
}

// proof is what a credential has proved.
type proof struct {
	enrollment *enrollmentDoc
	// auth is what the identity in the hub will prove itself with.
	auth core.Authentication
	// leaf and signer are the certificate shown and the one enrolled that has
	// signed it.
	leaf, signer *x509.Certificate
	expires      time.Time
}

// SignUp checks the credential of a device. An individual enrollment of its
// registration id goes before any group. Errors are *core.Error: 401002 for
// whatever does not hold.
func (s *Service) SignUp(now time.Time, c Credential) (Registration, error) {
	p, err := s.prove(now, c)
	if err != nil {
		return nil, err
	}
	return &registration{s: s, credential: c, expires: p.expires}, nil
}

func (s *Service) prove(now time.Time, c Credential) (*proof, error) {
	if subtle.ConstantTimeCompare([]byte(c.IDScope), []byte(s.scope)) == 0 {
		return nil, s.refuse("", "it asks for another id scope", "scope", fmt.Sprintf("%.64s", c.IDScope))
	}
	if err := validateID("registrationId", c.RegistrationID); err != nil {
		return nil, s.refuse("", "its registration id is none", "error", err)
	}
	switch {
	case c.Token != "":
		return s.byToken(now, c)
	case len(c.Certificates) > 0:
		return s.byCertificate(now, c)
	}
	return nil, s.refuse(c.RegistrationID, "it shows neither a token nor a certificate")
}

// byToken looks for an enrollment with the key of a token. All candidates are
// tried, so that the time it takes does not tell which there are.
func (s *Service) byToken(now time.Time, c Credential) (*proof, error) {
	t, err := sas.Parse(c.Token)
	if err != nil {
		return nil, s.refuse(c.RegistrationID, "its token cannot be read", "error", err)
	}
	if !s.isFor(&t, c.RegistrationID) {
		return nil, s.refuse(c.RegistrationID, "its token is not for this registration (sr) or not for a registration (skn)", "for", t.Resource)
	}
	if _, expired := t.ExpiredFor(now); expired {
		return nil, s.refuse(c.RegistrationID, "its token has expired", "at", t.Expiry)
	}
	var found *enrollmentDoc
	var auth core.Authentication
	for r := range s.groups.all("") {
		for _, id := range spellings(c.RegistrationID) {
			keys := deriveKeys(r.doc.keys, id)
			if t.Verify(keys...) && found == nil {
				found, auth = r.doc, symmetric(keys)
			}
		}
	}
	if one := s.enrollments.get(keyOf(c.RegistrationID)).doc; one != nil {
		found = nil // it goes before the groups, also when it is not meant
		keys := one.keys
		if one.Attestation.Type == AttestTPM {
			keys = [][]byte{s.nonceKey(one)}
		}
		if t.Verify(keys...) {
			found, auth = one, symmetric(keys)
		}
	}
	if found == nil {
		return nil, s.refuse(c.RegistrationID, "no enrollment has a key that its token is signed with")
	}
	return &proof{enrollment: found, auth: auth, expires: t.Expiry.Add(sas.ClockSkew)}, nil
}

// isFor reports whether a token is for a registration and nothing else.
func (s *Service) isFor(t *sas.Token, registrationID string) bool {
	scope, rest, _ := strings.Cut(t.Resource, "/")
	word, id, _ := strings.Cut(rest, "/")
	if text, err := url.PathUnescape(id); err == nil {
		id = text // builders escape an id before they escape the whole
	}
	return t.Policy == "registration" && strings.EqualFold(scope, s.scope) &&
		strings.EqualFold(word, "registrations") && strings.EqualFold(id, registrationID)
}

// spellings are the texts that a device may have derived its key from.
func spellings(id string) []string {
	if lower := strings.ToLower(id); lower != id {
		return []string{id, lower}
	}
	return []string{id}
}

// deriveKeys makes the keys of a device of those of its group. (wire-device F.1)
func deriveKeys(keys [][]byte, id string) [][]byte {
	derived := make([][]byte, len(keys))
	for i, key := range keys {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id))
		derived[i] = mac.Sum(nil)
	}
	return derived
}

// symmetric is an authentication with one or two keys.
func symmetric(keys [][]byte) core.Authentication {
	text := base64.StdEncoding.EncodeToString
	return core.Authentication{Type: core.AuthSAS, SymmetricKey: core.SymmetricKey{
		PrimaryKey: core.NullString(text(keys[0])), SecondaryKey: core.NullString(text(keys[len(keys)-1])),
	}}
}

// byCertificate looks for an enrollment that knows a certificate, or who has signed
// it.
func (s *Service) byCertificate(now time.Time, c Credential) (*proof, error) {
	leaf := c.Certificates[0]
	if !strings.EqualFold(leaf.Subject.CommonName, c.RegistrationID) {
		return nil, s.refuse(c.RegistrationID, "the common name of its certificate is another one", "name", leaf.Subject.CommonName)
	}
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return nil, s.refuse(c.RegistrationID, "its certificate is not valid now", "from", leaf.NotBefore, "to", leaf.NotAfter)
	}
	p := &proof{leaf: leaf, auth: selfSigned(leaf)}
	if one := s.enrollments.get(keyOf(c.RegistrationID)).doc; one != nil {
		switch {
		case holds(one.leaves, leaf):
			p.enrollment, p.auth = one, selfSigned(one.leaves...)
		default:
			if p.signer, _ = SignedBy(now, c.Certificates, s.signers(one)); p.signer != nil {
				p.enrollment = one
			}
		}
	} else {
		// The certificate nearest to the device decides between several.
		best := 0
		for r := range s.groups.all("") {
			if r.doc.Attestation.Type != AttestX509 {
				continue
			}
			if signer, depth := SignedBy(now, c.Certificates, s.signers(r.doc)); signer != nil && (best == 0 || depth < best) {
				p.enrollment, p.signer, best = r.doc, signer, depth
			}
		}
	}
	if p.enrollment == nil {
		return nil, s.refuse(c.RegistrationID, "no enrollment knows its certificate or who has signed it", "issuer", leaf.Issuer.String())
	}
	return p, nil
}

func holds(list []*x509.Certificate, c *x509.Certificate) bool {
	for _, one := range list {
		if one.Equal(c) {
			return true
		}
	}
	return false
}

// selfSigned is an authentication with one or two certificates.
func selfSigned(certs ...*x509.Certificate) core.Authentication {
	a := core.Authentication{Type: core.AuthSelfSigned}
	for i, c := range certs {
		sum := sha256.Sum256(c.Raw)
		print := core.NullString(strings.ToUpper(hex.EncodeToString(sum[:])))
		if i == 0 {
			a.X509Thumbprint.PrimaryThumbprint = print
		} else {
			a.X509Thumbprint.SecondaryThumbprint = print
		}
	}
	return a
}
