package dps

import (
	"crypto/x509"
	"encoding/base64"

	"github.com/iothub-go/iothub/service"
)

// AttestationType says how devices prove themselves.
type AttestationType string

// The attestation types.
const (
	AttestationNone         AttestationType = "none"
	AttestationTPM          AttestationType = "tpm"
	AttestationX509         AttestationType = "x509"
	AttestationSymmetricKey AttestationType = "symmetricKey"
)

// AttestationMechanism is how devices prove themselves. The zero value, when an
// enrollment is made, is symmetric keys that the service makes. [TPM],
// [ClientCertificates], [SigningCertificates] and [CAReferences] make the others.
type AttestationMechanism struct {
	// Type is the way; empty follows from what is set below.
	Type AttestationType `json:"type"`
	// TPM is the one of a device.
	TPM *TPMAttestation `json:"tpm,omitempty"`
	// X509 are certificates.
	X509 *X509Attestation `json:"x509,omitempty"`
	// SymmetricKey are the keys of a device, or those that the keys of the
	// devices of a group are derived from. Enrollments that are read do not
	// have it; GetIndividualEnrollmentAttestation and
	// GetEnrollmentGroupAttestation do.
	SymmetricKey *service.SymmetricKey `json:"symmetricKey,omitempty"`
}

// TPMAttestation is a TPM 2.0.
type TPMAttestation struct {
	// EndorsementKey is the public part of the endorsement key, base64 of a
	// TPM2B_PUBLIC.
	EndorsementKey string `json:"endorsementKey"`
	// StorageRootKey is that of the storage root key; it may be empty.
	StorageRootKey string `json:"storageRootKey,omitempty"`
}

// X509Attestation is one of the three.
type X509Attestation struct {
	// ClientCertificates are those of a device, for an individual enrollment.
	ClientCertificates *X509Certificates `json:"clientCertificates,omitempty"`
	// SigningCertificates are intermediate ones that have signed those of the
	// devices of a group.
	SigningCertificates *X509Certificates `json:"signingCertificates,omitempty"`
	// CAReferences name certificates of authorities that the service has.
	CAReferences *X509CAReferences `json:"caReferences,omitempty"`
}

// X509Certificates are two certificates, either of which will do, so that one can
// be replaced without an outage.
type X509Certificates struct {
	// Primary is needed, Secondary may be nil.
	Primary   *X509CertificateWithInfo `json:"primary,omitempty"`
	Secondary *X509CertificateWithInfo `json:"secondary,omitempty"`
}

// X509CertificateWithInfo is a certificate.
type X509CertificateWithInfo struct {
	// Certificate is PEM, or base64 of DER. It is written only: what is read
	// has Info.
	Certificate string `json:"certificate,omitempty"`
	// Info is what the certificate says, when it is read.
	Info *X509CertificateInfo `json:"info,omitempty"`
}

// X509CertificateInfo is what a certificate says.
type X509CertificateInfo struct {
	// SubjectName and IssuerName are distinguished names.
	SubjectName string `json:"subjectName"`
	IssuerName  string `json:"issuerName"`
	// SHA1Thumbprint and SHA256Thumbprint are in hexadecimal.
	SHA1Thumbprint   string `json:"sha1Thumbprint"`
	SHA256Thumbprint string `json:"sha256Thumbprint"`
	// NotBefore and NotAfter are when it is valid.
	NotBefore service.Time `json:"notBeforeUtc,omitzero"`
	NotAfter  service.Time `json:"notAfterUtc,omitzero"`
	// SerialNumber is in hexadecimal, Version that of X.509.
	SerialNumber string `json:"serialNumber"`
	Version      int    `json:"version"`
}

// X509CAReferences are names of certificates of authorities, either of which will
// do.
type X509CAReferences struct {
	// Primary is needed, Secondary may be empty.
	Primary   string `json:"primary,omitempty"`
	Secondary string `json:"secondary,omitempty"`
}

// TPM is the attestation of a device by its TPM: endorsementKey is the public part
// of the endorsement key, a TPM2B_PUBLIC.
func TPM(endorsementKey []byte) AttestationMechanism {
	return AttestationMechanism{Type: AttestationTPM, TPM: &TPMAttestation{EndorsementKey: base64.StdEncoding.EncodeToString(endorsementKey)}}
}

// ClientCertificates is the attestation of a device by its certificate, for an
// individual enrollment; secondary may be nil.
func ClientCertificates(primary, secondary *x509.Certificate) AttestationMechanism {
	return AttestationMechanism{Type: AttestationX509, X509: &X509Attestation{ClientCertificates: certificates(primary, secondary)}}
}

// SigningCertificates is the attestation of the devices of a group by certificates
// that one of these has signed; secondary may be nil.
func SigningCertificates(primary, secondary *x509.Certificate) AttestationMechanism {
	return AttestationMechanism{Type: AttestationX509, X509: &X509Attestation{SigningCertificates: certificates(primary, secondary)}}
}

// CAReferences is the attestation by certificates of authorities that the service
// has under these names; secondary may be empty.
func CAReferences(primary, secondary string) AttestationMechanism {
	return AttestationMechanism{Type: AttestationX509, X509: &X509Attestation{CAReferences: &X509CAReferences{primary, secondary}}}
}

func certificates(primary, secondary *x509.Certificate) *X509Certificates {
	one := func(c *x509.Certificate) *X509CertificateWithInfo {
		if c == nil {
			return nil
		}
		return &X509CertificateWithInfo{Certificate: base64.StdEncoding.EncodeToString(c.Raw)}
	}
	return &X509Certificates{Primary: one(primary), Secondary: one(secondary)}
}

// typed is a with its type.
func (a AttestationMechanism) typed() AttestationMechanism {
	switch {
	case a.Type != "":
	case a.TPM != nil:
		a.Type = AttestationTPM
	case a.X509 != nil:
		a.Type = AttestationX509
	default:
		a.Type = AttestationSymmetricKey
	}
	return a
}
