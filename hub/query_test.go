package hub_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/iothub-go/iothub/hub"
)

// TestDocumentedQueries asks every query of docs/queries.md.
func TestDocumentedQueries(t *testing.T) {
	data, err := os.ReadFile("../docs/queries.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```sql\n(.*?)```").FindSubmatch(data)
	if block == nil {
		t.Fatal("docs/queries.md has no examples")
	}
	s, err := hub.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown(t.Context())
	if _, err := s.CreateModule(t.Context(), "lamp1", "m"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.UpdateTwin(t.Context(), "lamp1", "", []byte(`{"tags":{"room":"attic","floor":3,"group":"north","radios":["zigbee"]}}`), ""); err != nil {
		t.Fatal(err)
	}
	n := 0
	for text := range strings.Lines(string(block[1])) {
		n++
		rows := 0
		for _, err := range s.Query(t.Context(), text) {
			if err != nil {
				t.Errorf("%s: %v", text, err)
			}
			rows++
		}
		if strings.Contains(text, "startswith") && rows != 1 {
			t.Errorf("%s: %d rows", text, rows)
		}
	}
	if n < 10 {
		t.Errorf("only %d queries were found", n)
	}
	for _, err := range s.Query(t.Context(), "SELECT * FROM devices WHERE a ==") {
		if err == nil || !strings.Contains(err.Error(), "column 31") {
			t.Errorf("a wrong query: %v", err)
		}
	}
}
