package edge

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/edge/internal/supervisor"
)

// Whatever a hub answers, a module has a generation and a key, or there is an error.
func FuzzModule(f *testing.F) {
	f.Add([]byte(`{"moduleId":"m","generationId":"1","authentication":{"type":"sas","symmetricKey":{"primaryKey":"AAAA"}}}`))
	f.Add([]byte(`{"authentication":{"type":"selfSigned"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		i, err := decodeModule("module m", body)
		if err == nil && (i.GenerationID == "" || len(i.Key) == 0) || err != nil && iothub.KindOf(err) != iothub.KindProtocol {
			t.Errorf("%v, %v", i, err)
		}
	})
}

// Whatever GetModuleLogs is called with, the answer is JSON that a method may answer.
func FuzzLogs(f *testing.F) {
	f.Add([]byte(`{"items":[{"id":".*","filter":{"tail":3,"since":"1h","until":"2030-01-01T00:00:00Z","regex":"a"}}],"encoding":"gzip","contentType":"json"}`))
	f.Add([]byte(`{"items":[{"id":"m","filter":{"since":"3d","until":1}},{"id":"("}]}`))
	f.Add([]byte(`{"items":[{"id":"m"},{"id":"m"},{"id":"m"}]}`))
	log := &supervisor.Log{}
	rt := &Runtime{device: &iothub.ConnectionString{DeviceID: "d", HostName: "h"}}
	m := &running{Module: Module{Name: "m"}, log: log}
	for i := range 2000 { // that JSON makes longer
		log.Add(supervisor.Line{At: time.Now(), Text: fmt.Sprintf("%d \"\\\x01\x02<>%s", i, strings.Repeat("\x03", i%50))})
	}
	rt.modules = append(rt.modules, m)
	a := &agent{rt: rt}
	f.Fuzz(func(t *testing.T, payload []byte) {
		r := answer(a.moduleLogs(payload))
		if !json.Valid(r.Payload) || len(r.Payload) > iothub.MaxMethodPayload {
			t.Errorf("%d with %d bytes: %.200s", r.Status, len(r.Payload), r.Payload)
		}
	})
}
