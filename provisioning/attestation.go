package provisioning

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"strings"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/sas"
)

// TPM is a Trusted Platform Module that holds the key of a device, so that nothing
// can read it. Package provisioning/tpm has one. Methods are called by one goroutine
// at a time, for each client; a TPM that several clients share has to see to it itself.
type TPM interface {
	// EndorsementKey and StorageRootKey return the public parts of the two keys, as
	// TPM2B_PUBLIC (TPM 2.0 Part 2, 12.2.5).
	EndorsementKey(ctx context.Context) ([]byte, error)
	StorageRootKey(ctx context.Context) ([]byte, error)
	// Activate opens a key that the service has sealed to this TPM and makes it the one
	// that Sign uses, also after a restart of the program.
	Activate(ctx context.Context, sealed []byte) error
	// Sign returns the HMAC-SHA256 of text with the key that was activated last.
	Sign(ctx context.Context, text []byte) ([]byte, error)
}

// Attestation is what a device proves itself with. It is immutable, safe for concurrent
// use where its TPM is, and prints nothing secret.
type Attestation struct {
	// A function, because fmt prints what it finds in unexported fields.
	key   func() []byte
	group bool
	cert  *tls.Certificate
	tpm   TPM
}

// NewKeyAttestation is for an individual enrollment with symmetric keys: key is one of
// the two, base64 of 16 to 64 bytes. Errors are *iothub.Error of kind
// KindInvalidArgument and do not repeat the key.
func NewKeyAttestation(key string) (*Attestation, error) {
	k, err := parseKey(key)
	if err != nil {
		return nil, err
	}
	return &Attestation{key: func() []byte { return k }}, nil
}

// NewGroupKeyAttestation is for a group of enrollments with symmetric keys: groupKey is
// one of the two of the group, of which the key of the device is derived. A device that
// others can open is better given only its own key, see [DeriveKey]. Errors are those of
// NewKeyAttestation.
func NewGroupKeyAttestation(groupKey string) (*Attestation, error) {
	a, err := NewKeyAttestation(groupKey)
	if err != nil {
		return nil, err
	}
	a.group = true
	return a, nil
}

// NewCertificateAttestation is for enrollments with X.509 certificates. cert has the
// certificate of the device, whose common name is the registration id, then, for a
// group, those of the authorities between it and the one enrolled. The private key may
// be any crypto.Signer, so it may stay in hardware.
func NewCertificateAttestation(cert tls.Certificate) *Attestation { return &Attestation{cert: &cert} }

// NewTPMAttestation is for an individual enrollment with the endorsement key of t. It
// needs HTTPS. Each registration replaces the key that t signs with, at the start by one
// for the service and at the end by the one for the hub, so that a registration that
// fails leaves a device that has to register before it can connect.
func NewTPMAttestation(t TPM) *Attestation { return &Attestation{tpm: t} }

// DeriveKey returns the key of one device of a group, base64 as groupKey is: the
// HMAC-SHA256 of the registration id, exactly as the device writes it. Errors are
// *iothub.Error of kind KindInvalidArgument and do not repeat the key.
func DeriveKey(groupKey, registrationID string) (string, error) {
	key, err := parseKey(groupKey)
	if err == nil {
		err = validateRegistrationID(registrationID)
	}
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(hmacOf(key, []byte(registrationID))), nil
}

func parseKey(s string) ([]byte, error) {
	if _, err := iothub.ParseSharedAccessKey(s); err != nil {
		return nil, err
	}
	return base64.StdEncoding.DecodeString(s)
}

func hmacOf(key, text []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(text)
	return h.Sum(nil)
}

// String names the kind of attestation, never its secret.
func (a *Attestation) String() string {
	switch {
	case a == nil:
		return "none"
	case a.cert != nil:
		return "x509"
	case a.tpm != nil:
		return "tpm"
	case a.group:
		return "group key"
	}
	return "key"
}

// GoString is String, for %#v.
func (a *Attestation) GoString() string { return a.String() }

// complete checks what depends on the attestation and fills in what follows from it.
func (a *Attestation) complete(c *Config) error {
	switch {
	case a.tpm != nil:
		if c.Transport != Auto && c.Transport != HTTPS {
			return invalid("a TPM registers over HTTPS: the service has no way for it over %v", c.Transport)
		}
		c.Transport = HTTPS
	case a.cert != nil:
		leaf, err := leafOf(a.cert)
		if err != nil {
			return invalid("the certificate: %w", err)
		}
		name := leaf.Subject.CommonName
		if c.RegistrationID = cmp.Or(c.RegistrationID, name); !strings.EqualFold(c.RegistrationID, name) {
			return invalid("RegistrationID is %.128q, but the common name of the certificate is %.128q: the service wants them to be the same", c.RegistrationID, name)
		}
	case a.key == nil:
		return invalid("the Attestation is empty: use one of the New…Attestation functions")
	}
	if c.Transport == Auto {
		c.Transport = MQTT
	}
	return nil
}

func leafOf(cert *tls.Certificate) (*x509.Certificate, error) {
	if cert.Leaf != nil {
		return cert.Leaf, nil
	}
	if len(cert.Certificate) == 0 {
		return nil, invalid("it is empty")
	}
	return x509.ParseCertificate(cert.Certificate[0])
}

// Credential returns what a device of that registration id presents to its hub, for programs
// that have kept by themselves where they were assigned to. a is one of the New… functions'.
func (a *Attestation) Credential(registrationID string) *iothub.Credential {
	switch {
	case a.cert != nil:
		return iothub.NewCertificateCredential(*a.cert)
	case a.tpm != nil:
		return iothub.NewTokenSourceCredential(tpmTokens{a.tpm})
	}
	key, err := iothub.ParseSharedAccessKey(base64.StdEncoding.EncodeToString(a.deviceKey(registrationID)))
	if err != nil {
		panic(err) // it was parsed before
	}
	return iothub.NewKeyCredential(key, "")
}

func (a *Attestation) deviceKey(registrationID string) []byte {
	if a.group {
		return hmacOf(a.key(), []byte(registrationID))
	}
	return a.key()
}

// token signs for the service; it is "" where a certificate speaks for the device.
// (IoT DPS symmetric key attestation: the policy is always "registration")
func (a *Attestation) token(ctx context.Context, c *Config) (string, error) {
	if a.cert != nil {
		return "", nil
	}
	resource := c.IDScope + "/registrations/" + c.RegistrationID
	expiry := time.Now().Add(c.Options.TokenLifetime)
	if a.tpm == nil {
		return sas.Sign(resource, a.deviceKey(c.RegistrationID), expiry, "registration"), nil
	}
	token, err := sas.SignWith(resource, expiry, "registration", func(text []byte) ([]byte, error) { return a.tpm.Sign(ctx, text) })
	return token, tpmError(err)
}

// tpmTokens are the tokens of a device whose key is in a TPM.
type tpmTokens struct{ tpm TPM }

func (t tpmTokens) Token(ctx context.Context, resource string, lifetime time.Duration) (iothub.Token, error) {
	expiry := time.Now().Add(lifetime)
	text, err := sas.SignWith(resource, expiry, "", func(text []byte) ([]byte, error) { return t.tpm.Sign(ctx, text) })
	if err != nil {
		return iothub.Token{}, tpmError(err)
	}
	return iothub.ParseToken(text)
}
