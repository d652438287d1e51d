package topic

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestEscape(t *testing.T) {
	for _, tc := range []struct{ plain, escaped string }{
		{"", ""},
		{"AZaz09-._~", "AZaz09-._~"},
		{"/devices/dev1/messages/deviceBound", "%2Fdevices%2Fdev1%2Fmessages%2FdeviceBound"},
		{"dark red", "dark%20red"},
		{"a+b", "a%2Bb"},
		{"$.mid", "%24.mid"},
		{"application/json", "application%2Fjson"},
		{"2024-01-02T03:04:05.678Z", "2024-01-02T03%3A04%3A05.678Z"},
		{"100%", "100%25"},
		{"a=b&c?d#e", "a%3Db%26c%3Fd%23e"},
		{"!'()*", "%21%27%28%29%2A"},
		{"ä€\U0001f600", "%C3%A4%E2%82%AC%F0%9F%98%80"},
		{"\x00\x7f\xff", "%00%7F%FF"},
	} {
		if got := AppendEscaped([]byte("x"), tc.plain); string(got) != "x"+tc.escaped {
			t.Errorf("AppendEscaped(%q) = %q", tc.plain, got)
		}
		if got := EscapedLen(tc.plain); got != len(tc.escaped) {
			t.Errorf("EscapedLen(%q) = %d", tc.plain, got)
		}
		if got, err := AppendUnescaped([]byte("x"), []byte(tc.escaped)); string(got) != "x"+tc.plain || err != nil {
			t.Errorf("AppendUnescaped(%q) = %q, %v", tc.escaped, got, err)
		}
	}
}

func TestUnescape(t *testing.T) {
	for _, tc := range []struct{ escaped, plain string }{
		{"a+b c", "a+b c"}, // '+' is a plus, and what was not escaped stays
		{"%2f%2F", "//"},
		{"%2525", "%25"}, // once
	} {
		if got, err := AppendUnescaped(nil, []byte(tc.escaped)); string(got) != tc.plain || err != nil {
			t.Errorf("AppendUnescaped(%q) = %q, %v", tc.escaped, got, err)
		}
	}
	for _, bad := range []string{"%", "%2", "a%", "%g0", "%0g", "%%20", "%u1234", "ok%20%-1"} {
		if got, err := AppendUnescaped([]byte("x"), []byte(bad)); string(got) != "x" || !errors.Is(err, ErrEscape) {
			t.Errorf("AppendUnescaped(%q) = %q, %v", bad, got, err)
		}
	}
}

// flat writes what a BagReader gives as one line: null values without '='.
func flat(bag string) string {
	r := NewBagReader([]byte(bag))
	var out []string
	for {
		k, v, hasValue, ok := r.Next()
		if !ok {
			return strings.Join(out, " ")
		}
		if hasValue {
			out = append(out, fmt.Sprintf("[%s=%s]", k, v))
		} else {
			out = append(out, fmt.Sprintf("[%s]", k))
		}
	}
}

