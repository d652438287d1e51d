package httpfront

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// operationRow is one line of the tables of docs/rest.md.
var operationRow = regexp.MustCompile("(?m)^\\| `([A-Z]+) /([^`]*)` \\| ([^|]*) \\| ([^|]*) \\|")

var idInDocs = regexp.MustCompile(`\{[^}]*\}`)

// TestDocumentedOperations holds docs/rest.md and the table of routes against
// each other: what is documented as served is, with the right that it needs, and
// all that is served is documented.
func TestDocumentedOperations(t *testing.T) {
	data, err := os.ReadFile("../../../docs/rest.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := make(map[string]bool)
	for _, row := range operationRow.FindAllStringSubmatch(string(data), -1) {
		method, pattern := row[1], idInDocs.ReplaceAllString(row[2], "*")
		need, status := strings.TrimSpace(row[3]), strings.TrimSpace(row[4])
		key := method + " " + strings.ToLower(pattern)
		if documented[key] {
			t.Errorf("%s is documented twice", key)
		}
		documented[key] = true
		var found *route
		for i := range routes {
			if routes[i].method == method && strings.EqualFold(routes[i].pattern, pattern) {
				found = &routes[i]
			}
		}
		switch served := strings.HasPrefix(status, "served"); {
		case served && found == nil:
			t.Errorf("%s is documented as served and is not", key)
		case !served && found != nil:
			t.Errorf("%s is served and documented as: %s", key, status)
		case !served && !strings.HasPrefix(status, "not served: "):
			t.Errorf("%s: the status %q says neither served nor why not", key, status)
		case served && found.need.String() != need && !(found.need == 0 && need == "an identity"):
			t.Errorf("%s needs %q, documented is %q", key, found.need, need)
		}
	}
	for _, r := range routes {
		key := r.method + " " + strings.ToLower(r.pattern)
		if !documented[key] {
			path := strings.ReplaceAll(r.pattern, "*", "{id}")
			t.Errorf("docs/rest.md lacks the line\n| `%s /%s` | %s | served |", r.method, path, r.need)
		}
	}
	if len(documented) < 20 {
		t.Errorf("only %d operations are documented: has the form of the tables changed?", len(documented))
	}
}

// TestEveryRouteNeedsARight: a route that lets everybody in is a mistake.
func TestEveryRouteNeedsARight(t *testing.T) {
	for _, r := range routes {
		if r.need == 0 && !strings.HasPrefix(r.pattern, "devices/") {
			t.Errorf("%s %s needs no right", r.method, r.pattern)
		}
		if r.need&^(core.RegistryRead|core.RegistryWrite|core.ServiceConnect|core.DeviceConnect) != 0 {
			t.Errorf("%s %s needs unknown rights", r.method, r.pattern)
		}
	}
}
