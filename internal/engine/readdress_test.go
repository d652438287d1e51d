package engine

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
)

// A message that is readdressed is, byte for byte, one that was encoded for the other
// identity; what is accepted for a device that may become another one can be carried
// with the longest id.
func TestReaddress(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	id := func(n int) iothub.Identity { return iothub.Identity{DeviceID: strings.Repeat("d", n)} }
	for range 2000 {
		m := &iothub.Message{Payload: make([]byte, []int{0, 1, 100, 127, 16_300, 200_000}[rng.IntN(6)]+rng.IntN(300))}
		for i := range rng.IntN(4) {
			if m.Properties == nil {
				m.Properties = map[string]string{}
			}
			m.Properties[strings.Repeat("k", i+1)] = strings.Repeat("v/", rng.IntN(100))
			break // maps have no order, so one is enough
		}
		if rng.IntN(2) == 0 {
			m.MessageID = "id=1"
		}
		from, to := NewMQTTEncoder(id(1+rng.IntN(128)), true), NewMQTTEncoder(id(1+rng.IntN(128)), true)
		packet, err := from.AppendMessage(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		want, err := to.AppendMessage(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range [][]byte{packet, want} {
			mqtt.SetPublishID(p, 7)
			mqtt.SetPublishDup(p)
		}
		before := bytes.Clone(packet)
		if got := to.Readdress(packet, from); !bytes.Equal(got, want) || !bytes.Equal(packet, before) {
			t.Fatalf("%d bytes, want %d", len(got), len(want))
		}
	}
	short, long := NewMQTTEncoder(id(1), true), NewMQTTEncoder(id(128), true)
	for n := maxPublish - 400; ; n++ {
		packet, err := short.AppendMessage(nil, &iothub.Message{Payload: make([]byte, n)})
		_, longErr := long.AppendMessage(nil, &iothub.Message{Payload: make([]byte, n)})
		if (err == nil) != (longErr == nil) {
			t.Fatalf("%d bytes: %v for a short id, %v for the longest", n, err, longErr)
		}
		if err != nil {
			if _, err := NewMQTTEncoder(id(1), false).AppendMessage(nil, &iothub.Message{Payload: make([]byte, n)}); err != nil {
				t.Errorf("an id that stays has no such limit: %v", err)
			}
			return
		}
		if len(long.Readdress(packet, short)) > maxPublish {
			t.Fatalf("%d bytes became too many", n)
		}
	}
}