func TestBagReader(t *testing.T) {
	for _, tc := range []struct{ bag, want string }{
		{"", ""},
		{"?", ""},
		{"/", ""},
		{"?/", ""},
		{"a=1&b=2", "[a=1] [b=2]"},
		{"?a=1&b=2", "[a=1] [b=2]"},
		{"a=1&b=2/", "[a=1] [b=2]"},
		{"?a=1&b=2/", "[a=1] [b=2]"},
		{"a=1/b=2", "[a=1]"},
		{"??a=1", "[?a=1]"},
		{"null", "[null]"},
		{"empty=", "[empty=]"},
		{"null&empty=&full=x", "[null] [empty=] [full=x]"},
		{"&&a=1&&b=2&", "[a=1] [b=2]"},
		{"a=1=2", "[a=1=2]"},
		{"=v", "[=v]"},
		{"=", "[=]"},
		{"a=1&a=2", "[a=1] [a=2]"},
		{"a=dark%20red&b=%26%3D%2F", "[a=dark%20red] [b=%26%3D%2F]"},
		{
			"%24.mid=m-1&%24.ct=application%2Fjson&%24.ce=utf-8&%24.ctime=2024-01-02T03%3A04%3A05.678Z&level=high",
			"[%24.mid=m-1] [%24.ct=application%2Fjson] [%24.ce=utf-8] [%24.ctime=2024-01-02T03%3A04%3A05.678Z] [level=high]",
		},
		{
			"propertyName=propertyValue&%24.to=%2Fdevices%2Fdev1%2Fmessages%2FdeviceBound",
			"[propertyName=propertyValue] [%24.to=%2Fdevices%2Fdev1%2Fmessages%2FdeviceBound]",
		},
	} {
		if got := flat(tc.bag); got != tc.want {
			t.Errorf("%q: %s, want %s", tc.bag, got, tc.want)
		}
	}
	var zero BagReader
	if _, _, _, ok := zero.Next(); ok {
		t.Error("the zero reader has a pair")
	}
}

func TestBagReaderAliasesSafely(t *testing.T) {
	bag := []byte("a=1&b=2")
	r := NewBagReader(bag)
	k, v, _, _ := r.Next()
	_, _ = append(k, 'X'), append(v, 'X')
	if string(bag) != "a=1&b=2" {
		t.Errorf("appending to a pair changed the bag to %q", bag)
	}
}

func TestDecodeBag(t *testing.T) {
	decode := func(bag string) (string, error) {
		var out []string
		err := DecodeBag([]byte(bag), func(k, v string, hasValue bool) error {
			if k == "stop" {
				return errors.ErrUnsupported
			}
			out = append(out, fmt.Sprintf("%q:%q:%v", k, v, hasValue))
			return nil
		})
		return strings.Join(out, " "), err
	}
	long := strings.Repeat("long", 200)
	for _, tc := range []struct {
		bag, want string
		err       error
	}{
		{"", "", nil},
		{"?%24.mid=m%2F1&a+b=dark%20red&null&empty=/", `"$.mid":"m/1":true "a+b":"dark red":true "null":"":false "empty":"":true`, nil},
		{"$.mid=1&" + long + "=" + long, `"$.mid":"1":true "` + long + `":"` + long + `":true`, nil},
		{"a=1&b=%2&c=3", `"a":"1":true`, ErrEscape},
		{"a=1&%b=2&c=3", `"a":"1":true`, ErrEscape},
		{"a=1&stop&c=3", `"a":"1":true`, errors.ErrUnsupported},
	} {
		got, err := decode(tc.bag)
		if got != tc.want || !errors.Is(err, tc.err) {
			t.Errorf("%q: %s, %v, want %s, %v", tc.bag, got, err, tc.want, tc.err)
		}
	}
}

func TestAppendProperty(t *testing.T) {
	b := AppendTelemetryBase(nil, "dev1", "")
	start := len(b)
	b = AppendProperty(b, start, MessageID, "m-1", true)
	b = AppendProperty(b, start, "colour", "dark red", true)
	b = AppendProperty(b, start, "null", "", false)
	b = AppendProperty(b, start, "empty", "", true)
	if want := "devices/dev1/messages/events/%24.mid=m-1&colour=dark%20red&null&empty="; string(b) != want {
		t.Errorf("%s, want %s", b, want)
	}
}

