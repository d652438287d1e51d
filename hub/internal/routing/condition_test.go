package routing_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/iothub-go/iothub/hub/internal/routing"
)

// message is one for tests.
type message struct {
	properties, system map[string]string
	body               string // "": none that conditions can read
	twin               string
}

func (m *message) Property(name string) (string, bool) {
	for k, v := range m.properties {
		if strings.EqualFold(k, name) {
			return v, true
		}
	}
	return "", false
}

func (m *message) System(name string) (string, bool) {
	v, ok := m.system[name]
	return v, ok
}

func decode(text string) (any, bool) {
	var v any
	return v, json.Unmarshal([]byte(text), &v) == nil
}

func (m *message) Body() (any, bool) { return decode(m.body) }

func (m *message) Twin(path []string) (any, bool) {
	v, ok := decode(m.twin)
	for _, name := range path {
		object, is := v.(map[string]any)
		if !is {
			return nil, false
		}
		if v, ok = object[name]; !ok {
			return nil, false
		}
	}
	return v, ok
}

var sample = &message{
	properties: map[string]string{"key1": "value1", "Level": "hot", "temp": "31.5", "$userId": "mine", "$body.x": "shadow"},
	system:     map[string]string{"messageId": "m1", "userId": "u1", "connectionDeviceId": "dev1", "enqueuedTime": "2026-01-31T12:00:00.0000000Z"},
	body:       `{"Weather":{"Temp":50,"Name":"Rain","Dry":false,"None":null,"H":[{"Month":"Feb"},{"Month":"Mar"}],"Big":1e308},"x":1}`,
	twin:       `{"tags":{"room":"attic","floors":[1,2]},"properties":{"desired":{"on":true},"reported":{"level":7}}}`,
}

// The vectors of the reference engine and the rules around them.
var evaluated = map[string]bool{
	"":                                                 true,
	"true":                                             true,
	"false":                                            false,
	"null":                                             false,
	"undefined":                                        false,
	"'true'":                                           false,
	"1":                                                false,
	"TRUE = 'x'":                                       false, // a property of that name
	"true or none = 'true'":                            true,
	"false and undefined":                              false,
	"not (false and undefined)":                        true,
	"not (true and undefined)":                         false,
	"undefined or true":                                true,
	"undefined or false":                               false,
	"not undefined":                                    false,
	"not null":                                         true,
	"null = null":                                      true,
	"null and true":                                    false,
	"null or true":                                     true,
	"(none ?? \"hello\") = \"hello\"":                  true,
	"(key1 ?? 'x') = 'value1'":                         true,
	"(3 % 0 ?? 12.34) = 12.34":                         true,
	"3 + 4 < 7":                                        false,
	"3 + 4 * 2 = 11":                                   true,
	"(3 + 4) * 2 = 14":                                 true,
	"10 - 4 - 3 = 3":                                   true,
	"-3 - -4 = 1":                                      true,
	"0x10 = 16 and 1.5e-3 = .0015":                     true,
	"3/0 > 10e1000 or 3/0 = 10e1000":                   true,
	"is_number(3/0)":                                   false,
	"-(2) = -2":                                        true,
	"KEY1 = 'value1'":                                  true,
	"key1='value1'":                                    true,
	"key1<>'value2'":                                   true,
	"key1 != 'value1'":                                 false,
	"none != 'value1'":                                 false,
	"level = 'hot' AND NOT (none = 'x')":               false,
	"level = 'hot' and key1 = 'value1'":                true,
	"as_number(temp) > 30":                             true,
	"as_number('1,234.5') = 1234.5":                    true,
	"as_number(key1) = 3":                              false,
	"is_defined(as_number(key1))":                      false,
	"is_defined(key1)":                                 true,
	"is_defined(none)":                                 false,
	"is_string(key1) and is_bool(true)":                true,
	"is_null(null) and not is_null(1)":                 true,
	"$messageId = 'm1'":                                true,
	"$userId = 'mine'":                                 true, // the application property comes first
	"{$userId} = 'u1'":                                 true,
	"$none = 'x'":                                      false,
	"$enqueuedTime > '2026-01-01T00:00:00Z'":           true,
	"$body.Weather.Temp = 50":                          true,
	"$BODY.Weather.Temp = 50":                          true,
	"$body.weather.Temp = 50":                          false,
	"$body.Weather.Temp = '50'":                        false,
	"$body.Weather.Temp <> '50'":                       true,
	"$body.Weather.Temp < '50'":                        true, // by kind
	"$body.Weather.Temp + 1 > 50":                      true,
	"$body.Weather.Name + 1 > 50":                      false,
	"$body.Weather.Dry":                                false,
	"not $body.Weather.Dry":                            true,
	"$body.Weather.None = null":                        true,
	"is_null($body.Weather.None)":                      true,
	"is_defined($body.Weather.None)":                   true,
	"$body.Weather.Missing = null":                     true, // as the reference has it
	"$body.Weather.Missing <> '100'":                   true,
	"is_defined($body.Weather.Missing)":                false,
	"$body.Weather.H[0].Month = 'Feb'":                 true,
	"$body.Weather.H[1].Month = 'Feb'":                 false,
	"$body.Weather.H[2].Month = null":                  true,
	"is_array($body.Weather.H)":                        true,
	"is_object($body.Weather)":                         true,
	"$body.Weather.H = 1":                              false,
	"not ($body.Weather.H = 1)":                        false,
	"$body.x = 'shadow'":                               true,
	"{$body.x} = 1":                                    true,
	"$twin.tags.room = 'attic'":                        true,
	"$twin.tags.floors[1] = 2":                         true,
	"$twin.properties.desired.on":                      true,
	"$twin.properties.reported.level >= 7":             true,
	"$twin.tags.none = 'x' or true":                    true,
	"index_of('abc','xz') = -1":                        true,
	"index_of('abcd','cd') = 2":                        true,
	"substring('abc',3) = ''":                          true,
	"substring('abc',3) = 'c'":                         false,
	"is_defined(substring('abc',4))":                   false,
	"substring('abc',1,2) = 'bc'":                      true,
	"is_defined(substring('abc',1,3))":                 false,
	"is_defined(substring('abc',3,0))":                 false,
	"length('abc') = 3 and length('\\u00e9') = 1":      true,
	"upper(key1) = 'VALUE1' and LOWER('ABC') = 'abc'":  true,
	"concat('a', null, 'b') = 'ab'":                    true,
	"'a' || 'b' || key1 = 'abvalue1'":                  true,
	"starts_with(key1, 'val') and ends_with(key1,'1')": true,
	"contains(key1, 'lue')":                            true,
	"abs(-1) = 1 and power(2, 10) = 1024":              true,
	"square(3) = 9 and ceiling(1.2) = 2":               true,
	"floor(1.8) = 1 and sign(-3) = -1":                 true,
	"sqrt(16) = 4 and not is_defined(sqrt(-1))":        true,
	"exp(0) = 1":                                       true,
	"/* all */ level = 'hot' /* ones */":               true,
	`level = "hot"`:                                    true,
	`'it\'s' = "it's"`:                                 true,
	"level = 'cold' or level = 'hot' and false":        false,
	"is_primitive($body.Weather.Temp)":                 true,
}

