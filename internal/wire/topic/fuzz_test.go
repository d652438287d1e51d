package topic

import (
	"bytes"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"testing"
)

// FuzzEscape: what is escaped is one topic level, as long as EscapedLen says,
// and unescapes to itself, here and with the standard library.
func FuzzEscape(f *testing.F) {
	f.Add("")
	f.Add("a b/c+d%20ä\x00\xff~")
	f.Fuzz(func(t *testing.T, s string) {
		e := AppendEscaped(nil, s)
		if len(e) != EscapedLen(s) {
			t.Fatalf("%q has length %d, EscapedLen %d", e, len(e), EscapedLen(s))
		}
		if bytes.ContainsAny(e, "/?&=+#$ ") {
			t.Fatalf("%q", e)
		}
		if got, err := AppendUnescaped(nil, e); string(got) != s || err != nil {
			t.Fatalf("%q became %q, %v", s, got, err)
		}
		if got, err := url.PathUnescape(string(e)); got != s || err != nil {
			t.Fatalf("the standard library reads %q, %v", got, err)
		}
	})
}

// FuzzUnescape compares with the standard library on arbitrary input.
func FuzzUnescape(f *testing.F) {
	for _, s := range []string{"", "%", "%2", "%zz", "a+b%2Bc", "%2525"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := AppendUnescaped(nil, b)
		want, wantErr := url.PathUnescape(string(b))
		if (err == nil) != (wantErr == nil) || err == nil && string(got) != want {
			t.Fatalf("%q: %q, %v, want %q, %v", b, got, err, want, wantErr)
		}
		if err != nil && (len(got) != 0 || !errors.Is(err, ErrEscape)) {
			t.Fatalf("%q: %q, %v", b, got, err)
		}
	})
}

// FuzzBag: a bag that decodes also encodes, and decodes to the same again.
func FuzzBag(f *testing.F) {
	for _, s := range []string{
		"", "?", "a=1&b=2/", "?null&empty=&a=b=c", "%24.mid=m-1&%24.ct=application%2Fjson", "&&=&=x&%", "a=1/b=2",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		type pair struct {
			key, value string
			hasValue   bool
		}
		read := func(b []byte) (pairs []pair, err error) {
			err = DecodeBag(b, func(k, v string, hasValue bool) error {
				pairs = append(pairs, pair{k, v, hasValue})
				return nil
			})
			return pairs, err
		}
		r := NewBagReader(b)
		n := 0
		for {
			k, v, hasValue, ok := r.Next()
			if !ok {
				break
			}
			n++
			if bytes.ContainsAny(k, "&=/") || bytes.ContainsAny(v, "&/") || !hasValue && (len(v) > 0 || len(k) == 0) {
				t.Fatalf("%q: %q, %q, %v", b, k, v, hasValue)
			}
			if plain, err := AppendUnescaped(nil, k); (err == nil) != KeyIs(k, string(plain)) && string(k) != string(plain) {
				t.Fatalf("KeyIs(%q, %q) contradicts AppendUnescaped", k, plain)
			}
		}
		pairs, err := read(b)
		if err != nil {
			if !errors.Is(err, ErrEscape) {
				t.Fatal(err)
			}
			return
		}
		if len(pairs) != n {
			t.Fatalf("%d pairs, but %d read", len(pairs), n)
		}
		var enc []byte
		for _, p := range pairs {
			enc = AppendProperty(enc, 0, p.key, p.value, p.hasValue)
		}
		again, err := read(enc)
		if err != nil || len(again) != len(pairs) {
			t.Fatalf("%q became %q: %v, %v", b, enc, again, err)
		}
		for i := range pairs {
			if again[i] != pairs[i] {
				t.Fatalf("%q became %q: %v, want %v", b, enc, again[i], pairs[i])
			}
		}
	})
}

