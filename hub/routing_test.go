package hub_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/iothub-go/iothub/hub"
)

// documentedRouting is the example of docs/routing.md.
func documentedRouting(t *testing.T) []byte {
	t.Helper()
	data, err := os.ReadFile("../docs/routing.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)```json\n(.*?)```").FindSubmatch(data)
	if m == nil {
		t.Fatal("docs/routing.md has no example")
	}
	return m[1]
}

func TestDocumentedRouting(t *testing.T) {
	s, err := hub.New(&hub.Options{Routing: documentedRouting(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown(t.Context())
	if _, err := s.CreateDevice(t.Context(), "dev1"); err != nil {
		t.Fatal(err)
	}
	for e, err := range s.Events(t.Context(), nil) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Source != "deviceLifecycleEvents" || e.Properties["opType"] != "createDeviceIdentity" || e.Properties["hub"] != "iothub" {
			t.Errorf("the event is %+v", e)
		}
		break
	}
	if stats := s.RoutingStats(); stats.Matched["life"] != 1 || len(stats.Deliveries) != 2 {
		t.Errorf("stats %+v", stats)
	}
	if err := s.SetRouting(t.Context(), []byte(`{}`), ""); err == nil {
		t.Error("a routing of the options was changed")
	}
}

func TestSetRouting(t *testing.T) {
	s, err := hub.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown(t.Context())
	_, etag, err := s.Routing()
	if err != nil {
		t.Fatal(err)
	}
	err = s.SetRouting(t.Context(), []byte(`{"endpoints":{"eventHubs":[{"name":"alerts"}]}}`), etag)
	if err != nil {
		t.Fatal(err)
	}
	if data, now, err := s.Routing(); err != nil || now == etag || !strings.Contains(string(data), "alerts") {
		t.Errorf("%s %s %v", data, now, err)
	}
	if err := s.SetRouting(t.Context(), []byte(`{}`), etag); err == nil {
		t.Errorf("an old ETag: %v", err)
	}
	for _, err := range s.Events(t.Context(), &hub.EventsOptions{EventHub: "ALERTS", NoWait: true}) {
		t.Errorf("an empty event hub: %v", err)
	}
	for _, err := range s.Events(t.Context(), &hub.EventsOptions{EventHub: "none"}) {
		if err == nil {
			t.Error("an unknown event hub is read")
		}
	}
	err = s.SetRouting(t.Context(), []byte(`{"endpoints":{"webhooks":[{"name":"w","url":"ftp://x"}]}}`), "")
	if err == nil || !strings.Contains(err.Error(), "http") {
		t.Errorf("a webhook without http: %v", err)
	}
}
