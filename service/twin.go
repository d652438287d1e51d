package service

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/backend"
	"github.com/iothub-go/iothub/internal/rest"
)

// TwinProperties is one half of a twin: desired or reported properties.
type TwinProperties struct {
	// Version grows by one with every change.
	Version int64
	// Values is a JSON object, without $version and $metadata.
	Values json.RawMessage
	// Metadata says when each value was last changed ($metadata).
	Metadata json.RawMessage
}

// Decode decodes the values into what v points to.
func (p *TwinProperties) Decode(v any) error {
	if len(p.Values) == 0 {
		return nil
	}
	return json.Unmarshal(p.Values, v)
}

// UnmarshalJSON takes values and what the hub says of them apart.
func (p *TwinProperties) UnmarshalJSON(b []byte) error {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	*p = TwinProperties{Metadata: m["$metadata"]}
	if v, ok := m["$version"]; ok {
		if err := json.Unmarshal(v, &p.Version); err != nil {
			return fmt.Errorf("$version: %w", err)
		}
	}
	delete(m, "$metadata")
	delete(m, "$version")
	if m == nil {
		m = map[string]json.RawMessage{}
	}
	var err error
	p.Values, err = json.Marshal(m)
	return err
}

// MarshalJSON puts them together again, as the hub has them.
func (p TwinProperties) MarshalJSON() ([]byte, error) {
	m := map[string]json.RawMessage{}
	if len(p.Values) > 0 {
		if err := json.Unmarshal(p.Values, &m); err != nil {
			return nil, err
		}
	}
	if len(p.Metadata) > 0 {
		m["$metadata"] = p.Metadata
	}
	m["$version"] = fmt.Append(nil, p.Version)
	return json.Marshal(m)
}

// Twin is the twin of a device or module.
type Twin struct {
	// DeviceID and ModuleID say whose it is; ModuleID is empty for a device.
	DeviceID string `json:"deviceId"`
	ModuleID string `json:"moduleId,omitempty"`
	// ModelID is the DTMI of its Plug and Play model, if it has told one.
	ModelID string `json:"modelId,omitempty"`
	// ETag changes with tags and desired properties, DeviceETag with the
	// identity, Version with everything in the twin.
	ETag       ETag  `json:"etag,omitempty"`
	DeviceETag ETag  `json:"deviceEtag,omitempty"`
	Version    int64 `json:"version,omitempty"`
	// Status and what follows is that of the identity; see Device.
	Status                    Status             `json:"status,omitempty"`
	StatusReason              string             `json:"statusReason,omitempty"`
	StatusUpdateTime          Time               `json:"statusUpdateTime,omitzero"`
	ConnectionState           ConnectionState    `json:"connectionState,omitempty"`
	LastActivityTime          Time               `json:"lastActivityTime,omitzero"`
	CloudToDeviceMessageCount int                `json:"cloudToDeviceMessageCount,omitempty"`
	AuthenticationType        AuthenticationType `json:"authenticationType,omitempty"`
	Thumbprints               *Thumbprints       `json:"x509Thumbprint,omitempty"`
	Capabilities              *Capabilities      `json:"capabilities,omitempty"`
	Scope                     string             `json:"deviceScope,omitempty"`
	ParentScopes              []string           `json:"parentScopes,omitempty"`
	// Tags is a JSON object that only back ends see, nil where there is none.
	Tags json.RawMessage `json:"tags,omitempty"`
	// Properties are what the back end wants and what the device says.
	Properties struct {
		// Desired is what the back end wants.
		Desired TwinProperties `json:"desired"`
		// Reported is what the device says.
		Reported TwinProperties `json:"reported"`
	} `json:"properties"`
	// Configurations are those that apply to it, with their state.
	Configurations map[string]ConfigurationState `json:"configurations,omitempty"`
}

// ConfigurationState says how far a configuration has come on a twin.
type ConfigurationState struct {
	// Status is "Targeted" or "Applied".
	Status string `json:"status"`
}

