package provisioning

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/link"
)

// Assignment is the result of a registration: the hub of the device, and its identity
// there. Its JSON holds no secret; [Config.Restore] makes an assignment of it again.
type Assignment struct {
	// IDScope and RegistrationID are what was registered.
	IDScope        string `json:"idScope"`
	RegistrationID string `json:"registrationId"`
	// HubHostName is the hub, with ":port" where MQTT has not its usual one.
	HubHostName string `json:"hubHostName"`
	// DeviceID is the identity there. An individual enrollment may give one that is not
	// the registration id.
	DeviceID string `json:"deviceId"`
	// Substatus says what came of a registration after the first: "initialAssignment",
	// "deviceDataMigrated", "deviceDataReset", "reprovisionedToInitialAssignment".
	Substatus string `json:"substatus,omitempty"`
	// EnrollmentGroup is the group that the device was enrolled by, "" for an individual
	// enrollment.
	EnrollmentGroup string `json:"enrollmentGroup,omitempty"`
	// Payload is JSON of a custom allocation; nil is none.
	Payload json.RawMessage `json:"payload,omitempty"`
	// ETag is the version of the registration.
	ETag string `json:"etag,omitempty"`
	// Created and Updated are when the device was registered first, and last.
	Created time.Time `json:"created,omitzero"`
	Updated time.Time `json:"updated,omitzero"`

	credential *iothub.Credential
}

// Credential is what the device presents to the hub: what it has registered with. It is
// nil for an assignment that is neither from [Register] nor from [Config.Restore].
func (a *Assignment) Credential() *iothub.Credential { return a.credential }

// Restore makes an assignment of its JSON, so that a device that was registered before
// needs no provisioning service. Errors say what is wrong with it, and that it is for
// another id scope or registration id than c.
func (c *Config) Restore(data []byte) (*Assignment, error) {
	p, err := c.prepare()
	if err != nil {
		return nil, err
	}
	a := &Assignment{}
	if err := json.Unmarshal(data, a); err != nil {
		return nil, invalid("the assignment that was kept: %w", err)
	}
	if a.IDScope != p.IDScope || !strings.EqualFold(a.RegistrationID, p.RegistrationID) {
		return nil, invalid("the assignment that was kept is for %.128q in the id scope %.128q", a.RegistrationID, a.IDScope)
	}
	if err := a.check(); err != nil {
		return nil, invalid("the assignment that was kept: %w", err)
	}
	a.RegistrationID = p.RegistrationID
	a.credential = p.Attestation.Credential(p.RegistrationID)
	return a, nil
}

// check reports what makes an assignment useless.
func (a *Assignment) check() error {
	if err := (iothub.Identity{DeviceID: a.DeviceID}).Validate(); err != nil {
		return err
	}
	if a.HubHostName == "" || len(a.HubHostName) > 512 || strings.ContainsAny(a.HubHostName, "/;?#@% \t\r\n") || link.Host(a.HubHostName) == "" {
		return fmt.Errorf("%.80q is no host name", a.HubHostName)
	}
	return nil
}

// maxAnswer bounds an answer of the service, in bytes.
const maxAnswer = 256 << 10

// answer is what the service says of a registration, over each protocol.
// (wire-device F.3)
type answer struct {
	OperationID string `json:"operationId"`
	Status      string `json:"status"`
	State       *state `json:"registrationState"`

	retryAfter time.Duration // 0 when the service does not say
}

type state struct {
	AssignedHub  string          `json:"assignedHub"`
	DeviceID     string          `json:"deviceId"`
	Substatus    string          `json:"substatus"`
	ETag         string          `json:"etag"`
	Payload      json.RawMessage `json:"payload"`
	Created      time.Time       `json:"createdDateTimeUtc"`
	Updated      time.Time       `json:"lastUpdatedDateTimeUtc"`
	ErrorCode    int             `json:"errorCode"`
	ErrorMessage string          `json:"errorMessage"`
	X509         *byGroup        `json:"x509"`
	SymmetricKey *byGroup        `json:"symmetricKey"`
	TPM          *struct {
		AuthenticationKey []byte `json:"authenticationKey"`
	} `json:"tpm"`
}

type byGroup struct {
	EnrollmentGroupID string `json:"enrollmentGroupId"`
}

// parseAnswer reads an answer that is no refusal.
func parseAnswer(body []byte) (*answer, error) {
	a := &answer{}
	if err := json.Unmarshal(body, a); err != nil {
		return nil, errBroken("the answer is not the JSON that was expected: %w", err)
	}
	if len(a.OperationID) > 512 || strings.ContainsAny(a.OperationID, "/?&#+% \t\r\n\x00") {
		return nil, errBroken("the id of the operation is malformed")
	}
	return a, nil
}

// assignment makes the result of the last answer.
func (a *answer) assignment(c *Config) (*Assignment, error) {
	s := a.State
	if s == nil {
		return nil, errBroken("the device is assigned, but the answer does not say where")
	}
	r := &Assignment{
		IDScope: c.IDScope, RegistrationID: c.RegistrationID, HubHostName: s.AssignedHub, DeviceID: s.DeviceID,
		Substatus: s.Substatus, Payload: s.Payload, ETag: s.ETag, Created: s.Created, Updated: s.Updated,
		credential: c.Attestation.Credential(c.RegistrationID),
	}
	for _, g := range []*byGroup{s.X509, s.SymmetricKey} {
		if g != nil {
			r.EnrollmentGroup = g.EnrollmentGroupID
		}
	}
	if err := r.check(); err != nil {
		return nil, errBroken("what the device is assigned to: %w", err)
	}
	return r, nil
}

// The codes of a registration that came to nothing. (c-sdk 6.3)
const (
	codeNoHub        = 400208
	codeUnauthorized = 400209
)

// failed is the error for a registration that came to nothing.
func (a *answer) failed() error {
	code, text := 0, "the service does not say why"
	if s := a.State; s != nil {
		code = s.ErrorCode
		if s.ErrorMessage != "" {
			text = s.ErrorMessage
		}
	}
	e := &iothub.Error{Op: op, Kind: iothub.KindOfStatus(code), Code: code, Err: fmt.Errorf("the registration failed: %s", text)}
	switch code {
	case codeNoHub:
		e.Kind = iothub.KindNotFound
		e.Err = fmt.Errorf("no hub for this device: link one to the provisioning service, or look at the allocation of the enrollment: %s", text)
	case codeUnauthorized:
		e.Kind = iothub.KindUnauthorized
	}
	e.Retryable = e.Kind.Retryable()
	return e
}

func errDisabled(registrationID string) error {
	return &iothub.Error{Op: op, Kind: iothub.KindDeviceDisabled,
		Err: fmt.Errorf("the enrollment of %q is disabled: enable it", registrationID)}
}

// tpmError is for errors of a TPM that are not the library's.
func tpmError(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*iothub.Error](err); ok {
		return err
	}
	return &iothub.Error{Op: op, Kind: iothub.KindUnauthorized, Err: fmt.Errorf("the TPM: %w", err)}
}
