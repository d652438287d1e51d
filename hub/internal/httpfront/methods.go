package httpfront

import (
	"encoding/json"
	"math"
	"strings"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// edgeModuleHeader names the module that calls a method with its own token.
const edgeModuleHeader = "x-ms-edge-moduleId"

// methodBody is what asks for a direct method. Names match whatever their case.
type methodBody struct {
	MethodName string          `json:"methodName"`
	Payload    json.RawMessage `json:"payload"`

	ConnectTimeout  *float64 `json:"connectTimeoutInSeconds"`
	ResponseTimeout *float64 `json:"responseTimeoutInSeconds"`
	// Older services and the module client of the C SDK say these.
	TimeoutInSeconds *float64 `json:"timeoutInSeconds"`
	Timeout          *float64 `json:"timeout"`
}

// methodReply is the answer, with the status of the device; HTTP's is 200
// whatever that is.
type methodReply struct {
	Status  int             `json:"status"`
	Payload json.RawMessage `json:"payload"`
}

func invokeMethod(q *request) error {
	var b methodBody
	if err := q.body(&b); err != nil {
		return err
	}
	call := core.MethodCall{Name: b.MethodName, Payload: b.Payload}
	for _, response := range []*float64{b.ResponseTimeout, b.TimeoutInSeconds, b.Timeout} {
		if response == nil {
			continue
		}
		d, err := seconds("responseTimeoutInSeconds", *response)
		if err != nil {
			return err
		}
		if d == 0 { // which would be the default
			return core.NewError(core.CodeArgumentInvalid, "responseTimeoutInSeconds is 0, allowed are 5 to 300")
		}
		call.ResponseTimeout = d
		break
	}
	if b.ConnectTimeout != nil {
		d, err := seconds("connectTimeoutInSeconds", *b.ConnectTimeout)
		if err != nil {
			return err
		}
		call.ConnectTimeout = d
	}
	moduleID := ""
	if len(q.path) > 3 {
		moduleID = q.path[3]
	}
	result, err := q.front.hub.InvokeMethod(q.r.Context(), q.path[1], moduleID, call)
	if err != nil {
		return err
	}
	return q.reply("", methodReply{result.Status, orNull(result.Payload)})
}

func orNull(payload []byte) json.RawMessage {
	if len(payload) == 0 {
		return json.RawMessage("null")
	}
	return payload
}

// seconds makes a duration of a number. The hub checks the bounds; this one only
// keeps it from overflowing.
func seconds(name string, n float64) (time.Duration, error) {
	if math.Abs(n) > 1e6 {
		return 0, core.NewError(core.CodeArgumentInvalid, "%s is %g, allowed are up to 300", name, n)
	}
	return time.Duration(n * float64(time.Second)), nil
}

// authorizeModule lets a module call methods of its own device and of that
// device's modules, as IoT Edge does (wire-device E.5). done is false when the
// request is not one of a module.
func (q *request) authorizeModule(found *route) (done bool, err error) {
	caller := q.r.Header.Get(edgeModuleHeader)
	if caller == "" || !strings.HasSuffix(found.pattern, "/methods") {
		return false, nil
	}
	deviceID, moduleID, ok := strings.Cut(caller, "/")
	if !ok || moduleID == "" {
		return true, core.NewError(core.CodeArgumentInvalid, "the header %s is %q, it has to be device/module", edgeModuleHeader, caller)
	}
	hub := q.front.hub
	_, err = hub.Authenticate(hub.Now(), core.AuthRequest{
		DeviceID: deviceID, ModuleID: moduleID, Token: q.r.Header.Get("Authorization"),
	})
	if err == nil && deviceID != q.path[1] {
		err = core.NewError(core.CodeUnauthorizedAccess, "Unauthorized: module %s cannot call methods of device %s", caller, q.path[1])
	}
	return true, err
}
