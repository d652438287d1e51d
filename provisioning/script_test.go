package provisioning_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/simhub"
	"github.com/iothub-go/iothub/internal/simnet"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
	"github.com/iothub-go/iothub/provisioning"
)

const (
	begun    = `{"operationId":"4.op","status":"assigning"}`
	assigned = `{"operationId":"4.op","status":"assigned","registrationState":{"registrationId":"reg1","assignedHub":"hub.example",` +
		`"deviceId":"dev1","status":"assigned","substatus":"initialAssignment","payload":{"x":[1]},"symmetricKey":{"enrollmentGroupId":"g"}}}`
	unauthorized = `{"errorCode":401002,"trackingId":"t","message":"Unauthorized","timestampUtc":"2024-01-02T03:04:05.678Z"}`
)

// reply is what the service does with one request.
func reply(status int, wait, body string) simhub.Reply {
	return simhub.Reply{Status: status, Wait: wait, Body: body}
}

// register runs Register against s in virtual time.
func register(t *testing.T, s *simhub.Provisioning, ctx context.Context, plan func(int) simnet.Plan, edit func(*provisioning.Config)) (a *provisioning.Assignment, took time.Duration, err error) {
	t.Helper()
	n := simnet.New(plan)
	go s.Serve(n)
	key, err := provisioning.NewKeyAttestation(groupKey)
	if err != nil {
		t.Fatal(err)
	}
	c := &provisioning.Config{
		IDScope: "0ne1", RegistrationID: "reg1", Attestation: key, Options: &iothub.ClientOptions{
			DialTLS: n.Dial, ProductInfo: "widget/1",
			Retry: &iothub.RetryPolicy{Strategy: iothub.RetryInterval, InitialDelay: 10 * time.Second},
		}}
	if edit != nil {
		edit(c)
	}
	start := time.Now()
	a, err = provisioning.Register(ctx, c)
	took = time.Since(start)
	n.Close()
	s.Wait() // nothing is left open
	return a, took, err
}

