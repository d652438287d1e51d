package dps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/backend"
	"github.com/iothub-go/iothub/internal/rest"
	"github.com/iothub-go/iothub/service"
)

// maxBulk is the largest number of enrollments in one request.
const maxBulk = 10

// BulkEnrollmentOperationError says why one enrollment of many failed.
type BulkEnrollmentOperationError struct {
	// ID is the registration id, or that of the group.
	ID string
	// Err says why: its kind and code are those of the single request.
	Err *iothub.Error
}

// Error names the enrollment and the reason.
func (e *BulkEnrollmentOperationError) Error() string { return fmt.Sprintf("%s: %v", e.ID, e.Err) }

// Unwrap returns the reason.
func (e *BulkEnrollmentOperationError) Unwrap() error { return e.Err }

// UnmarshalJSON reads it as the service writes it.
func (e *BulkEnrollmentOperationError) UnmarshalJSON(b []byte) error {
	var w struct {
		RegistrationID    string          `json:"registrationId"`
		EnrollmentGroupID string          `json:"enrollmentGroupId"`
		ErrorCode         json.RawMessage `json:"errorCode"`
		ErrorStatus       string          `json:"errorStatus"`
	}
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	e.ID = w.RegistrationID
	if e.ID == "" {
		e.ID = w.EnrollmentGroupID
	}
	e.Err = rest.Error("bulk", rest.ParseCode(w.ErrorCode), w.ErrorStatus)
	return nil
}

// BulkEnrollmentError is the error of a call that changed some enrollments and not
// others.
type BulkEnrollmentError struct {
	// Total is how many there were.
	Total int
	// Items are those that failed. The others were done.
	Items []*BulkEnrollmentOperationError
}

// Error counts the failures and shows the first.
func (e *BulkEnrollmentError) Error() string {
	if len(e.Items) == 0 {
		return fmt.Sprintf("iothub: not all of %d enrollments were changed", e.Total)
	}
	return fmt.Sprintf("iothub: %d of %d enrollments failed, first %v", len(e.Items), e.Total, e.Items[0])
}

// Unwrap returns the errors of the items, for errors.Is and errors.As.
func (e *BulkEnrollmentError) Unwrap() []error {
	var errs []error
	for _, item := range e.Items {
		errs = append(errs, item)
	}
	return errs
}

func bulk[T any, E enrollment[T]](ctx context.Context, c *Client, k kind, mode service.BulkMode, list []E) error {
	op := "bulk " + k.noun + "s"
	if !slices.Contains([]service.BulkMode{service.BulkCreate, service.BulkUpdate, service.BulkUpdateIfMatch, service.BulkDelete}, mode) {
		return backend.Invalid(op, "the mode is %q, it can be create, update, updateIfMatchETag or delete", mode)
	}
	items := make([]E, len(list))
	for i, e := range list {
		send, err := prepared(op, k, e)
		if err != nil {
			return err
		}
		_, etag, _ := send.parts()
		if mode == service.BulkUpdateIfMatch {
			if err := backend.NeedETag(op, string(*etag)); err != nil {
				return err
			}
		} else if mode != service.BulkDelete || *etag == service.AnyETag {
			*etag = ""
		}
		if mode == service.BulkUpdate || mode == service.BulkUpdateIfMatch {
			if err := keepKeys(ctx, c, k, send); err != nil {
				return err
			}
		}
		items[i] = send
	}
	failed := &BulkEnrollmentError{Total: len(items)}
	whole := true
	for part := range slices.Chunk(items, maxBulk) {
		var r struct {
			IsSuccessful bool                            `json:"isSuccessful"`
			Errors       []*BulkEnrollmentOperationError `json:"errors"`
		}
		_, err := c.rest.Do(ctx, &rest.Request{Op: op, Method: http.MethodPost, Path: []string{k.path},
			Body: map[string]any{"mode": mode, k.path: part}, Accept: []int{http.StatusBadRequest}}, &r)
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
