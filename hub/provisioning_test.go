package hub_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/sas"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
)

// dpsCall makes a request of the API of the provisioning service as its owner, or
// with a token of its own.
func dpsCall(t testing.TB, s *hub.Server, cert *tls.Certificate, method, path, token, body string) (*http.Response, string) {
	t.Helper()
	cs, err := iothub.ParseConnectionString(s.ProvisioningConnectionString())
	if err != nil {
		t.Fatal(err)
	}
	header := http.Header{}
	if token == "owner" {
		header.Set("If-Match", "*") // make it, or change what is there
		signed, err := cs.Credential().Token(t.Context(), cs.HostName, time.Now(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		token = signed.Value
	}
	r, err := http.NewRequestWithContext(t.Context(), method, "https://"+cs.HostName+path+"?api-version=2021-10-01", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header
	if token != "" {
		r.Header.Set("Authorization", token)
	}
	resp, err := client(s, cert).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(data)
}

const provisioningKey = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=" // 00..1f, wire-device F.1

// enrollGroup makes a group with that key.
func enrollGroup(t testing.TB, s *hub.Server, id string) {
	t.Helper()
	resp, body := dpsCall(t, s, nil, "PUT", "/enrollmentGroups/"+id, "owner",
		`{"attestation":{"type":"symmetricKey","symmetricKey":{"primaryKey":"`+provisioningKey+`","secondaryKey":"`+provisioningKey+`"}}}`)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("enroll: %d %s", resp.StatusCode, body)
	}
}

// deviceKey is the key of a device of the group, registrationToken its token.
func deviceKey(id string) []byte {
	key, _ := base64.StdEncoding.DecodeString(provisioningKey)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id))
	return mac.Sum(nil)
}

func registrationToken(s *hub.Server, id string) string {
	return sas.Sign(s.IDScope()+"/registrations/"+id, deviceKey(id), time.Now().Add(time.Hour), "registration")
}

type registered struct {
	OperationID       string
	Status            string
	RegistrationState struct{ AssignedHub, DeviceID, Status, Substatus string }
}

// assignedAndConnects checks the result of a registration: with the key that it has
// proved itself with, the device can connect to the hub that it is assigned to.
func assignedAndConnects(t *testing.T, s *hub.Server, id, body string) {
	t.Helper()
	var r registered
	if err := json.Unmarshal([]byte(body), &r); err != nil || r.Status != "assigned" || r.RegistrationState.DeviceID != id {
		t.Fatalf("the result is %s, %v", body, err)
	}
	dial(t, s, "HostName="+r.RegistrationState.AssignedHub+";DeviceId="+id+";SharedAccessKey="+base64.StdEncoding.EncodeToString(deviceKey(id)))
}

// provisionHTTPS registers over HTTPS and returns the result.
func provisionHTTPS(t *testing.T, s *hub.Server, cert *tls.Certificate, id, token string) string {
	t.Helper()
	base := "/" + s.IDScope() + "/registrations/" + id
	resp, body := dpsCall(t, s, cert, "PUT", base+"/register", token, `{"registrationId":"`+id+`"}`)
	if resp.StatusCode != http.StatusAccepted || resp.Header.Get("Retry-After") == "" {
		t.Fatalf("register: %d %s", resp.StatusCode, body)
	}
	for resp.StatusCode == http.StatusAccepted {
		resp, body = dpsCall(t, s, cert, "GET", resp.Header.Get("Location"), token, "")
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("operation: %d %s", resp.StatusCode, body)
	}
	return body
}

