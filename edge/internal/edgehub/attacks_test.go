package edgehub_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
)

// connect dials the edge hub as anybody can, and returns its answer.
func (w *world) connect(clientID, username, token string) byte {
	w.t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(w.edge.CACertPEM())
	nc, err := tls.Dial("tcp", w.edge.Addr(hub.MQTT).String(), &tls.Config{RootCAs: pool})
	if err != nil {
		w.t.Fatal(err)
	}
	defer nc.Close()
	packet, err := mqtt.AppendConnect(nil, &mqtt.ConnectPacket{ClientID: clientID, KeepAlive: 60, CleanSession: true, Username: username, Password: []byte(token)})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := nc.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		w.t.Fatal(err)
	}
	if _, err := nc.Write(packet); err != nil {
		w.t.Fatal(err)
	}
	var answer [4]byte
	if _, err := io.ReadFull(nc, answer[:]); err != nil {
		w.t.Fatal(err)
	}
	_, code, err := mqtt.DecodeConnack(answer[:])
	if err != nil {
		w.t.Fatal(err)
	}
	return code
}

// key is the primary key of an identity upstream.
func (w *world) key(device, module string) iothub.SharedAccessKey {
	w.t.Helper()
	for _, id := range w.up.Identities() {
		if id.DeviceID == device && id.ModuleID == module {
			k, err := iothub.ParseSharedAccessKey(id.PrimaryKey)
			if err != nil {
				w.t.Fatal(err)
			}
			return k
		}
	}
	w.t.Fatalf("there is no %s/%s", device, module)
	return iothub.SharedAccessKey{}
}

func TestAttacks(t *testing.T) {
	w := newWorld(t)
	w.start(nil)
	w.known("leaf")
	soon, past := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	token := func(device, module, resource string, expires time.Time) string {
		return w.key(device, module).Sign(resource, expires, "").Value
	}
	owner, err := iothub.ParseConnectionString(w.up.ServiceConnectionString())
	if err != nil {
		t.Fatal(err)
	}
	policy, err := owner.Credential().Token(t.Context(), "localhost", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	const query = "/?api-version=2021-04-12"
	leafToken := token("leaf", "", "localhost/devices/leaf", soon)
	hubToken := token("gw", "$edgeHub", "localhost/devices/gw/modules/$edgeHub", soon)
	for _, test := range []struct {
		name, id, username, token string
		code                      byte
	}{
		{"a leaf", "leaf", "localhost/leaf" + query, leafToken, 0},
		{"a leaf that names the gateway", "leaf", "127.0.0.1/leaf" + query, token("leaf", "", "127.0.0.1/devices/leaf", soon), 0},
		{"a module", "gw/a", "localhost/gw/a" + query, token("gw", "a", "localhost/devices/gw/modules/a", soon), 0},
		{"a module by the key of its device", "gw/a", "localhost/gw/a" + query, token("gw", "", "localhost/devices/gw/modules/a", soon), 0},
		{"a device of no scope", "stranger", "localhost/stranger" + query, token("stranger", "", "localhost/devices/stranger", soon), 5},
		{"nobody", "nobody", "localhost/nobody" + query, token("stranger", "", "localhost/devices/nobody", soon), 5},
		{"a leaf with another's key", "leaf", "localhost/leaf" + query, token("stranger", "", "localhost/devices/leaf", soon), 5},
		{"a module's key for another module", "gw/b", "localhost/gw/b" + query, token("gw", "a", "localhost/devices/gw/modules/b", soon), 5},
		{"a module's token for another module", "gw/b", "localhost/gw/b" + query, token("gw", "a", "localhost/devices/gw/modules/a", soon), 5},
		{"a module's key for its device", "gw", "localhost/gw" + query, token("gw", "a", "localhost/devices/gw", soon), 5},
		{"a leaf's token for the edge device", "gw", "localhost/gw" + query, leafToken, 5},
		{"an expired token", "leaf", "localhost/leaf" + query, token("leaf", "", "localhost/devices/leaf", past), 5},
		{"a token for another hub", "leaf", "localhost/leaf" + query, token("leaf", "", "elsewhere.example/devices/leaf", soon), 5},
		{"a user name for another hub", "leaf", "elsewhere.example/leaf" + query, leafToken, 5},
		{"another client identifier", "stranger", "localhost/leaf" + query, leafToken, 5},
		{"no token", "leaf", "localhost/leaf" + query, "", 5},
		{"the owner upstream", "leaf", "localhost/leaf" + query, policy.Value, 5},
		{"an auth chain", "leaf", "localhost/leaf" + query + "&auth-chain=leaf%3Bgw", hubToken, 5},
		{"a forged auth chain", "stranger", "localhost/stranger" + query + "&auth-chain=stranger%3Bgw", hubToken, 5},
	} {
		if code := w.connect(test.id, test.username, test.token); code != test.code {
			t.Errorf("%s: CONNACK %d, want %d", test.name, code, test.code)
		}
	}
}

func TestRESTIsForModulesOnly(t *testing.T) {
	w := newWorld(t)
	w.start(nil)
	w.known("leaf")
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(w.edge.CACertPEM())
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}}
	owner, err := iothub.ParseConnectionString(w.up.ServiceConnectionString())
	if err != nil {
		t.Fatal(err)
	}
	policy, err := owner.Credential().Token(t.Context(), "localhost", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	soon := time.Now().Add(time.Hour)
	a := w.key("gw", "a").Sign("localhost/devices/gw/modules/a", soon, "").Value
	self := w.key("gw", "$edgeHub").Sign("localhost/devices/gw/modules/$edgeHub", soon, "").Value
	for _, test := range []struct{ name, method, path, token, module string }{
		{"the owner upstream reads keys", "GET", "/devices/leaf", policy.Value, ""},
		{"the owner upstream calls a method", "POST", "/twins/leaf/methods", policy.Value, ""},
		{"the scope, one level down", "GET", "/devices/gw/modules/$edgeHub/devicesAndModulesInDeviceScope", self, ""},
		{"a module reads the scope", "GET", "/devices/gw/modules/$edgeHub/devicesAndModulesInDeviceScope", a, ""},
		{"a module calls as another", "POST", "/twins/gw/modules/a/methods", a, "gw/b"},
		{"a module calls a stranger", "POST", "/twins/stranger/methods", a, "gw/a"},
		{"a module calls without a token", "POST", "/twins/gw/modules/b/methods", "", "gw/a"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), test.method, "https://"+w.edge.Addr(hub.HTTPS).String()+test.path+"?api-version=2021-04-12",
			strings.NewReader(`{"methodName":"m"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", test.token)
		if test.module != "" {
			req.Header.Set("x-ms-edge-moduleId", test.module)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %s", test.name, resp.Status)
		}
	}
}
