package properties

import (
	"encoding/json"
	"strings"
	"testing"
)

func text(s string) *string { return &s }

func TestWrite(t *testing.T) {
	for _, test := range []struct {
		name      string
		ps        []Property
		component *string
		want      string
	}{
		{"reported", []Property{{Name: "a", Value: "1"}, {Name: "b", Value: `"x"`}}, nil, `{"a":1,"b":"x"}`},
		{"component", []Property{{Name: "a", Value: "[1]"}}, text("c1"), `{"c1":{"__t":"c","a":[1]}}`},
		{"response", []Property{{Name: "a", Value: "1", Response: true, Result: 200, Version: 4}}, nil,
			`{"a":{"value":1,"ac":200,"av":4}}`},
		{"described", []Property{{Name: "a", Value: "1", Response: true, Result: 400, Version: 4, Description: text(`no "way"`)}}, text("c"),
			`{"c":{"__t":"c","a":{"value":1,"ac":400,"av":4,"ad":"no \"way\""}}}`},
	} {
		got, err := Write(test.ps, test.component)
		if err != nil || string(got) != test.want {
			t.Errorf("%s: %s, %v; want %s", test.name, got, err, test.want)
		}
	}
	if b, err := Write([]Property{{Name: "a", Value: "x"}}, nil); err == nil || !strings.Contains(err.Error(), `"a"`) {
		t.Errorf("a value that is not JSON: %s, %v", b, err)
	}
}

func TestRead(t *testing.T) {
	type want struct{ component, name, value string }
	for _, test := range []struct {
		name    string
		payload string
		whole   bool
		version int
		desired int // how many of want, the first ones, are
		want    []want
	}{
		{"whole", `{"desired":{"a":1,"c":{"__t":"c","b":{"x": [2]}},"$version":7},"reported":{"r":"s","$version":3}}`, true, 7, 2,
			[]want{{"", "a", "1"}, {"c", "b", `{"x": [2]}`}, {"", "r", `"s"`}}},
		{"change", `{"$version":8,"o":{"__t":"x","b":2},"n":null}`, false, 8, 2, []want{{"", "o", `{"__t":"x","b":2}`}, {"", "n", "null"}}},
		{"nothing reported", `{"desired":{"$version":1}}`, true, 1, 0, nil},
	} {
		got, version, err := Read([]byte(test.payload), test.whole)
		if err != nil || version != test.version || len(got) != len(test.want) {
			t.Errorf("%s: %+v, version %d, %v", test.name, got, version, err)
			continue
		}
		for i, p := range got {
			component := ""
			if p.Component != nil {
				component = *p.Component
			}
			if (want{component, p.Name, p.Value}) != test.want[i] || p.Writable != (i < test.desired) {
				t.Errorf("%s: property %d is %+v (component %q), want %+v", test.name, i, p, component, test.want[i])
			}
		}
	}
	for _, bad := range []string{"", "{", "[]", `{"a":1}`, `{"$version":"1"}`, `{"$version":1.5}`, `{"$version":1e12}`, `{"a":`, `{"a":1,"$version":1`, `{"$version":1}{`} {
		if _, _, err := Read([]byte(bad), false); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

// What is read is JSON again, whatever a hub sends.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"desired":{"a":1,"c":{"__t":"c","b":2},"$version":7},"reported":{"r":"s","$version":3}}`), true)
	f.Add([]byte(`{"$version":8,"n":null}`), false)
	f.Add([]byte(`{"a":1,"a":{"__t":"c"},"$version":8}{`), false)
	f.Fuzz(func(t *testing.T, payload []byte, whole bool) {
		got, _, err := Read(payload, whole)
		if err != nil {
			return
		}
		for _, p := range got {
			if !json.Valid([]byte(p.Value)) {
				t.Errorf("%q gave a property that is not JSON: %q", payload, p.Value)
			}
		}
	})
}
