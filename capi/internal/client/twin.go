package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/iothub-go/iothub"
)

// asked is the reason of a twin record that answers a request, rather than
// tells a subscriber.
const asked = 1

// twinState is what is known of a subscription to desired properties. The
// program is told the whole twin first, which is read for it; changes that
// arrive meanwhile wait.
type twinState struct {
	cb      Callback
	kind    RecordKind // RecordTwin or RecordProperties
	epoch   int        // of the subscription: answers to earlier ones are void
	told    bool       // the whole twin
	version int64      // of the desired properties it was told last
	waiting []*iothub.DesiredChange
}

var (
	errNotSubscribed = errors.New("there is no such callback to remove")
	errNoProperties  = errors.New("the twin cannot be read")
)

// FollowTwin tells cb the whole twin, and then what changes of its desired
// properties; no function ends that. kind is that of the records.
func (c *Client) FollowTwin(kind RecordKind, cb Callback) Result {
	return c.failed(c.call(true, func() error {
		c.twin = twinState{cb: cb, kind: kind, epoch: c.twin.epoch + 1}
		if cb.Func == 0 {
			return c.ll.SetTwinCallback(nil)
		}
		return c.ll.SetTwinCallback(c.changed)
	}))
}

// changed is called inside the lock.
func (c *Client) changed(change *iothub.DesiredChange) {
	switch {
	case change.Complete:
		// Package ll says what is desired; the C functions want what was
		// reported, too.
		c.twin.told, c.twin.waiting = false, nil
		c.readTwin(c.twin.epoch)
	case !c.twin.told:
		c.twin.waiting = append(c.twin.waiting, change)
	default:
		c.tell(change)
	}
}

func (c *Client) readTwin(epoch int) {
	err := c.ll.GetTwinAsync(func(t *iothub.Twin, err error) {
		switch {
		case c.twin.epoch != epoch || c.closed:
		case errors.Is(err, iothub.ErrClosed):
		case err != nil: // it was not answered in a minute
			c.host.Log(err)
			c.readTwin(epoch)
		default:
			c.twin.told, c.twin.version = true, t.Desired.Version
			c.records = append(c.records, Record{Kind: c.twin.kind, Result: updateComplete, Payload: wholeTwin(t), Callback: c.twin.cb})
			for _, change := range c.twin.waiting {
				c.tell(change)
			}
			c.twin.waiting = nil
		}
	})
	if err != nil && !errors.Is(err, iothub.ErrClosed) {
		c.host.Log(err)
	}
}

func (c *Client) tell(change *iothub.DesiredChange) {
	if change.Version <= c.twin.version {
		return // the twin that was read had it
	}
	c.twin.version = change.Version
	c.records = append(c.records, Record{Kind: c.twin.kind, Result: updatePartial,
		Payload: withVersion(change.Patch, change.Version), Callback: c.twin.cb})
}

// GetTwin reads the twin once.
func (c *Client) GetTwin(kind RecordKind, cb Callback) Result {
	if cb.Func == 0 {
		c.host.Log(errors.New("a twin is asked for, but there is no callback to tell it"))
		return InvalidArg
	}
	return c.failed(c.call(true, func() error {
		return c.ll.GetTwinAsync(func(t *iothub.Twin, err error) {
			r := Record{Kind: kind, Result: updateComplete, Reason: asked, Callback: cb}
			if err == nil {
				r.Payload = wholeTwin(t)
			} else {
				c.host.Log(fmt.Errorf("%w: %w", errNoProperties, err))
			}
			c.records = append(c.records, r)
		})
	}))
}

// Report changes reported properties by a JSON merge patch, which is copied.
func (c *Client) Report(patch []byte, cb Callback) Result {
	if len(patch) == 0 {
		c.host.Log(errors.New("the reported state is empty"))
		return InvalidArg
	}
	patch = bytes.Clone(patch)
	return c.failed(c.call(true, func() error {
		return c.ll.SendReportedState(patch, func(_ int64, err error) {
			if err != nil {
				c.host.Log(err)
			}
			if cb.Func != 0 {
				c.records = append(c.records, Record{Kind: RecordReported, Result: reportStatus(err), Callback: cb})
			}
		})
	}))
}

// reportStatus is the status that MQTT's answer has, 408 for none, and 0 for a
// patch that never left.
func reportStatus(err error) int32 {
	var e *iothub.Error
	switch {
	case err == nil:
		return 204
	case errors.Is(err, iothub.ErrClosed):
		if iothub.NotSent(err) {
			return 0
		}
		return 408
	case errors.As(err, &e) && e.Code != 0:
		status := e.Code
		for status >= 1000 {
			status /= 10
		}
		return int32(status)
	}
	return 408
}

// wholeTwin is the twin as the hub writes it.
func wholeTwin(t *iothub.Twin) []byte {
	b := append([]byte(`{"desired":`), withVersion(t.Desired.Values, t.Desired.Version)...)
	b = append(b, `,"reported":`...)
	b = append(b, withVersion(t.Reported.Values, t.Reported.Version)...)
	return append(b, '}')
}

// withVersion adds $version to a JSON object, at its end as the hub does.
func withVersion(object json.RawMessage, version int64) []byte {
	object = bytes.TrimSpace(object)
	if len(object) < 2 || object[0] != '{' {
		object = []byte("{}")
	}
	b := bytes.TrimRight(object[:len(object)-1], " \t\r\n")
	b = append(make([]byte, 0, len(b)+40), b...)
	if len(b) > 1 {
		b = append(b, ',')
	}
	b = append(b, `"$version":`...)
	b = strconv.AppendInt(b, version, 10)
	return append(b, '}')
}