// FuzzTopic: no topic of one identity is taken for another's, and what is
// returned lies in the topic.
func FuzzTopic(f *testing.F) {
	for _, s := range []string{
		"devices/dev1/messages/events/a=1", "devices/dev1/modules/mod1/messages/events", "$iothub/twin/GET/?$rid=1",
		"$iothub/twin/PATCH/properties/reported/?$rid=1&$version=3", "$iothub/methods/res/-200/?$rid=1", "",
	} {
		f.Add([]byte(s))
	}
	device, module := base("dev1", ""), base("dev1", "mod1")
	f.Fuzz(func(t *testing.T, topic []byte) {
		kind, rest := Classify(topic, device)
		if !bytes.HasSuffix(topic, rest) || kind == Unknown && rest != nil {
			t.Fatalf("Classify(%q) = %v, %q", topic, kind, rest)
		}
		if other, _ := Classify(topic, module); kind == Telemetry && other != Unknown || kind > Telemetry && other != kind {
			t.Fatalf("%q is %v and %v", topic, kind, other)
		}
		if kind == Telemetry {
			r := NewBagReader(rest)
			for ok := true; ok; {
				_, _, _, ok = r.Next()
			}
		}
		_, query, _ := ParseMethodResponse(rest)
		for _, q := range [][]byte{rest, query} {
			if rid, ok := RequestID(q); ok != (len(rid) > 0) || !bytes.Contains(q, rid) {
				t.Fatalf("RequestID(%q) = %q, %v", q, rid, ok)
			}
			if v, ok := Version(q); v < 0 || !ok && v != 0 {
				t.Fatalf("Version(%q) = %d, %v", q, v, ok)
			}
		}
	})
}

// FuzzUsername: what is accepted names an identity within the limits and
// survives being written and read again.
func FuzzUsername(f *testing.F) {
	for _, tc := range usernames {
		f.Add(tc.in)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseUsername(s)
		if err != nil {
			if !errors.Is(err, ErrUsername) || u != (Username{}) {
				t.Fatalf("%+v, %v", u, err)
			}
			return
		}
		if u.DeviceID == "" || len(u.DeviceID) > MaxIDLen || len(u.ModuleID) > MaxIDLen ||
			strings.Contains(u.DeviceID+u.ModuleID+u.HostName, "/") || strings.TrimSpace(u.APIVersion) == "" {
			t.Fatalf("%q: %+v", s, u)
		}
		enc := string(AppendUsername(nil, &u))
		if len(enc) > MaxUsernameLen {
			return // escaping made it longer than ParseUsername takes
		}
		again, err := ParseUsername(enc)
		if err != nil || again != u {
			t.Fatalf("%q became %q: %+v, %v, want %+v", s, enc, again, err, u)
		}
	})
}

func FuzzRegistration(f *testing.F) {
	for _, s := range []string{
		"0ne1/registrations/reg1/api-version=2019-03-31&ClientVersion=x%2F1", "0ne1/REGISTRATIONS/a/api-version=", "hub/dev/?api-version=2021-04-12",
		"hub/registrations/m/?api-version=2021-04-12", "/registrations/a/api-version=1", "0ne1/registrations//api-version=1",
	} {
		f.Add(s, []byte("$dps/registrations/PUT/iotdps-register/?$rid=1"))
		f.Add(s, []byte("$dps/registrations/GET/iotdps-get-operationstatus/?$rid=a&operationId=4.x"))
		f.Add(s, []byte("$dps/registrations/res/202/?$rid=1&retry-after=3"))
	}
	f.Fuzz(func(t *testing.T, s string, topic []byte) {
		scope, id, ok := ParseRegistrationUsername(s)
		if ok && (scope == "" || id == "" || len(id) > MaxIDLen || strings.Contains(scope+id, "/")) || !ok && scope+id != "" {
			t.Fatalf("%q: %q %q %v", s, scope, id, ok)
		}
		if kind, query := ClassifyRegistration(topic); kind != RegistrationOther {
			if rid, ok := RequestID(query); ok && !bytes.Contains(topic, rid) {
				t.Fatalf("%q: %q", topic, rid)
			}
		}
		if r, ok := ParseRegistrationResult(topic); ok {
			again := AppendRegistrationResult(nil, r.Status, strconv.AppendUint(nil, uint64(r.RequestID), 10), r.RetryAfter)
			if back, ok := ParseRegistrationResult(again); !ok || back != r {
				t.Fatalf("%q: %+v, then %+v", topic, r, back)
			}
		}
	})
}
