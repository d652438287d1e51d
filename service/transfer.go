package service

import (
	"context"
	"net/http"
	"time"

	"github.com/iothub-go/iothub/internal/backend"
	"github.com/iothub-go/iothub/internal/rest"
)

// Transfer is an import of identities from a blob, or an export to one.
type Transfer struct {
	// ID is given by the hub.
	ID string `json:"jobId,omitempty"`
	// Type is ImportJob or ExportJob.
	Type JobType `json:"type"`
	// Status and Progress, in percent, say how far it has come; FailureReason
	// why no further.
	Status        JobStatus `json:"status,omitempty"`
	Progress      int       `json:"progress,omitempty"`
	FailureReason string    `json:"failureReason,omitempty"`
	// StartTime and EndTime are zero until then.
	StartTime Time `json:"startTimeUtc,omitzero"`
	EndTime   Time `json:"endTimeUtc,omitzero"`
	// InputContainer is the URI of the container that an import reads from,
	// OutputContainer where it writes its errors, or an export its devices;
	// with signatures that allow it, so they are secrets.
	InputContainer  string `json:"inputBlobContainerUri,omitempty"`
	OutputContainer string `json:"outputBlobContainerUri,omitempty"`
	// InputBlob and OutputBlob are names in them; empty is devices.txt.
	InputBlob  string `json:"inputBlobName,omitempty"`
	OutputBlob string `json:"outputBlobName,omitempty"`
	// ExcludeKeys leaves the keys out of an export.
	ExcludeKeys bool `json:"excludeKeysInExport,omitempty"`
	// IncludeConfigurations transfers the configurations, too, in the blob
	// ConfigurationsBlob; empty is configurations.txt.
	IncludeConfigurations bool   `json:"includeConfigurations,omitempty"`
	ConfigurationsBlob    string `json:"configurationsBlobName,omitempty"`
	// StorageAuthentication is "keyBased" or "identityBased"; empty is the
	// first.
	StorageAuthentication string `json:"storageAuthenticationType,omitempty"`
}

// StartTransfer starts an import or an export. A hub does one at a time: it fails
// with iothub.KindThrottled and code 403003 while another one runs.
func (c *Client) StartTransfer(ctx context.Context, t *Transfer) (*Transfer, error) {
	const op = "start transfer"
	if t == nil || t.Type != ImportJob && t.Type != ExportJob {
		return nil, backend.Invalid(op, "the type is neither import nor export")
	}
	r := &rest.Request{Op: op, Method: http.MethodPost, Path: []string{"jobs", "create"}, Body: t}
	return backend.Result[Transfer](ctx, c.rest, r)
}

// GetTransfer returns an import or export.
func (c *Client) GetTransfer(ctx context.Context, id string) (*Transfer, error) {
	return backend.Result[Transfer](ctx, c.rest, &rest.Request{Op: "get transfer", Method: http.MethodGet, Path: []string{"jobs", id}, Idempotent: true})
}

// ListTransfers returns the imports and exports that the hub remembers.
func (c *Client) ListTransfers(ctx context.Context) ([]*Transfer, error) {
	return backend.List[Transfer](ctx, c.rest, &rest.Request{Op: "list transfers", Method: http.MethodGet, Path: []string{"jobs"}, Idempotent: true})
}

// CancelTransfer ends an import or export. What it has done stays done.
func (c *Client) CancelTransfer(ctx context.Context, id string) error {
	_, err := c.rest.Do(ctx, &rest.Request{Op: "cancel transfer", Method: http.MethodDelete, Path: []string{"jobs", id}, Idempotent: true}, nil)
	return err
}

// WaitForTransfer waits until an import or export has ended, well or not; see
// [Client.WaitForJob].
func (c *Client) WaitForTransfer(ctx context.Context, id string, interval time.Duration) (*Transfer, error) {
	return wait(ctx, interval, func() (*Transfer, bool, error) {
		t, err := c.GetTransfer(ctx, id)
		return t, err == nil && t.Status.Done(), err
	})
}
