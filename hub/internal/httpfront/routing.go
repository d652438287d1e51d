package httpfront

import (
	"encoding/json"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/internal/wire/topic"
)

// In Azure the routing belongs to the resource and not to the hub: these
// operations are this hub's own. The JSON is that of properties.routing.

func getRouting(q *request) error {
	data, etag, err := q.front.hub.Routing()
	if err != nil {
		return err
	}
	return q.reply(etag, json.RawMessage(data))
}

func putRouting(q *request) error {
	body, err := q.rawBody(maxBody)
	if err != nil {
		return err
	}
	if err := q.front.hub.SetRouting(q.r.Context(), body, q.etagOrAny()); err != nil {
		return err
	}
	return getRouting(q)
}

// routingTest asks whether a route would take a message.
type routingTest struct {
	Source    string `json:"source"`
	Condition string `json:"condition"`
	Message   struct {
		DeviceID   string            `json:"deviceId"`
		Body       json.RawMessage   `json:"body"`
		Properties map[string]string `json:"appProperties"`
		System     map[string]string `json:"systemProperties"`
	} `json:"message"`
}

func testRouting(q *request) error {
	var b routingTest
	if err := q.body(&b); err != nil {
		return err
	}
	if b.Source == "" {
		b.Source = "DeviceMessages"
	}
	e := core.Event{Payload: b.Message.Body}
	// JSON in the request is JSON in the message, unless it says otherwise.
	system := map[string]string{topic.ContentType: "application/json", topic.ContentEncoding: "utf-8"}
	for name, on := range map[string]string{
		"messageId": topic.MessageID, "correlationId": topic.CorrelationID, "userId": topic.UserID,
		"contentType": topic.ContentType, "contentEncoding": topic.ContentEncoding,
	} {
		if v, ok := b.Message.System[name]; ok {
			system[on] = v
		}
	}
	for _, list := range []map[string]string{system, b.Message.Properties} {
		for name, value := range list {
			e.Bag = topic.AppendProperty(e.Bag, 0, name, value, true)
		}
	}
	matches, err := q.front.hub.TestRoute(b.Source, b.Condition, b.Message.DeviceID, e)
	if err != nil {
		return err
	}
	return q.reply("", struct {
		Result bool `json:"result"`
	}{matches})
}

func routingStatistics(q *request) error {
	s := q.front.hub.RoutingStats()
	type delivery struct {
		Delivered int64  `json:"delivered"`
		Failures  int64  `json:"failures"`
		LastError string `json:"lastError,omitempty"`
	}
	deliveries := make(map[string]delivery)
	for name, d := range s.Deliveries {
		deliveries[name] = delivery(d)
	}
	return q.reply("", struct {
		Matched    map[string]int64    `json:"matched"`
		Unrouted   int64               `json:"unrouted"`
		Deliveries map[string]delivery `json:"deliveries"`
	}{s.Matched, s.Unrouted, deliveries})
}
