package edgehub_test

import (
	"slices"
	"testing"

	"github.com/iothub-go/iothub/edge/internal/edgehub"
)

// FuzzScope: whatever the hub upstream answers, nothing breaks, and no identity
// comes of it that cannot be one.
func FuzzScope(f *testing.F) {
	f.Add([]byte(`{"devices":[{"deviceId":"d","status":"enabled","authentication":{"type":"sas","symmetricKey":{"primaryKey":"a","secondaryKey":"b"}}}],` +
		`"modules":[{"deviceId":"d","moduleId":"m","authentication":{"type":"selfSigned","x509Thumbprint":{"primaryThumbprint":"AB"}}}],"continuationLink":null}`))
	f.Add([]byte(`{"devices":null}`))
	f.Add([]byte(`{"modules":[{"deviceId":"a/b"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		ids, err := edgehub.DecodeScope(body)
		if err != nil {
			return
		}
		for _, id := range ids {
			if err := id.Validate(); err != nil {
				t.Error(err)
			}
		}
	})
}

// FuzzDesired: whatever $edgeHub is told, no route comes of it that has no text.
func FuzzDesired(f *testing.F) {
	f.Add([]byte(`{"routes":{"a":"FROM /messages/* INTO $upstream","b":{"route":"FROM /messages/* INTO $upstream","priority":1},"c":""}}`))
	f.Add([]byte(`{"routes":{"a":1}}`))
	f.Add([]byte(`{"storeAndForwardConfiguration":{"timeToLiveSecs":7200}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		routes, err := edgehub.DesiredRoutes(text)
		if err == nil && slices.Contains(routes, "") || err != nil && routes != nil {
			t.Errorf("%q, %v", routes, err)
		}
	})
}
