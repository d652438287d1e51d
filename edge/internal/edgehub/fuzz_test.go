package edgehub_test

import (
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