func TestSystemProperties(t *testing.T) {
	for name, escaped := range map[string]string{
		MessageID: EscapedMessageID, CorrelationID: EscapedCorrelationID, UserID: EscapedUserID, To: EscapedTo,
		Expiry: EscapedExpiry, ContentType: EscapedContentType, ContentEncoding: EscapedContentEncoding,
		OutputName: EscapedOutputName, CreationTime: EscapedCreationTime, MessageSchema: EscapedMessageSchema,
		ComponentName: EscapedComponentName, InterfaceID: EscapedInterfaceID,
		ConnectionDeviceID: EscapedConnectionDeviceID, ConnectionModuleID: EscapedConnectionModuleID,
		DiagnosticID: EscapedDiagnosticID, DiagnosticContext: EscapedDiagnosticContext,
		Ack: EscapedAck, Operation: EscapedOperation, Retain: EscapedRetain, Dup: EscapedDup, MessageType: EscapedMessageType,
	} {
		if want := string(AppendEscaped(nil, name)) + "="; escaped != want {
			t.Errorf("%s escaped is %s, want %s", name, escaped, want)
		}
		if IsSystem(name) != strings.HasPrefix(name, "$.") {
			t.Errorf("IsSystem(%s) = %v", name, IsSystem(name))
		}
	}
	for _, name := range []string{"", "$", "a$.", "mid", "%24.mid"} {
		if IsSystem(name) {
			t.Errorf("IsSystem(%q)", name)
		}
	}
}

func TestKeyIs(t *testing.T) {
	for _, tc := range []struct {
		key, name string
		want      bool
	}{
		{"$.mid", MessageID, true},
		{"%24.mid", MessageID, true},
		{"%24%2emid", MessageID, true},
		{"%24.midd", MessageID, false},
		{"%24.mi", MessageID, false},
		{"%24.MID", MessageID, false},
		{"%24.mid%", MessageID, false},
		{"%24.mi%6", MessageID, false},
		{"%2424.mid", MessageID, false},
		{"%2524.mid", MessageID, false},
		{"iothub-ack", Ack, true},
		{"", "", true},
		{"", "x", false},
		{"x", "", false},
	} {
		if got := KeyIs([]byte(tc.key), tc.name); got != tc.want {
			t.Errorf("KeyIs(%q, %q) = %v", tc.key, tc.name, got)
		}
	}
}

func base(device, module string) []byte {
	b := AppendTelemetryBase(nil, device, module)
	return b[:len(b)-1]
}

func TestTelemetry(t *testing.T) {
	if got := AppendTelemetryBase([]byte("x"), "dev1", ""); string(got) != "xdevices/dev1/messages/events/" {
		t.Errorf("device: %s", got)
	}
	if got := AppendTelemetryBase([]byte("x"), "dev1", "mod1"); string(got) != "xdevices/dev1/modules/mod1/messages/events/" {
		t.Errorf("module: %s", got)
	}
	device, module := base("dev1", ""), base("dev1", "mod1")
	for _, tc := range []struct {
		topic string
		base  []byte
		ok    bool
		bag   string
		want  string
	}{
		{"devices/dev1/messages/events/", device, true, "", ""},
		{"devices/dev1/messages/events", device, true, "", ""},
		{"devices/dev1/messages/events/a=1&b=2", device, true, "a=1&b=2", "[a=1] [b=2]"},
		{"devices/dev1/messages/events/?a=1&b=2", device, true, "?a=1&b=2", "[a=1] [b=2]"},
		{"devices/dev1/messages/events/a=1&b=2/", device, true, "a=1&b=2/", "[a=1] [b=2]"},
		{"devices/dev1/messages/events/?", device, true, "?", ""},
		{"devices/dev1/messages/events//", device, true, "/", ""},
		{"devices/dev1/modules/mod1/messages/events/%24.on=alert&%24.mid=7f0d/", module, true, "%24.on=alert&%24.mid=7f0d/", "[%24.on=alert] [%24.mid=7f0d]"},
		{"devices/dev1/messages/events?a=1", device, false, "", ""},
		{"devices/dev1/messages/eventsa=1", device, false, "", ""},
		{"devices/dev1/messages/event", device, false, "", ""},
		{"devices/dev1/modules/mod1/messages/events/", device, false, "", ""},
		{"devices/dev1/messages/events/", module, false, "", ""},
		{"devices/dev10/messages/events/", device, false, "", ""},
		{"devices/DEV1/messages/events/", device, false, "", ""},
		{"/devices/dev1/messages/events/", device, false, "", ""},
		{"", device, false, "", ""},
	} {
		bag, ok := ParseTelemetry([]byte(tc.topic), tc.base)
		if ok != tc.ok || string(bag) != tc.bag || flat(string(bag)) != tc.want {
			t.Errorf("%s: %q, %v, %s", tc.topic, bag, ok, flat(string(bag)))
		}
		kind, rest := Classify([]byte(tc.topic), tc.base)
		if (kind == Telemetry) != tc.ok || !bytes.Equal(rest, bag) {
			t.Errorf("Classify(%s) = %v, %q", tc.topic, kind, rest)
		}
	}
}

