package edgehub_test

import (
	"testing"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/edge/internal/edgehub"
	"github.com/iothub-go/iothub/hub"
)

// Modules that their daemon has made known are routed between from the first message
// on, though the hub upstream was never reached.
func TestKnow(t *testing.T) {
	w := newWorld(t)
	var known []hub.Identity
	for _, id := range []string{"a", "b"} {
		m, err := w.service.GetModule(t.Context(), "gw", id)
		if err != nil {
			t.Fatal(err)
		}
		known = append(known, hub.Identity{ModuleID: id, PrimaryKey: string(m.Authentication.SymmetricKey.Primary), SecondaryKey: string(m.Authentication.SymmetricKey.Secondary)})
	}
	w.cable.set(true)
	w.start(func(o *edgehub.Options) {
		o.Routes = []string{`FROM /messages/modules/a/outputs/out INTO BrokeredEndpoint("/modules/b/inputs/in")`}
	})
	for range 2 { // the second time there is nothing to do
		if err := w.edge.Know(bound(t), known...); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.module("a").SendEvent(bound(t), &iothub.Message{Payload: []byte("x"), OutputName: "out"}); err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1)
	w.module("b").HandleInput("in", func(m *iothub.ReceivedMessage) iothub.Disposition {
		got <- string(m.Payload)
		return iothub.DispositionAccepted
	})
	select {
	case text := <-got:
		if text != "x" {
			t.Errorf("got %q", text)
		}
	case <-bound(t).Done():
		t.Error("nothing came")
	}
}