// What is asked, and when.
func TestConversation(t *testing.T) {
	for _, test := range []struct {
		name   string
		script []simhub.Reply
		late   bool
		want   []string // requests
	}{
		{"at once", []simhub.Reply{reply(200, "", assigned)}, false, []string{`0s PUT/iotdps-register  {"registrationId":"reg1","payload":{"a":1}}`, "goodbye"}},
		{"asked for after what the service says", []simhub.Reply{reply(202, "7", begun), reply(202, "", begun), reply(202, "9999", begun), reply(200, "", assigned)}, false, []string{
			`0s PUT/iotdps-register  {"registrationId":"reg1","payload":{"a":1}}`, "7s GET/iotdps-get-operationstatus operationId=4.op",
			"9s GET/iotdps-get-operationstatus operationId=4.op", "5m9s GET/iotdps-get-operationstatus operationId=4.op", "goodbye"}},
		{"answers before acknowledgements", []simhub.Reply{reply(202, "3", begun), reply(200, "", assigned)}, true, []string{
			`0s PUT/iotdps-register  {"registrationId":"reg1","payload":{"a":1}}`, "3s GET/iotdps-get-operationstatus operationId=4.op", "goodbye"}},
		{"the link is lost while it is assigned", []simhub.Reply{reply(202, "3", begun), reply(-1, "", ""), reply(200, "", assigned)}, false, []string{
			`0s PUT/iotdps-register  {"registrationId":"reg1","payload":{"a":1}}`, "3s GET/iotdps-get-operationstatus operationId=4.op",
			"13s GET/iotdps-get-operationstatus operationId=4.op", "goodbye"}},
		{"the service forgets", []simhub.Reply{reply(202, "3", begun), reply(404, "", `{"errorCode":404204,"message":"no such operation"}`), reply(200, "", assigned)}, false, []string{
			`0s PUT/iotdps-register  {"registrationId":"reg1","payload":{"a":1}}`, "3s GET/iotdps-get-operationstatus operationId=4.op",
			`5s PUT/iotdps-register  {"registrationId":"reg1","payload":{"a":1}}`, "goodbye"}},
		{"throttled", []simhub.Reply{reply(429, "25", `{"errorCode":429001,"message":"slow"}`), reply(200, "", assigned)}, false, []string{
			`0s PUT/iotdps-register  {"registrationId":"reg1","payload":{"a":1}}`, "goodbye",
			`25s PUT/iotdps-register  {"registrationId":"reg1","payload":{"a":1}}`, "goodbye"}},
		{"an error of the service", []simhub.Reply{reply(202, "1", begun), reply(503, "", "<html>"), reply(500, "", ""), reply(200, "", assigned)}, false, []string{
			`0s PUT/iotdps-register  {"registrationId":"reg1","payload":{"a":1}}`, "1s GET/iotdps-get-operationstatus operationId=4.op", "goodbye",
			"11s GET/iotdps-get-operationstatus operationId=4.op", "goodbye", "21s GET/iotdps-get-operationstatus operationId=4.op", "goodbye"}},
		{"no answer", []simhub.Reply{reply(0, "", ""), reply(200, "", assigned)}, false, []string{
			`0s PUT/iotdps-register  {"registrationId":"reg1","payload":{"a":1}}`, "goodbye",
			`40s PUT/iotdps-register  {"registrationId":"reg1","payload":{"a":1}}`, "goodbye"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &simhub.Provisioning{Script: test.script, Late: test.late}
				a, _, err := register(t, s, t.Context(), nil, func(c *provisioning.Config) { c.Payload = json.RawMessage(`{"a":1}`) })
				if err != nil {
					t.Fatal(err)
				}
				if a.HubHostName != "hub.example" || a.DeviceID != "dev1" || a.RegistrationID != "reg1" || a.IDScope != "0ne1" ||
					string(a.Payload) != `{"x":[1]}` || a.EnrollmentGroup != "g" {
					t.Errorf("%+v", a)
				}
				if got := s.Requests(); fmt.Sprint(got) != fmt.Sprint(test.want) {
					t.Errorf("requests\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
				}
				c := s.Connects()[0]
				if c.ClientID != "reg1" || !c.CleanSession || !strings.HasPrefix(c.Username, "0ne1/registrations/reg1/api-version=2021-06-01&ClientVersion=widget%2F1") ||
					!strings.HasPrefix(string(c.Password), "SharedAccessSignature sr=0ne1%2Fregistrations%2Freg1&sig=") || !strings.HasSuffix(string(c.Password), "&skn=registration") {
					t.Errorf("CONNECT %+v %q", c, c.Password)
				}
			})
		})
	}
}

