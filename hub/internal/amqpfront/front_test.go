package amqpfront

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	goamqp "github.com/Azure/go-amqp"

	"github.com/iothub-go/iothub/hub/internal/core"
)

func TestPutToken(t *testing.T) {
	e := newEnv(t)
	c := e.connect(nil)
	good := e.token("service", hostName, time.Hour)
	for _, test := range []struct {
		name, token string
		status      int32
	}{
		{hostName, good, 200},
		{hostName, good[:len(good)-30], 401},
		{hostName, "SharedAccessSignature sr=x", 401},
		{hostName, "", 401},
		{"", good, 400},
		{hostName, e.token("service", hostName, -time.Hour), 401},
		{hostName, e.token("service", "other.test", time.Hour), 401},
		{hostName, strings.Replace(good, "skn=service", "skn=iothubowner", 1), 401},
		{"sb://" + hostName + "/hub/$management", e.token("service", "sb://"+hostName+"/hub/$management", time.Hour), 200},
	} {
		if status, text := e.putToken(c, test.name, test.token); status != test.status {
			t.Errorf("%s %s: %d %s", test.name, test.token, status, text)
		}
	}
}

func c2d(to, id string, ack string) *goamqp.Message {
	m := &goamqp.Message{
		Data:                  [][]byte{[]byte("hello")},
		Properties:            &goamqp.MessageProperties{To: &to, MessageID: id},
		ApplicationProperties: map[string]any{"level": "high"},
	}
	if ack != "" {
		m.ApplicationProperties["iothub-ack"] = ack
	}
	return m
}

