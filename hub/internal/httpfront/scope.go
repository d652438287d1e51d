package httpfront

import (
	"net/url"
	"slices"
	"strconv"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/internal/sas"
)

// The scope of an IoT Edge device as its hub asks for it (wire-device G.6), in the
// older form with GET and in the one for nested devices with POST.

// maxScopePage is the largest and the default page of devices.
const maxScopePage = 1000

// ownModules are the paths at which an IoT Edge device keeps its modules: its daemon
// makes them with the credential of the device.
var ownModules = []string{"devices/*/modules", "devices/*/modules/*"}

// authorizeEdgeDevice lets an IoT Edge device at its own modules. done is false when
// the request is not one of a device.
func (q *request) authorizeEdgeDevice(found *route) (done bool, err error) {
	if !slices.Contains(ownModules, found.pattern) {
		return false, nil
	}
	r := core.AuthRequest{DeviceID: q.path[1], Token: q.r.Header.Get("Authorization")}
	if r.Token != "" {
		if t, err := sas.Parse(r.Token); err != nil || t.Policy != "" {
			return false, nil
		}
	} else if q.r.TLS != nil {
		r.Certificates = q.r.TLS.PeerCertificates
	}
	if r.Token == "" && len(r.Certificates) == 0 {
		return false, nil
	}
	hub := q.front.hub
	p, err := hub.Authenticate(hub.Now(), r)
	if err == nil {
		err = hub.CheckEdgeDevice(p)
	}
	return true, err
}

// scopePage is the answer. ContinuationLink is null on the last page.
type scopePage struct {
	core.Scope
	ContinuationLink *string `json:"continuationLink"`
}

// nestedRequest is what asks in the newer form. AuthChain leads from the device or
// module that it is about to the one that asks.
type nestedRequest struct {
	PageSize         int    `json:"pageSize"`
	ContinuationLink string `json:"continuationLink"`
	AuthChain        string `json:"authChain"`
	TargetDeviceID   string `json:"targetDeviceId"`
	TargetModuleID   string `json:"targetModuleId"`
}

func pageSize(name string, n int) (int, error) {
	if n < 0 || n > maxScopePage {
		return 0, core.NewError(core.CodeArgumentInvalid, "%s is %d, allowed is 0 to %d", name, n, maxScopePage)
	}
	if n == 0 {
		return maxScopePage, nil
	}
	return n, nil
}

func listScope(q *request) error {
	hub := q.front.hub
	if err := hub.CheckEdgeHub(q.device); err != nil {
		return err
	}
	count := 0
	if text := q.query.Get("deviceCount"); text != "" {
		var err error
		if count, err = strconv.Atoi(text); err != nil {
			return core.NewError(core.CodeArgumentInvalid, "deviceCount is %.40q, which is no number", text)
		}
	}
	count, err := pageSize("deviceCount", count)
	if err != nil {
		return err
	}
	scope, more, err := hub.Scope(q.device.DeviceID, q.query.Get("continuationToken"), count)
	if err != nil {
		return err
	}
	page := scopePage{Scope: scope}
	if more != "" {
		next := url.Values{
			"deviceCount": {strconv.Itoa(count)}, "continuationToken": {more}, "api-version": {q.query.Get("api-version")},
		}
		link := q.r.URL.EscapedPath() + "?" + next.Encode()
		page.ContinuationLink = &link
	}
	return q.reply("", page)
}

func getScopeIdentity(q *request) error {
	hub := q.front.hub
	if err := hub.CheckEdgeHub(q.device); err != nil {
		return err
	}
	target := q.query.Get("targetDeviceId")
	if target == "" {
		return core.NewError(core.CodeArgumentNull, "the query parameter targetDeviceId is missing")
	}
	return q.reply("", scopePage{Scope: hub.ScopeIdentity(q.device.DeviceID, target, q.query.Get("targetModuleId"))})
}

// nested reads a request in the newer form and checks that its chain ends at the
// one that asks. It returns whose scope it is about.
func (q *request) nested() (b nestedRequest, deviceID, moduleID string, err error) {
	hub := q.front.hub
	if err := hub.CheckEdgeHub(q.device); err != nil {
		return b, "", "", err
	}
	if err := q.body(&b); err != nil {
		return b, "", "", err
	}
	deviceID, moduleID, err = hub.CheckChain(b.AuthChain, q.device.DeviceID)
	return b, deviceID, moduleID, err
}

func listTargetScope(q *request) error {
	b, target, _, err := q.nested()
	if err != nil {
		return err
	}
	count, err := pageSize("pageSize", b.PageSize)
	if err != nil {
		return err
	}
	scope, more, err := q.front.hub.Scope(target, b.ContinuationLink, count)
	if err != nil {
		return err
	}
	page := scopePage{Scope: scope}
	if more != "" {
		page.ContinuationLink = &more
	}
	return q.reply("", page)
}

func getOnBehalfOf(q *request) error {
	b, deviceID, moduleID, err := q.nested()
	if err != nil {
		return err
	}
	if deviceID != b.TargetDeviceID || moduleID != "" && moduleID != b.TargetModuleID {
		return core.NewError(core.CodeUnauthorizedAccess, "Unauthorized: the auth chain does not begin with the target")
	}
	return q.reply("", scopePage{Scope: q.front.hub.ScopeOf(deviceID, b.TargetModuleID)})
}
