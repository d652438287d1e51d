package hub_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/sas"
	"github.com/iothub-go/iothub/internal/testkit"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
)

// TestProvisioningAttacks is the table of what somebody tries at the provisioning
// service who has a credential that is not meant for it, or is to be provisioned and
// wants more. The hub and the service take nothing of each other's.
func TestProvisioningAttacks(t *testing.T) {
	b := besiege(t)
	enrollGroup(t, b.Server, "g")
	cs, err := iothub.ParseConnectionString(b.ProvisioningConnectionString())
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(b.ProvisioningConnectionString(), "SharedAccessKey=")
	if b.keys[cs.SharedAccessKeyName], err = base64.StdEncoding.DecodeString(text); err != nil {
		t.Fatal(err)
	}
	b.keys["dev"] = deviceKey("dev")
	const host, owner = "127.0.0.1", "provisioningserviceowner"
	scope := b.IDScope()
	hour := time.Now().Add(time.Hour)
	sign := func(key, resource, policy string) string { return sas.Sign(resource, b.keys[key], hour, policy) }
	good, ended := registrationToken(b.Server, "dev"), sas.Sign(scope+"/registrations/dev", b.keys["dev"], time.Now().Add(-time.Hour), "registration")

	devices := []struct{ what, id, token string }{
		{"nothing", "dev", ""},
		{"the token of another registration", "dev2", good},
		{"the key of another registration", "dev2", sign("dev", scope+"/registrations/dev2", "registration")},
		{"a token for the whole scope", "dev", sign("dev", scope, "registration")},
		{"a token without a policy", "dev", sign("dev", scope+"/registrations/dev", "")},
		{"a token with the owner's policy", "dev", sign("dev", scope+"/registrations/dev", owner)},
		{"the owner's key", "dev", sign(owner, scope+"/registrations/dev", "registration")},
		{"the owner's token", "dev", sign(owner, host, owner)},
		{"the hub's owner", "dev", sign("iothubowner", host, "iothubowner")},
		{"the hub's owner, for the registration", "dev", sign("iothubowner", scope+"/registrations/dev", "iothubowner")},
		{"a device of the hub", "mine", sign("mine", host+"/devices/mine", "")},
		{"the key of a device of the hub", "mine", sign("mine", scope+"/registrations/mine", "registration")},
		{"an expired token", "dev", ended},
		{"a prolonged token", "dev", strings.Replace(ended, "&se=1", "&se=2", 1)},
		{"a truncated token", "dev", good[:len(good)-40]},
		{"a path trick", "dev2", sign("dev", scope+"/registrations/dev/../dev2", "registration")},
	}
	username := func(id string) string { return scope + "/registrations/" + id + "/api-version=2019-03-31" }
	for _, a := range devices {
		for _, path := range []string{"", socketPath, "/"} {
			if code := b.connack(path, a.id, username(a.id), a.token); code != mqtt.ConnackNotAuthorized {
				t.Errorf("MQTT %s: %s: CONNACK %d", path, a.what, code)
			}
		}
		for _, path := range []string{"", socketPath} {
			if b.link(path, scope+"/registrations/"+a.id, a.token, scope+"/registrations/"+a.id, true) {
				t.Errorf("AMQP %s: %s: let in", path, a.what)
			}
		}
		for _, request := range [][2]string{{"PUT", "/register"}, {"GET", "/operations/4.x"}, {"POST", ""}} {
			resp, body := dpsCall(t, b.Server, nil, request[0], "/"+scope+"/registrations/"+a.id+request[1], a.token, "{}")
			var e struct {
				ErrorCode int
				Message   string
			}
			if err := json.Unmarshal([]byte(body), &e); err != nil || resp.StatusCode != http.StatusUnauthorized || e.ErrorCode != 401002 || e.Message != "Unauthorized" {
				t.Errorf("HTTPS: %s %s: %s: %d %s", request[0], request[1], a.what, resp.StatusCode, body)
			}
		}
	}
	for what, a := range map[string][3]string{
		"another client id":             {"dev2", username("dev"), good},
		"another id scope":              {"dev", strings.Replace(username("dev"), scope, "0ne00000000", 1), good},
		"a device of the hub":           {"dev", host + "/dev/?api-version=2021-04-12", good},
		"a device of the hub, by owner": {"mine", host + "/mine/?api-version=2021-04-12", sign(owner, host, owner)},
	} {
		if code := b.connack("", a[0], a[1], a[2]); code == 0 {
			t.Errorf("MQTT: %s: let in", what)
		}
	}
	for what, a := range map[string][2]string{
		"the node of another registration": {scope + "/registrations/dev2", good},
		"the events":                       {"iothub/ConsumerGroups/$Default/Partitions/0", good},
	} {
		if b.link("", scope+"/registrations/dev", a[1], a[0], false) {
			t.Errorf("AMQP: %s: let in", what)
		}
	}

	for what, token := range map[string]string{
		"nothing": "", "the hub's owner": sign("iothubowner", host, "iothubowner"), "the hub's key": sign("iothubowner", host, owner),
		"a device to be provisioned": good, "the owner's key by another name": sign(owner, host, "iothubowner"),
		"another host": sign(owner, "elsewhere.example", owner), "another path": sign(owner, host+"/enrollments/x", owner),
		"an expired token": sas.Sign(host, b.keys[owner], time.Now().Add(-time.Hour), owner),
	} {
		for _, request := range [][2]string{{"GET", "/enrollmentGroups/g"}, {"POST", "/enrollmentGroups/g/attestationmechanism"}, {"GET", "/enrollments/nobody"}, {"GET", "/certificates"}, {"DELETE", "/registrations/dev"}} {
			if resp, body := dpsCall(t, b.Server, nil, request[0], request[1], token, ""); resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("HTTPS: %s %s: %s: %d %s", request[0], request[1], what, resp.StatusCode, body)
			}
		}
	}
	for _, path := range []string{"/devices/mine", "/twins/mine", "/iothub/routing", "/statistics/devices"} {
		if status := b.rest("GET", path+"?api-version=2021-04-12", sign(owner, host, owner)); status != http.StatusUnauthorized {
			t.Errorf("the owner of the provisioning service at %s of the hub: %d", path, status)
		}
	}

	// The right credential is let in everywhere.
	if code := b.connack("", "dev", username("dev"), good); code != 0 {
		t.Errorf("MQTT: CONNACK %d", code)
	}
	if !b.link("", scope+"/registrations/dev", good, scope+"/registrations/dev", true) {
		t.Error("AMQP: refused")
	}
	if resp, body := dpsCall(t, b.Server, nil, "GET", "/enrollmentGroups/g", sign(owner, host, owner), ""); resp.StatusCode != http.StatusOK {
		t.Errorf("HTTPS: %d %s", resp.StatusCode, body)
	}
}

