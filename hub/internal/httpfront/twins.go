package httpfront

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// twinID is the identity in the path of a twin: twins/{device}, or
// twins/{device}/modules/{module}.
func (q *request) twinID() (deviceID, moduleID string) {
	if len(q.path) > 3 {
		moduleID = q.path[3]
	}
	return q.path[1], moduleID
}

func getTwin(q *request) error {
	deviceID, moduleID := q.twinID()
	t, err := q.front.hub.GetTwin(deviceID, moduleID)
	if err != nil {
		return err
	}
	return q.reply(t.ETag, t)
}

func patchTwin(q *request) error { return q.changeTwin(q.front.hub.UpdateTwin) }

func putTwin(q *request) error { return q.changeTwin(q.front.hub.ReplaceTwin) }

// changeTwin applies the body to a twin. Without If-Match any version will do.
func (q *request) changeTwin(change func(ctx context.Context, deviceID, moduleID string, body []byte, etag string) (core.Twin, error)) error {
	body, err := q.rawBody(maxBody)
	if err != nil {
		return err
	}
	deviceID, moduleID := q.twinID()
	t, err := change(q.r.Context(), deviceID, moduleID, body, q.etagOrAny())
	if err != nil {
		return err
	}
	return q.reply(t.ETag, t)
}

// rawBody reads the body of the request.
func (q *request) rawBody(limit int64) ([]byte, error) {
	data, err := io.ReadAll(http.MaxBytesReader(q.w, q.r.Body, limit))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, core.NewError(core.CodeMessageTooLarge, "the body is larger than %d bytes", limit)
	}
	if err != nil {
		return nil, core.NewError(core.CodeArgumentInvalid, "the body could not be read")
	}
	return data, nil
}
