package device_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
	"github.com/iothub-go/iothub/internal/simhub"
	"github.com/iothub-go/iothub/internal/simnet"
	"github.com/iothub-go/iothub/mqtt"
)

const (
	secret       = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	deviceString = "HostName=hub.example;DeviceId=dev1;SharedAccessKey=" + secret
	moduleString = "HostName=hub.example;DeviceId=dev1;ModuleId=mod1;SharedAccessKey=" + secret
)

// What cannot work is refused when the client is made, in words and without
// the key.
func TestNewClientErrors(t *testing.T) {
	type options = device.ClientOptions
	for _, test := range []struct {
		name, cs string
		o        *options
		want     string // in the error
	}{
		{"empty", "", nil, "empty"},
		{"module", moduleString, nil, "package module"},
		{"service policy", "HostName=hub.example;SharedAccessKeyName=service;SharedAccessKey=" + secret, nil, "DeviceId is missing"},
		{"no certificate", strings.Replace(deviceString, "SharedAccessKey="+secret, "x509=true", 1), nil, "NewCertificateCredential"},
		{"empty credential", deviceString, &options{Credential: iothub.NewKeyCredential(iothub.SharedAccessKey{}, "")}, "Credential"},
		{"queue", deviceString, &options{MaxQueuedMessages: -1}, "MaxQueuedMessages"},
		{"keep-alive", deviceString, &options{KeepAlive: 1 << 62}, "KeepAlive"},
		{"strategy", deviceString, &options{Retry: &iothub.RetryPolicy{Strategy: 7}}, "Strategy"},
		{"window", deviceString, &options{Transport: mqtt.New(&mqtt.Options{Window: 65536})}, "Window"},
		{"transport", deviceString, &options{Transport: stranger{}}, "stranger"},
		{"host", strings.Replace(deviceString, "hub.example", ":8883", 1), nil, "host"},
	} {
		c, err := device.NewClientFromConnectionString(test.cs, test.o)
		if err == nil {
			c.Close(context.Background())
			t.Errorf("%s: accepted", test.name)
			continue
		}
		if iothub.KindOf(err) != iothub.KindInvalidArgument || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v; want an invalid argument that mentions %q", test.name, err, test.want)
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error shows the key", test.name)
		}
	}
}

// stranger is a transport that is not one of this module's.
type stranger struct{}

func (stranger) String() string { return "stranger" }

// What the hub is told of the client.
func TestConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, hub := simnet.New(nil), &simhub.Hub{}
		go hub.Serve(n)
		o := &device.ClientOptions{DialTLS: n.Dial, ProductInfo: "widget/1.0", ModelID: "dtmi:example:widget;1"}
		c, err := device.NewClientFromConnectionString(deviceString, o)
		if err != nil {
			t.Fatal(err)
		}
		o.DialTLS = nil // the client has its own copy
		if id := c.Identity(); id != (iothub.Identity{DeviceID: "dev1"}) {
			t.Errorf("identity %v", id)
		}
		if err := c.SendEvent(t.Context(), &iothub.Message{Payload: []byte("m")}); err != nil {
			t.Fatal(err)
		}
		got := hub.Connects()[0]
		if got.ClientID != "dev1" || got.KeepAlive != 60 || got.CleanSession {
			t.Errorf("CONNECT %+v", got)
		}
		if !strings.HasPrefix(got.Username, "hub.example/dev1/?") || !strings.Contains(got.Username, "widget") || !strings.Contains(got.Username, "dtmi") {
			t.Errorf("user name %q", got.Username)
		}
		tok, err := iothub.ParseToken(string(got.Password))
		if err != nil || !strings.Contains(tok.Value, "sr=hub.example%2Fdevices%2Fdev1&") {
			t.Errorf("password %q: %v", got.Password, err)
		}
		if topic := hub.Received()[0].Topic; topic != "devices/dev1/messages/events/" {
			t.Errorf("topic %q", topic)
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := c.SendEvent(t.Context(), &iothub.Message{}); !errors.Is(err, iothub.ErrClosed) {
			t.Errorf("send after close: %v", err)
		}
		n.Close()
		hub.Wait()
	})
}
