package iothub_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
)

func TestMessageSize(t *testing.T) {
	for _, test := range []struct {
		m    iothub.Message
		want int
	}{
		{iothub.Message{}, 0},
		{iothub.Message{Payload: make([]byte, 100)}, 100},
		{iothub.Message{Properties: map[string]string{"ab": "cde", "f": ""}}, 6},
		{iothub.Message{Properties: map[string]string{"ü": "€"}}, 5}, // bytes, not characters
		{iothub.Message{MessageID: "1", CorrelationID: "22", UserID: "333", ContentType: "4444", ContentEncoding: "55555"}, 15},
		{iothub.Message{OutputName: "1", Component: "22", Schema: "333", InterfaceID: "4444", DiagnosticID: "55555", DiagnosticContext: "666666"}, 21},
		// What a sender does not send does not count.
		{iothub.Message{To: "x", InputName: "x", ConnectionDeviceID: "x", ConnectionModuleID: "x", Ack: "x", Operation: "x",
			CreationTime: time.Now(), ExpiryTime: time.Now(), SequenceNumber: 1, DeliveryCount: 1}, 0},
	} {
		if got := test.m.Size(); got != test.want {
			t.Errorf("%+v: size %d, want %d", test.m, got, test.want)
		}
	}
}

func TestMessageValidate(t *testing.T) {
	const limit = iothub.MaxMessageSize
	props := func(kv ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = kv[i+1]
		}
		return m
	}
	for name, m := range map[string]*iothub.Message{
		"zero":                  {},
		"largest payload":       {Payload: make([]byte, limit)},
		"largest with all":      {Payload: make([]byte, limit-10), MessageID: "12345", Properties: props("ab", "cde")},
		"property with no text": {Properties: props("k", "")},
		"any text":              {Properties: props("a b/%&=?#", "ü€𝄞\n\t;")},
		"dollar inside":         {Properties: props("a$", "$")},
		"longest id":            {MessageID: strings.Repeat("x", 128), CorrelationID: "-:.+%_#*?!(),=@;$'"},
		"security":              {Security: true},
		"security, spelled":     {Security: true, InterfaceID: iothub.SecurityInterfaceID},
	} {
		if err := m.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, test := range []struct {
		m    *iothub.Message
		want string
		kind iothub.Kind
	}{
		{nil, "nil", iothub.KindInvalidArgument},
		{&iothub.Message{Payload: make([]byte, limit+1)}, "262145 bytes", iothub.KindMessageTooLarge},
		{&iothub.Message{Payload: make([]byte, limit-4), Properties: props("ab", "cde")}, "the limit is 262144", iothub.KindMessageTooLarge},
		{&iothub.Message{Payload: make([]byte, limit), UserID: "u"}, "262145 bytes (payload 262144)", iothub.KindMessageTooLarge},
		{&iothub.Message{Payload: make([]byte, limit), MessageID: "m"}, "262145 bytes", iothub.KindMessageTooLarge},
		{&iothub.Message{Properties: props("", "v")}, "empty name", iothub.KindInvalidArgument},
		{&iothub.Message{Properties: props("$.mid", "v")}, `"$.mid"`, iothub.KindInvalidArgument},
		{&iothub.Message{Properties: props("k", "a\x00b")}, `"k"`, iothub.KindInvalidArgument},
		{&iothub.Message{Properties: props("k\x00", "v")}, `"k\x00"`, iothub.KindInvalidArgument},
		{&iothub.Message{Properties: props("k", "\xff")}, `"k"`, iothub.KindInvalidArgument},
		{&iothub.Message{Properties: props("\xffk", "v")}, `"\xffk"`, iothub.KindInvalidArgument},
		{&iothub.Message{MessageID: "a b"}, "MessageID", iothub.KindInvalidArgument},
		{&iothub.Message{MessageID: "ü"}, "MessageID", iothub.KindInvalidArgument},
		{&iothub.Message{MessageID: strings.Repeat("x", 129)}, "MessageID has 129 characters, the limit is 128", iothub.KindInvalidArgument},
		{&iothub.Message{CorrelationID: "a/b"}, "CorrelationID", iothub.KindInvalidArgument},
		{&iothub.Message{UserID: "\xff"}, "UserID", iothub.KindInvalidArgument},
		{&iothub.Message{ContentType: "a\x00"}, "ContentType", iothub.KindInvalidArgument},
		{&iothub.Message{ContentEncoding: "a\x00"}, "ContentEncoding", iothub.KindInvalidArgument},
		{&iothub.Message{OutputName: "a\x00"}, "OutputName", iothub.KindInvalidArgument},
		{&iothub.Message{Component: "\xc0\x80"}, "Component", iothub.KindInvalidArgument},
		{&iothub.Message{Schema: "\xed\xa0\x80"}, "Schema", iothub.KindInvalidArgument}, // a surrogate
		{&iothub.Message{InterfaceID: "a\x00"}, "InterfaceID", iothub.KindInvalidArgument},
		{&iothub.Message{DiagnosticID: "a\x00"}, "DiagnosticID", iothub.KindInvalidArgument},
		{&iothub.Message{DiagnosticContext: "a\x00"}, "DiagnosticContext", iothub.KindInvalidArgument},
		{&iothub.Message{Security: true, InterfaceID: "dtmi:x;1"}, "InterfaceID", iothub.KindInvalidArgument},
	} {
		err := test.m.Validate()
		if iothub.KindOf(err) != test.kind || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v; want %v that mentions %q", err, test.kind, test.want)
			continue
		}
		if !iothub.NotSent(err) || iothub.Retryable(err) {
			t.Errorf("%v: NotSent %v, Retryable %v", err, iothub.NotSent(err), iothub.Retryable(err))
		}
	}
}

