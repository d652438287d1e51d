package pnp

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/iothub-go/iothub"
)

// marker is what an object that is a component carries.
const (
	marker      = "__t"
	markerValue = "c"
)

// Patch is a change of reported properties in the form of the conventions, for
// the clients' UpdateReported. Make one with Patch{}; it is not safe for
// concurrent use.
type Patch map[string]any

// Set puts a property of a component into the patch, with the component's
// marker; nil removes the property.
func (p Patch) Set(component, name string, value any) {
	if component == "" {
		p[name] = value
		return
	}
	part, ok := p[component].(map[string]any)
	if !ok {
		part = map[string]any{marker: markerValue}
		p[component] = part
	}
	part[name] = value
}

// Acknowledge puts the acknowledgement of version version of a writable
// property into the patch: {"value": …, "ac": …, "av": …, "ad": "…"}. a.Value
// is the value now in effect; a.Status 0 is 200.
func (p Patch) Acknowledge(component, name string, version int64, a Ack) {
	p.Set(component, name, acknowledged{Value: a.Value, Status: cmp.Or(a.Status, 200), Version: version, Description: a.Description})
}

type acknowledged struct {
	Value       any    `json:"value"`
	Status      int    `json:"ac"`
	Version     int64  `json:"av"`
	Description string `json:"ad,omitempty"`
}

// Property is one writable property of a change.
type Property struct {
	// Component is empty for the default component. Name is empty when the
	// component was deleted as a whole.
	Component string
	Name      string
	// Value is the JSON text of the value, nil when it was deleted.
	Value json.RawMessage
	// Version is that of the desired properties.
	Version int64
}

// ParseDesired returns the properties of a change, ordered by component and
// name. A component is an object that is marked as one ("__t": "c") or whose
// name is among components. The error is an *iothub.Error of kind
// KindInvalidArgument.
func ParseDesired(c *iothub.DesiredChange, components ...string) ([]Property, error) {
	var properties []Property
	top, err := object(c.Patch)
	if err != nil {
		return nil, invalid("desired properties: %w", err)
	}
	for name, value := range top {
		known := slices.Contains(components, name)
		inner, isObject := component(value, known)
		switch {
		case reserved(name):
		case known && isNull(value):
			properties = append(properties, Property{Component: name, Version: c.Version})
		case !isObject:
			properties = append(properties, Property{Name: name, Value: notNull(value), Version: c.Version})
		default:
			for sub, v := range inner {
				if !reserved(sub) {
					properties = append(properties, Property{Component: name, Name: sub, Value: notNull(v), Version: c.Version})
				}
			}
		}
	}
	slices.SortFunc(properties, func(a, b Property) int {
		return cmp.Or(strings.Compare(a.Component, b.Component), strings.Compare(a.Name, b.Name))
	})
	return properties, nil
}

// component returns what is in value if that is a component.
func component(value json.RawMessage, known bool) (map[string]json.RawMessage, bool) {
	inner, err := object(value)
	if err != nil {
		return nil, false
	}
	var mark string
	if m := inner[marker]; m != nil && json.Unmarshal(m, &mark) == nil && mark == markerValue {
		known = true
	}
	return inner, known
}

func object(b json.RawMessage) (map[string]json.RawMessage, error) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, err
	}
	if m == nil {
		return nil, errors.New("it is null, not an object")
	}
	return m, nil
}

// reserved reports whether name is the service's own.
func reserved(name string) bool { return name == marker || strings.HasPrefix(name, "$") }

func isNull(b json.RawMessage) bool { return bytes.Equal(bytes.TrimSpace(b), []byte("null")) }

func notNull(b json.RawMessage) json.RawMessage {
	if isNull(b) {
		return nil
	}
	return b
}

// CommandName returns the name of the direct method that is a command of a
// component: "component*command", or the command's own for the default one.
func CommandName(component, command string) string {
	if component == "" {
		return command
	}
	return component + "*" + command
}

// SplitCommand is the reverse of [CommandName].
func SplitCommand(method string) (component, command string) {
	if c, rest, ok := strings.Cut(method, "*"); ok {
		return c, rest
	}
	return "", method
}

func refusal(err error) *iothub.MethodResponse {
	if e, ok := errors.AsType[*CommandError](err); ok && e.Status != 0 {
		return problem(e.Status, err.Error())
	}
	return problem(500, err.Error())
}

func problem(status int, message string) *iothub.MethodResponse {
	b, _ := json.Marshal(map[string]string{"message": message}) // strings always marshal
	return &iothub.MethodResponse{Status: status, Payload: b}
}

func invalid(format string, args ...any) error {
	return &iothub.Error{Op: "plug and play", Kind: iothub.KindInvalidArgument, Err: fmt.Errorf(format, args...)}
}