func TestSendToDevice(t *testing.T) {
	e := newEnv(t)
	s := e.service("service")
	ctx := t.Context()
	w, err := s.NewSender(ctx, "amqps://"+hostName+":5671/messages/deviceBound", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Send(ctx, c2d("/devices/dev%31/messages/deviceBound", "m1", "full"), nil); err != nil {
		t.Fatal(err)
	}
	m, ok, err := e.hub.LockC2D("dev1")
	if err != nil || !ok || m.MessageID != "m1" || m.Ack != "full" || string(m.Payload) != "hello" || len(m.Properties) != 1 ||
		m.Properties[0] != (core.Property{Name: "level", Value: "high"}) {
		t.Fatalf("%+v %v %v", m, ok, err)
	}
	for _, test := range []struct {
		m         *goamqp.Message
		condition string
		code      int
	}{
		{c2d("/devices/nobody/messages/devicebound", "x", ""), "amqp:not-found", 404001},
		{c2d("/devices/dev1/messages/events", "x", ""), "com.microsoft:argument-error", 400004},
		{c2d("", "x", ""), "com.microsoft:argument-error", 400004},
		{c2d("/devices/dev1/messages/devicebound", "x", "perhaps"), "com.microsoft:argument-error", 400004},
		{&goamqp.Message{Data: [][]byte{make([]byte, 70_000)}, Properties: c2d("/devices/dev1/messages/devicebound", "", "").Properties},
			"amqp:link:message-size-exceeded", 413001},
	} {
		err := w.Send(ctx, test.m, nil)
		if conditionOf(err) != test.condition || !strings.Contains(fmt.Sprint(err), fmt.Sprint(test.code)) {
			t.Errorf("%v, want %s %d", err, test.condition, test.code)
		}
	}
	for range 49 {
		if err := w.Send(ctx, c2d("/devices/dev1/messages/devicebound", "", ""), nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Send(ctx, c2d("/devices/dev1/messages/devicebound", "", ""), nil); conditionOf(err) != "amqp:resource-limit-exceeded" {
		t.Errorf("a full queue: %v", err)
	}
}

func TestFeedback(t *testing.T) {
	e := newEnv(t)
	s := e.service("service")
	ctx := t.Context()
	w, err := s.NewSender(ctx, "/messages/devicebound", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Send(ctx, c2d("/devices/dev1/messages/devicebound", "m1", "full"), nil); err != nil {
		t.Fatal(err)
	}
	m, _, err := e.hub.LockC2D("dev1")
	if err != nil {
		t.Fatal(err)
	}
	if err := e.hub.SettleC2D("dev1", m.LockToken, core.Complete); err != nil {
		t.Fatal(err)
	}
	second := goamqp.ReceiverSettleModeSecond
	receive := func() (*goamqp.Receiver, *goamqp.Message) {
		r, err := s.NewReceiver(ctx, "/messages/serviceBound/feedback", &goamqp.ReceiverOptions{SettlementMode: &second, Credit: 5})
		if err != nil {
			t.Fatal(err)
		}
		m, err := r.Receive(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		var records []core.FeedbackRecord
		if err := json.Unmarshal(m.GetData(), &records); err != nil || len(records) != 1 || records[0].OriginalMessageID != "m1" ||
			records[0].StatusCode != "Success" || records[0].DeviceID != "dev1" {
			t.Errorf("%s: %v", m.GetData(), err)
		}
		if len(m.DeliveryTag) != 16 || *m.Properties.ContentType != feedbackType || string(m.Properties.UserID) != "hub" ||
			m.Annotations["iothub-enqueuedtime"] == nil {
			t.Errorf("tag % x, properties %+v, annotations %v", m.DeliveryTag, m.Properties, m.Annotations)
		}
		return r, m
	}
	// Given back, lost with the link, then taken.
	r, got := receive()
	if err := r.ReleaseMessage(ctx, got); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Receive(ctx, nil); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(ctx); err != nil {
		t.Fatal(err)
	}
	r, got = receive()
	if err := r.AcceptMessage(ctx, got); err != nil {
		t.Fatal(err)
	}
	if b := e.hub.TryFeedback(1); b != nil {
		t.Errorf("it is still there: %+v", b)
	}
}

func TestRefusals(t *testing.T) {
	e := newEnv(t)
	ctx := t.Context()
	attach := func(s *goamqp.Session, receives bool, address string) error {
		if receives {
			_, err := s.NewReceiver(ctx, address, nil)
			return err
		}
		_, err := s.NewSender(ctx, address, nil)
		return err
	}
	for _, test := range []struct {
		policy   string // empty: no token at all
		receives bool
		address  string
		want     string
	}{
		{"", false, "/messages/devicebound", "amqp:unauthorized-access"},
		{"", true, "/nowhere", "amqp:unauthorized-access"},
		{"device", false, "/messages/devicebound", "amqp:unauthorized-access"},
		{"registryReadWrite", true, "/messages/servicebound/feedback", "amqp:unauthorized-access"},
		{"device", true, "/messages/events", "amqp:unauthorized-access"},
		{"service", true, "/messages/nothing", "amqp:not-found"},
		{"service", true, "/messages/devicebound", "amqp:not-found"},
		{"service", true, "messages/events/", "amqp:link:redirect"},
		{"service", true, "amqps://" + hostName + "/messages/events/$management", "amqp:link:redirect"},
	} {
		var s *goamqp.Session
		if test.policy == "" {
			s = e.session(e.connect(nil))
		} else {
			s = e.service(test.policy)
		}
		if err := attach(s, test.receives, test.address); conditionOf(err) != test.want {
			t.Errorf("%s at %s: %v, want %s", test.policy, test.address, err, test.want)
		}
	}
}

func TestPlain(t *testing.T) {
	e := newEnv(t)
	for _, test := range []struct {
		user, password string
		ok             bool
	}{
		{"service@sas.root.hub", e.token("service", hostName, time.Hour), true},
		{"service", e.policyKey("service"), true},
		{"service", e.policyKey("device"), false},
		{"iothubowner@sas.root.hub", e.token("service", hostName, time.Hour), false},
		{"service@sas.root.hub", "wrong", false},
		{"service@sas.root.hub", e.token("service", "other.test", time.Hour), false},
	} {
		c, err := goamqp.NewConn(t.Context(), e.dial(), &goamqp.ConnOptions{HostName: hostName, SASLType: goamqp.SASLTypePlain(test.user, test.password)})
		if (err == nil) != test.ok {
			t.Errorf("%s: %v", test.user, err)
		}
		if err != nil {
			continue
		}
		if _, err := e.session(c).NewSender(t.Context(), "/messages/devicebound", nil); err != nil {
			t.Errorf("%s: %v", test.user, err)
		}
		_ = c.Close() // a pipe has no graceful end
	}
	if strings.Contains(e.log.String(), e.policyKey("device")) {
		t.Error("a key is in the log")
	}
}
