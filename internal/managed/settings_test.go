package managed_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
	"github.com/iothub-go/iothub/internal/simhub"
	"github.com/iothub-go/iothub/internal/simnet"
)

const settingsString = "HostName=hub.example;DeviceId=dev1;SharedAccessKey=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

// certificate makes a self-signed one that is valid in virtual time.
func certificate(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// A certificate is replaced without a new client: the next connection presents
// it, although sessions are resumed, and no message is lost or repeated.
func TestReplaceCertificate(t *testing.T) {
	server, first, second := certificate(t, "hub.example"), certificate(t, "first"), certificate(t, "second")
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var seen []string
		n, hub := simnet.New(nil), &simhub.Hub{}
		go hub.Serve(tls.NewListener(n, &tls.Config{
			Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAnyClientCert,
			VerifyConnection: func(cs tls.ConnectionState) error {
				mu.Lock()
				defer mu.Unlock()
				name := cs.PeerCertificates[0].Subject.CommonName
				if cs.DidResume {
					name += " resumed"
				}
				seen = append(seen, name)
				return nil
			},
		}))
		roots := x509.NewCertPool()
		roots.AddCert(server.Leaf)
		// A cache of the user's must not bring the old certificate back.
		cache := tls.NewLRUClientSessionCache(8)
		c, err := device.NewClientFromConnectionString("HostName=hub.example;DeviceId=dev1;x509=true", &iothub.ClientOptions{
			Credential: iothub.NewCertificateCredential(first), Dial: n.Dial, TLS: &tls.Config{RootCAs: roots, ClientSessionCache: cache},
		})
		if err != nil {
			t.Fatal(err)
		}
		send := func() {
			t.Helper()
			if err := c.SendEvent(t.Context(), &iothub.Message{}); err != nil {
				t.Fatal(err)
			}
		}
		send()
		hub.Drop()
		synctest.Wait()
		send() // the same certificate, resumed
		if err := c.SetCredential(iothub.NewCertificateCredential(second)); err != nil {
			t.Fatal(err)
		}
		send()
		if err := c.Reconnect(); err != nil {
			t.Fatal(err)
		}
		send()
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if want := []string{"first", "first resumed", "second"}; !slices.Equal(seen, want) {
			t.Errorf("the hub saw %q, want %q", seen, want)
		}
		if st := c.Stats(); st.Confirmed != 4 || st.Resent != 0 || st.Connects != 3 {
			t.Errorf("%+v", st)
		}
		if err := errors.Join(c.SetCredential(iothub.NewCertificateCredential(second)), c.Reconnect()); !errors.Is(err, iothub.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		n.Close()
		hub.Wait()
	})
}

// A credential that is replaced during a dial is used by that dial already.
func TestReplaceCredentialWhileDialling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, hub := simnet.New(func(int) simnet.Plan { return simnet.Plan{DialDelay: time.Second} }), &simhub.Hub{}
		go hub.Serve(n)
		c, err := device.NewClientFromConnectionString(settingsString, &iothub.ClientOptions{DialTLS: n.Dial})
		if err != nil {
			t.Fatal(err)
		}
		c.Open()
		synctest.Wait()
		tok := iothub.Token{Value: "SharedAccessSignature new"}
		if err := c.SetCredential(iothub.NewTokenCredential(tok)); err != nil {
			t.Fatal(err)
		}
		if err := c.SendEvent(t.Context(), &iothub.Message{}); err != nil {
			t.Fatal(err)
		}
		if got := hub.Connects(); len(got) != 1 || string(got[0].Password) != tok.Value {
			t.Errorf("%d connections", len(got))
		}
		if err := c.SetCredential(&iothub.Credential{}); iothub.KindOf(err) != iothub.KindInvalidArgument {
			t.Errorf("an empty credential: %v", err)
		}
		c.Close(t.Context())
		n.Close()
		hub.Wait()
	})
}

// Two programs with one identity used to throw each other out for ever, as fast
// as they could. Now one notices, says so and leaves the other alone.
func TestDuplicateIdentity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, hub := simnet.New(nil), &simhub.Hub{Takeover: true}
		go hub.Serve(n)
		var mu sync.Mutex
		var duplicates []iothub.ConnectionEvent
		clients := make([]*device.Client, 2)
		for i := range clients {
			c, err := device.NewClientFromConnectionString(settingsString, &iothub.ClientOptions{
				DialTLS: n.Dial, Retry: &iothub.RetryPolicy{Strategy: iothub.RetryInterval, InitialDelay: time.Duration(500+100*i) * time.Millisecond},
				OnConnectionStatus: func(e iothub.ConnectionEvent) {
					if iothub.KindOf(e.Err) == iothub.KindDuplicateIdentity {
						mu.Lock()
						duplicates = append(duplicates, e)
						mu.Unlock()
					}
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			clients[i] = c
			c.Open()
		}
		<-time.After(time.Hour)
		mu.Lock()
		if len(duplicates) == 0 {
			t.Error("nobody was told")
		} else if e := duplicates[0]; e.RetryIn < time.Minute || iothub.ActionOf(e.Err) != iothub.ActionCloseDuplicate || !strings.Contains(e.Err.Error(), `"dev1"`) {
			t.Errorf("%v, again in %v", e, e.RetryIn)
		}
		mu.Unlock()
		if dials := n.Dials(); dials > 60 {
			t.Errorf("%d connections in an hour", dials)
		} else {
			t.Logf("%d connections in an hour, of which a war makes 6000", dials)
		}
		for _, c := range clients {
			c.Close(t.Context())
		}
		n.Close()
		hub.Wait()
	})
}

// The log of a managed client: whose it is, what happened, no secrets; and a
// failure that only SendEvent was told of.
func TestLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		refuse := true
		n, hub := simnet.New(nil), &simhub.Hub{}
		go hub.Serve(n)
		c, err := device.NewClientFromConnectionString(settingsString, &iothub.ClientOptions{
			Logger: slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})),
			Retry:  &iothub.RetryPolicy{Strategy: iothub.RetryNone},
			DialTLS: func(ctx context.Context, network, address string) (net.Conn, error) {
				if refuse {
					return nil, errors.New("no route to hub.example")
				}
				return n.Dial(ctx, network, address)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SendEvent(t.Context(), &iothub.Message{Payload: []byte("sesame")}); err == nil {
			t.Fatal("no network, no error")
		}
		synctest.Wait()
		refuse = false
		if err := c.SendEvent(t.Context(), &iothub.Message{Payload: []byte("sesame")}); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		s := out.String()
		for _, want := range []string{`"level":"DEBUG","msg":"connecting","device_id":"dev1"`, "not trying any more", "no route", `"messages were not delivered"`, `"result":"ERROR"`,
			`"msg":"connected"`, "check the network"} {
			if !strings.Contains(s, want) {
				t.Errorf("the log does not have %s", want)
			}
		}
		if strings.Contains(s, "sesame") || strings.Contains(s, "sig=") || t.Failed() {
			t.Errorf("the log:\n%s", s)
		}
		n.Close()
		hub.Wait()
	})
}
