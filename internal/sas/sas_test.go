package sas_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub/internal/sas"
)

const (
	deviceKey  = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	serviceKey = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
)

func decode(t testing.TB, text string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// vectors are tokens as clients in the field make them.
var vectors = []struct{ name, token, key string }{
	{"device", "SharedAccessSignature sr=hub1.azure-devices.net%2Fdevices%2Fdev1&sig=c4kT3%2BPoY0vaOB33aCl6tvxxnRw8yNceLaAeJB%2B41pc%3D&se=1700000000", deviceKey},
	{"lower-case escapes", "SharedAccessSignature sr=hub1.azure-devices.net%2fdevices%2fdev1&sig=A5EcBftoxWIzKMFvDCK2sHnZYkKKR%2fe31MAqdOZBY9E%3d&se=1700000000", deviceKey},
	{"module", "SharedAccessSignature sr=hub1.azure-devices.net%2Fdevices%2Fdev1%2Fmodules%2Fmod1&sig=zgIRHzZVeHVjovunw9F%2FagARaVeTZEsVyrNTAw4JYVQ%3D&se=1700000000", deviceKey},
	{"escaped id", "SharedAccessSignature sr=hub1.azure-devices.net%2Fdevices%2Fdev%25231&sig=c3j3UhfKQ6vS6eo4p8cXFoYMZt3OXClS3LbDVjSt7Bo%3D&se=1700000000", deviceKey},
	{"policy", "SharedAccessSignature sr=hub1.azure-devices.net&sig=0nl0i5F38H333Esb3Onlrstdo%2BOspXdQooXXtfx6U6Y%3D&se=1700000000&skn=device", deviceKey},
	{"provisioning", "SharedAccessSignature sr=0ne00000001%2Fregistrations%2Freg1&sig=GDCy68HsGGwxTg6DTOQQvQPH1iKBTyDRgdsA9YMH%2BvI%3D&se=1700000000&skn=registration", deviceKey},
	{"captured from Node", "SharedAccessSignature sr=127.0.0.7&sig=%2FRHRHG7IlnjBC0r5zn%2Fl%2BT5hY1xJHJGwyssK6av1ilU%3D&skn=iothubowner&se=1795432242", serviceKey},
	{"service host", service("myhub.azure-devices.net", "sJAIZTF5oG40VHrie96heZ865+nR4QavBvHnzxZm8rk="), serviceKey},
	{"service address", service("127.0.0.7", "KhgVBgWSFSNDaoKovoj3RjWtbwjsUwJC3yrpQmUcty4="), serviceKey},
	{"service device", service("myhub.azure-devices.net%2Fdevices%2Fdev1", "wosmA3uJK9T0mdB5CIYn+sAVA2ODflnucuvNO5S6mbM="), serviceKey},
	{"events, lower case", service("sb%3a%2f%2f127.0.0.1%3a5671%2fhub1%2f%24management", "HWU8gA8BhfzrH2cRpuBJR8DlwV+++hfw2WYF8nS7Lmg="), serviceKey},
	{"events, upper case", service("sb%3A%2F%2F127.0.0.1%3A5671%2Fhub1%2F%24management", "Shup/uuB8OeD73cD9twHcbOgE34jOGL9M13hOLkPoJY="), serviceKey},
	{"other order and case of names", "SharedAccessSignature SE=1700000000&&Sig=c4kT3%2BPoY0vaOB33aCl6tvxxnRw8yNceLaAeJB%2B41pc%3D&sR=hub1.azure-devices.net%2Fdevices%2Fdev1&x=y", deviceKey},
	{"signature not escaped", "SharedAccessSignature sr=hub1.azure-devices.net%2Fdevices%2Fdev1&sig=c4kT3+PoY0vaOB33aCl6tvxxnRw8yNceLaAeJB+41pc=&se=1700000000", deviceKey},
}

func service(sr, sig string) string {
	return "SharedAccessSignature sr=" + sr + "&sig=" + url.QueryEscape(sig) + "&se=1700000000&skn=iothubowner"
}

func TestVectors(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			token, err := sas.Parse(v.token)
			if err != nil {
				t.Fatal(err)
			}
			if !token.Verify(decode(t, v.key)) {
				t.Error("the right key does not verify")
			}
			if !token.Verify([]byte("wrong"), decode(t, v.key)) {
				t.Error("the right key does not verify in second place")
			}
			wrong := decode(t, v.key)
			wrong[0] ^= 1
			if token.Verify(wrong) || token.Verify() || token.Verify(nil, []byte{}) {
				t.Error("a wrong key verifies")
			}
		})
	}
}

