package dps

import (
	"encoding/json"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// The kinds of attestation.
const (
	AttestNone         = "none"
	AttestTPM          = "tpm"
	AttestX509         = "x509"
	AttestSymmetricKey = "symmetricKey"
)

// The allocation policies.
const (
	AllocateHashed     = "hashed"
	AllocateGeoLatency = "geoLatency"
	AllocateStatic     = "static"
	AllocateCustom     = "custom"
)

// The values of [RegistrationState.Status] and of its Substatus.
const (
	StatusAssigning = "assigning"
	StatusAssigned  = "assigned"
	StatusFailed    = "failed"
	StatusDisabled  = "disabled"

	SubstatusInitial       = "initialAssignment"
	SubstatusMigrated      = "deviceDataMigrated"
	SubstatusReset         = "deviceDataReset"
	SubstatusReprovisioned = "reprovisionedToInitialAssignment"
)

// Enrollment is an individual enrollment, which has a RegistrationID, or an
// enrollment group, which has an EnrollmentGroupID, in the form of the REST API.
// (wire-service G3)
type Enrollment struct {
	RegistrationID    string `json:"registrationId,omitempty"`
	EnrollmentGroupID string `json:"enrollmentGroupId,omitempty"`
	// DeviceID is that of an individual enrollment; empty is the registration id.
	DeviceID                   string               `json:"deviceId,omitempty"`
	RegistrationState          *RegistrationState   `json:"registrationState,omitempty"`
	OptionalDeviceInformation  json.RawMessage      `json:"optionalDeviceInformation,omitempty"`
	Attestation                AttestationMechanism `json:"attestation"`
	Capabilities               core.Capabilities    `json:"capabilities"`
	IoTHubHostName             string               `json:"iotHubHostName,omitempty"`
	InitialTwin                *InitialTwin         `json:"initialTwin,omitempty"`
	ETag                       string               `json:"etag,omitempty"`
	ProvisioningStatus         string               `json:"provisioningStatus,omitempty"`
	ReprovisionPolicy          *ReprovisionPolicy   `json:"reprovisionPolicy,omitempty"`
	Created                    core.Time            `json:"createdDateTimeUtc"`
	LastUpdated                core.Time            `json:"lastUpdatedDateTimeUtc"`
	AllocationPolicy           string               `json:"allocationPolicy,omitempty"`
	IoTHubs                    []string             `json:"iotHubs"`
	CustomAllocationDefinition *CustomAllocation    `json:"customAllocationDefinition,omitempty"`
}

// AttestationMechanism says how devices prove themselves. Symmetric keys print as
// "REDACTED".
type AttestationMechanism struct {
	Type         string             `json:"type"`
	TPM          *TPMAttestation    `json:"tpm,omitempty"`
	X509         *X509Attestation   `json:"x509,omitempty"`
	SymmetricKey *core.SymmetricKey `json:"symmetricKey,omitempty"`
}

// TPMAttestation is the public part of the endorsement key of a TPM, a TPM2B_PUBLIC
// in base64. StorageRootKey is kept as it is given and proves nothing.
type TPMAttestation struct {
	EndorsementKey string `json:"endorsementKey"`
	StorageRootKey string `json:"storageRootKey,omitempty"`
}

// X509Attestation has one of its members: the certificates of the device, those
// that sign certificates of devices, or names of authorities (see [CACertificate]).
type X509Attestation struct {
	ClientCertificates  *X509Certificates `json:"clientCertificates,omitempty"`
	SigningCertificates *X509Certificates `json:"signingCertificates,omitempty"`
	CAReferences        *CAReferences     `json:"caReferences,omitempty"`
}

// X509Certificates are two certificates of which either will do.
type X509Certificates struct {
	Primary   *X509Certificate `json:"primary,omitempty"`
	Secondary *X509Certificate `json:"secondary,omitempty"`
}

// X509Certificate is a certificate: PEM or base64 of DER when it is written, and
// only what it says when it is read.
type X509Certificate struct {
	Certificate string           `json:"certificate,omitempty"`
	Info        *CertificateInfo `json:"info,omitempty"`
}

// CertificateInfo is what a certificate says.
type CertificateInfo struct {
	SubjectName      string    `json:"subjectName"`
	SHA1Thumbprint   string    `json:"sha1Thumbprint"`
	SHA256Thumbprint string    `json:"sha256Thumbprint"`
	IssuerName       string    `json:"issuerName"`
	NotBefore        core.Time `json:"notBeforeUtc"`
	NotAfter         core.Time `json:"notAfterUtc"`
	SerialNumber     string    `json:"serialNumber"`
	Version          int       `json:"version"`
}

// CAReferences are names of authorities of which either will do.
type CAReferences struct {
	Primary   string `json:"primary,omitempty"`
	Secondary string `json:"secondary,omitempty"`
}

// InitialTwin is what the twin of a device begins with.
type InitialTwin struct {
	Tags       json.RawMessage        `json:"tags,omitempty"`
	Properties *InitialTwinProperties `json:"properties,omitempty"`
}

// InitialTwinProperties are the properties of an [InitialTwin].
type InitialTwinProperties struct {
	Desired json.RawMessage `json:"desired,omitempty"`
}

// ReprovisionPolicy says what happens when a device registers again: whether it may
// be assigned to another hub, and whether its twin then moves with it.
type ReprovisionPolicy struct {
	UpdateHubAssignment bool `json:"updateHubAssignment"`
	MigrateDeviceData   bool `json:"migrateDeviceData"`
}

// CustomAllocation is the webhook of the allocation policy custom. (wire-service G4)
type CustomAllocation struct {
	WebhookURL string `json:"webhookUrl"`
	APIVersion string `json:"apiVersion,omitempty"`
}

// RegistrationState is what became of a registration. X509, SymmetricKey and TPM are
// for the device only. (wire-device F.3)
type RegistrationState struct {
	X509         *RegistrationX509 `json:"x509,omitempty"`
	SymmetricKey *RegistrationKey  `json:"symmetricKey,omitempty"`
	TPM          *RegistrationTPM  `json:"tpm,omitempty"`
	ID           string            `json:"registrationId"`
	Created      core.Time         `json:"createdDateTimeUtc"`
	AssignedHub  string            `json:"assignedHub,omitempty"`
	DeviceID     string            `json:"deviceId,omitempty"`
	Status       string            `json:"status"`
	Substatus    string            `json:"substatus,omitempty"`
	ErrorCode    int               `json:"errorCode,omitempty"`
	ErrorMessage string            `json:"errorMessage,omitempty"`
	LastUpdated  core.Time         `json:"lastUpdatedDateTimeUtc"`
	ETag         string            `json:"etag,omitempty"`
	Payload      json.RawMessage   `json:"payload,omitempty"`
}

// RegistrationX509 tells a device which certificate it has shown, and what it was
// taken for.
type RegistrationX509 struct {
	CertificateInfo        *CertificateInfo `json:"certificateInfo"`
	EnrollmentGroupID      string           `json:"enrollmentGroupId,omitempty"`
	SigningCertificateInfo *CertificateInfo `json:"signingCertificateInfo,omitempty"`
}

// RegistrationKey tells a device which group it belongs to.
type RegistrationKey struct {
	EnrollmentGroupID string `json:"enrollmentGroupId,omitempty"`
}

// RegistrationTPM holds the key for the hub, so that only the TPM can open it;
// base64.
type RegistrationTPM struct {
	AuthenticationKey string `json:"authenticationKey"`
}

func (e *Enrollment) isGroup() bool { return e.EnrollmentGroupID != "" }

// id is the name of the enrollment among its kind.
func (e *Enrollment) id() string {
	if e.isGroup() {
		return e.EnrollmentGroupID
	}
	return e.RegistrationID
}