func TestForOutput(t *testing.T) {
	m := &iothub.Message{Payload: []byte("p"), OutputName: "old", MessageID: "1"}
	c, err := m.ForOutput("new")
	if err != nil || c.OutputName != "new" || c.MessageID != "1" || string(c.Payload) != "p" || m.OutputName != "old" {
		t.Errorf("got %+v, %v; the original is %+v", c, err, m)
	}
	if _, err := m.ForOutput(""); iothub.KindOf(err) != iothub.KindInvalidArgument {
		t.Errorf("no name: %v", err)
	}
	if _, err := (*iothub.Message)(nil).ForOutput("new"); iothub.KindOf(err) != iothub.KindInvalidArgument {
		t.Errorf("no message: %v", err)
	}
}

func TestIdentity(t *testing.T) {
	for _, test := range []struct {
		id               iothub.Identity
		string, resource string
		valid            bool
	}{
		{iothub.Identity{DeviceID: "dev1"}, "dev1", "h/devices/dev1", true},
		{iothub.Identity{DeviceID: "dev1", ModuleID: "mod1"}, "dev1/mod1", "h/devices/dev1/modules/mod1", true},
		{iothub.Identity{DeviceID: "a#%b", ModuleID: "$edgeHub"}, "a#%b/$edgeHub", "h/devices/a%23%25b/modules/%24edgeHub", true},
		{iothub.Identity{DeviceID: strings.Repeat("x", 128)}, strings.Repeat("x", 128), "h/devices/" + strings.Repeat("x", 128), true},
		{iothub.Identity{}, "", "h/devices/", false},
		{iothub.Identity{ModuleID: "m"}, "/m", "h/devices//modules/m", false},
		{iothub.Identity{DeviceID: "d", ModuleID: "m;n"}, "d/m;n", "h/devices/d/modules/m%3Bn", false},
		{iothub.Identity{DeviceID: strings.Repeat("x", 129)}, strings.Repeat("x", 129), "h/devices/" + strings.Repeat("x", 129), false},
		{iothub.Identity{DeviceID: "a\x7f"}, "a\x7f", "h/devices/a%7F", false},
	} {
		err := test.id.Validate()
		if test.id.String() != test.string || test.id.Resource("h") != test.resource || (err == nil) != test.valid {
			t.Errorf("%q: resource %q, %v", test.id, test.id.Resource("h"), err)
		}
		if err != nil && iothub.KindOf(err) != iothub.KindInvalidArgument {
			t.Errorf("%q: kind %v", test.id, iothub.KindOf(err))
		}
		if test.id.IsModule() != (test.id.ModuleID != "") {
			t.Errorf("%q: IsModule %v", test.id, test.id.IsModule())
		}
	}
}

func ExampleMessage() {
	msg := &iothub.Message{
		Payload:     []byte(`{"temperature": 21.5}`),
		ContentType: "application/json", ContentEncoding: "utf-8",
		Properties: map[string]string{"room": "attic"},
	}
	fmt.Println(msg.Size(), "bytes of", iothub.MaxMessageSize, "–", msg.Validate())
	// Output: 51 bytes of 262144 – <nil>
}
