package dps

import (
	"context"
	"iter"

	"github.com/iothub-go/iothub/service"
)

// EnrollmentGroup lets many devices register: those with keys that are derived from
// the key of the group, or with certificates that an authority has signed. What a
// caller does not set is set by the service.
type EnrollmentGroup struct {
	// EnrollmentGroupID is as IndividualEnrollment.RegistrationID.
	EnrollmentGroupID string `json:"enrollmentGroupId"`
	// Attestation is how the devices prove themselves.
	Attestation AttestationMechanism `json:"attestation,omitzero"`
	// Capabilities are those of IoT Edge devices.
	Capabilities service.Capabilities `json:"capabilities"`
	// ProvisioningStatus and all that follows is as in IndividualEnrollment.
	ProvisioningStatus         service.Status              `json:"provisioningStatus,omitempty"`
	AllocationPolicy           AllocationPolicy            `json:"allocationPolicy,omitempty"`
	IoTHubs                    []string                    `json:"iotHubs,omitempty"`
	IoTHubHostName             string                      `json:"iotHubHostName,omitempty"`
	CustomAllocationDefinition *CustomAllocationDefinition `json:"customAllocationDefinition,omitempty"`
	ReprovisionPolicy          *ReprovisionPolicy          `json:"reprovisionPolicy,omitempty"`
	InitialTwin                *InitialTwin                `json:"initialTwin,omitempty"`
	ETag                       ETag                        `json:"etag,omitempty"`
	CreatedTime                service.Time                `json:"createdDateTimeUtc,omitzero"`
	LastUpdatedTime            service.Time                `json:"lastUpdatedDateTimeUtc,omitzero"`
}

var groups = kind{noun: "enrollment group", path: "enrollmentGroups", idName: "enrollment group id"}

func (g *EnrollmentGroup) parts() (id string, etag *ETag, a *AttestationMechanism) {
	return g.EnrollmentGroupID, &g.ETag, &g.Attestation
}

func (g *EnrollmentGroup) writable() *EnrollmentGroup {
	w := *g
	w.CreatedTime, w.LastUpdatedTime = service.Time{}, service.Time{}
	return &w
}

// CreateEnrollmentGroup makes a group; see [Client.CreateIndividualEnrollment].
func (c *Client) CreateEnrollmentGroup(ctx context.Context, g *EnrollmentGroup) (*EnrollmentGroup, error) {
	return create(ctx, c, groups, g)
}

// UpdateEnrollmentGroup replaces a group; see [Client.UpdateIndividualEnrollment].
func (c *Client) UpdateEnrollmentGroup(ctx context.Context, g *EnrollmentGroup) (*EnrollmentGroup, error) {
	return update(ctx, c, groups, g)
}

// GetEnrollmentGroup returns a group, without its keys. It fails with
// iothub.KindNotFound when there is none of this id.
func (c *Client) GetEnrollmentGroup(ctx context.Context, id string) (*EnrollmentGroup, error) {
	return get[EnrollmentGroup](ctx, c, groups, id)
}

// DeleteEnrollmentGroup deletes a group and the registrations in it; see
// [Client.DeleteIndividualEnrollment].
func (c *Client) DeleteEnrollmentGroup(ctx context.Context, id string, etag ETag) error {
	return drop(ctx, c, groups, id, etag)
}

// GetEnrollmentGroupAttestation returns how the devices of a group prove themselves,
// keys included.
func (c *Client) GetEnrollmentGroupAttestation(ctx context.Context, id string) (*AttestationMechanism, error) {
	return attestation(ctx, c, groups, id)
}

// QueryEnrollmentGroups returns the groups that a query finds, as
// "SELECT * FROM enrollmentGroups"; see [Client.QueryIndividualEnrollments].
func (c *Client) QueryEnrollmentGroups(ctx context.Context, query string, o *service.QueryOptions) iter.Seq2[*EnrollmentGroup, error] {
	return find[EnrollmentGroup](ctx, c, groups, query, o)
}

// BulkEnrollmentGroups makes, changes or deletes many groups; see
// [Client.BulkIndividualEnrollments].
func (c *Client) BulkEnrollmentGroups(ctx context.Context, mode service.BulkMode, list []*EnrollmentGroup) error {
	return bulk(ctx, c, groups, mode, list)
}