// What ends a registration, and what is said of it.
func TestFailures(t *testing.T) {
	state := func(s string) string { return `{"operationId":"4.op","status":"` + s + `"}` }
	for _, test := range []struct {
		name string
		s    *simhub.Provisioning
		kind iothub.Kind
		text string
	}{
		{"return code 5", &simhub.Provisioning{Connack: 5}, iothub.KindUnauthorized, "return code 5"},
		{"return code 1", &simhub.Provisioning{Connack: 1}, iothub.KindProtocol, "MQTT 3.1.1"},
		{"no subscription", &simhub.Provisioning{Suback: 0x80}, iothub.KindProtocol, "subscription"},
		{"refused", &simhub.Provisioning{Script: []simhub.Reply{reply(401, "", unauthorized)}}, iothub.KindUnauthorized, `"reg1" is enrolled`},
		{"disabled", &simhub.Provisioning{Script: []simhub.Reply{reply(200, "", state("disabled"))}}, iothub.KindDeviceDisabled, "enable"},
		{"no hub", &simhub.Provisioning{Script: []simhub.Reply{reply(200, "", `{"status":"failed","registrationState":{"errorCode":400208,"errorMessage":"Custom allocation failed"}}`)}},
			iothub.KindNotFound, "Custom allocation failed"},
		{"not authorized after all", &simhub.Provisioning{Script: []simhub.Reply{reply(200, "", `{"status":"failed","registrationState":{"errorCode":400209,"errorMessage":"e"}}`)}}, iothub.KindUnauthorized, "e"},
		{"failed without a reason", &simhub.Provisioning{Script: []simhub.Reply{reply(200, "", state("failed"))}}, iothub.KindUnknown, "does not say why"},
		{"unknown status", &simhub.Provisioning{Script: []simhub.Reply{reply(200, "", state("perhaps"))}}, iothub.KindProtocol, "perhaps"},
		{"assigned to nothing", &simhub.Provisioning{Script: []simhub.Reply{reply(200, "", state("assigned"))}}, iothub.KindProtocol, "where"},
		{"assigned to no host", &simhub.Provisioning{Script: []simhub.Reply{reply(200, "", strings.Replace(assigned, "hub.example", "hub/example", 1))}}, iothub.KindProtocol, "host name"},
		{"assigned as nobody", &simhub.Provisioning{Script: []simhub.Reply{reply(200, "", strings.Replace(assigned, "dev1", "a b", 1))}}, iothub.KindProtocol, "DeviceId"},
		{"no operation", &simhub.Provisioning{Script: []simhub.Reply{reply(202, "", `{"status":"assigning"}`)}}, iothub.KindProtocol, "ask"},
		{"operation that breaks topics", &simhub.Provisioning{Script: []simhub.Reply{reply(202, "", `{"operationId":"a/#","status":"assigning"}`)}}, iothub.KindProtocol, "operation"},
		{"no JSON", &simhub.Provisioning{Script: []simhub.Reply{reply(200, "", "assigned")}}, iothub.KindProtocol, "JSON"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, took, err := register(t, test.s, t.Context(), nil, nil)
				if iothub.KindOf(err) != test.kind || !strings.Contains(err.Error(), test.text) || took != 0 {
					t.Errorf("%+v, %v, after %v", a, err, took)
				}
			})
		})
	}
}

// ctx ends a registration wherever it stands, at once, and leaves nothing behind: the
// bubble of the test ends only when every goroutine has.
func TestContextEnds(t *testing.T) {
	for name, test := range map[string]struct {
		s    *simhub.Provisioning
		plan simnet.Plan
		says string // in the error
	}{
		"dialling":             {s: &simhub.Provisioning{}, plan: simnet.Plan{Silent: true}, says: "connecting to global.azure-devices-provisioning.net over mqtt"},
		"no CONNACK":           {s: &simhub.Provisioning{Deaf: "CONNECT"}, says: "connecting to"},
		"no SUBACK":            {s: &simhub.Provisioning{Deaf: "SUBSCRIBE"}, says: "connecting to"},
		"no answer":            {s: &simhub.Provisioning{Script: []simhub.Reply{reply(0, "", "")}}, says: "waiting for an answer"},
		"being assigned":       {s: &simhub.Provisioning{Script: []simhub.Reply{reply(202, "60", begun)}}, says: "to find a hub"},
		"waiting to try again": {s: &simhub.Provisioning{}, plan: simnet.Plan{Refuse: syscall.ECONNREFUSED}, says: "refused"},
	} {
		for _, cancel := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s %v", name, cancel), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ctx, stop := context.WithTimeout(t.Context(), 25*time.Second)
					defer stop()
					want, kind := context.DeadlineExceeded, iothub.KindTimeout
					if cancel {
						want, kind = context.Canceled, iothub.KindUnknown
						time.AfterFunc(20*time.Second, stop)
					}
					_, took, err := register(t, test.s, ctx, func(int) simnet.Plan { return test.plan }, nil)
					if !errors.Is(err, want) || iothub.KindOf(err) != kind || took < 20*time.Second || took > 25*time.Second || !strings.Contains(err.Error(), test.says) {
						t.Errorf("%v after %v", err, took)
					}
					// What has timed out once works when it is called again.
					again := &simhub.Provisioning{Script: []simhub.Reply{reply(200, "", assigned)}}
					if _, _, err := register(t, again, t.Context(), nil, nil); err != nil {
						t.Error(err)
					}
				})
			})
		}
	}
}

