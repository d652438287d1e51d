package iothub_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
)

func mustKey(t testing.TB) iothub.SharedAccessKey {
	t.Helper()
	k, err := iothub.ParseSharedAccessKey(secretKey)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var vectorExpiry = time.Unix(1700000000, 0)

// Vectors that were computed apart from this code, with the key bytes 0 to 31.
func TestSignVectors(t *testing.T) {
	const hub = "hub1.azure-devices.net"
	for _, test := range []struct{ name, resource, policy, want string }{
		{"device", iothub.Identity{DeviceID: "dev1"}.Resource(hub), "",
			"SharedAccessSignature sr=hub1.azure-devices.net%2Fdevices%2Fdev1&sig=c4kT3%2BPoY0vaOB33aCl6tvxxnRw8yNceLaAeJB%2B41pc%3D&se=1700000000"},
		{"module", iothub.Identity{DeviceID: "dev1", ModuleID: "mod1"}.Resource(hub), "",
			"SharedAccessSignature sr=hub1.azure-devices.net%2Fdevices%2Fdev1%2Fmodules%2Fmod1&sig=zgIRHzZVeHVjovunw9F%2FagARaVeTZEsVyrNTAw4JYVQ%3D&se=1700000000"},
		{"id with #", iothub.Identity{DeviceID: "dev#1"}.Resource(hub), "",
			"SharedAccessSignature sr=hub1.azure-devices.net%2Fdevices%2Fdev%25231&sig=c3j3UhfKQ6vS6eo4p8cXFoYMZt3OXClS3LbDVjSt7Bo%3D&se=1700000000"},
		{"policy", hub, "device",
			"SharedAccessSignature sr=hub1.azure-devices.net&sig=0nl0i5F38H333Esb3Onlrstdo%2BOspXdQooXXtfx6U6Y%3D&se=1700000000&skn=device"},
		{"provisioning", "0ne00000001/registrations/reg1", "registration",
			"SharedAccessSignature sr=0ne00000001%2Fregistrations%2Freg1&sig=GDCy68HsGGwxTg6DTOQQvQPH1iKBTyDRgdsA9YMH%2BvI%3D&se=1700000000&skn=registration"},
	} {
		got := mustKey(t).Sign(test.resource, vectorExpiry.Add(900*time.Millisecond), test.policy)
		if got.Value != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, got.Value, test.want)
		}
		if !got.Expires.Equal(vectorExpiry) {
			t.Errorf("%s: expires %v, want whole seconds: %v", test.name, got.Expires, vectorExpiry)
		}
		if back, err := iothub.ParseToken(got.Value); err != nil || back != got {
			t.Errorf("%s: parsed back: %v", test.name, err)
		}
	}
}

func TestParseSharedAccessKey(t *testing.T) {
	for in, ok := range map[string]bool{
		secretKey: true, "AAAA": true, strings.Repeat("AAAA", 16): true,
		"": false, "=": false, "A": false, "AAA": false, "AA*A": false, strings.Repeat("AAAA", 86): false,
		strings.ReplaceAll(secretKey, "=", ""): false,
	} {
		k, err := iothub.ParseSharedAccessKey(in)
		if (err == nil) != ok || k.IsZero() == ok {
			t.Errorf("%q: %v", in, err)
		}
		if err != nil && len(in) > 3 && strings.Contains(err.Error(), in) {
			t.Errorf("the error shows the key: %v", err)
		}
	}
}

func TestParseToken(t *testing.T) {
	for _, in := range []string{
		secretSig,
		// The other SDKs' order of fields, and lower-case escapes.
		"SharedAccessSignature sr=h%2Fdevices%2Fd&sig=abc%3D&skn=p&se=1700000000",
		"SharedAccessSignature sr=hub1.azure-devices.net%2fdevices%2fdev1&sig=A5EcBftoxWIzKMFvDCK2sHnZYkKKR%2fe31MAqdOZBY9E%3d&se=1700000000",
		"SharedAccessSignature SE=1700000000&SR=h&SIG=abc",
	} {
		tok, err := iothub.ParseToken(in)
		if err != nil || tok.Value != in || !tok.Expires.Equal(vectorExpiry) {
			t.Errorf("%q: %q, %v, %v", in, tok.Value, tok.Expires, err)
		}
	}
	for in, want := range map[string]string{
		"": "begin", secretSig[1:]: "begin", "sharedaccesssignature sr=h&sig=secret&se=1": "begin",
		"SharedAccessSignature ":                                  "sr",
		"SharedAccessSignature sig=secret&se=1":                   "sr",
		"SharedAccessSignature sr=h&se=1":                         "sig",
		"SharedAccessSignature sr=h&sig=secret":                   "se",
		"SharedAccessSignature sr=h&sig=secret&se=":               "se",
		"SharedAccessSignature sr=h&sig=secret&se=soon":           "se",
		"SharedAccessSignature sr=h&sig=secret&se=-1":             "se",
		"SharedAccessSignature sr=h&sig=secret&se=99999999999999": "se",
	} {
		_, err := iothub.ParseToken(in)
		if iothub.KindOf(err) != iothub.KindInvalidArgument || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v; want an invalid argument that mentions %q", in, err, want)
		}
	}
}

type fixedSource struct {
	token iothub.Token
	err   error
}

func (s fixedSource) Token(context.Context, string, time.Duration) (iothub.Token, error) {
	return s.token, s.err
}

