package query_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/iothub-go/iothub/hub/internal/query"
)

// row is a row of JSON.
type row string

func (r row) Lookup(path []string) query.Value {
	text := string(r)
	for i, name := range path {
		var object map[string]json.RawMessage
		if json.Unmarshal([]byte(text), &object) != nil {
			return query.Value{}
		}
		found := ""
		for k, v := range object {
			if k == name || i == 0 && strings.EqualFold(k, name) {
				found = string(v)
			}
		}
		if found == "" {
			return query.Value{}
		}
		text = found
	}
	return query.FromJSON(text)
}

const attic = row(`{"deviceId":"d1","version":7,"connectionState":"Connected","lastActivityTime":"2026-01-31T12:34:56.1234567Z",
	"tags":{"room":"attic","floor":3,"group":"g","list":["x",2,null],"nothing":null,"quoted":"it's \"so\"","on":true,"deep":{"a":{"b":1}}},
	"properties":{"reported":{"temp":21.5,"$metadata":{"temp":{"$lastUpdated":"2026-01-01T00:00:00Z"}},"$version":4}},
	"configurations":{"edge.v1":{"status":"Applied"}}}`)

var conditions = map[string]bool{
	"":                          true,
	"*":                         true,
	"tags.room = 'attic'":       true,
	"WHERE tags.room = 'attic'": true,
	"SELECT * FROM devices WHERE tags.room = 'cellar'": false,
	`tags.room="attic"`:                                true,
	"Tags.room = 'attic' and DEVICEID = 'd1'":          true,
	"tags.Room = 'attic'":                              false,
	"devices.tags.room = 'attic'":                      true,
	"tags.[[group]] = 'g'":                             true,
	"configurations.[[edge.v1]].status = 'Applied'":    true,
	"tags.floor > 2 AND tags.floor <= 3":               true,
	"tags.floor <> 3":                                  false,
	"tags.floor != 4":                                  true,
	"tags.floor = '3'":                                 false,
	"NOT tags.floor = '3'":                             false,
	"tags.none = 1":                                    false,
	"tags.none != 1":                                   false,
	"NOT tags.none = 1":                                false,
	"NOT is_defined(tags.none)":                        true,
	"is_defined(tags.nothing)":                         true,
	"tags.nothing = null":                              true,
	"tags.none = null":                                 false,
	"is_null(tags.nothing) and not is_null(tags.room)": true,
	"tags.none = 1 OR tags.floor = 3":                  true,
	"tags.none = 1 AND tags.floor = 4":                 false,
	"NOT (tags.none = 1 AND tags.floor = 4)":           true,
	"NOT (tags.none = 1 AND tags.floor = 3)":           false,
	"tags.on":                                          true,
	"NOT tags.on":                                      false,
	"tags.on = TRUE":                                   true,
	"tags.room":                                        false,
	"tags.room IN ['cellar', 'attic']":                 true,
	"tags.room NIN ['cellar', 'attic']":                false,
	"tags.none IN ['x']":                               false,
	"tags.none NIN ['x']":                              false,
	"tags.floor in [1, 3.0]":                           true,
	"'x' IN tags.list":                                 true,
	"2 IN tags.list":                                   true,
	"'y' NIN tags.list":                                true,
	"'x' IN tags.room":                                 false,
	"startswith(tags.room, 'at') AND ENDSWITH(tags.room,'c')":                  true,
	"STARTS_WITH(tags.floor, '3')":                                             false,
	"contains(tags.room, 'tti')":                                               true,
	"is_number(tags.floor) and is_string(tags.room)":                           true,
	"is_object(tags.deep) and is_array(tags.list)":                             true,
	"is_bool(tags.on) and is_primitive(tags.on)":                               true,
	"tags.deep = tags.deep":                                                    false,
	"tags.floor + 1 = 4 and tags.floor * 2 - 1 = 5":                            true,
	"tags.floor % 2 = 1 and tags.floor / 2 = 1.5":                              true,
	"-tags.floor = -3 and 0x10 = 16 and 1e1 = 10":                              true,
	"tags.room + 1 = 2":                                                        false,
	"tags.quoted = 'it''s \"so\"'":                                             true,
	`tags.quoted = 'it\'s \"so\"'`:                                             true,
	`tags.room = '\u0061ttic'`:                                                 true,
	"lastActivityTime < '2026-01-31T12:34:56.2Z'":                              true,
	"lastActivityTime >= '2026-01-31T12:34:56Z'":                               true,
	"properties.reported.temp > 21 AND version = 7":                            true,
	"properties.reported.$metadata.temp.$lastUpdated < '2026-01-02T00:00:00Z'": true,
	"properties.reported.$version = 4":                                         true,
	"1 = 1 or tags.x.y.z = 2":                                                  true,
	"(tags.floor = 3 or tags.floor = 4) and tags.room='attic'":                 true,
	"tags.floor = 3 or tags.floor = 4 and tags.room = 'x'":                     true,
	"undefined = 1 or true":                                                    true,
}