func TestConditions(t *testing.T) {
	for text, want := range evaluated {
		c, err := routing.Compile(text, nil)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := c.Matches(sample); got != want {
			t.Errorf("%s is %v", text, got)
		}
	}
}

func TestWithoutBodyAndTwin(t *testing.T) {
	for text, want := range map[string]bool{
		"$body.x = 1":              false,
		"not ($body.x = 1)":        false,
		"{$body.x} = null":         false,
		"is_defined({$body.x})":    false,
		"is_defined($twin.tags.a)": false,
		"$body.x = 1 or true":      true,
	} {
		c, err := routing.Compile(text, nil)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if c.NeedsBody() != strings.Contains(text, "body") {
			t.Errorf("%s: NeedsBody is %v", text, c.NeedsBody())
		}
		if got := c.Matches(&message{}); got != want {
			t.Errorf("%s is %v", text, got)
		}
	}
}

func TestConditionsThatDoNotCompile(t *testing.T) {
	for text, column := range map[string]int{
		"'a' + 'b'":                          1,
		"3 = none":                           3,
		"'a'+'b'":                            4,
		"key1 ?? 12.34":                      6,
		"concat('a')":                        1,
		"length(12)":                         8,
		"abs(key1)":                          5,
		"test == true":                       7,
		"not key1":                           5,
		"$body.p[]":                          8,
		"$body.p[1:2]":                       8,
		"$body;@":                            6,
		"$body.":                             7,
		"$body.a..b":                         9,
		"$body.p[*].x":                       8,
		"3 -4":                               3,
		"a = ":                               5,
		"(a = 'b'":                           9,
		"a = 'b":                             5,
		`a = '\x'`:                           6,
		"temp > 30":                          6,
		"select = 'x'":                       1,
		"nothing(1)":                         1,
		"and":                                1,
		"true and 'x'":                       10,
		"a = 'b' c":                          9,
		"{key} = 'x'":                        2,
		"$ = 1":                              1,
		"/* a":                               1,
		"-'a' = 1":                           6,
		"1 || 'a' = 'x'":                     1,
		"substring('a') = 'b'":               1,
		"index_of('a','b','c') = 1":          1,
		"twin_change_includes(a)":            1,
		"ä = 'ü' and 3 = 'x'":                15,
		strings.Repeat("(", 200):             101,
		strings.Repeat("not ", 200) + "true": 397,
	} {
		_, err := routing.Compile(text, nil)
		e, ok := errors.AsType[*routing.Error](err)
		if !ok {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if e.Column != column || !strings.Contains(err.Error(), text) || e.Message == "" {
			t.Errorf("%s: column %d, want %d: %v", text, e.Column, column, err)
		}
	}
}

func TestTwinChangeIncludes(t *testing.T) {
	c, err := routing.Compile("twin_change_includes(properties.desired.on)", &routing.Options{TwinChanges: true})
	if err != nil {
		t.Fatal(err)
	}
	for body, want := range map[string]bool{
		`{"properties":{"desired":{"on":null}}}`: true,
		`{"properties":{"desired":{"off":1}}}`:   false,
		`no JSON`:                                false,
	} {
		if got := c.Matches(&message{body: body}); got != want {
			t.Errorf("%s: %v", body, got)
		}
	}
}

// FuzzCompile checks that no text panics, and that what compiles evaluates and
// compiles again.
func FuzzCompile(f *testing.F) {
	for text := range evaluated {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := routing.Compile(text, &routing.Options{TwinChanges: true})
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without words")
			}
			return
		}
		first := c.Matches(sample)
		again, err := routing.Compile(c.String(), &routing.Options{TwinChanges: true})
		if err != nil || again.Matches(sample) != first {
			t.Errorf("compiled again: %v", err)
		}
		c.Matches(&message{})
	})
}

func BenchmarkMatches(b *testing.B) {
	c, err := routing.Compile("level = 'hot' and as_number(temp) > 30 and $connectionDeviceId = 'dev1'", nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		c.Matches(sample)
	}
}
