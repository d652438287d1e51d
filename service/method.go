package service

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/backend"
	"github.com/iothub-go/iothub/internal/rest"
)

// MethodOptions says how long a method call may take. The zero value, or nil, is
// the hub's default. Both are rounded up to whole seconds.
type MethodOptions struct {
	// ConnectTimeout is how long the hub waits for the target to connect, up
	// to 5 minutes; 0 is not at all.
	ConnectTimeout time.Duration
	// ResponseTimeout is how long the hub waits for the answer, 5 s to 5
	// minutes; 0 is 30 s.
	ResponseTimeout time.Duration
}

const defaultResponseTimeout = 30 * time.Second

// seconds returns the two in whole seconds, 0 for the default.
func (o *MethodOptions) seconds() (connect, response int) {
	if o == nil {
		return 0, 0
	}
	up := func(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
	return up(o.ConnectTimeout), up(o.ResponseTimeout)
}

// wait is how long the hub may hold the call.
func (o *MethodOptions) wait() time.Duration {
	connect, response := o.seconds()
	d := time.Duration(connect+response) * time.Second
	if response == 0 {
		d += defaultResponseTimeout
	}
	return d
}

func (o *MethodOptions) validate(op string) error {
	switch {
	case o == nil:
		return nil
	case o.ResponseTimeout != 0 && (o.ResponseTimeout < 5*time.Second || o.ResponseTimeout > 300*time.Second):
		return backend.Invalid(op, "ResponseTimeout is %v, it can be 5s to 5m", o.ResponseTimeout)
	case o.ConnectTimeout < 0 || o.ConnectTimeout > 300*time.Second:
		return backend.Invalid(op, "ConnectTimeout is %v, it can be 0 to 5m", o.ConnectTimeout)
	}
	return nil
}

// methodCall is a call as it stands in requests and jobs.
type methodCall struct {
	Name            string          `json:"methodName"`
	Payload         json.RawMessage `json:"payload"`
	ResponseTimeout int             `json:"responseTimeoutInSeconds,omitempty"`
	ConnectTimeout  int             `json:"connectTimeoutInSeconds,omitempty"`
}

func newMethodCall(op, name string, payload []byte, o *MethodOptions) (*methodCall, error) {
	switch {
	case name == "" || len(name) > 100:
		return nil, backend.Invalid(op, "the method name has %d characters, it can have 1 to 100", len(name))
	case len(payload) > iothub.MaxMethodPayload:
		return nil, backend.Invalid(op, "the payload has %d bytes, the limit is %d", len(payload), iothub.MaxMethodPayload)
	case len(payload) > 0 && !json.Valid(payload):
		return nil, backend.Invalid(op, "the payload is not JSON")
	}
	if err := o.validate(op); err != nil {
		return nil, err
	}
	m := &methodCall{Name: name, Payload: payload}
	if len(payload) == 0 {
		m.Payload = json.RawMessage("null")
	}
	m.ConnectTimeout, m.ResponseTimeout = o.seconds()
	return m, nil
}

// InvokeMethod calls a direct method of a device, or of a module when moduleID is
// not empty, and returns its answer, whatever its status. payload is a JSON value
// of at most 128 KiB, or empty.
//
// It fails with iothub.KindTimeout and code 404103 when the target did not connect
// within the connect timeout, in which case nothing was done, and with code 504101
// when it did not answer in time, which, as the end of ctx, leaves open whether it
// has done what was asked. A call is never made twice.
func (c *Client) InvokeMethod(ctx context.Context, deviceID, moduleID, name string, payload []byte, o *MethodOptions) (*iothub.MethodResponse, error) {
	const op = "invoke method"
	path, err := identityPath(op, "twins", deviceID, moduleID, "methods")
	if err != nil {
		return nil, err
	}
	call, err := newMethodCall(op, name, payload, o)
	if err != nil {
		return nil, err
	}
	a, err := backend.Result[methodAnswer](ctx, c.rest, &rest.Request{Op: op, Method: http.MethodPost, Path: path, Body: call, Timeout: o.wait()})
	if err != nil {
		return nil, err
	}
	return a.response(), nil
}

// methodAnswer is what a device answered.
type methodAnswer struct {
	Status  int             `json:"status"`
	Payload json.RawMessage `json:"payload"`
}

func (a *methodAnswer) response() *iothub.MethodResponse {
	if string(a.Payload) == "null" {
		a.Payload = nil
	}
	return &iothub.MethodResponse{Status: a.Status, Payload: a.Payload}
}

// PurgeC2D deletes the messages that wait for a device and returns how many there
// were.
func (c *Client) PurgeC2D(ctx context.Context, deviceID string) (int, error) {
	const op = "purge messages"
	path, err := identityPath(op, "devices", deviceID, "", "commands")
	if err != nil {
		return 0, err
	}
	var p struct {
		TotalMessagesPurged int `json:"totalMessagesPurged"`
	}
	_, err = c.rest.Do(ctx, &rest.Request{Op: op, Method: http.MethodDelete, Path: path, Idempotent: true}, &p)
	return p.TotalMessagesPurged, err
}

// DigitalTwin is a device as its Plug and Play model sees it.
type DigitalTwin struct {
	// ModelID is the DTMI of the model.
	ModelID string
	// ETag is the version, for PatchDigitalTwin.
	ETag ETag
	// JSON is the whole digital twin.
	JSON json.RawMessage
}

// GetDigitalTwin returns the digital twin of a device.
func (c *Client) GetDigitalTwin(ctx context.Context, deviceID string) (*DigitalTwin, error) {
	const op = "get digital twin"
	path, err := identityPath(op, "digitaltwins", deviceID, "")
	if err != nil {
		return nil, err
	}
	var d struct {
		Metadata struct {
			Model string `json:"$model"`
		} `json:"$metadata"`
	}
	resp, err := c.rest.Do(ctx, &rest.Request{Op: op, Method: http.MethodGet, Path: path, Idempotent: true}, &d)
	if err != nil {
		return nil, err
	}
	return &DigitalTwin{ModelID: d.Metadata.Model, ETag: headerETag(resp), JSON: resp.Body}, nil
}

// headerETag returns the ETag of an answer without quotes.
func headerETag(resp *rest.Response) ETag {
	return ETag(trimETag(resp.Header.Get("ETag")))
}

func trimETag(s string) string {
	s = strings.TrimPrefix(s, "W/")
	if u, err := strconv.Unquote(s); err == nil {
		return u
	}
	return s
}

// PatchDigitalTwin applies a JSON patch (RFC 6902) to the digital twin of a device
// and returns its new version. An empty etag is whatever version there is.
func (c *Client) PatchDigitalTwin(ctx context.Context, deviceID string, patch any, etag ETag) (ETag, error) {
	const op = "patch digital twin"
	path, err := identityPath(op, "digitaltwins", deviceID, "")
	if err != nil {
		return "", err
	}
	resp, err := c.rest.Do(ctx, &rest.Request{Op: op, Method: http.MethodPatch, Path: path, IfMatch: string(etag), Body: patch}, nil)
	if err != nil {
		return "", err
	}
	return headerETag(resp), nil
}

// InvokeCommand calls a command of the model of a device, of a component when that
// is not empty; see [Client.InvokeMethod].
func (c *Client) InvokeCommand(ctx context.Context, deviceID, component, command string, payload []byte, o *MethodOptions) (*iothub.MethodResponse, error) {
	const op = "invoke command"
	call, err := newMethodCall(op, command, payload, o)
	if err != nil {
		return nil, err
	}
	words := []string{"commands", command}
	if component != "" {
		words = append([]string{"components", component}, words...)
	}
	path, err := identityPath(op, "digitaltwins", deviceID, "", words...)
	if err != nil {
		return nil, err
	}
	query := map[string][]string{}
	if call.ConnectTimeout > 0 {
		query["connectTimeoutInSeconds"] = []string{strconv.Itoa(call.ConnectTimeout)}
	}
	if call.ResponseTimeout > 0 {
		query["responseTimeoutInSeconds"] = []string{strconv.Itoa(call.ResponseTimeout)}
	}
	resp, err := c.rest.Do(ctx, &rest.Request{Op: op, Method: http.MethodPost, Path: path, Query: query, Body: call.Payload, Timeout: o.wait()}, nil)
	if err != nil {
		return nil, err
	}
	a := methodAnswer{Status: http.StatusOK, Payload: resp.Body}
	if s, err := strconv.Atoi(resp.Header.Get("x-ms-command-statuscode")); err == nil {
		a.Status = s
	}
	if len(a.Payload) == 0 {
		a.Payload = nil
	}
	return a.response(), nil
}
