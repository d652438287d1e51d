package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/backend"
	"github.com/iothub-go/iothub/internal/rest"
)

// maxBulk is the largest number of identities in one request.
const maxBulk = 100

// BulkMode says what a [BulkItem] does.
type BulkMode string

// The modes. Those with IfMatch depend on the ETag of the item.
const (
	BulkCreate                BulkMode = "create"
	BulkUpdate                BulkMode = "update"
	BulkUpdateIfMatch         BulkMode = "updateIfMatchETag"
	BulkCreateOrUpdate        BulkMode = "createOrUpdate"
	BulkCreateOrUpdateIfMatch BulkMode = "createOrUpdateIfMatchETag"
	BulkDelete                BulkMode = "delete"
	BulkDeleteIfMatch         BulkMode = "deleteIfMatchETag"
	BulkUpdateTwin            BulkMode = "updateTwin"
	BulkUpdateTwinIfMatch     BulkMode = "updateTwinIfMatchETag"
)

// BulkItem is one change of many. It is also a line of the files that
// [Client.StartTransfer] imports and exports.
type BulkItem struct {
	// DeviceID and ModuleID say whose change it is; ModuleID is empty for a
	// device.
	DeviceID string `json:"id"`
	ModuleID string `json:"moduleId,omitempty"`
	// Mode is what is done.
	Mode BulkMode `json:"importMode,omitempty"`
	// ETag and TwinETag are the versions of identity and twin that the modes
	// with IfMatch depend on.
	ETag     ETag `json:"eTag,omitempty"`
	TwinETag ETag `json:"twinETag,omitempty"`
	// The rest is as in Device and in TwinUpdate.
	Status         Status          `json:"status,omitempty"`
	StatusReason   string          `json:"statusReason,omitempty"`
	Authentication *Authentication `json:"authentication,omitempty"`
	Capabilities   *Capabilities   `json:"capabilities,omitempty"`
	Scope          string          `json:"deviceScope,omitempty"`
	ParentScopes   []string        `json:"parentScopes,omitempty"`
	Tags           any             `json:"tags,omitempty"`
	Properties     *BulkProperties `json:"properties,omitempty"`
}

// BulkProperties are the properties of the twin of a [BulkItem].
type BulkProperties struct {
	// Desired is set by imports; Reported is there in exports only.
	Desired  any `json:"desired,omitempty"`
	Reported any `json:"reported,omitempty"`
}

// BulkItemError says why one item, or one device of a list, failed.
type BulkItemError struct {
	// DeviceID and ModuleID say which.
	DeviceID string
	ModuleID string
	// Operation is the mode.
	Operation string
	// Err says why: its kind and code are those of the single request.
	Err *iothub.Error
}

// Error names the item and the reason.
func (e *BulkItemError) Error() string {
	return fmt.Sprintf("%s: %v", iothub.Identity{DeviceID: e.DeviceID, ModuleID: e.ModuleID}, e.Err)
}

// Unwrap returns the reason.
func (e *BulkItemError) Unwrap() error { return e.Err }

// UnmarshalJSON reads it as the hub writes it, whose codes are names or numbers.
func (e *BulkItemError) UnmarshalJSON(b []byte) error {
	var w struct {
		ID          string          `json:"id"`
		DeviceID    string          `json:"deviceId"`
		ModuleID    string          `json:"moduleId"`
		ErrorCode   json.RawMessage `json:"errorCode"`
		ErrorStatus string          `json:"errorStatus"`
		Operation   string          `json:"operation"`
	}
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	code := rest.ParseCode(w.ErrorCode)
	e.DeviceID, e.ModuleID, e.Operation = w.DeviceID, w.ModuleID, w.Operation
	if e.DeviceID == "" {
		e.DeviceID = w.ID
	}
	text := w.ErrorStatus
	if code == 0 {
		text = string(w.ErrorCode) + " " + text
	}
	e.Err = rest.Error(w.Operation, code, text)
	return nil
}

// BulkError is the error of a call that changed some identities and not others.
type BulkError struct {
	// Total is how many items there were.
	Total int
	// Items are those that failed. The others were done.
	Items []*BulkItemError
}

// Error counts the failures and shows the first.
func (e *BulkError) Error() string {
	if len(e.Items) == 0 {
		return fmt.Sprintf("iothub: not all of %d changes were made", e.Total)
	}
	return fmt.Sprintf("iothub: %d of %d changes failed, first %v", len(e.Items), e.Total, e.Items[0])
}

// Unwrap returns the errors of the items, for errors.Is and errors.As.
func (e *BulkError) Unwrap() []error {
	var errs []error
	for _, item := range e.Items {
		errs = append(errs, item)
	}
	return errs
}

// bulkResult is the answer to both outcomes.
type bulkResult struct {
	IsSuccessful bool             `json:"isSuccessful"`
	Errors       []*BulkItemError `json:"errors"`
}

