// Package invoke calls direct methods on behalf of a module, over HTTPS: an
// IoT Edge hub, or a local one, offers that to modules (MQTT has no word for
// it).
package invoke

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/devicerest"
	"github.com/iothub-go/iothub/internal/rest"
	"github.com/iothub-go/iothub/internal/transport"
)

const (
	// maxAnswer bounds the body of an answer: a method payload and the JSON
	// around it, escaped.
	maxAnswer = 1 << 20
)

// Call is one call of a method.
type Call struct {
	DeviceID, ModuleID string // of the target; no module is the device itself
	Name               string
	Payload            []byte // JSON, or nil
	iothub.InvokeOptions
}

// NewCall returns a call with o, which may be nil.
func NewCall(deviceID, moduleID, name string, payload []byte, o *iothub.InvokeOptions) *Call {
	c := &Call{DeviceID: deviceID, ModuleID: moduleID, Name: name, Payload: payload}
	if o != nil {
		c.InvokeOptions = *o
	}
	return c
}

func (c *Call) validate() error {
	target := iothub.Identity{DeviceID: c.DeviceID, ModuleID: c.ModuleID}
	if err := target.Validate(); err != nil {
		return err
	}
	bad := func(format string, args ...any) error {
		return &iothub.Error{Op: "invoke method", Kind: iothub.KindInvalidArgument, Err: fmt.Errorf(format, args...)}
	}
	switch {
	case c.Name == "" || len(c.Name) > 100:
		return bad("the method name has %d characters, it can have 1 to 100", len(c.Name))
	case len(c.Payload) > 0 && !json.Valid(c.Payload):
		return bad("the payload is not JSON")
	case len(c.Payload) > iothub.MaxMethodPayload:
		return bad("the payload has %d bytes, the limit is %d", len(c.Payload), iothub.MaxMethodPayload)
	case c.ResponseTimeout != 0 && (c.ResponseTimeout < 5*time.Second || c.ResponseTimeout > 300*time.Second):
		return bad("the response timeout is %v, it can be 5s to 5m", c.ResponseTimeout)
	case c.ConnectTimeout < 0 || c.ConnectTimeout > 300*time.Second:
		return bad("the connect timeout is %v, it can be 0 to 5m", c.ConnectTimeout)
	case c.Port < 0 || c.Port > 65535:
		return bad("the port is %d, it can be 1 to 65535, 0 is 443", c.Port)
	}
	return nil
}

// Do makes the call as the module that p is for.
func Do(ctx context.Context, p *transport.Params, c *Call) (*iothub.MethodResponse, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	req, err := request(ctx, p, c)
	if err != nil {
		return nil, err
	}
	peer := p.HostName
	if p.GatewayHostName != "" {
		peer = p.GatewayHostName
	}
	resp, err := devicerest.Do(ctx, "invoke method", p, peer, c.Port, req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return answer(resp)
}

func request(ctx context.Context, p *transport.Params, c *Call) (*http.Request, error) {
	body := map[string]any{"methodName": c.Name, "payload": nil}
	if len(c.Payload) > 0 {
		body["payload"] = json.RawMessage(c.Payload)
	}
	if c.ResponseTimeout != 0 {
		body["responseTimeoutInSeconds"] = int(c.ResponseTimeout / time.Second)
	}
	if c.ConnectTimeout != 0 {
		body["connectTimeoutInSeconds"] = int(c.ConnectTimeout / time.Second)
	}
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	path := "/twins/" + url.PathEscape(c.DeviceID)
	if c.ModuleID != "" {
		path += "/modules/" + url.PathEscape(c.ModuleID)
	}
	u := "https://hub" + path + "/methods?api-version=" + devicerest.APIVersion // the host is filled in
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("x-ms-edge-moduleId", p.Identity.String())
	return req, nil
}

func answer(resp *http.Response) (*iothub.MethodResponse, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil || len(body) > maxAnswer {
		return nil, &iothub.Error{Op: "invoke method", Kind: iothub.KindProtocol,
			Err: errors.Join(fmt.Errorf("the answer cannot be read, or has more than %d bytes", maxAnswer), err)}
	}
	if resp.StatusCode != http.StatusOK {
		return nil, rest.Refused("invoke method", resp, body)
	}
	var a struct {
		Status  int             `json:"status"`
		Payload json.RawMessage `json:"payload"`
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return nil, &iothub.Error{Op: "invoke method", Kind: iothub.KindProtocol, Err: err}
	}
	if string(a.Payload) == "null" {
		a.Payload = nil
	}
	return &iothub.MethodResponse{Status: a.Status, Payload: a.Payload}, nil
}
