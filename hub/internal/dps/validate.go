package dps

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"strings"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub/internal/core"
)

const (
	maxID       = 128
	minKeyBytes = 16
	maxKeyBytes = 64
)

// validateID checks a registration id or the id of a group. (wire-device F.1)
func validateID(what, id string) error {
	if id == "" || len(id) > maxID {
		return badRequest("%s has %d characters, allowed are 1 to %d", what, len(id), maxID)
	}
	for i := range len(id) {
		c := id[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (strings.IndexByte("-._:", c) < 0 || i == len(id)-1 && c != '-') {
			return badRequest("%s %q holds %q there; allowed are letters, digits and - . _ : with a letter, a digit or - at the end", what, id, c)
		}
	}
	return nil
}

func validateEnrollment(e *Enrollment) error {
	what := "registrationId"
	if e.isGroup() {
		what = "enrollmentGroupId"
		if e.DeviceID != "" || e.OptionalDeviceInformation != nil {
			return badRequest("deviceId and optionalDeviceInformation are for individual enrollments")
		}
	}
	if err := validateID(what, e.id()); err != nil {
		return err
	}
	if e.DeviceID != "" {
		if err := (iothub.Identity{DeviceID: e.DeviceID}).Validate(); err != nil {
			return badRequest("deviceId: %v", errors.Unwrap(err))
		}
	}
	switch {
	case e.ProvisioningStatus == "" || strings.EqualFold(e.ProvisioningStatus, core.StatusEnabled):
		e.ProvisioningStatus = core.StatusEnabled
	case strings.EqualFold(e.ProvisioningStatus, core.StatusDisabled):
		e.ProvisioningStatus = core.StatusDisabled
	default:
		return badRequest("provisioningStatus is %.40q, allowed are enabled and disabled", e.ProvisioningStatus)
	}
	if e.ReprovisionPolicy == nil {
		e.ReprovisionPolicy = &ReprovisionPolicy{UpdateHubAssignment: true, MigrateDeviceData: true}
	}
	return e.InitialTwin.validate()
}

func (t *InitialTwin) validate() error {
	if t == nil {
		return nil
	}
	parts := []json.RawMessage{t.Tags}
	if t.Properties != nil {
		parts = append(parts, t.Properties.Desired)
	}
	for _, part := range parts {
		if len(part) > 0 && part[0] != '{' && string(part) != "null" {
			return badRequest("tags and desired properties of initialTwin are JSON objects")
		}
	}
	return nil
}

func (s *Service) validateAllocation(e *Enrollment) error {
	policies := []string{AllocateHashed, AllocateGeoLatency, AllocateStatic, AllocateCustom}
	policy := e.AllocationPolicy
	if policy == "" {
		policy = AllocateHashed
		if e.IoTHubHostName != "" {
			policy = AllocateStatic
		}
	}
	e.AllocationPolicy = ""
	for _, p := range policies {
		if strings.EqualFold(p, policy) {
			e.AllocationPolicy = p
		}
	}
	if e.AllocationPolicy == "" {
		return badRequest("allocationPolicy is %.40q, allowed are %s", policy, strings.Join(policies, ", "))
	}
	if len(e.IoTHubs) > maxHubs {
		return badRequest("iotHubs has %d names, the limit is %d", len(e.IoTHubs), maxHubs)
	}
	names := e.IoTHubs
	if e.IoTHubHostName != "" {
		names = append(names[:len(names):len(names)], e.IoTHubHostName)
	}
	for _, name := range names {
		if s.hubNamed(name) == nil {
			return badRequest("the hub %.140q is not linked with this service; linked are %s", name, strings.Join(hostNames(s.cfg.Hubs), ", "))
		}
	}
	switch {
	case e.AllocationPolicy == AllocateStatic && len(names) == 0:
		return badRequest("allocationPolicy static needs iotHubHostName or iotHubs")
	case e.AllocationPolicy == AllocateCustom && e.CustomAllocationDefinition == nil:
		return badRequest("allocationPolicy custom needs customAllocationDefinition")
	}
	if c := e.CustomAllocationDefinition; c != nil {
		u, err := url.Parse(c.WebhookURL)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || len(c.WebhookURL) > 2048 {
			return badRequest("webhookUrl is no http or https URL of at most 2048 characters")
		}
	}
	return nil
}

// prepareAttestation checks the attestation and takes from had, that of before, what
// clients leave out because they were not shown it.
func (s *Service) prepareAttestation(doc *enrollmentDoc, had *AttestationMechanism) error {
	a := &doc.Attestation
	if had == nil || !strings.EqualFold(had.Type, a.Type) {
		had = &AttestationMechanism{}
	}
	var err error
	switch {
	case strings.EqualFold(a.Type, AttestSymmetricKey):
		*a, err = symmetricAttestation(a.SymmetricKey, had.SymmetricKey)
	case strings.EqualFold(a.Type, AttestX509):
		*a, err = s.x509Attestation(a.X509, had.X509, doc.isGroup())
	case strings.EqualFold(a.Type, AttestTPM) && !doc.isGroup():
		*a, err = tpmAttestation(a.TPM, had.TPM)
	case strings.EqualFold(a.Type, AttestTPM):
		return badRequest("a TPM is attested by an individual enrollment, not by a group")
	default:
		return badRequest("attestation.type is %.40q, allowed are symmetricKey, x509 and tpm", a.Type)
	}
	if err != nil {
		return err
	}
	if err := doc.open(); err != nil {
		return badRequest("the attestation cannot be read: %v", err)
	}
	return nil
}

func symmetricAttestation(given, had *core.SymmetricKey) (AttestationMechanism, error) {
	var keys core.SymmetricKey
	if had != nil {
		keys = *had
	}
	if given != nil && given.PrimaryKey != "" {
		keys.PrimaryKey = given.PrimaryKey
	}
	if given != nil && given.SecondaryKey != "" {
		keys.SecondaryKey = given.SecondaryKey
	}
	for _, key := range []*core.NullString{&keys.PrimaryKey, &keys.SecondaryKey} {
		if *key == "" {
			*key = core.NullString(newKey())
		}
		raw, err := base64.StdEncoding.DecodeString(string(*key))
		if err != nil || len(raw) < minKeyBytes || len(raw) > maxKeyBytes {
			return AttestationMechanism{}, badRequest("a symmetric key is not base64 of %d to %d bytes", minKeyBytes, maxKeyBytes)
		}
	}
	return AttestationMechanism{Type: AttestSymmetricKey, SymmetricKey: &keys}, nil
}

func tpmAttestation(given, had *TPMAttestation) (AttestationMechanism, error) {
	if given == nil {
		given = had
	}
	if given == nil {
		return AttestationMechanism{}, badRequest("attestation tpm needs an endorsementKey")
	}
	ek, err := base64.StdEncoding.DecodeString(given.EndorsementKey)
	if err == nil {
		_, err = parseTPMKey(ek)
	}
	if err != nil {
		return AttestationMechanism{}, badRequest("endorsementKey is not a TPM2B_PUBLIC in base64: %v", err)
	}
	srk, err := base64.StdEncoding.DecodeString(given.StorageRootKey)
	if err != nil || len(srk) > maxTPMKey {
		return AttestationMechanism{}, badRequest("storageRootKey is not a TPM2B_PUBLIC in base64")
	}
	c := *given
	return AttestationMechanism{Type: AttestTPM, TPM: &c}, nil
}
