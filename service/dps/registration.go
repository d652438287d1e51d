package dps

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"

	"github.com/iothub-go/iothub/internal/backend"
	"github.com/iothub-go/iothub/internal/rest"
	"github.com/iothub-go/iothub/service"
)

// RegistrationStatus says how far a registration has come.
type RegistrationStatus string

// The registration statuses.
const (
	RegistrationUnassigned RegistrationStatus = "unassigned"
	RegistrationAssigning  RegistrationStatus = "assigning"
	RegistrationAssigned   RegistrationStatus = "assigned"
	RegistrationFailed     RegistrationStatus = "failed"
	RegistrationDisabled   RegistrationStatus = "disabled"
)

// RegistrationSubstatus says how an assigned device came to its hub.
type RegistrationSubstatus string

// The registration substatuses.
const (
	InitialAssignment                RegistrationSubstatus = "initialAssignment"
	DeviceDataMigrated               RegistrationSubstatus = "deviceDataMigrated"
	DeviceDataReset                  RegistrationSubstatus = "deviceDataReset"
	ReprovisionedToInitialAssignment RegistrationSubstatus = "reprovisionedToInitialAssignment"
)

// DeviceRegistrationState is what has become of the registration of a device.
type DeviceRegistrationState struct {
	// RegistrationID is what the device registered as.
	RegistrationID string `json:"registrationId"`
	// AssignedHub is the host name of its hub, DeviceID its id there; both are
	// empty until it is assigned.
	AssignedHub string `json:"assignedHub,omitempty"`
	DeviceID    string `json:"deviceId,omitempty"`
	// Status says how far it has come, Substatus how.
	Status    RegistrationStatus    `json:"status"`
	Substatus RegistrationSubstatus `json:"substatus,omitempty"`
	// ErrorCode and ErrorMessage say why it failed; 0 is no error.
	ErrorCode    int    `json:"errorCode,omitempty"`
	ErrorMessage string `json:"errorMessage,omitempty"`
	// Payload is the JSON that the webhook of the allocation had for the device.
	Payload json.RawMessage `json:"payload,omitempty"`
	// CreatedTime is when it first registered, LastUpdatedTime when it last did.
	CreatedTime     service.Time `json:"createdDateTimeUtc,omitzero"`
	LastUpdatedTime service.Time `json:"lastUpdatedDateTimeUtc,omitzero"`
	// ETag is the version.
	ETag ETag `json:"etag,omitempty"`
}

// GetRegistration returns what has become of a registration, of an individual
// enrollment or in a group. It fails with iothub.KindNotFound when nobody has
// registered as this.
func (c *Client) GetRegistration(ctx context.Context, registrationID string) (*DeviceRegistrationState, error) {
	const op = "get registration"
	if err := validateID(op, individuals.idName, registrationID); err != nil {
		return nil, err
	}
	return backend.Result[DeviceRegistrationState](ctx, c.rest, &rest.Request{Op: op, Method: http.MethodGet, Path: []string{"registrations", registrationID}, Idempotent: true})
}

// DeleteRegistration forgets a registration: the device is assigned as one that is
// new when it registers again. The device in the hub stays. It fails with
// iothub.KindPreconditionFailed when the version is not etag, which
// [service.AnyETag] makes any.
func (c *Client) DeleteRegistration(ctx context.Context, registrationID string, etag ETag) error {
	const op = "delete registration"
	if err := validateID(op, individuals.idName, registrationID); err != nil {
		return err
	}
	return c.remove(ctx, op, etag, "registrations", registrationID)
}

// QueryRegistrations returns the registrations in a group, fetched page by page as
// they are read. After an error it ends; reading it again begins anew.
func (c *Client) QueryRegistrations(ctx context.Context, enrollmentGroupID string, o *service.QueryOptions) iter.Seq2[*DeviceRegistrationState, error] {
	const op = "query registrations"
	if err := validateID(op, groups.idName, enrollmentGroupID); err != nil {
		return func(yield func(*DeviceRegistrationState, error) bool) { yield(nil, err) }
	}
	return rows[DeviceRegistrationState](ctx, c, op, nil, o, "registrations", enrollmentGroupID, "query")
}
