package provisioning_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/testkit"
	"github.com/iothub-go/iothub/provisioning"
)

// The derived key is the one that Azure's own tools give. (wire-device F.1)
func TestDeriveKey(t *testing.T) {
	for _, test := range []struct{ key, id, want string }{
		{"8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==", "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6",
			"Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc="},
		{groupKey, "dev1", "jgNHkpsSyy5knqEYC62lGiPQlRRClkZht9bpLre3fa0="},
	} {
		if got, err := provisioning.DeriveKey(test.key, test.id); got != test.want || err != nil {
			t.Errorf("%s: %s, %v", test.id, got, err)
		}
	}
	for _, test := range []struct{ key, id, want string }{
		{"secret!", "dev1", "base64"}, {groupKey, "", "empty"}, {groupKey, "a b", `' '`},
	} {
		if got, err := provisioning.DeriveKey(test.key, test.id); iothub.KindOf(err) != iothub.KindInvalidArgument || got != "" ||
			!strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), test.key) {
			t.Errorf("%q %q: %q, %v", test.key, test.id, got, err)
		}
	}
}

// What cannot work is said before anything is dialled, by the names of the fields.
func TestValidate(t *testing.T) {
	key := attestation(t)(provisioning.NewKeyAttestation(groupKey))
	cert := provisioning.NewCertificateAttestation(testkit.Leaf(t, "Sensor-1", nil).TLS())
	good := provisioning.Config{IDScope: "0ne00000001", RegistrationID: "sensor-1", Attestation: key}
	for name, test := range map[string]struct {
		edit func(*provisioning.Config)
		want string // in the error; "" is none
	}{
		"good":                {func(*provisioning.Config) {}, ""},
		"every character":     {func(c *provisioning.Config) { c.RegistrationID = "aZ09-._:-" }, ""},
		"longest":             {func(c *provisioning.Config) { c.RegistrationID = strings.Repeat("a", 128) }, ""},
		"too long":            {func(c *provisioning.Config) { c.RegistrationID = strings.Repeat("a", 129) }, "129"},
		"no id":               {func(c *provisioning.Config) { c.RegistrationID = "" }, "RegistrationID is empty"},
		"slash":               {func(c *provisioning.Config) { c.RegistrationID = "a/b" }, "'/'"},
		"ends in a dot":       {func(c *provisioning.Config) { c.RegistrationID = "a." }, "ends in"},
		"no scope":            {func(c *provisioning.Config) { c.IDScope = "" }, "IDScope"},
		"a scope with a path": {func(c *provisioning.Config) { c.IDScope = "a/b" }, "IDScope"},
		"no attestation":      {func(c *provisioning.Config) { c.Attestation = nil }, "New…Attestation"},
		"empty attestation":   {func(c *provisioning.Config) { c.Attestation = &provisioning.Attestation{} }, "empty"},
		"transport":           {func(c *provisioning.Config) { c.Transport = 99 }, "99"},
		"payload":             {func(c *provisioning.Config) { c.Payload = json.RawMessage("{") }, "Payload"},
		"options":             {func(c *provisioning.Config) { c.Options = &iothub.ClientOptions{ConnectTimeout: -1} }, "ConnectTimeout"},
		"certificate":         {func(c *provisioning.Config) { c.Attestation = cert }, ""},
		"its common name":     {func(c *provisioning.Config) { c.Attestation, c.RegistrationID = cert, "" }, ""},
		"another name":        {func(c *provisioning.Config) { c.Attestation, c.RegistrationID = cert, "sensor-2" }, "Sensor-1"},
		"no certificate": {func(c *provisioning.Config) {
			c.Attestation = provisioning.NewCertificateAttestation(tls.Certificate{})
		}, "empty"},
	} {
		c := good
		test.edit(&c)
		err := c.Validate()
		if test.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if iothub.KindOf(err) != iothub.KindInvalidArgument || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
		if _, registerErr := provisioning.Register(t.Context(), &c); fmt.Sprint(registerErr) != fmt.Sprint(err) {
			t.Errorf("%s: Register says %v, Validate %v", name, registerErr, err)
		}
	}
	var none *provisioning.Config
	if err := none.Validate(); iothub.KindOf(err) != iothub.KindInvalidArgument {
		t.Errorf("nil: %v", err)
	}
	if _, err := provisioning.Register(t.Context(), &provisioning.Config{IDScope: "0ne1", RegistrationID: "reg1", Attestation: key,
		Payload: json.RawMessage(`"` + strings.Repeat("x", provisioning.MaxRequest) + `"`)}); iothub.KindOf(err) != iothub.KindMessageTooLarge {
		t.Errorf("a large payload: %v", err)
	}
	if _, err := provisioning.NewGroupKeyAttestation("top secret"); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("a key that is none: %v", err)
	}
}

// An assignment that was kept is taken for the device it was made for only.
func TestRestore(t *testing.T) {
	c := provisioning.Config{IDScope: "0ne1", RegistrationID: "reg1", Attestation: attestation(t)(provisioning.NewGroupKeyAttestation(groupKey))}
	const kept = `{"idScope":"0ne1","registrationId":"REG1","hubHostName":"hub.example:8884","deviceId":"dev1"}`
	a, err := c.Restore([]byte(kept))
	if err != nil || a.DeviceID != "dev1" || a.HubHostName != "hub.example:8884" || a.Credential().String() != "key" {
		t.Errorf("%+v, %v", a, err)
	}
	for _, bad := range []string{"", "{}", strings.Replace(kept, "0ne1", "0ne2", 1), strings.Replace(kept, "REG1", "reg2", 1),
		strings.Replace(kept, "hub.example", "", 1), strings.Replace(kept, "hub.example", "a/b", 1), strings.Replace(kept, "dev1", "", 1)} {
		if a, err := c.Restore([]byte(bad)); iothub.KindOf(err) != iothub.KindInvalidArgument {
			t.Errorf("%s: %+v, %v", bad, a, err)
		}
	}
}

// Nothing prints a key.
func TestSecretsDoNotPrint(t *testing.T) {
	c := &provisioning.Config{IDScope: "0ne1", RegistrationID: "reg1", Attestation: attestation(t)(provisioning.NewKeyAttestation("c2VjcmV0LXNlY3JldC1zZWNyZXQ="))}
	a, err := c.Restore([]byte(`{"idScope":"0ne1","registrationId":"reg1","hubHostName":"h","deviceId":"d"}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, v := range []any{c, *c, a, *a, c.Attestation, *c.Attestation} {
			if s := fmt.Sprintf(format, v); strings.Contains(s, "secret") || strings.Contains(s, "c2Vj") || strings.Contains(s, "[115 101 99") {
				t.Errorf("%s of %T prints %s", format, v, s)
			}
		}
	}
}

func TestNames(t *testing.T) {
	for _, transport := range []provisioning.Transport{provisioning.Auto, provisioning.MQTT, provisioning.MQTTWebSocket, provisioning.HTTPS} {
		if back, err := provisioning.ParseTransport(strings.ToUpper(transport.String())); back != transport || err != nil {
			t.Errorf("%v: %v, %v", transport, back, err)
		}
	}
	if _, err := provisioning.ParseTransport("amqp"); iothub.KindOf(err) != iothub.KindInvalidArgument || !strings.Contains(err.Error(), "mqtt-ws") {
		t.Errorf("%v", err)
	}
}
