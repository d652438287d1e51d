package engine

import (
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
	"github.com/iothub-go/iothub/internal/wire/topic"
)

// Request is a twin request under way. It survives links: on a new one it is
// sent again, which a merge patch and a read both bear.
type Request struct {
	rid      string
	report   []byte // patch of the reported properties; nil asks for the twin
	deadline time.Duration
	done     func(Response) // nil once answered
	sent     bool           // on the present link
	left     bool           // on some link
	follow   bool           // the engine's own: answered to the follower
	direct   bool           // see Event.Direct
}

// Response is the answer to a request.
type Response struct {
	Version int64
	Body    []byte
	Err     error
}

// Request sends a report, or with a nil report asks for the twin. done runs
// once, as an EventCall, unless the request is cancelled. A timeout of 0 is
// none; direct marks done as this library's own, see Event.
func (m *MQTT) Request(now time.Time, report []byte, timeout time.Duration, direct bool, done func(Response)) *Request {
	m.lastRequest++
	r := &Request{rid: strconv.FormatUint(m.lastRequest, 10), report: report, direct: direct, done: done}
	if timeout > 0 {
		r.deadline = now.Add(timeout).Sub(m.epoch)
		m.due(r.deadline)
	}
	m.requests = append(m.requests, r)
	m.Subscribe(now, FeatureTwinResponses)
	m.sendRequests(now)
	return r
}

// Cancel forgets r: its done does not run.
func (m *MQTT) Cancel(r *Request) {
	r.done = nil
	for i, q := range m.requests {
		if q == r {
			m.requests = append(m.requests[:i], m.requests[i+1:]...)
			return
		}
	}
}

// sendRequests sends what has not been sent on this link, in order, once the
// answers will be heard.
func (m *MQTT) sendRequests(now time.Time) {
	if m.link.inbound.live&FeatureTwinResponses == 0 || m.link.paused || m.link.closing {
		return
	}
	for _, r := range m.requests {
		if r.sent {
			continue
		}
		r.sent, r.left = true, true
		p := mqtt.PublishPacket{Topic: topic.AppendTwinGet(nil, r.rid)}
		if r.report != nil {
			p.Topic, p.Payload = topic.AppendTwinReport(nil, r.rid), r.report
		}
		m.link.ctl, _ = mqtt.AppendPublish(m.link.ctl, &p) // topic and size are our own
	}
}

// response takes the answer to a request.
func (m *MQTT) response(in *topic.Inbound, payload []byte) {
	rid, ok := topic.RequestID(in.Query)
	if !ok {
		return
	}
	for i, r := range m.requests {
		if r.rid == string(rid) && r.sent {
			m.requests = append(m.requests[:i], m.requests[i+1:]...)
			version, _ := topic.Version(in.Query)
			m.answer(r, responseOf(r, in.Status, version, payload))
			return
		}
	}
}

func responseOf(r *Request, status int, version int64, payload []byte) Response {
	if status >= 200 && status < 300 {
		return Response{Version: version, Body: append([]byte(nil), payload...)}
	}
	op := "get twin"
	if r.report != nil {
		op = "report properties"
	}
	e := &iothub.Error{Op: op, Kind: iothub.KindOfStatus(status), Code: status}
	var body struct {
		ErrorCode int    `json:"errorCode"`
		Message   string `json:"message"`
	}
	if json.Unmarshal(payload, &body) == nil && body.Message != "" {
		e.Err = errors.New(body.Message)
		if body.ErrorCode != 0 {
			e.Code = body.ErrorCode
			if k := iothub.KindOfStatus(body.ErrorCode); k != iothub.KindUnknown {
				e.Kind = k
			}
		}
	}
	e.Retryable = e.Kind.Retryable()
	return Response{Err: e}
}

// answer hands resp to whoever asked.
func (m *MQTT) answer(r *Request, resp Response) {
	if r.follow {
		m.followed(resp)
		return
	}
	done := r.done
	if done == nil {
		return
	}
	r.done = nil
	m.events = append(m.events, Event{Kind: EventCall, Direct: r.direct, Call: func() { done(resp) }})
}

// failRequests answers all requests with err.
func (m *MQTT) failRequests(err error) {
	requests := m.requests
	m.requests = nil
	for _, r := range requests {
		if r.left {
			m.answer(r, Response{Err: err})
		} else {
			m.answer(r, Response{Err: iothub.MarkNotSent(err)})
		}
	}
}

// expireRequests answers those whose time is up.
func (m *MQTT) expireRequests(at time.Duration) {
	var expired []*Request
	kept := m.requests[:0]
	for _, r := range m.requests {
		if r.deadline != 0 && r.deadline <= at {
			expired = append(expired, r)
			continue
		}
		m.due(r.deadline)
		kept = append(kept, r)
	}
	clear(m.requests[len(kept):])
	m.requests = kept
	for _, r := range expired {
		m.answer(r, Response{Err: &iothub.Error{Op: "twin", Kind: iothub.KindTimeout, Retryable: true,
			Err: errors.New("the hub did not answer in time")}})
	}
}