func TestConditions(t *testing.T) {
	for text, want := range conditions {
		c, err := query.ParseCondition(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := c.Matches(attic); got != want {
			t.Errorf("%s is %v", text, got)
		}
	}
}

func TestErrorsPointAtTheColumn(t *testing.T) {
	for text, column := range map[string]int{
		"":                                                        1,
		"SELECT":                                                  7,
		"SELECT * FROM c":                                         15,
		"SELECT * FROM devices WHERE":                             28,
		"SELECT * FROM devices WHERE a = ":                        33,
		"SELECT * FROM devices WHERE a == 1":                      31,
		"SELECT * FROM devices WHERE a = 'x":                      33,
		"SELECT * FROM devices WHERE (a = 1":                      35,
		"SELECT * FROM devices WHERE a = 1 b":                     35,
		"SELECT * FROM devices WHERE like(a, 'x')":                29,
		"SELECT * FROM devices WHERE startswith(a)":               29,
		"SELECT * FROM devices WHERE a IN [b]":                    36,
		"SELECT * FROM devices WHERE a ; b":                       31,
		"SELECT * FROM devices WHERE a = 1x":                      33,
		"SELECT * FROM devices WHERE a.[[]] = 1":                  31,
		"SELECT TOP 0 * FROM devices":                             12,
		"SELECT TOP 1.5 * FROM devices":                           12,
		"SELECT a, FROM devices":                                  16,
		"SELECT COUNT(a) FROM devices":                            8,
		"SELECT AVG() FROM devices":                               8,
		"SELECT median(a) FROM devices":                           8,
		"SELECT a, COUNT() FROM devices":                          8,
		"SELECT * FROM devices GROUP BY a":                        8,
		"SELECT a FROM devices.jobs":                              8,
		"SELECT COUNT() FROM devices ORDER BY a":                  8,
		"SELECT * FROM devices GROUP a":                           29,
		"SELECT ä, FROM devices":                                  16,
		`SELECT * FROM devices WHERE a = '\q'`:                    34,
		"SELECT * FROM devices WHERE " + strings.Repeat("(", 200): 129,
		"SELECT * FROM devices WHERE " + strings.Repeat("-", 200): 128,
		strings.Repeat("x", query.MaxLength+1):                    1,
	} {
		_, err := query.Parse(text)
		e, ok := errors.AsType[*query.Error](err)
		if !ok || e.Column != column || e.Message == "" {
			t.Errorf("%.60s: %v, want column %d", text, err, column)
		}
	}
}

var rows = []row{
	`{"deviceId":"d1","tags":{"room":"attic","n":1,"s":"a"}}`,
	`{"deviceId":"d2","tags":{"room":"cellar","n":2}}`,
	`{"deviceId":"d3","tags":{"room":"attic","n":"x"}}`,
	`{"deviceId":"d4","tags":{"n":4,"s":"b"}}`,
}

func TestProjections(t *testing.T) {
	for text, want := range map[string]string{
		"SELECT deviceId FROM devices":                               `{"deviceId":"d1"}`,
		"SELECT DeviceID, tags.room FROM devices":                    `{"deviceId":"d1","room":"attic"}`,
		"SELECT tags.room AS r, tags.none AS x FROM devices":         `{"r":"attic"}`,
		"SELECT tags FROM devices":                                   `{"tags":{"room":"attic","n":1,"s":"a"}}`,
		"SELECT TOP 3 tags.[[room]] as [[a b]] FROM devices.modules": `{"a b":"attic"}`,
	} {
		q, err := query.Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got := string(q.Project(nil, rows[0])); got != want {
			t.Errorf("%s gives %s, want %s", text, got, want)
		}
	}
	q, _ := query.Parse("select top 3 * from Devices.Modules")
	if q.Top != 3 || !q.All || q.Source != query.Modules || q.Grouped() || q.Ordered() {
		t.Errorf("parsed %+v", q)
	}
}

func TestGroups(t *testing.T) {
	for text, want := range map[string][]string{
		"SELECT COUNT() AS total FROM devices":                {`{"total":4}`},
		"SELECT COUNT() FROM devices WHERE deviceId = 'none'": {`{"count":0}`},
		"SELECT COUNT() AS n, tags.room AS r FROM devices GROUP BY tags.room": {
			`{"n":1}`, `{"n":2,"r":"attic"}`, `{"n":1,"r":"cellar"}`},
		"SELECT AVG(tags.n) AS a, SUM(tags.n) AS s, MIN(tags.n) AS lo, MAX(tags.n) AS hi FROM devices": {
			`{"a":2.3333333333333335,"s":7,"lo":1,"hi":4}`},
		"SELECT MIN(tags.s) AS lo, MAX(tags.s) AS hi, AVG(tags.s) AS a FROM devices": {`{"lo":"a","hi":"b"}`},
		"SELECT tags.room FROM devices GROUP BY tags.room":                           {`{}`, `{"room":"attic"}`, `{"room":"cellar"}`},
	} {
		q, err := query.Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		g := q.NewGroups()
		for _, r := range rows {
			if q.Matches(r) && !g.Add(r) {
				t.Error("too many groups")
			}
		}
		var got []string
		for _, r := range g.Rows() {
			got = append(got, string(r))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s gives %q, want %q", text, got, want)
		}
	}
}

func TestOrder(t *testing.T) {
	q, err := query.Parse("SELECT * FROM devices ORDER BY tags.room DESC, deviceId")
	if err != nil {
		t.Fatal(err)
	}
	sorted := slices.Clone(rows)
	slices.Reverse(sorted)
	slices.SortFunc(sorted, func(a, b row) int { return q.Compare(a, b) })
	var ids []string
	for _, r := range sorted {
		ids = append(ids, r.Lookup([]string{"deviceId"}).Text)
	}
	if fmt.Sprint(ids) != "[d2 d1 d3 d4]" {
		t.Errorf("the order is %v", ids)
	}
}

// FuzzParse checks that no text panics, and that what parses can be asked.
func FuzzParse(f *testing.F) {
	for text := range conditions {
		f.Add("SELECT * FROM devices WHERE " + text)
		f.Add(text)
	}
	f.Add("SELECT TOP 5 COUNT() AS n, tags.a, MIN(tags.[[b c]]) FROM devices.modules WHERE a IN ['x'] GROUP BY tags.a")
	f.Add("SELECT a FROM devices ORDER BY b DESC, c")
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := query.ParseCondition(text); err == nil {
			first := c.Matches(attic)
			if again, err := query.ParseCondition(c.String()); err != nil || again.Matches(attic) != first {
				t.Errorf("parsed again: %v", err)
			}
		}
		q, err := query.Parse(text)
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without words")
			}
			return
		}
		if q.Grouped() {
			g := q.NewGroups()
			g.Add(attic)
			for _, r := range g.Rows() {
				if !json.Valid(r) {
					t.Errorf("a row is %s", r)
				}
			}
			return
		}
		if r := q.Project(nil, attic); !q.All && !json.Valid(r) {
			t.Errorf("a row is %s", r)
		}
		q.Compare(attic, rows[0])
	})
}
