package hub_test

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/testkit"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
)

// connectWith connects as an identity with a client certificate and returns the code of
// the answer.
func connectWith(t *testing.T, s *hub.Server, host, id string, cert *testkit.Certificate) byte {
	t.Helper()
	nc, err := tls.Dial("tcp", host, &tls.Config{RootCAs: s.CertPool(), Certificates: []tls.Certificate{cert.TLS()}})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	packet, err := mqtt.AppendConnect(nil, &mqtt.ConnectPacket{ClientID: id, CleanSession: true, Username: "127.0.0.1/" + id + "/?api-version=2021-04-12"})
	if err != nil {
		t.Fatal(err)
	}
	d := &device{t: t, nc: nc, buf: make([]byte, 1024)}
	d.write(packet)
	frame, err := d.next()
	if err != nil {
		t.Fatal(err)
	}
	_, code, err := mqtt.DecodeConnack(frame)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// A device that is to have a certificate of an authority gets in with one that a
// verified authority has signed for its id, over those it shows with it, and with no
// other. (wire-device A.4)
func TestCertificateAuthority(t *testing.T) {
	s := start(t, nil)
	host, _, _ := strings.Cut(strings.TrimPrefix(connectionStringOf(t, s, "another"), "HostName="), ";")
	for _, path := range []string{"/devices/dev1", "/devices/dev2", "/devices/dev1/modules/mod1"} {
		id := strings.Split(path, "/")
		body := map[string]any{"deviceId": id[2], "authentication": map[string]any{"type": "certificateAuthority"}}
		if len(id) > 3 {
			body["moduleId"] = id[4]
		}
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		rest(t, s, "PUT", path+"?api-version=2021-04-12", string(text))
	}
	root, unproved, stranger := testkit.Authority(t, "root", nil), testkit.Authority(t, "unproved", nil), testkit.Authority(t, "root", nil)
	put := func(c *testkit.Certificate, verified bool) {
		t.Helper()
		body, err := json.Marshal(map[string]any{"certificate": base64.StdEncoding.EncodeToString(c.Raw), "isVerified": verified})
		if err != nil {
			t.Fatal(err)
		}
		if resp, text := dpsCall(t, s, nil, "PUT", "/certificates/"+c.Subject.CommonName, "owner", string(body)); resp.StatusCode != http.StatusOK {
			t.Fatalf("%d %s", resp.StatusCode, text)
		}
	}
	put(root, true)
	put(unproved, false)
	for _, test := range []struct {
		name, id string
		cert     *testkit.Certificate
		want     byte
	}{
		{"its own", "dev1", testkit.Leaf(t, "dev1", root), 0},
		{"of a module", "dev1/mod1", testkit.Leaf(t, "dev1/mod1", root), 0},
		{"of its module", "dev1", testkit.Leaf(t, "dev1/mod1", root), 5},
		{"of the device, for its module", "dev1/mod1", testkit.Leaf(t, "dev1", root), 5},
		{"of another device", "dev2", testkit.Leaf(t, "dev1", root), 5},
		{"in another case", "dev1", testkit.Leaf(t, "DEV1", root), 5},
		{"of nobody", "dev1", testkit.Leaf(t, "dev1", nil), 5},
		{"of an authority that is not verified", "dev1", testkit.Leaf(t, "dev1", unproved), 5},
		{"of a stranger with the same name", "dev1", testkit.Leaf(t, "dev1", stranger), 5},
	} {
		if code := connectWith(t, s, host, test.id, test.cert); code != test.want {
			t.Errorf("%s: CONNACK %d, want %d", test.name, code, test.want)
		}
	}
	// One of the options counts too, also without a provisioning service.
	own := start(t, &hub.Options{NoProvisioning: true, DeviceAuthorities: root.PEM()})
	rest(t, own, "PUT", "/devices/dev1?api-version=2021-04-12", `{"deviceId":"dev1","authentication":{"type":"certificateAuthority"}}`)
	ownHost, _, _ := strings.Cut(strings.TrimPrefix(connectionStringOf(t, own, "another"), "HostName="), ";")
	if code := connectWith(t, own, ownHost, "dev1", testkit.Leaf(t, "dev1", root)); code != 0 {
		t.Errorf("of an authority of the options: CONNACK %d", code)
	}
	if code := connectWith(t, own, ownHost, "dev1", testkit.Leaf(t, "dev1", stranger)); code != 5 {
		t.Errorf("of a stranger: CONNACK %d", code)
	}
	if resp, text := dpsCall(t, s, nil, "DELETE", "/certificates/root", "owner", ""); resp.StatusCode != http.StatusNoContent {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
	if code := connectWith(t, s, host, "dev1", testkit.Leaf(t, "dev1", root)); code != 5 {
		t.Errorf("the authority is removed: CONNACK %d", code)
	}
}
