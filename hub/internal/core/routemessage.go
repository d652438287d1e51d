package core

import (
	"encoding/binary"
	"encoding/json"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/iothub-go/iothub/internal/wire/topic"
)

// eventMessage is an event as conditions see it. What they ask for is worked out
// once, and only then.
type eventMessage struct {
	hub    *Hub
	origin *origin
	event  *Event
	now    int64 // when it is enqueued, Unix milliseconds

	parsed     bool
	properties map[string]string // by name in lower case
	system     map[string]string // by name on MQTT

	decoded bool
	body    any
	isJSON  bool
}

// conditionNames maps the names of conditions to those of MQTT.
var conditionNames = map[string]string{
	"messageId": topic.MessageID, "correlationId": topic.CorrelationID, "userId": topic.UserID, "to": topic.To,
	"contentType": topic.ContentType, "contentEncoding": topic.ContentEncoding, "dt-subject": topic.ComponentName,
}

func (m *eventMessage) parse() {
	if m.parsed {
		return
	}
	m.parsed = true
	m.properties, m.system = make(map[string]string), make(map[string]string)
	bag := topic.NewBagReader(m.event.Bag)
	for {
		key, value, _, ok := bag.Next()
		if !ok {
			return
		}
		name, text := unescaped(key), unescaped(value)
		if topic.IsSystem(name) {
			m.system[name] = text
		} else {
			m.properties[strings.ToLower(name)] = text
		}
	}
}

// Property is an application property, whatever its case.
func (m *eventMessage) Property(name string) (string, bool) {
	m.parse()
	v, ok := m.properties[strings.ToLower(name)]
	return v, ok
}

// System is a system property, of the sender or of the hub.
func (m *eventMessage) System(name string) (string, bool) {
	given := func(v string) (string, bool) { return v, v != "" }
	switch name {
	case "connectionDeviceId":
		return given(m.origin.key.device)
	case "connectionModuleId":
		return given(m.origin.key.module)
	case "connectionDeviceGenerationId":
		return given(m.origin.gen)
	case "connectionAuthMethod":
		return given(m.origin.auth)
	case "dt-dataschema":
		return given(m.origin.model)
	case "enqueuedTime":
		return time.UnixMilli(m.now).UTC().Format("2006-01-02T15:04:05.0000000Z"), true
	}
	m.parse()
	v, ok := m.system[conditionNames[name]]
	return v, ok
}

// Body is the decoded body of a message that says that it is JSON.
func (m *eventMessage) Body() (any, bool) {
	if m.decoded {
		return m.body, m.isJSON
	}
	m.decoded = true
	m.parse()
	kind, _, _ := strings.Cut(m.system[topic.ContentType], ";")
	if !strings.EqualFold(strings.TrimSpace(kind), "application/json") {
		return nil, false
	}
	text, ok := decodeText(m.event.Payload, m.system[topic.ContentEncoding])
	if ok && json.Unmarshal(text, &m.body) == nil {
		m.isJSON = true
	}
	return m.body, m.isJSON
}

// decodeText makes UTF-8 of one of the encodings in which conditions read bodies.
func decodeText(data []byte, encoding string) ([]byte, bool) {
	switch strings.ToLower(encoding) {
	case "utf-8":
		return data, true
	case "utf-16":
		order := binary.ByteOrder(binary.LittleEndian)
		if len(data) >= 2 && data[0] == 0xfe && data[1] == 0xff {
			order = binary.BigEndian
		}
		units := make([]uint16, 0, len(data)/2)
		for ; len(data) >= 2; data = data[2:] {
			units = append(units, order.Uint16(data))
		}
		return []byte(strings.TrimPrefix(string(utf16.Decode(units)), "\ufeff")), true
	case "utf-32":
		order := binary.ByteOrder(binary.LittleEndian)
		if len(data) >= 4 && data[0] == 0 && data[1] == 0 && data[2] == 0xfe && data[3] == 0xff {
			order = binary.BigEndian
		}
		runes := make([]rune, 0, len(data)/4)
		for ; len(data) >= 4; data = data[4:] {
			runes = append(runes, rune(order.Uint32(data)))
		}
		return []byte(strings.TrimPrefix(string(runes), "\ufeff")), true
	}
	return nil, false
}

// Twin is a value of the twin of the device, also for messages of its modules.
func (m *eventMessage) Twin(path []string) (any, bool) {
	key := identityKey{device: m.origin.key.device}
	gen, err := m.hub.generationFor(key)
	if err != nil || len(path) == 0 {
		return nil, false
	}
	doc := m.hub.twins.get(key, gen)
	var node *twinNode
	switch {
	case path[0] == "tags":
		node, path = doc.tags.root, path[1:]
	case len(path) > 1 && path[0] == "properties" && path[1] == "desired":
		node, path = doc.desired.root, path[2:]
	case len(path) > 1 && path[0] == "properties" && path[1] == "reported":
		node, path = doc.reported.root, path[2:]
	}
	for _, name := range path {
		node = node.member(name)
	}
	if node == nil {
		return nil, false
	}
	var v any
	if err := json.Unmarshal(node.appendValue(nil), &v); err != nil {
		return nil, false // a twin is always JSON
	}
	return v, true
}

// enrichment is the value that is stamped on the event. A path that leads nowhere,
// or to more than a scalar, is stamped as it stands.
func (m *eventMessage) enrichment(value string) string {
	if strings.EqualFold(value, "$iothubname") {
		return hubName(m.hub.cfg.HostName)
	}
	path, ok := strings.CutPrefix(value, "$twin.")
	if !ok {
		return value
	}
	v, ok := m.Twin(strings.Split(path, "."))
	if !ok {
		return value
	}
	switch v := v.(type) {
	case string:
		return v
	case map[string]any, []any:
		return value
	}
	data, err := json.Marshal(v)
	if err != nil {
		return value
	}
	return string(data)
}
