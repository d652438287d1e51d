package httpfront

import (
	"strconv"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// maxList is the largest and the default length of a list of devices.
const maxList = 1000

func listDevices(q *request) error {
	top := maxList
	if text := q.query.Get("top"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxList {
			return core.NewError(core.CodeArgumentInvalid, "top is %q, allowed is 1 to %d", text, maxList)
		}
		top = n
	}
	return q.reply("", q.front.hub.ListDevices(top))
}

func getDevice(q *request) error {
	d, err := q.front.hub.GetDevice(q.path[1])
	if err != nil {
		return err
	}
	return q.reply(d.ETag, d)
}

// putDevice creates without If-Match and updates with it.
func putDevice(q *request) error {
	var d core.Device
	if err := q.body(&d); err != nil {
		return err
	}
	if err := sameID("deviceId", q.path[1], &d.DeviceID); err != nil {
		return err
	}
	var err error
	if etag := q.etag(); etag == "" {
		d, err = q.front.hub.CreateDevice(q.r.Context(), d)
	} else {
		d, err = q.front.hub.UpdateDevice(q.r.Context(), d, etag)
	}
	if err != nil {
		return err
	}
	return q.reply(d.ETag, d)
}

func deleteDevice(q *request) error {
	if err := q.front.hub.DeleteDevice(q.r.Context(), q.path[1], q.etagOrAny()); err != nil {
		return err
	}
	return q.noContent()
}

// etagOrAny is for DELETE, where clients leave If-Match out to mean any version.
func (q *request) etagOrAny() string {
	if etag := q.etag(); etag != "" {
		return etag
	}
	return core.AnyETag
}

// sameID makes the id of the body that of the path, and refuses another one.
func sameID(name, path string, body *string) error {
	if *body != "" && *body != path {
		return core.NewError(core.CodeArgumentInvalid, "%s is %q in the path and %q in the body", name, path, *body)
	}
	*body = path
	return nil
}

func listModules(q *request) error {
	list, err := q.front.hub.ListModules(q.path[1])
	if err != nil {
		return err
	}
	return q.reply("", list)
}

func getModule(q *request) error {
	m, err := q.front.hub.GetModule(q.path[1], q.path[3])
	if err != nil {
		return err
	}
	return q.reply(m.ETag, m)
}

func putModule(q *request) error {
	var m core.Module
	if err := q.body(&m); err != nil {
		return err
	}
	if err := sameID("deviceId", q.path[1], &m.DeviceID); err != nil {
		return err
	}
	if err := sameID("moduleId", q.path[3], &m.ModuleID); err != nil {
		return err
	}
	var err error
	if etag := q.etag(); etag == "" {
		m, err = q.front.hub.CreateModule(q.r.Context(), m)
	} else {
		m, err = q.front.hub.UpdateModule(q.r.Context(), m, etag)
	}
	if err != nil {
		return err
	}
	return q.reply(m.ETag, m)
}

func deleteModule(q *request) error {
	if err := q.front.hub.DeleteModule(q.r.Context(), q.path[1], q.path[3], q.etagOrAny()); err != nil {
		return err
	}
	return q.noContent()
}

func deviceStatistics(q *request) error {
	return q.reply("", q.front.hub.Statistics())
}

func serviceStatistics(q *request) error {
	return q.reply("", struct {
		ConnectedDeviceCount int `json:"connectedDeviceCount"`
	}{q.front.hub.Statistics().ConnectedDeviceCount})
}