// The retry policy counts.
func TestRetryPolicy(t *testing.T) {
	down := func(int) simnet.Plan { return simnet.Plan{Refuse: syscall.ECONNREFUSED} }
	for _, test := range []struct {
		policy iothub.RetryPolicy
		took   time.Duration
	}{
		{iothub.RetryPolicy{Strategy: iothub.RetryNone}, 0},
		{iothub.RetryPolicy{Strategy: iothub.RetryInterval, InitialDelay: 10 * time.Second, Limit: 35 * time.Second}, 30 * time.Second},
		{iothub.RetryPolicy{Strategy: iothub.RetryExponentialBackoff, Limit: time.Minute}, 31 * time.Second}, // 1+2+4+8+16, then 30
	} {
		synctest.Test(t, func(t *testing.T) {
			_, took, err := register(t, &simhub.Provisioning{}, t.Context(), down, func(c *provisioning.Config) { c.Options.Retry = &test.policy })
			if iothub.KindOf(err) != iothub.KindNetwork || took != test.took {
				t.Errorf("%v: %v after %v", test.policy, err, took)
			}
		})
	}
}

// Whatever the peer sends, Register ends with an error or an assignment that is whole.
func FuzzRegister(f *testing.F) {
	connack := mqtt.AppendConnack(nil, false, 0)
	suback := mqtt.AppendSuback(nil, 1, []byte{1})
	publish := func(topic, body string) []byte {
		p, err := mqtt.AppendPublish(nil, &mqtt.PublishPacket{Topic: []byte(topic), Payload: []byte(body), QoS: 1, PacketID: 1})
		if err != nil {
			f.Fatal(err)
		}
		return p
	}
	f.Add(false, bytes.Join([][]byte{connack, suback, publish("$dps/registrations/res/200/?$rid=2", assigned)}, nil))
	f.Add(false, bytes.Join([][]byte{connack, suback, publish("$dps/registrations/res/202/?$rid=2&retry-after=3", begun),
		publish("$dps/registrations/res/401/?$rid=3", unauthorized)}, nil))
	f.Add(true, []byte("HTTP/1.1 202 Accepted\r\nRetry-After: 3\r\nContent-Length: 44\r\n\r\n"+begun+"HTTP/1.1 401 Unauthorized\r\nContent-Length: 3\r\n\r\n{}\n"))
	f.Add(true, []byte("HTTP/1.1 200 OK\r\nRetry-After: Sat, 01 Jan 2000 00:00:09 GMT\r\n\r\n"+assigned))
	f.Fuzz(func(t *testing.T, https bool, data []byte) {
		synctest.Test(t, func(t *testing.T) {
			key, err := provisioning.NewKeyAttestation(groupKey)
			if err != nil {
				t.Fatal(err)
			}
			c := &provisioning.Config{IDScope: "0ne1", RegistrationID: "reg1", Attestation: key, Options: &iothub.ClientOptions{
				Retry: &iothub.RetryPolicy{Strategy: iothub.RetryNone},
				DialTLS: func(context.Context, string, string) (net.Conn, error) {
					client, server := simnet.Pair(simnet.Direction{}, simnet.Direction{})
					go io.Copy(io.Discard, server)
					go server.Write(data)
					time.AfterFunc(time.Minute, func() { server.Close() }) // the answers wait for their questions
					return client, nil
				},
			}}
			if https {
				c.Transport = provisioning.HTTPS
			}
			a, err := provisioning.Register(t.Context(), c)
			if err == nil && (a.HubHostName == "" || a.DeviceID == "" || a.Credential() == nil) {
				t.Errorf("%+v", a)
			}
		})
	})
}