// A device that is provisioned may do that over MQTT and nothing else.
func TestProvisionedDevicesAreConfined(t *testing.T) {
	s := start(t, nil)
	enrollGroup(t, s, "g")
	publish := func(topic string, qos byte) []byte {
		b, err := mqtt.AppendPublish(nil, &mqtt.PublishPacket{Topic: []byte(topic), QoS: qos, PacketID: uint16(min(qos, 1))})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	subscribe := func(filter string) []byte {
		b, err := mqtt.AppendSubscribe(nil, 1, []mqtt.Subscription{{Filter: filter, QoS: 1}})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for what, packet := range map[string][]byte{
		"telemetry": publish("devices/dev/messages/events/", 1), "a twin": publish("$iothub/twin/GET/?$rid=1", 0),
		"no request id": publish("$dps/registrations/PUT/iotdps-register/", 1), "another topic": publish("$dps/registrations/DELETE/?$rid=1", 1),
		"all topics": subscribe("#"), "messages to the device": subscribe("devices/dev/messages/devicebound/#"), "methods": subscribe("$iothub/methods/POST/#"),
		"all of the service": subscribe("$dps/#"), "a second CONNECT": connectPacket(t, s, "dev"),
	} {
		c, _, err := openSocket(t, s, socketPath, subMQTT, nil)
		if err != nil {
			t.Fatal(err)
		}
		d := &device{t: t, nc: websocket.NetConn(context.Background(), c, websocket.MessageBinary), buf: make([]byte, 1024)}
		d.write(connectPacket(t, s, "dev"))
		if frame, err := d.next(); err != nil || mqtt.PacketType(frame) != mqtt.TypeConnack {
			t.Fatalf("%v, %v", frame, err)
		}
		d.write(packet)
		if frame, err := d.next(); err == nil {
			t.Errorf("%s: answered with %v", what, mqtt.PacketType(frame))
		}
	}
}

// connectPacket is the CONNECT of a device of the group.
func connectPacket(t *testing.T, s *hub.Server, id string) []byte {
	t.Helper()
	b, err := mqtt.AppendConnect(nil, &mqtt.ConnectPacket{
		ClientID: id, KeepAlive: 30, CleanSession: true, Password: []byte(registrationToken(s, id)),
		Username: s.IDScope() + "/registrations/" + id + "/api-version=2019-03-31",
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A certificate that no authority of the hub's has signed reaches the service, which
// knows it, over each protocol; a stranger's is refused there and not by TLS.
func TestProvisioningByCertificate(t *testing.T) {
	s := start(t, nil)
	authority := testkit.Authority(t, "factory", nil)
	body, _ := json.Marshal(map[string]any{"attestation": map[string]any{"type": "x509", "x509": map[string]any{
		"signingCertificates": map[string]any{"primary": map[string]any{"certificate": string(authority.PEM())}},
	}}})
	if resp, text := dpsCall(t, s, nil, "PUT", "/enrollmentgroups/factory", "owner", string(body)); resp.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
	connects := func(body, id string, cert *testkit.Certificate) {
		t.Helper()
		var r registered
		if err := json.Unmarshal([]byte(body), &r); err != nil || r.Status != "assigned" {
			t.Fatalf("%s, %v", body, err)
		}
		if code := connectWith(t, s, r.RegistrationState.AssignedHub, id, cert); code != 0 {
			t.Errorf("%s: CONNACK %d", id, code)
		}
	}
	shown := func(c *testkit.Certificate) *tls.Certificate {
		cert := c.TLS()
		return &cert
	}
	cert := testkit.Leaf(t, "https-1", authority)
	connects(provisionHTTPS(t, s, shown(cert), "https-1", ""), "https-1", cert)

	cert = testkit.Leaf(t, "ws-1", authority)
	c, _, err := openSocket(t, s, socketPath, subMQTT, shown(cert))
	if err != nil {
		t.Fatal(err)
	}
	connects(provisionMQTT(t, s, websocket.NetConn(t.Context(), c, websocket.MessageBinary), "ws-1", "", 1), "ws-1", cert)

	stranger := testkit.Authority(t, "factory", nil)
	for what, cert := range map[string]*testkit.Certificate{"a stranger": testkit.Leaf(t, "dev", stranger), "another name": testkit.Leaf(t, "dev2", authority)} {
		if resp, text := dpsCall(t, s, shown(cert), "PUT", "/"+s.IDScope()+"/registrations/dev/register", "", "{}"); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", what, resp.StatusCode, text)
		}
	}
}
