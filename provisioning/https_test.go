package provisioning_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/sas"
	"github.com/iothub-go/iothub/internal/simnet"
	"github.com/iothub-go/iothub/provisioning"
)

// overHTTPS runs Register against a handler in virtual time.
func overHTTPS(t *testing.T, h http.HandlerFunc, a *provisioning.Attestation, edit func(*provisioning.Config)) (*provisioning.Assignment, error) {
	t.Helper()
	n := simnet.New(nil)
	s := &http.Server{Handler: h}
	go s.Serve(n)
	c := &provisioning.Config{
		Endpoint: "dps.example", IDScope: "0ne1", RegistrationID: "reg1", Attestation: a, Transport: provisioning.HTTPS,
		Options: &iothub.ClientOptions{DialTLS: n.Dial, Retry: &iothub.RetryPolicy{Strategy: iothub.RetryInterval, InitialDelay: 10 * time.Second}},
	}
	if edit != nil {
		edit(c)
	}
	assignment, err := provisioning.Register(t.Context(), c)
	s.Close()
	return assignment, err
}

// What is asked over HTTPS, and when.
func TestConversationHTTPS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var seen []string
		answers := []struct {
			status     int
			retryAfter string
			body       string
		}{
			{202, "5", begun}, {202, start.Add(12 * time.Second).UTC().Format(http.TimeFormat), begun}, // a date
			{202, "soon", begun}, {503, "20", "<html>"}, {200, "", assigned},
		}
		a, err := overHTTPS(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			seen = append(seen, strings.TrimSpace(fmt.Sprint(time.Since(start), " ", r.Method, " ", r.RequestURI, " ", string(body))))
			if token := r.Header.Get("Authorization"); !strings.HasPrefix(token, "SharedAccessSignature sr=0ne1%2Fregistrations%2Freg1&sig=") || r.Host != "dps.example" {
				t.Errorf("Authorization %q to %s", token, r.Host)
			}
			next := answers[0]
			answers = answers[1:]
			w.Header().Set("Retry-After", next.retryAfter)
			w.WriteHeader(next.status)
			io.WriteString(w, next.body)
		}, attestation(t)(provisioning.NewKeyAttestation(groupKey)), nil)
		if err != nil || a.DeviceID != "dev1" {
			t.Fatal(a, err)
		}
		poll := " GET /0ne1/registrations/reg1/operations/4.op?api-version=2021-06-01"
		want := []string{`0s PUT /0ne1/registrations/reg1/register?api-version=2021-06-01 {"registrationId":"reg1"}`, "5s" + poll, "12s" + poll, "14s" + poll, "34s" + poll}
		if strings.Join(seen, "\n") != strings.Join(want, "\n") {
			t.Errorf("requests\n%s\nwant\n%s", strings.Join(seen, "\n"), strings.Join(want, "\n"))
		}
	})
}

// A clock that is wrong is blamed for a token that is refused, where the service shows
// its own.
func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, err := overHTTPS(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", time.Now().Add(48*time.Hour).UTC().Format(http.TimeFormat))
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, unauthorized)
		}, attestation(t)(provisioning.NewKeyAttestation(groupKey)), nil)
		if iothub.KindOf(err) != iothub.KindTokenExpired || iothub.ActionOf(err) != iothub.ActionCheckClock || !strings.Contains(err.Error(), "48h0m") {
			t.Errorf("%v", err)
		}
	})
}

// chip stands in for a TPM: what is sealed to it is the key itself, marked.
type chip struct {
	key    []byte
	broken error
}

func (c *chip) EndorsementKey(context.Context) ([]byte, error) { return []byte("ek"), c.broken }
func (c *chip) StorageRootKey(context.Context) ([]byte, error) { return []byte("srk"), nil }

func (c *chip) Activate(_ context.Context, sealed []byte) error {
	key, ok := strings.CutPrefix(string(sealed), "sealed ")
	if !ok {
		return errors.New("not sealed to this chip")
	}
	c.key = []byte(key)
	return nil
}

func (c *chip) Sign(_ context.Context, text []byte) ([]byte, error) {
	h := hmac.New(sha256.New, c.key)
	h.Write(text)
	return h.Sum(nil), nil
}

