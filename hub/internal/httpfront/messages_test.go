package httpfront_test

import (
	"testing"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
)

func TestSendC2D(t *testing.T) {
	w := newWorld(t)
	id := w.newDevice("dev1")
	receiver := w.attach(id).Receive(func() {})
	defer receiver.Close()
	expiry := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	w.want(204, "POST", "/iothub/devices/dev1/messages", "", `{"body":"aGVsbG8=","properties":{"b":"2","a":"1"},"messageId":"m1",
		"correlationId":"c1","userId":"u1","contentType":"text/plain","contentEncoding":"utf-8","ack":"full","expiryTimeUtc":"`+expiry.Format(time.RFC3339)+`"}`)
	m, ok := receiver.Next()
	if !ok {
		t.Fatal("nothing in the queue")
	}
	if string(m.Payload) != "hello" || m.MessageID != "m1" || m.CorrelationID != "c1" || m.UserID != "u1" || m.ContentType != "text/plain" ||
		m.ContentEncoding != "utf-8" || m.Ack != "full" || !m.Expiry.Equal(expiry) ||
		len(m.Properties) != 2 || m.Properties[0] != (core.Property{Name: "a", Value: "1"}) {
		t.Errorf("got %+v", m)
	}
	for _, c := range []struct {
		status             int
		name, policy, path string
		body               string
	}{
		{404, "DeviceNotFound", "service", "/iothub/devices/nobody/messages", `{}`},
		{400, "ArgumentInvalid", "service", "/iothub/devices/dev1/messages", `{"ack":"perhaps"}`},
		{400, "IotHubFormatError", "service", "/iothub/devices/dev1/messages", `{"body":"%"}`},
		{401, "IotHubUnauthorizedAccess", "registryReadWrite", "/iothub/devices/dev1/messages", `{}`},
		{401, "IotHubUnauthorizedAccess", "device", "/iothub/devices/dev1/messages", `{}`},
	} {
		w.wantError(c.status, c.name, "POST", c.path, c.policy, "", c.body)
	}
}
