package iothub_test

import (
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"github.com/iothub-go/iothub"
)

// The key of the published test vectors, and a signature.
const (
	secretKey = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	secretSig = "SharedAccessSignature sr=hub1.azure-devices.net%2Fdevices%2Fdev1&sig=c4kT3%2BPoY0vaOB33aCl6tvxxnRw8yNceLaAeJB%2B41pc%3D&se=1700000000"
)

func TestParseConnectionString(t *testing.T) {
	id := func(d, m string) iothub.Identity { return iothub.Identity{DeviceID: d, ModuleID: m} }
	for _, test := range []struct {
		in, out    string // out is String, the secret redacted
		id         iothub.Identity
		credential string
	}{
		{"HostName=hub1.azure-devices.net;DeviceId=dev1;SharedAccessKey=" + secretKey,
			"HostName=hub1.azure-devices.net;DeviceId=dev1;SharedAccessKey=[redacted]", id("dev1", ""), "key"},
		{"HostName=h;DeviceId=dev1;ModuleId=mod1;SharedAccessKey=" + secretKey + ";GatewayHostName=edgebox.local",
			"HostName=h;DeviceId=dev1;ModuleId=mod1;SharedAccessKey=[redacted];GatewayHostName=edgebox.local", id("dev1", "mod1"), "key"},
		{"HostName=h;DeviceId=dev1;x509=true", "HostName=h;DeviceId=dev1;x509=true", id("dev1", ""), "none"},
		{"HostName=h;DeviceId=dev1;x509=false;SharedAccessKey=" + secretKey,
			"HostName=h;DeviceId=dev1;SharedAccessKey=[redacted]", id("dev1", ""), "key"},
		{"HostName=h;DeviceId=dev1;SharedAccessSignature=" + secretSig,
			"HostName=h;DeviceId=dev1;SharedAccessSignature=[redacted]", id("dev1", ""), "token"},
		{"HostName=h;SharedAccessKeyName=service;SharedAccessKey=" + secretKey,
			"HostName=h;SharedAccessKeyName=service;SharedAccessKey=[redacted]", id("", ""), "policy key"},
		// Any order and case of the keys, an unknown one, trailing and
		// leading space, empty parts.
		{" sharedaccesskey=" + secretKey + ";;DEVICEID=D;Colour=red;hostname=H:8883;\n",
			"HostName=H:8883;DeviceId=D;SharedAccessKey=[redacted]", id("D", ""), "key"},
		// All that an id may have, "=" included.
		{"HostName=h;DeviceId=a-:.+%_#*?!(),=@$';SharedAccessKey=" + secretKey,
			"HostName=h;DeviceId=a-:.+%_#*?!(),=@$';SharedAccessKey=[redacted]", id("a-:.+%_#*?!(),=@$'", ""), "key"},
		{"HostName=h;DeviceId=d;ModuleId=$edgeAgent;SharedAccessKey=" + secretKey,
			"HostName=h;DeviceId=d;ModuleId=$edgeAgent;SharedAccessKey=[redacted]", id("d", "$edgeAgent"), "key"},
	} {
		cs, err := iothub.ParseConnectionString(test.in)
		if err != nil {
			t.Errorf("%s: %v", test.out, err)
			continue
		}
		if cs.String() != test.out || cs.Identity() != test.id || cs.Credential().String() != test.credential {
			t.Errorf("got %v, %v, %v; want %v, %v, %v", cs, cs.Identity(), cs.Credential(), test.out, test.id, test.credential)
		}
		if cs.X509 != (cs.Credential() == nil) {
			t.Errorf("%v: X509 %v, credential %v", cs, cs.X509, cs.Credential())
		}
	}
}