// provisionMQTT registers over a connection and returns the result. The answers come
// behind the acknowledgements.
func provisionMQTT(t *testing.T, s *hub.Server, nc net.Conn, id, token string, qos byte) string {
	t.Helper()
	d := &device{t: t, nc: nc, buf: make([]byte, 64<<10)}
	packet, err := mqtt.AppendConnect(nil, &mqtt.ConnectPacket{
		ClientID: id, KeepAlive: 30, CleanSession: true, Password: []byte(token),
		Username: s.IDScope() + "/registrations/" + id + "/api-version=2019-03-31&ClientVersion=test",
	})
	if err != nil {
		t.Fatal(err)
	}
	d.write(packet)
	next := func(want mqtt.Type) []byte {
		t.Helper()
		frame, err := d.next()
		if err != nil || mqtt.PacketType(frame) != want {
			t.Fatalf("want %v: %v, %v", want, frame, err)
		}
		return frame
	}
	if present, code, err := mqtt.DecodeConnack(next(mqtt.TypeConnack)); present || code != 0 || err != nil {
		t.Fatalf("CONNACK %v %d %v", present, code, err)
	}
	subscribe, err := mqtt.AppendSubscribe(nil, 1, []mqtt.Subscription{{Filter: "$dps/registrations/res/#", QoS: 1}})
	if err != nil {
		t.Fatal(err)
	}
	d.write(subscribe)
	next(mqtt.TypeSuback)
	ask := func(id uint16, topic, payload string) (result mqtt.PublishPacket) {
		t.Helper()
		b, err := mqtt.AppendPublish(nil, &mqtt.PublishPacket{Topic: []byte(topic), Payload: []byte(payload), QoS: qos, PacketID: id * uint16(qos)})
		if err != nil {
			t.Fatal(err)
		}
		d.write(b)
		if qos > 0 {
			if acked, err := mqtt.DecodeAck(next(mqtt.TypePuback)); acked != id || err != nil {
				t.Fatalf("PUBACK %d, %v", acked, err)
			}
		}
		if result, err = mqtt.DecodePublish(next(mqtt.TypePublish)); err != nil {
			t.Fatal(err)
		}
		result.Topic, result.Payload = bytes.Clone(result.Topic), bytes.Clone(result.Payload)
		d.write(mqtt.AppendAck(nil, mqtt.TypePuback, result.PacketID))
		return result
	}
	request := `{"registrationId":"` + id + `","payload":{}}`
	if qos == 0 {
		request = "" // which the client for .NET sends
	}
	p := ask(2, "$dps/registrations/PUT/iotdps-register/?$rid=r1", request)
	if string(p.Topic) != "$dps/registrations/res/202/?$rid=r1&retry-after=1" || p.QoS != 1 {
		t.Fatalf("register: %s %s", p.Topic, p.Payload)
	}
	var r registered
	if err := json.Unmarshal(p.Payload, &r); err != nil || r.Status != "assigning" {
		t.Fatalf("register: %s", p.Payload)
	}
	for n := uint16(3); ; n++ {
		p = ask(n, "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=7&operationId="+r.OperationID, "")
		if strings.HasPrefix(string(p.Topic), "$dps/registrations/res/200/?$rid=7") {
			return string(p.Payload)
		}
		if !strings.HasPrefix(string(p.Topic), "$dps/registrations/res/202/?$rid=7&retry-after=") {
			t.Fatalf("operation: %s %s", p.Topic, p.Payload)
		}
	}
}

// A device that knows the id scope and a secret is provisioned over each protocol.
func TestProvisioning(t *testing.T) {
	s := start(t, nil)
	enrollGroup(t, s, "g")
	assignedAndConnects(t, s, "over-https", provisionHTTPS(t, s, nil, "over-https", registrationToken(s, "over-https")))

	host, _, _ := strings.Cut(strings.TrimPrefix(connectionStringOf(t, s, "x"), "HostName="), ";")
	nc, err := tls.Dial("tcp", host, &tls.Config{RootCAs: s.CertPool()})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	assignedAndConnects(t, s, "over-mqtt", provisionMQTT(t, s, nc, "over-mqtt", registrationToken(s, "over-mqtt"), 1))

	// The client for C publishes with QoS 0.
	if nc, err = tls.Dial("tcp", host, &tls.Config{RootCAs: s.CertPool()}); err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	assignedAndConnects(t, s, "at-most-once", provisionMQTT(t, s, nc, "at-most-once", registrationToken(s, "at-most-once"), 0))

	for id, path := range map[string]string{"over-ws": socketPath, "over-ws-root": "/"} {
		c, _, err := openSocket(t, s, path, subMQTT, nil)
		if err != nil {
			t.Fatal(err)
		}
		assignedAndConnects(t, s, id, provisionMQTT(t, s, websocket.NetConn(t.Context(), c, websocket.MessageBinary), id, registrationToken(s, id), 1))
	}
}

