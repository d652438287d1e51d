package core_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/store/memory"
	"github.com/iothub-go/iothub/internal/sas"
)

var epoch = time.Unix(1_700_000_000, 0)

// world is a hub with identities of every kind and what they hold.
type world struct {
	*core.Hub
	dev1, dev2, off, scope core.Device
	mod1                   core.Module
	cert, expired, other   *x509.Certificate
}

func newWorld(t *testing.T) *world {
	clock := func() time.Time { return epoch }
	w := &world{}
	vouches := func(_ time.Time, shown []*x509.Certificate) bool { return shown[0] == w.cert }
	w.Hub = newHub(t, core.Config{HostName: "hub.example", Names: []string{"10.0.0.1"}, Clock: clock, Authorities: vouches}, memory.New(clock))
	w.cert = certificate(t, epoch.Add(time.Hour))
	w.expired = certificate(t, epoch.Add(-time.Hour))
	w.other = certificate(t, epoch.Add(time.Hour))
	w.dev1 = createDevice(t, w.Hub, core.Device{DeviceID: "dev1"})
	w.dev2 = createDevice(t, w.Hub, core.Device{DeviceID: "dev2"})
	w.off = createDevice(t, w.Hub, core.Device{DeviceID: "off", Status: core.StatusDisabled})
	w.scope = createDevice(t, w.Hub, core.Device{DeviceID: "dev#1%?"})
	w.mod1 = createModule(t, w.Hub, core.Module{DeviceID: "dev1", ModuleID: "mod1"})
	createModule(t, w.Hub, core.Module{DeviceID: "dev1", ModuleID: "mod2"})
	s256 := sha256.Sum256(w.cert.Raw)
	s1 := sha1.Sum(w.expired.Raw)
	for id, x := range map[string]core.X509Thumbprint{
		"x256": {PrimaryThumbprint: core.NullString(hex.EncodeToString(s256[:]))},
		"x1":   {PrimaryThumbprint: core.NullString(strings.Repeat("00", 20)), SecondaryThumbprint: core.NullString(hex.EncodeToString(s1[:]))},
	} {
		createDevice(t, w.Hub, core.Device{DeviceID: id, Authentication: core.Authentication{Type: core.AuthSelfSigned, X509Thumbprint: x}})
	}
	for _, id := range []string{"ca", "device"} {
		createDevice(t, w.Hub, core.Device{DeviceID: id, Authentication: core.Authentication{Type: core.AuthCertificateAuthority}})
	}
	createDevice(t, w.Hub, core.Device{DeviceID: "none", Authentication: core.Authentication{Type: core.AuthNone}})
	return w
}

func certificate(t testing.TB, notAfter time.Time) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "device"},
		NotBefore: notAfter.Add(-24 * time.Hour), NotAfter: notAfter,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func (w *world) policyKey(t testing.TB, name string, secondary bool) []byte {
	t.Helper()
	for _, p := range w.Policies() {
		if p.Name == name {
			if secondary {
				return keyOf(t, core.NullString(p.SecondaryKey))
			}
			return keyOf(t, core.NullString(p.PrimaryKey))
		}
	}
	t.Fatalf("no policy %q", name)
	return nil
}

