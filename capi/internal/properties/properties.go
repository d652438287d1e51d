// Package properties writes and reads the JSON of Plug and Play properties, for
// the functions IoTHubClient_Properties_… of the C library. Values are JSON
// text that is passed on as it is.
package properties

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
)

// Property is one to write: reported, or, with Response, the answer to a
// writable one.
type Property struct {
	Name  string
	Value string // JSON

	Response    bool
	Result      int
	Version     int
	Description *string
}

// Write returns the JSON that reports properties, of a component unless that is
// nil. The error says which value is not JSON.
func Write(properties []Property, component *string) ([]byte, error) {
	var b []byte
	if component != nil {
		b = append(b, '{')
		b = append(appendString(b, *component), `:{"__t":"c"`...)
	} else {
		b = append(b, '{')
	}
	for i, p := range properties {
		if !json.Valid([]byte(p.Value)) {
			return nil, fmt.Errorf("the value of property %q is not JSON: text stands in quotation marks", p.Name)
		}
		if i > 0 || component != nil {
			b = append(b, ',')
		}
		b = append(appendString(b, p.Name), ':')
		if !p.Response {
			b = append(b, p.Value...)
			continue
		}
		b = append(append(b, `{"value":`...), p.Value...)
		b = strconv.AppendInt(append(b, `,"ac":`...), int64(p.Result), 10)
		b = strconv.AppendInt(append(b, `,"av":`...), int64(p.Version), 10)
		if p.Description != nil {
			b = appendString(append(b, `,"ad":`...), *p.Description)
		}
		b = append(b, '}')
	}
	if component != nil {
		b = append(b, '}')
	}
	return append(b, '}'), nil
}

// appendString writes s as JSON, so that a name with a quotation mark does not
// break what is around it.
func appendString(b []byte, s string) []byte {
	q, _ := json.Marshal(s) // strings always marshal
	return append(b, q...)
}

// Parsed is a property that was read.
type Parsed struct {
	Writable  bool // desired, not reported
	Component *string
	Name      string
	Value     string // JSON
}

// Read returns the properties of a whole twin, desired ones first, or of a
// change of desired ones, and the version of the desired ones.
func Read(payload []byte, whole bool) (properties []Parsed, version int, err error) {
	if !json.Valid(payload) {
		return nil, 0, errors.New("the properties are not JSON")
	}
	desired, reported := json.RawMessage(payload), json.RawMessage(nil)
	if whole {
		var twin struct{ Desired, Reported json.RawMessage }
		if err := json.Unmarshal(payload, &twin); err != nil {
			return nil, 0, errors.New("the twin is not a JSON object")
		}
		desired, reported = twin.Desired, twin.Reported
	}
	members, err := object(desired)
	if err != nil {
		return nil, 0, err
	}
	v, err := readVersion(members)
	if err != nil {
		return nil, 0, err
	}
	properties = flatten(nil, members, true)
	if len(reported) == 0 {
		return properties, v, nil
	}
	if members, err = object(reported); err != nil {
		return nil, 0, err
	}
	return flatten(properties, members, false), v, nil
}

const (
	versionName   = "$version"
	componentMark = "__t"
)

func readVersion(members []member) (int, error) {
	for _, m := range members {
		if m.name != versionName {
			continue
		}
		var f float64
		if json.Unmarshal(m.value, &f) != nil || f != math.Trunc(f) || f < math.MinInt32 || f > math.MaxInt32 {
			return 0, errors.New("the version of the properties is no number that an int can hold")
		}
		return int(f), nil
	}
	return 0, errors.New("the properties have no $version")
}

// flatten adds the properties that members are, those of components included.
func flatten(to []Parsed, members []member, writable bool) []Parsed {
	for _, m := range members {
		if m.name == versionName {
			continue
		}
		inner, isComponent := componentOf(m.value)
		if !isComponent {
			to = append(to, Parsed{Writable: writable, Name: m.name, Value: string(m.value)})
			continue
		}
		for _, p := range inner {
			if p.name != componentMark {
				to = append(to, Parsed{Writable: writable, Component: &m.name, Name: p.name, Value: string(p.value)})
			}
		}
	}
	return to
}

// componentOf returns what a component consists of, if value is one.
func componentOf(value json.RawMessage) ([]member, bool) {
	members, err := object(value)
	if err != nil {
		return nil, false
	}
	for _, m := range members {
		if m.name == componentMark && string(m.value) == `"c"` {
			return members, true
		}
	}
	return nil, false
}

type member struct {
	name  string
	value json.RawMessage
}

// object returns the members of a JSON object in their order.
func object(b json.RawMessage) ([]member, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("the properties are not a JSON object")
	}
	var members []member
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, errors.New("the properties are not JSON")
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, errors.New("the properties are not JSON")
		}
		members = append(members, member{name, value})
	}
	if _, err := d.Token(); err != nil {
		return nil, errors.New("the properties are not JSON")
	}
	return members, nil
}