func TestCredential(t *testing.T) {
	tok, err := iothub.ParseToken(secretSig)
	if err != nil {
		t.Fatal(err)
	}
	now := vectorExpiry.Add(-time.Hour)
	const resource = "hub1.azure-devices.net/devices/dev1"
	for _, test := range []struct {
		c         *iothub.Credential
		name      string
		renewable bool
		token     string
		kind      iothub.Kind
	}{
		{iothub.NewKeyCredential(mustKey(t), ""), "key", true, secretSig, 0},
		{iothub.NewKeyCredential(mustKey(t), "device"), "policy key", true, secretSig + "&skn=device", 0},
		{iothub.NewTokenCredential(tok), "token", false, secretSig, 0},
		{iothub.NewTokenSourceCredential(fixedSource{token: tok}), "token source", true, secretSig, 0},
		{iothub.NewTokenSourceCredential(fixedSource{err: errors.New("sealed")}), "token source", true, "", iothub.KindUnauthorized},
		{iothub.NewCertificateCredential(tls.Certificate{}), "x509", false, "", 0},
		{iothub.NewKeyCredential(iothub.SharedAccessKey{}, ""), "none", true, "", iothub.KindInvalidArgument},
		{&iothub.Credential{}, "none", true, "", iothub.KindInvalidArgument},
	} {
		got, err := test.c.Token(t.Context(), resource, now, time.Hour)
		if got.Value != test.token || iothub.KindOf(err) != test.kind {
			t.Errorf("%s: token %q, %v", test.name, got.Value, err)
		}
		if test.c.String() != test.name || test.c.Renewable() != test.renewable {
			t.Errorf("%v: renewable %v; want %s, %v", test.c, test.c.Renewable(), test.name, test.renewable)
		}
		if (test.c.Certificate() != nil) != (test.name == "x509") {
			t.Errorf("%s: certificate %v", test.name, test.c.Certificate())
		}
	}
}

// No way of printing a value that holds a secret shows it: by itself, by
// pointer, copied, inside a user's struct (where fmt calls no methods on
// unexported fields), in logs, in JSON.
func TestSecretsAreRedacted(t *testing.T) {
	key := mustKey(t)
	tok := key.Sign("hub/devices/d", vectorExpiry, "")
	cs, err := iothub.ParseConnectionString("HostName=h;DeviceId=d;SharedAccessKey=" + secretKey)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := iothub.ParseConnectionString("HostName=h;DeviceId=d;SharedAccessSignature=" + tok.Value)
	if err != nil {
		t.Fatal(err)
	}
	credential, fixed := iothub.NewKeyCredential(key, "policy"), iothub.NewTokenCredential(tok)
	values := map[string]any{
		"key": key, "*key": &key, "token": tok, "*token": &tok,
		"connection string": cs, "copy of a connection string": *cs,
		"connection string with a token": sig, "copy of one": *sig,
		"credential": credential, "copy of a credential": *credential,
		"token credential": fixed, "copy of a token credential": *fixed,
		"options":          iothub.ClientOptions{Credential: credential},
		"exported field":   struct{ K any }{key},
		"exported token":   struct{ T iothub.Token }{tok},
		"unexported key":   struct{ k iothub.SharedAccessKey }{key},
		"unexported":       struct{ c iothub.Credential }{*credential},
		"unexported fixed": struct{ c iothub.Credential }{*fixed},
		"unexported cs":    struct{ c iothub.ConnectionString }{*sig},
		"slice":            []any{key, tok, cs, credential},
		"map":              map[string]any{"k": key, "t": tok},
		"error":            fmt.Errorf("with %v: %w", cs, &iothub.Error{Op: "connect", Err: fmt.Errorf("%v %v %v", key, tok, credential)}),
	}
	signature := strings.SplitN(strings.SplitN(tok.Value, "sig=", 2)[1], "%", 2)[0]
	leaks := []string{secretKey, secretKey[:12], "0 1 2 3 4 5", "0x0, 0x1, 0x2", "000102030405", signature}
	for name, v := range values {
		shown := map[string]string{}
		for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			shown[format] = fmt.Sprintf(format, v)
		}
		var buf bytes.Buffer
		for _, h := range []slog.Handler{slog.NewTextHandler(&buf, nil), slog.NewJSONHandler(&buf, nil)} {
			slog.New(h).Info("m", "v", v, slog.Group("g", "v", v))
		}
		shown["slog"] = buf.String()
		if j, err := json.Marshal(v); err == nil {
			shown["JSON"] = string(j)
		}
		for how, s := range shown {
			for _, leak := range leaks {
				if strings.Contains(s, leak) {
					t.Errorf("%s as %s shows a secret: %s", name, how, s)
				}
			}
		}
	}
}

func ExampleSharedAccessKey_Sign() {
	key, err := iothub.ParseSharedAccessKey("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
	if err != nil {
		fmt.Println(err)
		return
	}
	resource := iothub.Identity{DeviceID: "dev1"}.Resource("hub1.azure-devices.net")
	token := key.Sign(resource, time.Unix(1700000000, 0), "")
	fmt.Println(token) // never printed by accident
	fmt.Println(token.Value[:60] + "…")
	// Output:
	// [redacted]
	// SharedAccessSignature sr=hub1.azure-devices.net%2Fdevices%2F…
}
