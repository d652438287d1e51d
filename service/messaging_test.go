package service_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azeventhubs/v2"
	"github.com/Azure/go-amqp"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/service"
)

func TestC2DMessage(t *testing.T) {
	expiry := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	m, err := service.C2DMessage("dev%1", &iothub.Message{
		Payload: []byte("x"), MessageID: "m1", CorrelationID: "c1", UserID: "u", ContentType: "text/plain", ContentEncoding: "utf-8",
		ExpiryTime: expiry, Ack: "full", Properties: map[string]string{"level": "high"},
	})
	if err != nil {
		t.Fatal(err)
	}
	p := m.Properties
	if *p.To != "/devices/dev%251/messages/devicebound" || p.MessageID != "m1" || p.CorrelationID != "c1" || string(p.UserID) != "u" ||
		*p.ContentType != "text/plain" || *p.ContentEncoding != "utf-8" || !p.AbsoluteExpiryTime.Equal(expiry) || p.CreationTime != nil ||
		!reflect.DeepEqual(m.ApplicationProperties, map[string]any{"level": "high", "iothub-ack": "full"}) || string(m.Data[0]) != "x" {
		t.Errorf("%+v %+v", m, p)
	}
	for want, bad := range map[iothub.Kind]*iothub.Message{
		iothub.KindMessageTooLarge: {Payload: make([]byte, service.MaxC2DSize+1)},
		iothub.KindInvalidArgument: {Ack: "maybe"},
	} {
		if _, err := service.C2DMessage("d", bad); iothub.KindOf(err) != want || !iothub.NotSent(err) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	if _, err := service.C2DMessage("d", nil); iothub.KindOf(err) != iothub.KindInvalidArgument {
		t.Error(err)
	}
}

// AMQP's conditions, and the codes in their descriptions, become the errors that
// the same refusals are over REST.
func TestAMQPErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error
		kind iothub.Kind
		code int
		text string
	}{
		"a code": {&amqp.Error{Condition: amqp.ErrCondNotFound, Description: `{"errorCode":404001,"trackingId":"x","message":"no such device","timestampUtc":""}`},
			iothub.KindNotFound, 404001, "no such device"},
		"a condition":       {&amqp.Error{Condition: amqp.ErrCondResourceLimitExceeded, Description: "full"}, iothub.KindThrottled, 403004, "full"},
		"of the service":    {&amqp.Error{Condition: "com.microsoft:argument-error"}, iothub.KindInvalidArgument, 400004, "com.microsoft:argument-error"},
		"a code in info":    {&amqp.Error{Condition: "x", Info: map[string]any{"com.microsoft:error-code": int32(401003)}}, iothub.KindUnauthorized, 401003, "x"},
		"a link that ended": {&amqp.LinkError{RemoteErr: &amqp.Error{Condition: amqp.ErrCondUnauthorizedAccess, Description: "ExpiredToken"}}, iothub.KindUnauthorized, 401002, "ExpiredToken"},
		"forced":            {&amqp.ConnError{RemoteErr: &amqp.Error{Condition: amqp.ErrCondConnectionForced}}, iothub.KindUnavailable, 0, "amqp:connection:forced"},
		"cut":               {&amqp.ConnError{}, iothub.KindNetwork, 0, "amqp: connection closed"},
	} {
		e, ok := errors.AsType[*iothub.Error](service.AMQPError(t.Context(), tt.err))
		if !ok || e.Kind != tt.kind || e.Code != tt.code || e.Err.Error() != tt.text || e.Retryable != tt.kind.Retryable() {
			t.Errorf("%s: %+v", name, e)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := service.AMQPError(ctx, &amqp.ConnError{}); !errors.Is(err, context.Canceled) || iothub.Retryable(err) {
		t.Error(err)
	}
	if err := service.AMQPError(t.Context(), iothub.ErrClosed); !errors.Is(err, iothub.ErrClosed) {
		t.Error(err)
	}
}

func TestRedirect(t *testing.T) {
	for _, tt := range []struct {
		info map[string]any
		want string
	}{
		{map[string]any{"hostname": "iothub-ns-x.servicebus.windows.net", "network-host": "iothub-ns-x.servicebus.windows.net", "port": uint16(5671),
			"address": "amqps://iothub-ns-x.servicebus.windows.net:5671/myhub/$management"}, "iothub-ns-x.servicebus.windows.net  myhub true"},
		{map[string]any{"hostname": "127.0.0.1", "port": int32(15671), "address": "amqps://127.0.0.1:5671/hub1/"}, "127.0.0.1 15671 hub1 true"},
		{map[string]any{"address": "amqps://ns:5671/hub1/"}, "ns  hub1 true"},
		{map[string]any{"hostname": "ns"}, "   false"},
		{map[string]any{"hostname": 5, "address": "://"}, "   false"},
		{nil, "   false"},
	} {
		host, port, hub, ok := service.ParseRedirect(tt.info)
		if got := fmt.Sprint(host, " ", port, " ", hub, " ", ok); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.info, got, tt.want)
		}
	}
}