// A TPM is challenged, signs with what it was sent, and gets the key for its hub.
func TestTPM(t *testing.T) {
	sealed := func(key string) string { return base64.StdEncoding.EncodeToString([]byte("sealed " + key)) }
	const challenge = `{"message":"Authorization required","keyName":"registration","authenticationKey":"%s"}`
	for _, test := range []struct {
		name, nonce, hub string
		broken           error
		kind             iothub.Kind // KindUnknown: it works
		text             string
	}{
		{"works", sealed("nonce"), sealed("hub"), nil, iothub.KindUnknown, ""},
		{"sealed to another one", base64.StdEncoding.EncodeToString([]byte("x")), "", nil, iothub.KindUnauthorized, "not sealed to this chip"},
		{"not enrolled", sealed("other"), "", nil, iothub.KindUnauthorized, "endorsement key"},
		{"no challenge", "", "", nil, iothub.KindUnauthorized, "endorsement key"},
		{"no key for the hub", sealed("nonce"), "", nil, iothub.KindProtocol, "no key"},
		{"broken", "", "", errors.New("smoke"), iothub.KindUnauthorized, "smoke"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var seen []string
				c := &chip{broken: test.broken}
				a, err := overHTTPS(t, func(w http.ResponseWriter, r *http.Request) {
					body, _ := io.ReadAll(r.Body)
					token, _ := sas.Parse(r.Header.Get("Authorization"))
					proved := token.Policy == "registration" && token.Verify([]byte("nonce"))
					seen = append(seen, fmt.Sprint(r.Method, " ", proved, " ", string(body)))
					switch {
					case !proved:
						w.WriteHeader(http.StatusUnauthorized)
						fmt.Fprintf(w, challenge, test.nonce)
					case r.Method == "PUT":
						w.WriteHeader(http.StatusAccepted)
						io.WriteString(w, begun)
					default:
						io.WriteString(w, strings.Replace(assigned, `"symmetricKey":{"enrollmentGroupId":"g"}`, `"tpm":{"authenticationKey":"`+test.hub+`"}`, 1))
					}
				}, provisioning.NewTPMAttestation(c), func(c *provisioning.Config) { c.Transport = provisioning.Auto })
				if test.kind != iothub.KindUnknown {
					if iothub.KindOf(err) != test.kind || !strings.Contains(err.Error(), test.text) {
						t.Errorf("%v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				const put = `{"registrationId":"reg1","tpm":{"endorsementKey":"ZWs=","storageRootKey":"c3Jr"}}`
				if want := []string{"PUT false " + put, "PUT true " + put, "GET true "}; strings.Join(seen, "\n") != strings.Join(want, "\n") {
					t.Errorf("requests\n%s", strings.Join(seen, "\n"))
				}
				token, err := a.Credential().Token(t.Context(), "hub.example/devices/dev1", time.Now(), time.Hour)
				if err != nil {
					t.Fatal(err)
				}
				parsed, err := sas.Parse(token.Value)
				if err != nil || !parsed.Verify([]byte("hub")) || parsed.Policy != "" || parsed.Resource != "hub.example/devices/dev1" {
					t.Errorf("%v, %v", parsed, err)
				}
			})
		})
	}
	if _, err := provisioning.Register(t.Context(), &provisioning.Config{
		IDScope: "0ne1", RegistrationID: "reg1", Attestation: provisioning.NewTPMAttestation(&chip{}), Transport: provisioning.MQTT,
	}); iothub.KindOf(err) != iothub.KindInvalidArgument || !strings.Contains(err.Error(), "HTTPS") {
		t.Errorf("a TPM over MQTT: %v", err)
	}
}

// What goes into a URL is escaped: ids do not choose the path.
func TestEscaping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, err := overHTTPS(t, func(w http.ResponseWriter, r *http.Request) {
			if u, err := url.Parse(r.RequestURI); err != nil || u.Path != "/0ne1/registrations/a:b.c_d-/register" {
				t.Errorf("%s, %v", r.RequestURI, err)
			}
			io.WriteString(w, assigned)
		}, attestation(t)(provisioning.NewKeyAttestation(groupKey)), func(c *provisioning.Config) { c.RegistrationID = "a:b.c_d-" })
		if err != nil {
			t.Error(err)
		}
	})
}