// DecodeTags decodes the tags into what v points to.
func (t *Twin) DecodeTags(v any) error {
	if len(t.Tags) == 0 {
		return nil
	}
	return json.Unmarshal(t.Tags, v)
}

// TwinUpdate is a change of a twin.
type TwinUpdate struct {
	// Tags and Desired encode as JSON objects; json.RawMessage is taken as it
	// is. Nil leaves the half alone. In a patch a member that is null deletes
	// what has its name (RFC 7396).
	Tags    any
	Desired any
	// IfMatch is the ETag of the twin that the change is for. Empty is
	// whatever version there is.
	IfMatch ETag
}

// body is what is sent for the update.
func (u *TwinUpdate) body() map[string]any {
	b := map[string]any{}
	if u.Tags != nil {
		b["tags"] = u.Tags
	}
	if u.Desired != nil {
		b["properties"] = map[string]any{"desired": u.Desired}
	}
	return b
}

// GetTwin returns the twin of a device, or of a module when moduleID is not empty.
func (c *Client) GetTwin(ctx context.Context, deviceID, moduleID string) (*Twin, error) {
	return get[Twin](ctx, c, "get twin", "twins", deviceID, moduleID)
}

// PatchTwin merges u into the twin of a device, or of a module when moduleID is
// not empty, and returns the twin as it then is. A connected device is told of a
// change of its desired properties. It fails with
// iothub.KindPreconditionFailed when u.IfMatch does not match.
func (c *Client) PatchTwin(ctx context.Context, deviceID, moduleID string, u *TwinUpdate) (*Twin, error) {
	return c.changeTwin(ctx, "patch twin", http.MethodPatch, deviceID, moduleID, u)
}

// ReplaceTwin replaces the tags, the desired properties or both, whichever u has,
// and returns the twin as it then is; see [Client.PatchTwin]. IoT Hub documents
// the request for both at once.
func (c *Client) ReplaceTwin(ctx context.Context, deviceID, moduleID string, u *TwinUpdate) (*Twin, error) {
	return c.changeTwin(ctx, "replace twin", http.MethodPut, deviceID, moduleID, u)
}

func (c *Client) changeTwin(ctx context.Context, op, method, deviceID, moduleID string, u *TwinUpdate) (*Twin, error) {
	if u == nil || u.Tags == nil && u.Desired == nil {
		return nil, backend.Invalid(op, "there is nothing to change: set Tags or Desired")
	}
	path, err := identityPath(op, "twins", deviceID, moduleID)
	if err != nil {
		return nil, err
	}
	etag := u.IfMatch
	if etag == "" {
		etag = AnyETag
	}
	// To merge or put the same twice is as good as once, unless the first has
	// made the version another one.
	r := &rest.Request{Op: op, Method: method, Path: path, IfMatch: string(etag), Body: u.body(), Idempotent: etag == AnyETag}
	return backend.Result[Twin](ctx, c.rest, r)
}

// maxEdits is how often others may be faster than EditTwin.
const maxEdits = 50

// EditTwin changes a twin that others may change, too: it reads the twin, asks
// edit for the change, and begins again, up to 50 times, when somebody was faster. edit returns
// nil to change nothing. The error is ctx's, edit's or that of a request.
func (c *Client) EditTwin(ctx context.Context, deviceID, moduleID string, edit func(*Twin) (*TwinUpdate, error)) (*Twin, error) {
	for n := 1; ; n++ {
		t, err := c.GetTwin(ctx, deviceID, moduleID)
		if err != nil {
			return nil, err
		}
		u, err := edit(t)
		if err != nil || u == nil {
			return t, err
		}
		change := *u
		change.IfMatch = t.ETag
		t, err = c.PatchTwin(ctx, deviceID, moduleID, &change)
		if iothub.KindOf(err) != iothub.KindPreconditionFailed || n == maxEdits {
			return t, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}
