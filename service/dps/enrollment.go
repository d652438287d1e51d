package dps

import (
	"context"
	"encoding/json"
	"iter"

	"github.com/iothub-go/iothub/service"
)

// AllocationPolicy says how a hub is found for a device.
type AllocationPolicy string

// The allocation policies.
const (
	HashedAllocation     AllocationPolicy = "hashed"     // evenly, by the weights of the hubs
	GeoLatencyAllocation AllocationPolicy = "geoLatency" // the hub with the lowest latency
	StaticAllocation     AllocationPolicy = "static"     // the one in IoTHubs
	CustomAllocation     AllocationPolicy = "custom"     // as a webhook says
)

// CustomAllocationDefinition is the webhook of [CustomAllocation].
type CustomAllocationDefinition struct {
	// WebhookURL is asked for each registration. It may hold a secret: it is
	// printed as it is.
	WebhookURL string `json:"webhookUrl"`
	// APIVersion is that of the request, as 2021-10-01.
	APIVersion string `json:"apiVersion"`
}

// ReprovisionPolicy says what happens when a device registers again.
type ReprovisionPolicy struct {
	// UpdateHubAssignment lets it be assigned to another hub.
	UpdateHubAssignment bool `json:"updateHubAssignment"`
	// MigrateDeviceData moves its twin to that hub; otherwise it begins with
	// the initial one.
	MigrateDeviceData bool `json:"migrateDeviceData"`
}

// InitialTwin is what the twin of a device begins with.
type InitialTwin struct {
	// Tags is a JSON object; nil is none.
	Tags json.RawMessage `json:"tags,omitempty"`
	// Properties are the desired ones.
	Properties InitialTwinProperties `json:"properties,omitzero"`
}

// InitialTwinProperties are the properties of an [InitialTwin].
type InitialTwinProperties struct {
	// Desired is a JSON object; nil is none.
	Desired json.RawMessage `json:"desired,omitempty"`
}

// IndividualEnrollment lets one device register. What a caller does not set is set
// by the service.
type IndividualEnrollment struct {
	// RegistrationID is what the device registers as: up to 128 letters, digits
	// and -._: of which case does not count, the last a letter, a digit or -.
	RegistrationID string `json:"registrationId"`
	// DeviceID is its id in the hub; empty is RegistrationID.
	DeviceID string `json:"deviceId,omitempty"`
	// Attestation is how it proves itself.
	Attestation AttestationMechanism `json:"attestation,omitzero"`
	// Capabilities are those of an IoT Edge device.
	Capabilities service.Capabilities `json:"capabilities"`
	// ProvisioningStatus disables an enrollment; empty is enabled.
	ProvisioningStatus service.Status `json:"provisioningStatus,omitempty"`
	// AllocationPolicy finds the hub among IoTHubs, host names of linked hubs;
	// none is all of them. Empty is the policy of the service. IoTHubHostName is
	// an older form of both.
	AllocationPolicy AllocationPolicy `json:"allocationPolicy,omitempty"`
	IoTHubs          []string         `json:"iotHubs,omitempty"`
	IoTHubHostName   string           `json:"iotHubHostName,omitempty"`
	// CustomAllocationDefinition is for CustomAllocation.
	CustomAllocationDefinition *CustomAllocationDefinition `json:"customAllocationDefinition,omitempty"`
	// ReprovisionPolicy is for later registrations; nil is both.
	ReprovisionPolicy *ReprovisionPolicy `json:"reprovisionPolicy,omitempty"`
	// InitialTwin is what its twin begins with.
	InitialTwin *InitialTwin `json:"initialTwin,omitempty"`
	// OptionalDeviceInformation is a JSON object that the service only keeps.
	OptionalDeviceInformation json.RawMessage `json:"optionalDeviceInformation,omitempty"`
	// ETag is the version; UpdateIndividualEnrollment depends on it.
	ETag ETag `json:"etag,omitempty"`
	// RegistrationState is what has become of its registration, nil for none. It
	// and the times are set by the service.
	RegistrationState *DeviceRegistrationState `json:"registrationState,omitempty"`
	CreatedTime       service.Time             `json:"createdDateTimeUtc,omitzero"`
	LastUpdatedTime   service.Time             `json:"lastUpdatedDateTimeUtc,omitzero"`
}