// Bulk makes many changes, one after the other, in requests of up to 100. The
// changes are independent: one that fails stops none. The error is a *[BulkError]
// when some failed; any other error says that it is open which changes of the
// request under way were made, and that those behind it were not.
func (c *Client) Bulk(ctx context.Context, items []*BulkItem) error {
	const op = "bulk"
	for i, item := range items {
		if item == nil {
			return backend.Invalid(op, "item %d is nil", i)
		}
		if _, err := identityPath(op, "devices", item.DeviceID, item.ModuleID); err != nil {
			return err
		}
	}
	failed := &BulkError{Total: len(items)}
	whole := true
	for at := 0; at < len(items); at += maxBulk {
		var r bulkResult
		_, err := c.rest.Do(ctx, &rest.Request{Op: op, Method: http.MethodPost, Path: []string{"devices"},
			Body: items[at:min(at+maxBulk, len(items))], Accept: []int{http.StatusBadRequest}}, &r)
		if err != nil {
			if len(failed.Items) > 0 {
				return errors.Join(err, failed)
			}
			return err
		}
		whole = whole && r.IsSuccessful
		failed.Items = append(failed.Items, r.Errors...)
	}
	if !whole || len(failed.Items) > 0 {
		return failed
	}
	return nil
}

// WhichKey says which of the two keys of an identity are meant.
type WhichKey string

// The keys.
const (
	PrimaryKey   WhichKey = "primaryKey"
	SecondaryKey WhichKey = "secondaryKey"
	BothKeys     WhichKey = "both"
)

// RotatedKey is an identity with its keys after a regeneration.
type RotatedKey struct {
	// DeviceID and ModuleID say whose keys they are.
	DeviceID string `json:"id"`
	ModuleID string `json:"moduleId,omitempty"`
	// Primary and Secondary are the keys as they now are.
	Primary   Key `json:"primaryKey"`
	Secondary Key `json:"secondaryKey"`
}

// keyAPIVersion is the first that regenerates keys.
const keyAPIVersion = "2024-03-31"

// RegenerateKeys has the hub make new keys for up to 100 identities and returns
// those that have them. The error is a *[BulkError] when some failed.
func (c *Client) RegenerateKeys(ctx context.Context, which WhichKey, ids ...iothub.Identity) ([]*RotatedKey, error) {
	const op = "regenerate keys"
	type target struct {
		ID       string `json:"id"`
		ModuleID string `json:"moduleId,omitempty"`
	}
	if len(ids) == 0 || len(ids) > maxBulk {
		return nil, backend.Invalid(op, "there are %d identities, it can be 1 to %d", len(ids), maxBulk)
	}
	var targets []target
	for _, id := range ids {
		if _, err := identityPath(op, "devices", id.DeviceID, id.ModuleID); err != nil {
			return nil, err
		}
		targets = append(targets, target{id.DeviceID, id.ModuleID})
	}
	var a struct {
		RotatedKeys []*RotatedKey    `json:"rotatedKeys"`
		Errors      []*BulkItemError `json:"errors"`
	}
	_, err := c.rest.Do(ctx, &rest.Request{Op: op, Method: http.MethodPost, Path: []string{"devices", "keys", "regenerate"},
		APIVersion: keyAPIVersion, Body: map[string]any{"policyKey": which, "devices": targets}, Accept: []int{http.StatusBadRequest}}, &a)
	if err != nil {
		return nil, err
	}
	if len(a.Errors) > 0 {
		return a.RotatedKeys, &BulkError{Total: len(ids), Items: a.Errors}
	}
	return a.RotatedKeys, nil
}

// SwapKeys exchanges the keys of a device, or of a module when moduleID is not
// empty: the last step of replacing a key without an outage, after clients were
// given the secondary one. It fails with iothub.KindPreconditionFailed when
// somebody else changed the identity meanwhile.
func (c *Client) SwapKeys(ctx context.Context, deviceID, moduleID string) (*SymmetricKey, error) {
	const op = "swap keys"
	keys := func(a *Authentication) (*SymmetricKey, error) {
		if a == nil || a.SymmetricKey == nil || a.SymmetricKey.Primary == "" {
			return nil, backend.Invalid(op, "%s has no symmetric keys", iothub.Identity{DeviceID: deviceID, ModuleID: moduleID})
		}
		return a.SymmetricKey, nil
	}
	swap := func(a *Authentication) error {
		k, err := keys(a)
		if err == nil {
			k.Primary, k.Secondary = k.Secondary, k.Primary
		}
		return err
	}
	if moduleID != "" {
		m, err := c.GetModule(ctx, deviceID, moduleID)
		if err == nil {
			err = swap(m.Authentication)
		}
		if err == nil {
			m, err = c.UpdateModule(ctx, m)
		}
		if err != nil {
			return nil, err
		}
		return keys(m.Authentication)
	}
	d, err := c.GetDevice(ctx, deviceID)
	if err == nil {
		err = swap(d.Authentication)
	}
	if err == nil {
		d, err = c.UpdateDevice(ctx, d)
	}
	if err != nil {
		return nil, err
	}
	return keys(d.Authentication)
}
