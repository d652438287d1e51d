package core

import (
	"encoding/json"
	"testing"
)

// FuzzDigitalTwinPatch: whatever is sent, it is refused or makes a twin whose
// digital twin is JSON.
func FuzzDigitalTwinPatch(f *testing.F) {
	f.Add(`[{"op":"add","path":"/thermostat1","value":{"targetTemperature":21.4,"$metadata":{}}}]`, `{"thermostat1":{"__t":"c","maxTemp":25.3}}`)
	f.Add(`[{"op":"replace","path":"/t/x","value":20.4},{"op":"remove","path":"/t/y"}]`, `{"t":{"__t":"c","x":{"value":20.4,"ac":200,"av":4,"ad":"ok"}}}`)
	f.Add(`[{"op":"add","path":"/a~1b/~0c","value":[1,"\u0000"]}]`, `{"x":{"ac":1,"av":2}}`)
	f.Add(`[{"op":"add","path":"/a/b","value":1},{"op":"remove","path":"/a"},{"op":"add","path":"/a/c","value":2}]`, `{"a":1}`)
	f.Fuzz(func(t *testing.T, patch, reported string) {
		doc := freshTwin("1")
		if parsed, err := parseReported([]byte(reported)); err == nil {
			if next, err := doc.report(parsed, 1); err == nil {
				doc = next
			}
		}
		if merge, err := doc.mergeOf([]byte(patch)); err == nil {
			u, err := parseTwinUpdate(identityKey{device: "d"}, merge, false)
			if err == nil {
				u.etag = AnyETag
				if next, _, err := doc.update(u, 2); err == nil {
					doc = next
				}
			}
		}
		if body := doc.digitalTwin("d"); !json.Valid(body) {
			t.Errorf("%s", body)
		}
	})
}