var individuals = kind{noun: "individual enrollment", path: "enrollments", idName: "registration id"}

func (e *IndividualEnrollment) parts() (id string, etag *ETag, a *AttestationMechanism) {
	return e.RegistrationID, &e.ETag, &e.Attestation
}

func (e *IndividualEnrollment) writable() *IndividualEnrollment {
	w := *e
	w.RegistrationState, w.CreatedTime, w.LastUpdatedTime = nil, service.Time{}, service.Time{}
	return &w
}

// CreateIndividualEnrollment makes an enrollment and returns it with what the
// service has added. It fails with iothub.KindConflict when there is one of this
// id.
func (c *Client) CreateIndividualEnrollment(ctx context.Context, e *IndividualEnrollment) (*IndividualEnrollment, error) {
	return create(ctx, c, individuals, e)
}

// UpdateIndividualEnrollment replaces an enrollment whose version is e.ETag, which
// [service.AnyETag] makes any, and returns it as it then is. Get the enrollment,
// change it, update it: what is not set is not kept, but for what the service does
// not show, keys and certificates. New keys are made for a SymmetricKey that is
// empty. It fails with iothub.KindPreconditionFailed when
// the version is another one.
func (c *Client) UpdateIndividualEnrollment(ctx context.Context, e *IndividualEnrollment) (*IndividualEnrollment, error) {
	return update(ctx, c, individuals, e)
}

// GetIndividualEnrollment returns an enrollment, without its keys. It fails with
// iothub.KindNotFound when there is none of this id.
func (c *Client) GetIndividualEnrollment(ctx context.Context, registrationID string) (*IndividualEnrollment, error) {
	return get[IndividualEnrollment](ctx, c, individuals, registrationID)
}

// DeleteIndividualEnrollment deletes an enrollment and its registration; the device
// in the hub stays. It fails with iothub.KindPreconditionFailed when the version is
// not etag, which [service.AnyETag] makes any.
func (c *Client) DeleteIndividualEnrollment(ctx context.Context, registrationID string, etag ETag) error {
	return drop(ctx, c, individuals, registrationID, etag)
}

// GetIndividualEnrollmentAttestation returns how the device of an enrollment proves
// itself, keys included.
func (c *Client) GetIndividualEnrollmentAttestation(ctx context.Context, registrationID string) (*AttestationMechanism, error) {
	return attestation(ctx, c, individuals, registrationID)
}

// QueryIndividualEnrollments returns the enrollments that a query finds, as
// "SELECT * FROM enrollments WHERE provisioningStatus = 'disabled'"; empty is all.
// They are fetched page by page as they are read. After an error it ends; reading
// it again begins anew.
func (c *Client) QueryIndividualEnrollments(ctx context.Context, query string, o *service.QueryOptions) iter.Seq2[*IndividualEnrollment, error] {
	return find[IndividualEnrollment](ctx, c, individuals, query, o)
}

// BulkIndividualEnrollments makes, changes or deletes many enrollments, in requests
// of up to 10: mode is [service.BulkCreate], [service.BulkUpdate],
// [service.BulkUpdateIfMatch] or [service.BulkDelete], which needs only the ids. The
// changes are independent: one that fails stops none. The error is a *[BulkEnrollmentError] when some failed;
// any other error says that it is open which changes of the request under way were
// made, and that those behind it were not.
func (c *Client) BulkIndividualEnrollments(ctx context.Context, mode service.BulkMode, enrollments []*IndividualEnrollment) error {
	return bulk(ctx, c, individuals, mode, enrollments)
}