func TestNewEvent(t *testing.T) {
	when := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	contentType := "application/json"
	e := service.NewEvent("3", &azeventhubs.ReceivedEventData{
		EventData:      azeventhubs.EventData{Body: []byte("{}"), Properties: map[string]any{"level": "high", "n": int32(5)}},
		EnqueuedTime:   &when,
		Offset:         "4097",
		SequenceNumber: 72,
		RawAMQPMessage: &azeventhubs.AMQPAnnotatedMessage{Properties: &azeventhubs.AMQPAnnotatedMessageProperties{MessageID: "m1", ContentType: &contentType, UserID: []byte("u")}},
		SystemProperties: map[string]any{
			"iothub-connection-device-id": "dev1", "iothub-connection-module-id": "mod1", "iothub-connection-auth-generation-id": "637",
			"iothub-connection-auth-method": `{"scope":"device","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}`,
			"iothub-message-source":         "Telemetry", "dt-dataschema": "dtmi:x;1", "dt-subject": "thermostat", "iothub-enqueuedtime": when,
		},
	})
	want := &service.Event{
		Body: []byte("{}"), Properties: map[string]string{"level": "high", "n": "5"}, DeviceID: "dev1", ModuleID: "mod1", GenerationID: "637",
		AuthMethod: service.AuthMethod{Scope: "device", Type: "sas", Issuer: "iothub"}, Source: "Telemetry", ModelID: "dtmi:x;1", Component: "thermostat",
		MessageID: "m1", UserID: "u", ContentType: contentType, Partition: "3", Offset: "4097", SequenceNumber: 72, EnqueuedTime: when,
		Annotations: map[string]any{"iothub-enqueuedtime": when},
	}
	if !reflect.DeepEqual(e, want) {
		t.Errorf("%+v, want %+v", e, want)
	}
	if e := service.NewEvent("0", &azeventhubs.ReceivedEventData{}); e.Partition != "0" {
		t.Errorf("%+v", e)
	}
}

func TestCheckpointStores(t *testing.T) {
	dir := t.TempDir() + "/new"
	for name, s := range map[string]service.CheckpointStore{"memory": &service.MemoryCheckpoints{}, "files": service.FileCheckpoints(dir)} {
		ctx, of := t.Context(), service.Checkpoint{EventHub: "hub/../1", ConsumerGroup: "$Default", Partition: "0"}
		if _, ok, err := s.Load(ctx, of); ok || err != nil {
			t.Errorf("%s: %v %v", name, ok, err)
		}
		other := of
		other.Partition = "1"
		for i := range int64(3) {
			of.SequenceNumber, of.Offset, other.SequenceNumber = i, fmt.Sprint(i*100), 77
			if err := errors.Join(s.Save(ctx, of), s.Save(ctx, other)); err != nil {
				t.Fatal(err)
			}
		}
		if c, ok, err := s.Load(ctx, service.Checkpoint{EventHub: "hub/../1", ConsumerGroup: "$Default", Partition: "0"}); !ok || err != nil || c != of {
			t.Errorf("%s: %+v %v %v", name, c, ok, err)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 2 {
		t.Errorf("%v %v", files, err)
	}
	if err := os.WriteFile(dir+"/"+files[0].Name(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := service.FileCheckpoints(dir).Load(t.Context(), service.Checkpoint{EventHub: "hub/../1", ConsumerGroup: "$Default", Partition: "0"}); err == nil {
		t.Error("half a checkpoint was taken for a whole one")
	}
}

// Connection strings of Event Hubs that lack something are refused without a word
// of their secret.
func TestEventsConnectionString(t *testing.T) {
	for _, cs := range []string{
		"", "HostName=h;SharedAccessKeyName=service;SharedAccessKey=" + testKey,
		"Endpoint=sb://h/;SharedAccessKeyName=service;SharedAccessKey=" + testKey,
	} {
		if _, err := service.NewEventsFromConnectionString(cs, nil, nil); iothub.KindOf(err) != iothub.KindInvalidArgument || strings.Contains(err.Error(), testKey) {
			t.Errorf("%q: %v", cs, err)
		}
	}
	e, err := service.NewEventsFromConnectionString("Endpoint=sb://127.0.0.1:1/;SharedAccessKeyName=service;SharedAccessKey="+testKey+";EntityPath=hub1",
		&service.ClientOptions{Retry: &iothub.RetryPolicy{}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := e.Partitions(t.Context()); !errors.Is(err, iothub.ErrClosed) {
		t.Error(err)
	}
	for _, err := range e.Read(t.Context(), "0", service.FromStart()) {
		if !errors.Is(err, iothub.ErrClosed) {
			t.Error(err)
		}
	}
}

// A message that found no connection was certainly not sent.
func TestC2DWithoutAHub(t *testing.T) {
	c, err := service.NewClientFromConnectionString("HostName=127.0.0.1;SharedAccessKeyName=service;SharedAccessKey="+testKey,
		&service.ClientOptions{AMQPPort: 1, Retry: &iothub.RetryPolicy{}})
	if err != nil {
		t.Fatal(err)
	}
	err = c.SendC2D(t.Context(), "d", &iothub.Message{})
	if !iothub.NotSent(err) || iothub.KindOf(err) != iothub.KindNetwork {
		t.Error(err)
	}
	if _, err := c.Feedback(nil).Receive(t.Context()); iothub.KindOf(err) != iothub.KindNetwork {
		t.Error(err)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := c.SendC2D(t.Context(), "d", &iothub.Message{}); !errors.Is(err, iothub.ErrClosed) {
		t.Error(err)
	}
	if _, err := c.Feedback(nil).Receive(t.Context()); !errors.Is(err, iothub.ErrClosed) {
		t.Error(err)
	}
}