func TestClassify(t *testing.T) {
	b := base("dev1", "")
	for _, tc := range []struct {
		topic string
		kind  PublishKind
		rest  string
	}{
		{"$iothub/twin/GET/?$rid=42", TwinGet, "?$rid=42"},
		{"$iothub/twin/GET/", TwinGet, ""},
		{"$iothub/twin/PATCH/properties/reported/?$rid=43", TwinPatchReported, "?$rid=43"},
		{"$iothub/methods/res/200/?$rid=1", MethodResponse, "200/?$rid=1"},
		{"$iothub/twin/GET?$rid=42", Unknown, ""},
		{"$iothub/twin/get/?$rid=42", Unknown, ""},
		{"$iothub/twin/PATCH/properties/desired/?$version=1", Unknown, ""},
		{"$iothub/twin/res/200/?$rid=1", Unknown, ""},
		{"$iothub/methods/POST/reboot/?$rid=1", Unknown, ""},
		{"$iothub", Unknown, ""},
		{"devices/dev2/messages/events/", Unknown, ""},
		{"devices/dev1/messages/devicebound/", Unknown, ""},
		{"", Unknown, ""},
	} {
		if kind, rest := Classify([]byte(tc.topic), b); kind != tc.kind || string(rest) != tc.rest {
			t.Errorf("Classify(%s) = %v, %q", tc.topic, kind, rest)
		}
	}
	for kind, want := range map[PublishKind]string{
		Unknown: "Unknown", Telemetry: "Telemetry", TwinGet: "TwinGet", TwinPatchReported: "TwinPatchReported",
		MethodResponse: "MethodResponse", 99: "Unknown",
	} {
		if kind.String() != want {
			t.Errorf("%d: %s", kind, kind)
		}
	}
}

func TestParseMethodResponse(t *testing.T) {
	for _, tc := range []struct {
		rest   string
		status int
		query  string
		ok     bool
	}{
		{"200/?$rid=1", 200, "?$rid=1", true},
		{"0/?$rid=1", 0, "?$rid=1", true},
		{"-1/?$rid=1", -1, "?$rid=1", true},
		{"+7/?$rid=1", 7, "?$rid=1", true},
		{"2147483647/", 2147483647, "", true},
		{"-2147483648/", -2147483648, "", true},
		{"2147483648/?$rid=1", 0, "?$rid=1", false},
		{"99999999999/?$rid=1", 0, "?$rid=1", false},
		{"abc/?$rid=1", 0, "?$rid=1", false},
		{"/?$rid=1", 0, "?$rid=1", false},
		{"-/?$rid=1", 0, "?$rid=1", false},
		{"2 0/", 0, "", false},
		{"200", 200, "", true},
		{"", 0, "", false},
	} {
		status, query, ok := ParseMethodResponse([]byte(tc.rest))
		if status != tc.status || string(query) != tc.query || ok != tc.ok {
			t.Errorf("%q: %d, %q, %v", tc.rest, status, query, ok)
		}
	}
}