func TestAuthenticate(t *testing.T) {
	w := newWorld(t)
	soon := epoch.Add(time.Hour)
	key1 := keyOf(t, w.dev1.Authentication.SymmetricKey.PrimaryKey)
	key1b := keyOf(t, w.dev1.Authentication.SymmetricKey.SecondaryKey)
	key2 := keyOf(t, w.dev2.Authentication.SymmetricKey.PrimaryKey)
	keyM := keyOf(t, w.mod1.Authentication.SymmetricKey.SecondaryKey)
	keyOff := keyOf(t, w.off.Authentication.SymmetricKey.PrimaryKey)
	keyScope := keyOf(t, w.scope.Authentication.SymmetricKey.PrimaryKey)
	dev1 := sas.Resource("hub.example", "dev1", "")
	mod1 := sas.Resource("hub.example", "dev1", "mod1")
	sign := func(resource string, key []byte) string { return sas.Sign(resource, key, soon, "") }
	policy := func(resource, name string) string { return sas.Sign(resource, w.policyKey(t, name, false), soon, name) }
	good := sign(dev1, key1)

	for _, c := range []struct {
		name           string
		device, module string
		token          string
		cert           *x509.Certificate
		host           string
		want           string // the scope and type it is accepted with, or "" and a word of the refusal
		refusal        string
	}{
		{name: "primary key", device: "dev1", token: good, want: "device sas"},
		{name: "secondary key", device: "dev1", token: sign(dev1, key1b), want: "device sas"},
		{name: "host with port and other case", device: "dev1", token: sign("HUB.example:8883/devices/dev1", key1), host: "Hub.Example:8883", want: "device sas"},
		{name: "another name of the hub", device: "dev1", token: sign("10.0.0.1/devices/dev1", key1), host: "10.0.0.1", want: "device sas"},
		{name: "host-only audience", device: "dev1", token: sign("hub.example", key1), want: "device sas"},
		{name: "twice-escaped id", device: "dev#1%?", token: sign(sas.Resource("hub.example", "dev#1%?", ""), keyScope), want: "device sas"},
		{name: "module key", device: "dev1", module: "mod1", token: sign(mod1, keyM), want: "module sas"},
		{name: "device key for its module", device: "dev1", module: "mod1", token: sign(mod1, key1), want: "module sas"},
		{name: "device key and audience for its module", device: "dev1", module: "mod1", token: good, want: "module sas"},
		{name: "device policy", device: "dev1", token: policy("hub.example", "device"), want: "hub sas"},
		{name: "owner policy, secondary key", device: "dev2", token: sas.Sign("hub.example/devices", w.policyKey(t, "iothubowner", true), soon, "iothubowner"), want: "hub sas"},
		{name: "policy for a device without keys", device: "none", token: policy("hub.example/devices/none", "device"), want: "hub sas"},
		{name: "expired within the skew", device: "dev1", token: sas.Sign(dev1, key1, epoch.Add(-4*time.Minute), ""), want: "device sas"},
		{name: "certificate, SHA-256", device: "x256", cert: w.cert, want: "device x509"},

		{name: "no credentials", device: "dev1", refusal: "header missing"},
		{name: "expired", device: "dev1", token: sas.Sign(dev1, key1, epoch.Add(-10*time.Minute), ""), refusal: "expired 10m0s ago"},
		{name: "expiry moved", device: "dev1", token: strings.Replace(sas.Sign(dev1, key1, epoch.Add(-time.Hour), ""), "se=16", "se=19", 1), refusal: "signature"},
		{name: "truncated", device: "dev1", token: good[:len(good)-20], refusal: "sas:"},
		{name: "truncated expiry", device: "dev1", token: good[:len(good)-1], refusal: "signature"},
		{name: "garbage", device: "dev1", token: "SharedAccessSignature x", refusal: "lacks"},
		{name: "resource widened", device: "dev1", token: strings.Replace(sign(sas.Resource("hub.example", "dev2", ""), key1), "dev2", "dev1", 1), refusal: "signature"},
		{name: "other device's token", device: "dev2", token: good, refusal: "does not reach"},
		{name: "other device's key", device: "dev1", token: sign(dev1, key2), refusal: "signature"},
		{name: "host-only with another device's key", device: "dev1", token: sign("hub.example", key2), refusal: "signature"},
		{name: "module key for its device", device: "dev1", token: sign(dev1, keyM), refusal: "signature"},
		{name: "module token for its device", device: "dev1", token: sign(mod1, key1), refusal: "does not reach"},
		{name: "module key for a sibling", device: "dev1", module: "mod2", token: sign("hub.example", keyM), refusal: "signature"},
		{name: "another hub", device: "dev1", token: sign("other.example/devices/dev1", key1), refusal: "does not reach"},
		{name: "another hub's name", device: "dev1", token: good, host: "other.example", refusal: "this hub is not"},
		{name: "unknown device", device: "nobody", token: good, refusal: "does not contain"},
		{name: "unknown module", device: "dev1", module: "nothing", token: good, refusal: "does not contain"},
		{name: "other case", device: "DEV1", token: good, refusal: "does not contain"},
		{name: "disabled", device: "off", token: sign("hub.example", keyOff), refusal: "is disabled"},
		{name: "disabled and wrong key", device: "off", token: sign("hub.example", key1), refusal: "signature"},
		{name: "policy without DeviceConnect", device: "dev1", token: policy("hub.example", "service"), refusal: "lacks DeviceConnect"},
		{name: "policy key under another policy's name", device: "dev1", token: sas.Sign("hub.example", w.policyKey(t, "service", false), soon, "device"), refusal: "signature"},
		{name: "policy name taken off", device: "dev1", token: strings.TrimSuffix(policy("hub.example", "device"), "&skn=device"), refusal: "signature"},
		{name: "device key as policy", device: "dev1", token: sas.Sign(dev1, key1, soon, "device"), refusal: "signature"},
		{name: "unknown policy", device: "dev1", token: sas.Sign(dev1, key1, soon, "boss"), refusal: "no shared access policy"},
		{name: "policy for one device used for another", device: "dev1", token: policy("hub.example/devices/dev2", "device"), refusal: "does not reach"},
		{name: "empty key for a device without keys", device: "none", token: sign("hub.example", nil), refusal: "signature"},
		{name: "token for a certificate identity", device: "x256", token: sign("hub.example", key1), refusal: "with a certificate"},
		{name: "policy for a certificate identity", device: "x256", token: policy("hub.example", "device"), refusal: "with a certificate"},
		{name: "certificate for a key identity", device: "dev1", cert: w.cert, refusal: "not with a certificate"},
		{name: "another certificate", device: "x256", cert: w.other, refusal: "Thumbprint does not match"},
		{name: "expired certificate, SHA-1", device: "x1", cert: w.expired, refusal: "is valid from"},
		{name: "signed by an authority", device: "device", cert: w.cert, want: "device x509"},
		{name: "no authority stands behind it", device: "device", cert: w.other, refusal: "no verified authority"},
		{name: "a certificate for another one", device: "ca", cert: w.cert, refusal: "common name"},
		{name: "bad token beside a good certificate", device: "x256", token: good, cert: w.cert, refusal: "with a certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := core.AuthRequest{HostName: c.host, DeviceID: c.device, ModuleID: c.module, Token: c.token}
			if c.cert != nil {
				r.Certificates = []*x509.Certificate{c.cert}
			}
			p, err := w.Authenticate(epoch, r)
			if c.want == "" {
				wantCode(t, err, core.CodeUnauthorized)
				if p != nil || !strings.Contains(fmt.Sprint(err), c.refusal) {
					t.Errorf("refused with %v, want %q in it", err, c.refusal)
				}
				if c.token != "" && strings.Contains(fmt.Sprint(err), "sig=") {
					t.Errorf("the refusal holds the token: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			scope, kind, _ := strings.Cut(c.want, " ")
			want := fmt.Sprintf(`{"scope":%q,"type":%q,"issuer":"iothub","acceptingIpFilterRule":null}`, scope, kind)
			if p.AuthMethod != want || p.DeviceID != c.device || p.ModuleID != c.module || p.GenerationID == "" {
				t.Errorf("principal: %+v", p)
			}
			if (c.cert == nil) == p.Expires.IsZero() {
				t.Errorf("expires %v", p.Expires)
			}
		})
	}
}

func TestExpiryOfAPrincipalIncludesTheSkew(t *testing.T) {
	w := newWorld(t)
	p := login(t, w.Hub, "dev1", "", w.dev1.Authentication)
	if want := epoch.Add(time.Hour + 5*time.Minute); !p.Expires.Equal(want) {
		t.Errorf("expires %v, want %v", p.Expires, want)
	}
}

func TestAuthorizeService(t *testing.T) {
	w := newWorld(t)
	soon := epoch.Add(time.Hour)
	token := func(resource, name string) string { return sas.Sign(resource, w.policyKey(t, name, false), soon, name) }
	for _, c := range []struct {
		name  string
		token string
		need  core.Permission
		path  []string
		ok    bool
	}{
		{"owner", token("hub.example", "iothubowner"), core.RegistryWrite, nil, true},
		{"read", token("hub.example", "registryRead"), core.RegistryRead, nil, true},
		{"write includes read", token("hub.example", "registryReadWrite"), core.RegistryRead, nil, true},
		{"service", token("hub.example:443", "service"), core.ServiceConnect, []string{"twins", "d"}, true},
		{"narrow", token("hub.example/devices/d", "iothubowner"), core.RegistryRead, []string{"devices", "d"}, true},

		{"read does not write", token("hub.example", "registryRead"), core.RegistryWrite, nil, false},
		{"service does not read", token("hub.example", "service"), core.RegistryRead, nil, false},
		{"device does not serve", token("hub.example", "device"), core.ServiceConnect, nil, false},
		{"narrow elsewhere", token("hub.example/devices/d", "iothubowner"), core.RegistryRead, []string{"devices", "e"}, false},
		{"narrow for the list", token("hub.example/devices/d", "iothubowner"), core.RegistryRead, []string{"devices"}, false},
		{"another hub", token("other.example", "iothubowner"), core.RegistryRead, nil, false},
		{"device key", sas.Sign("hub.example", keyOf(t, w.dev1.Authentication.SymmetricKey.PrimaryKey), soon, ""), core.RegistryRead, nil, false},
		{"expired", sas.Sign("hub.example", w.policyKey(t, "iothubowner", false), epoch.Add(-time.Hour), "iothubowner"), core.RegistryRead, nil, false},
		{"wrong key", sas.Sign("hub.example", []byte("x"), soon, "iothubowner"), core.RegistryRead, nil, false},
		{"none", "", core.RegistryRead, nil, false},
		{"bearer", "Bearer abc", core.RegistryRead, nil, false},
	} {
		p, err := w.AuthorizeService(epoch, c.token, c.need, c.path...)
		if c.ok != (err == nil) || c.ok != (p != nil) {
			t.Errorf("%s: %v, %v", c.name, p, err)
		}
		if !c.ok {
			wantCode(t, err, core.CodeUnauthorizedAccess)
		}
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	w := newWorld(t)
	p := w.Policies()[0]
	text := fmt.Sprintf("%v %+v %#v %v %+v %#v %+v", p, p, p, w.dev1, w.dev1, w.dev1, w.mod1)
	for _, secret := range []string{p.PrimaryKey, p.SecondaryKey, string(w.dev1.Authentication.SymmetricKey.PrimaryKey),
		string(w.mod1.Authentication.SymmetricKey.SecondaryKey)} {
		if strings.Contains(text, secret) {
			t.Errorf("printed: %s", text)
		}
	}
}