func TestParsedFields(t *testing.T) {
	token, err := sas.Parse(vectors[4].token)
	if err != nil {
		t.Fatal(err)
	}
	if token.Resource != "hub1.azure-devices.net" || token.Policy != "device" ||
		!token.Expiry.Equal(time.Unix(1700000000, 0)) || len(token.Signature) != 32 || token.Host() != "hub1.azure-devices.net" {
		t.Errorf("parsed: %#v", token)
	}
	if token, _ = sas.Parse(vectors[1].token); token.RawResource != "hub1.azure-devices.net%2fdevices%2fdev1" {
		t.Errorf("raw resource: %q", token.RawResource)
	}
}

func TestMalformed(t *testing.T) {
	sig := "sig=" + strings.Repeat("A", 43) + "%3D"
	for _, c := range []struct {
		token string
		want  error
	}{
		{"", sas.ErrScheme},
		{"sharedaccesssignature sr=a&" + sig + "&se=1", sas.ErrScheme},
		{"SharedAccessSignature sr=a&" + sig + "&se=1 x", sas.ErrScheme},
		{"SharedAccessSignature  sr=a&" + sig + "&se=1", sas.ErrScheme},
		{"SharedAccessSignature sr=a&se=1", sas.ErrMissing},
		{"SharedAccessSignature sr=a&" + sig, sas.ErrMissing},
		{"SharedAccessSignature " + sig + "&se=1", sas.ErrMissing},
		{"SharedAccessSignature sr=&" + sig + "&se=1", sas.ErrMissing},
		{"SharedAccessSignature sr=a&sr=b&" + sig + "&se=1", sas.ErrDuplicate},
		{"SharedAccessSignature sr=a&SE=9&" + sig + "&se=1", sas.ErrDuplicate},
		{"SharedAccessSignature sr=%2&" + sig + "&se=1", sas.ErrResource},
		{"SharedAccessSignature sr=%2Fdevices&" + sig + "&se=1", sas.ErrResource},
		{"SharedAccessSignature sr=a%2F%2Fdevices&" + sig + "&se=1", sas.ErrResource},
		{"SharedAccessSignature sr=http%3A%2F%2Fa&" + sig + "&se=1", sas.ErrResource},
		{"SharedAccessSignature sr=a&sig=AAAA&se=1", sas.ErrSignature},
		{"SharedAccessSignature sr=a&sig=%zz&se=1", sas.ErrSignature},
		{"SharedAccessSignature sr=a&" + sig + "&se=soon", sas.ErrExpiry},
		{"SharedAccessSignature sr=a&" + sig + "&se=-1", sas.ErrExpiry},
		{"SharedAccessSignature sr=a&" + sig + "&se=NaN", sas.ErrExpiry},
		{"SharedAccessSignature sr=a&" + sig + "&se=1&skn=%", sas.ErrPolicy},
		{"SharedAccessSignature sr=" + strings.Repeat("a", sas.MaxLength), sas.ErrTooLong},
	} {
		if _, err := sas.Parse(c.token); !errors.Is(err, c.want) {
			t.Errorf("%.80q: %v, want %v", c.token, err, c.want)
		}
	}
}

func TestCovers(t *testing.T) {
	const hub = "Hub1.example"
	for _, c := range []struct {
		resource, policy, device, module string
		want                             bool
	}{
		{"hub1.example", "", "d", "", true},
		{"hub1.example/", "", "d", "m", true},
		{"HUB1.EXAMPLE:8883/devices/d", "", "d", "", true},
		{"hub1.example/devices", "p", "d", "", true},
		{"hub1.example/Devices/d", "", "d", "", true},
		{"hub1.example/devices/d", "", "d", "m", true},
		{"hub1.example/devices/d/modules", "", "d", "m", true},
		{"hub1.example/devices/d/modules/m", "", "d", "m", true},
		{"sb://hub1.example/devices/d", "", "d", "", true},
		{"AMQPS://hub1.example:5671/devices/d", "", "d", "", true},
		{"https://hub1.example", "p", "d", "", true},
		{"hub1.example/devices/d%231", "", "d#1", "", true},
		{"hub1.example/devices/d%231", "p", "d#1", "", true},
		{"hub1.example/devices/d#1", "", "d#1", "", true},     // not escaped twice
		{"hub1.example/devices/50%", "", "50%", "", true},     // no escape at all
		{"hub1.example/devices/a%41", "", "a%41", "", true},   // own key: nothing to widen
		{"hub1.example/devices/a%41", "p", "a%41", "", false}, // a policy means aA
		{"hub1.example/devices/a%41", "p", "aA", "", true},

		{"other.example/devices/d", "", "d", "", false},
		{"hub1.example.evil/devices/d", "", "d", "", false},
		{"hub1.example/devices/D", "", "d", "", false},
		{"hub1.example/devices/d", "", "dd", "", false},
		{"hub1.example/devices/dd", "", "d", "", false},
		{"hub1.example/devices/d/modules/m", "", "d", "", false},
		{"hub1.example/devices/d/modules/m", "", "d", "mm", false},
		{"hub1.example/devices/d/modules/m", "", "x", "m", false},
		{"hub1.example/twins/d", "", "d", "", false},
		{"hub1.example/dev", "", "d", "", false},
		{"hub1.example/devices/d%2Fmodules%2Fm", "", "d", "m", false},
	} {
		token, err := sas.Parse(sas.Sign(c.resource, []byte("k"), time.Unix(1, 0), c.policy))
		if err != nil {
			t.Fatalf("%q: %v", c.resource, err)
		}
		if got := token.Covers(hub, c.device, c.module); got != c.want {
			t.Errorf("%q (policy %q) covers %s/%s: %v, want %v", c.resource, c.policy, c.device, c.module, got, c.want)
		}
	}
}