// Every error names the key at fault and never shows a secret.
func TestParseConnectionStringErrors(t *testing.T) {
	const own = "HostName=h;DeviceId=d;"
	for _, test := range []struct{ in, want string }{
		{"", "empty"},
		{" \n", "empty"},
		{secretKey, "part 1"}, // a key where the whole string belongs
		{"HostName", "part 1"},
		{own + secretKey[:20], "part 3"},
		{own + secretKey[:20] + ";" + secretKey[20:], "part 3"},
		{"DeviceId=d;SharedAccessKey=" + secretKey, "HostName"},
		{"Host=h;DeviceId=d;SharedAccessKey=" + secretKey, "HostName is missing (part 1"},
		{"HostName=;DeviceId=d;SharedAccessKey=" + secretKey, "HostName"},
		{"HostName=https://h/;DeviceId=d;SharedAccessKey=" + secretKey, "HostName"},
		{"HostName=h h;DeviceId=d;SharedAccessKey=" + secretKey, "HostName"},
		{"HostName=h DeviceId=d SharedAccessKey=" + secretKey, "HostName runs into"},
		{"HostName=h,SharedAccessKey:" + secretKey, "HostName runs into"},
		{"HostName=h;HostName=h;DeviceId=d;SharedAccessKey=" + secretKey, "HostName"},
		{"HostName=h;SharedAccessKey=" + secretKey, "DeviceId"},
		{"HostName=h;SharedAccessKey=" + secretKey[:20] + ";" + secretKey[20:], "SharedAccessKey"},
		{"HostName=h;ModuleId=m;SharedAccessKey=" + secretKey, "DeviceId"},
		{"HostName=h;DeviceId=a b;SharedAccessKey=" + secretKey, "DeviceId"},
		{"HostName=h;DeviceId=a/b;SharedAccessKey=" + secretKey, "DeviceId"},
		{"HostName=h;DeviceId=ü;SharedAccessKey=" + secretKey, "DeviceId"},
		{"HostName=h;DeviceId=" + strings.Repeat("x", 129) + ";SharedAccessKey=" + secretKey, "DeviceId"},
		{"HostName=h;DeviceId=d SharedAccessKey=" + secretKey, "DeviceId runs into"},
		{"HostName=h;DeviceId=d " + secretKey, "DeviceId"},
		{"HostName=h;DeviceId=d,SharedAccessKey=" + secretKey + ";x509=true", "DeviceId runs into"},
		{"HostName=h;DeviceId=d;ModuleId=m/n;SharedAccessKey=" + secretKey, "ModuleId"},
		{own, "SharedAccessKey"},
		{own + "x509=false", "SharedAccessKey"},
		{own + "x509=yes", "x509"},
		{own + "x509=true" + secretKey, "x509"},
		{own + "SharedAccessKey=", "SharedAccessKey"},
		{own + "SharedAccessKey=" + secretKey[:9] + "*" + secretKey[10:], "SharedAccessKey"},
		{own + "SharedAccessKey=" + strings.Repeat("AAAA", 100), "SharedAccessKey"},
		{own + "SharedAccessKey=" + secretKey + ";SharedAccessSignature=" + secretSig, "SharedAccessSignature"},
		{own + "x509=true;SharedAccessKey=" + secretKey, "x509"},
		{own + "x509=true;SharedAccessSignature=" + secretSig, "x509"},
		{own + "SharedAccessSignature=" + secretKey, "SharedAccessSignature"},
		{own + "SharedAccessSignature=" + secretSig[:100], "SharedAccessSignature"},
	} {
		cs, err := iothub.ParseConnectionString(test.in)
		if err == nil {
			t.Errorf("%q was accepted: %v", test.in, cs)
			continue
		}
		if k := iothub.KindOf(err); k != iothub.KindInvalidArgument || !iothub.NotSent(err) || iothub.Retryable(err) {
			t.Errorf("%q: kind %v, NotSent %v, Retryable %v", test.in, k, iothub.NotSent(err), iothub.Retryable(err))
		}
		if !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: the error does not mention %q: %v", test.in, test.want, err)
		}
		for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			if shown := fmt.Sprintf(format, err); strings.Contains(shown, secretKey[:8]) || strings.Contains(shown, secretKey[21:30]) || strings.Contains(shown, "c4kT3") {
				t.Errorf("the error shows a part of the secret: %s", shown)
			}
		}
	}
}

// secrets finds what must never be shown in a connection string.
var secrets = regexp.MustCompile(`(?i)sharedaccess(?:key|signature)\s*=([^;]*)`)

func FuzzParseConnectionString(f *testing.F) {
	for _, s := range []string{
		"HostName=hub1.azure-devices.net;DeviceId=dev1;SharedAccessKey=" + secretKey,
		"HostName=h;DeviceId=dev1;ModuleId=mod1;SharedAccessKeyName=p;SharedAccessKey=" + secretKey + ";GatewayHostName=g",
		"HostName=h;DeviceId=d;SharedAccessSignature=" + secretSig,
		"HostName=h DeviceId=d SharedAccessKey=" + secretKey,
		"HostName=h;DeviceId=d/SharedAccessKey=" + secretKey + ";x509=true",
		"HostName=h;DeviceId=d;x509=true", ";;=;", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		shown := everythingShown(t, s)
		for _, m := range secrets.FindAllStringSubmatch(s, -1) {
			secret := strings.TrimSpace(strings.TrimPrefix(m[1], "SharedAccessSignature"))
			if len(secret) < 8 || strings.Count(s, secret) != 1 || !strings.Contains(shown, secret) {
				continue // too short, or there as something else, too
			}
			// Words of the messages themselves are shown with any secret.
			other := strings.Replace(s, secret, strings.Repeat("A", len(secret)), 1)
			if !strings.Contains(everythingShown(t, other), secret) {
				t.Errorf("%q shows its secret: %s", s, shown)
			}
		}
	})
}

// everythingShown parses s and returns all that can be printed of the result.
func everythingShown(t *testing.T, s string) string {
	cs, err := iothub.ParseConnectionString(s)
	switch {
	case err != nil:
		if cs != nil || iothub.KindOf(err) != iothub.KindInvalidArgument {
			t.Errorf("%v, kind %v of %v", cs, iothub.KindOf(err), err)
		}
		return fmt.Sprintf("%v %+v %#v", err, err, err)
	case cs == nil:
		t.Fatal("neither result nor error")
	case (cs.Credential() == nil) != cs.X509:
		t.Errorf("%v: x509 and %v", cs, cs.Credential())
	case cs.DeviceID != "" && cs.Identity().Validate() != nil:
		t.Errorf("%v has an invalid identity", cs)
	}
	return fmt.Sprintf("%v %+v %#v %v %+v %v %#v %v %v", cs, cs, cs, *cs, *cs, cs.Credential(), cs.Credential(), cs.LogValue(), slog.Any("cs", cs))
}

func ExampleParseConnectionString() {
	cs, err := iothub.ParseConnectionString("HostName=hub1.azure-devices.net;DeviceId=thermostat;ModuleId=sensor;SharedAccessKey=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(cs.HostName, cs.Identity())
	fmt.Println(cs) // secrets are never printed
	// Output:
	// hub1.azure-devices.net thermostat/sensor
	// HostName=hub1.azure-devices.net;DeviceId=thermostat;ModuleId=sensor;SharedAccessKey=[redacted]
}