func connectionStringOf(t testing.TB, s *hub.Server, id string) string {
	t.Helper()
	if _, err := s.CreateDevice(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	cs, err := s.DeviceConnectionString(id)
	if err != nil {
		t.Fatal(err)
	}
	return cs
}

// What was enrolled and assigned is there after a restart, as are the id scope and
// the keys of the owner.
func TestProvisioningSurvivesRestarts(t *testing.T) {
	o := &hub.Options{DataDir: t.TempDir()}
	s, err := hub.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Listen(hub.HTTPS, "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	enrollGroup(t, s, "g")
	provisionHTTPS(t, s, nil, "dev", registrationToken(s, "dev"))
	scope := s.IDScope()
	_, key, _ := strings.Cut(s.ProvisioningConnectionString(), ";")
	shutdown(t, s)

	s = start(t, o)
	if _, again, _ := strings.Cut(s.ProvisioningConnectionString(), ";"); again != key || s.IDScope() != scope || !strings.HasPrefix(scope, "0ne") {
		t.Errorf("the id scope was %s, is %s; the same key: %v", scope, s.IDScope(), again == key)
	}
	resp, body := dpsCall(t, s, nil, "GET", "/registrations/dev", "owner", "")
	if resp.StatusCode != http.StatusOK || !strings.Contains(body, `"status":"assigned"`) {
		t.Errorf("the registration: %d %s", resp.StatusCode, body)
	}
	if body = provisionHTTPS(t, s, nil, "dev", registrationToken(s, "dev")); !strings.Contains(body, "reprovisionedToInitialAssignment") {
		t.Errorf("registering again: %s", body)
	}
}

// A device is moved between hubs that are linked by their connection strings, with
// its twin.
func TestLinkedHubs(t *testing.T) {
	other := start(t, &hub.Options{NoProvisioning: true})
	if other.IDScope() != "" || other.ProvisioningConnectionString() != "" {
		t.Error("a server without provisioning has an id scope")
	}
	s := start(t, &hub.Options{LinkedHubs: []string{other.ServiceConnectionString() + ";AllocationWeight=2"}, RootCAs: other.CertPool()})
	linked, _, _ := strings.Cut(strings.TrimPrefix(other.ServiceConnectionString(), "HostName="), ";")
	group := func(hubName, twin string) {
		t.Helper()
		resp, body := dpsCall(t, s, nil, "PUT", "/enrollmentGroups/g", "owner", `{"allocationPolicy":"static","iotHubHostName":"`+hubName+`",
			"initialTwin":{"tags":{"made":"`+twin+`"}},
			"attestation":{"type":"symmetricKey","symmetricKey":{"primaryKey":"`+provisioningKey+`"}}}`)
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%d %s", resp.StatusCode, body)
		}
	}
	assigned := func(substatus, hubName string) {
		t.Helper()
		body := provisionHTTPS(t, s, nil, "dev", registrationToken(s, "dev"))
		var r registered
		if err := json.Unmarshal([]byte(body), &r); err != nil || r.RegistrationState.AssignedHub != hubName || r.RegistrationState.Substatus != substatus {
			t.Fatalf("%s, want %s at %s", body, substatus, hubName)
		}
	}
	own, _, _ := strings.Cut(strings.TrimPrefix(connectionStringOf(t, s, "x"), "HostName="), ";")
	group(linked, "there")
	assigned("initialAssignment", linked)
	if twin := rest(t, other, "GET", "/twins/dev?api-version=2021-04-12", ""); !strings.Contains(twin, `"made":"there"`) {
		t.Errorf("the twin in the linked hub: %s", twin)
	}
	rest(t, other, "PATCH", "/twins/dev?api-version=2021-04-12", `{"properties":{"desired":{"kept":1}}}`)
	assigned("reprovisionedToInitialAssignment", linked)
	group(own, "here")
	assigned("deviceDataMigrated", own)
	if twin := rest(t, s, "GET", "/twins/dev?api-version=2021-04-12", ""); !strings.Contains(twin, `"made":"there"`) || !strings.Contains(twin, `"kept":1`) {
		t.Errorf("the twin that was moved: %s", twin)
	}
	if other.HasIdentity("dev", "") {
		t.Error("the device is still in the hub that it was moved from")
	}
	group(linked, "again")
	assigned("deviceDataMigrated", linked)
	if s.HasIdentity("dev", "") || !other.HasIdentity("dev", "") {
		t.Error("the device was not moved back")
	}
}