func TestQuery(t *testing.T) {
	for _, tc := range []struct {
		query, rid string
		ridOK      bool
		version    int64
		versionOK  bool
	}{
		{"?$rid=42", "42", true, 0, false},
		{"?$rid=43&$version=124", "43", true, 124, true},
		{"?$version=13", "", false, 13, true},
		{"?x=1&$rid=a%20b", "a%20b", true, 0, false},
		{"?%24rid=1", "1", true, 0, false},
		{"?$rid=a/b", "a/b", true, 0, false},
		{"?$rid=a=b", "a=b", true, 0, false},
		{"$rid=42", "", false, 0, false},
		{"?$rid=", "", false, 0, false},
		{"?$rid", "", false, 0, false},
		{"?$version=x", "", false, 0, false},
		{"?$version=-1", "", false, 0, false},
		{"?$version=999999999999999999", "", false, 999999999999999999, true},
		{"?$version=9999999999999999999", "", false, 0, false},
		{"?", "", false, 0, false},
		{"", "", false, 0, false},
	} {
		if rid, ok := RequestID([]byte(tc.query)); string(rid) != tc.rid || ok != tc.ridOK {
			t.Errorf("RequestID(%q) = %q, %v", tc.query, rid, ok)
		}
		if v, ok := Version([]byte(tc.query)); v != tc.version || ok != tc.versionOK {
			t.Errorf("Version(%q) = %d, %v", tc.query, v, ok)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	buf := make([]byte, 0, 1024)
	b := base("dev1", "mod1")
	topic := []byte("devices/dev1/modules/mod1/messages/events/?%24.mid=m%2F1&a=b&null/")
	response := []byte("$iothub/methods/res/200/?$rid=1")
	for name, f := range map[string]func(){
		"EscapedLen":          func() { _ = EscapedLen("dark red") },
		"AppendEscaped":       func() { _ = AppendEscaped(buf, "dark red") },
		"AppendUnescaped":     func() { _, _ = AppendUnescaped(buf, topic) },
		"AppendProperty":      func() { _ = AppendProperty(buf, 0, "a", "dark red", true) },
		"AppendTelemetryBase": func() { _ = AppendTelemetryBase(buf, "dev1", "mod1") },
		"ParseTelemetry and BagReader": func() {
			bag, ok := ParseTelemetry(topic, b)
			r := NewBagReader(bag)
			for ok {
				var k []byte
				k, _, _, ok = r.Next()
				_ = KeyIs(k, MessageID)
			}
		},
		"Classify and RequestID": func() {
			_, rest := Classify(response, b)
			_, query, _ := ParseMethodResponse(rest)
			_, _ = RequestID(query)
		},
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkAppendEscaped(b *testing.B) {
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		_ = AppendEscaped(buf, "2024-01-02T03:04:05.678Z application/json")
	}
}

func BenchmarkEscapedLen(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_ = EscapedLen("2024-01-02T03:04:05.678Z application/json")
	}
}

func BenchmarkReadBag(b *testing.B) {
	id := base("dev1", "")
	topic := []byte("devices/dev1/messages/events/%24.mid=7f0d6a2e-2b1b-4a9b-9a2f&%24.ct=application%2Fjson&%24.ce=utf-8&level=high")
	b.ReportAllocs()
	for b.Loop() {
		bag, _ := ParseTelemetry(topic, id)
		r := NewBagReader(bag)
		for n := 0; ; n++ {
			if _, _, _, ok := r.Next(); !ok {
				if n != 4 {
					b.Fatal(n)
				}
				break
			}
		}
	}
}

func BenchmarkDecodeBag(b *testing.B) {
	bag := []byte("%24.mid=7f0d6a2e-2b1b-4a9b-9a2f&%24.ct=application%2Fjson&%24.ce=utf-8&level=high")
	b.ReportAllocs()
	for b.Loop() {
		if err := DecodeBag(bag, func(string, string, bool) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}

func TestRegistrations(t *testing.T) {
	for s, want := range map[string][3]any{
		"0ne00000001/registrations/reg1/api-version=2019-03-31&ClientVersion=azure-iot-device%2F1.18.3": {"0ne00000001", "reg1", true},
		"0ne00000001/Registrations/a:b/api-version=2021-06-01":                                          {"0ne00000001", "a:b", true},
		// A module of a device that is called registrations.
		"hub.example/registrations/m/?api-version=2021-04-12":               {"", "", false},
		"hub.example/dev1/?api-version=2021-04-12":                          {"", "", false},
		"0ne1/registrations/" + strings.Repeat("x", 129) + "/api-version=1": {"", "", false},
		"0ne1/registrations/reg1":                                           {"", "", false}, "": {"", "", false},
	} {
		scope, id, ok := ParseRegistrationUsername(s)
		if got := [3]any{scope, id, ok}; got != want {
			t.Errorf("%q: %v", s, got)
		}
	}
	for topic, want := range map[string]RegistrationKind{
		"$dps/registrations/PUT/iotdps-register/?$rid=1":                             RegistrationRegister,
		"$dps/registrations/GET/iotdps-get-operationstatus/?$rid=2&operationId=4.d0": RegistrationOperation,
		"$dps/registrations/PUT/iotdps-register?$rid=1":                              RegistrationOther,
		"devices/a/messages/events/":                                                 RegistrationOther,
	} {
		kind, query := ClassifyRegistration([]byte(topic))
		if kind != want {
			t.Errorf("%s: %v", topic, kind)
		}
		if id, ok := OperationID(query); ok != (want == RegistrationOperation) || ok && string(id) != "4.d0" {
			t.Errorf("%s: operation %q", topic, id)
		}
	}
	if got := string(AppendRegistrationResult(nil, 202, []byte("r-1"), 3)); got != "$dps/registrations/res/202/?$rid=r-1&retry-after=3" {
		t.Error(got)
	}
	if got := string(AppendRegistrationResult(nil, 200, []byte("7"), 0)); got != "$dps/registrations/res/200/?$rid=7" {
		t.Error(got)
	}
}

// The other side of it: what a device asks, and what it reads.
func TestRegistrationClient(t *testing.T) {
	if got := string(AppendRegister(nil, 1)); got != "$dps/registrations/PUT/iotdps-register/?$rid=1" {
		t.Error(got)
	}
	if got := string(AppendOperation(nil, 65535, "4.d0")); got != "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=65535&operationId=4.d0" {
		t.Error(got)
	}
	for topic, want := range map[string]RegistrationResult{
		"$dps/registrations/res/202/?$rid=1&retry-after=3":         {202, 1, 3},
		"$dps/registrations/res/202/?retry-after=3&$rid=65535":     {202, 65535, 3},
		"$dps/registrations/res/200/?$rid=7":                       {200, 7, 0},
		"$dps/registrations/res/429/?$rid=7&retry-after=soon":      {429, 7, 0},
		"$dps/registrations/res/429/?$rid=7&retry-after=86401":     {429, 7, 0},
		"$dps/registrations/res/429/?$rid=7&retry-after=-1":        {429, 7, 0},
		"$dps/registrations/res/200/?$rid=65536":                   {},
		"$dps/registrations/res/200/?$rid=":                        {},
		"$dps/registrations/res/20/?$rid=1":                        {},
		"$dps/registrations/res/099/?$rid=1":                       {},
		"$dps/registrations/res/2000/?$rid=1":                      {},
		"$dps/registrations/res/200":                               {},
		"$dps/registrations/PUT/iotdps-register/?$rid=1":           {},
		"$iothub/twin/res/200/?$rid=1":                             {},
		"$dps/registrations/res/200/?$rid=guid-of-somebody-else-1": {},
	} {
		if got, ok := ParseRegistrationResult([]byte(topic)); got != want || ok != (want != RegistrationResult{}) {
			t.Errorf("%s: %+v, %v", topic, got, ok)
		}
	}
}
