package hub

import (
	"context"
	"encoding/json"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// Twin is the twin of a device or module as the back end sees it. Its JSON texts
// keep the digits of numbers as they were written.
type Twin struct {
	// DeviceID is the device's, or that of the device the module belongs to.
	// DeviceID and ModuleID name the identity; ModuleID is empty for a device.
	DeviceID string
	ModuleID string
	// ModelID is the model that the device announced last.
	ModelID string
	// ETag grows with each change by the back end, DeviceETag is that of the
	// identity, and Version grows with each change of tags or properties.
	ETag       string
	DeviceETag string
	Version    uint64
	// Tags is a JSON object. Desired and Reported are too, and hold $metadata
	// and $version besides the properties.
	Tags     json.RawMessage
	Desired  json.RawMessage
	Reported json.RawMessage
	// Enabled and Connected are the state of the identity. LastActivity is
	// zero when it was not seen since the hub began.
	Enabled      bool
	Connected    bool
	LastActivity time.Time
}

// Twin returns the twin of a device, or of a module when moduleID is not empty.
func (s *Server) Twin(ctx context.Context, deviceID, moduleID string) (*Twin, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s.twin("twin", func() (core.Twin, error) { return s.hub.GetTwin(deviceID, moduleID) })
}

// UpdateTwin merges patch, a JSON object such as
//
//	{"tags":{"site":"north"},"properties":{"desired":{"interval":5,"old":null}}}
//
// into the twin: null removes, objects are merged, all else replaces. Only tags
// and desired properties count. etag, unless it is empty or "*", has to be that
// of the twin. A connected device is told what has changed in its desired
// properties.
//
// It waits until the change is durable. When ctx ends first, the change may
// happen all the same.
func (s *Server) UpdateTwin(ctx context.Context, deviceID, moduleID string, patch []byte, etag string) (*Twin, error) {
	return s.twin("update twin", func() (core.Twin, error) {
		return s.hub.UpdateTwin(ctx, deviceID, moduleID, patch, etagOrAny(etag))
	})
}

// ReplaceTwin replaces the tags, the desired properties or both, whichever twin
// holds; it has the form of the patch of UpdateTwin. The rest is as there.
func (s *Server) ReplaceTwin(ctx context.Context, deviceID, moduleID string, twin []byte, etag string) (*Twin, error) {
	return s.twin("replace twin", func() (core.Twin, error) {
		return s.hub.ReplaceTwin(ctx, deviceID, moduleID, twin, etagOrAny(etag))
	})
}

func etagOrAny(etag string) string {
	if etag == "" {
		return core.AnyETag
	}
	return etag
}

func (s *Server) twin(op string, call func() (core.Twin, error)) (*Twin, error) {
	if s.isClosed() {
		return nil, ErrServerClosed
	}
	t, err := call()
	if err != nil {
		return nil, s.failed(op, err)
	}
	return &Twin{
		DeviceID: t.DeviceID, ModuleID: t.ModuleID, ModelID: t.ModelID,
		ETag: t.ETag, DeviceETag: t.DeviceETag, Version: t.Version,
		Tags: t.Tags, Desired: t.Properties.Desired, Reported: t.Properties.Reported,
		Enabled: t.Status == core.StatusEnabled, Connected: t.ConnectionState == core.Connected,
		LastActivity: t.LastActivityTime.Time,
	}, nil
}