func TestCoversPath(t *testing.T) {
	token, err := sas.Parse(sas.Sign("sb://h:5671/messages/events", []byte("k"), time.Unix(1, 0), "service"))
	if err != nil {
		t.Fatal(err)
	}
	if !token.CoversPath("h", "messages", "events", "x") || token.CoversPath("h", "messages") || token.CoversPath("h") {
		t.Error("reach does not go by whole segments")
	}
}

func TestExpiry(t *testing.T) {
	end := time.Unix(1_700_000_000, 0)
	token, err := sas.Parse(sas.Sign("h", []byte("k"), end, ""))
	if err != nil {
		t.Fatal(err)
	}
	if _, expired := token.ExpiredFor(end.Add(sas.ClockSkew)); expired {
		t.Error("expired within the skew")
	}
	if ago, expired := token.ExpiredFor(end.Add(sas.ClockSkew + time.Second)); !expired || ago != sas.ClockSkew+time.Second {
		t.Errorf("expired: %v for %v", expired, ago)
	}
	for text, want := range map[string]int64{
		"1700000000.9": 1_700_000_000, "99999999999999999": 253402300799, "1e30": 253402300799,
		"9223372036854775808": 253402300799,
	} {
		token, err := sas.Parse("SharedAccessSignature sr=h&sig=" + strings.Repeat("A", 43) + "%3D&se=" + text)
		if err != nil || token.Expiry.Unix() != want {
			t.Errorf("se=%s: %v, %v", text, token.Expiry.Unix(), err)
		}
	}
}

func TestSignMatchesTheVector(t *testing.T) {
	got := sas.Sign(sas.Resource("hub1.azure-devices.net", "dev#1", ""), decode(t, deviceKey), time.Unix(1700000000, 0), "")
	if got != vectors[3].token {
		t.Errorf("got  %s\nwant %s", got, vectors[3].token)
	}
}

func TestTokensPrintWithoutSignature(t *testing.T) {
	token, err := sas.Parse(vectors[0].token)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprint(token), fmt.Sprintf("%+v %#v %v", token, token, &token)} {
		if strings.Contains(text, "c4kT3") || !strings.Contains(text, "REDACTED") {
			t.Errorf("printed: %s", text)
		}
	}
}

// FuzzParse checks that no input panics, that what is parsed covers only its own
// host, and that no key nobody used verifies.
func FuzzParse(f *testing.F) {
	for _, v := range vectors {
		f.Add(v.token)
	}
	f.Fuzz(func(t *testing.T, text string) {
		token, err := sas.Parse(text)
		if err != nil {
			return
		}
		if token.Verify(nil) || token.Verify([]byte{}) {
			t.Error("an empty key verifies")
		}
		if token.Covers("host.nobody.has."+token.Host(), "d", "m") {
			t.Error("covers another host")
		}
		signed := sas.Sign(token.Resource, []byte("k"), token.Expiry, token.Policy)
		again, err := sas.Parse(signed)
		if len(signed) > sas.MaxLength {
			// Escaping makes up to three bytes of one, so the longest tokens that
			// are read cannot all be written again within the limit.
			if err != sas.ErrTooLong {
				t.Errorf("%d bytes: %v", len(signed), err)
			}
			return
		}
		if err != nil || again.Resource != token.Resource || again.Policy != token.Policy || !again.Expiry.Equal(token.Expiry) {
			t.Errorf("signed again: %v, %v", again, err)
		}
	})
}
