package managed_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
	"github.com/iothub-go/iothub/internal/simhub"
	"github.com/iothub-go/iothub/internal/simnet"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
)

func TestOpen(t *testing.T) {
	play(t, nil, func(s *stage) {
		synctest.Wait()
		if s.net.Dials() != 0 {
			s.Fatal("connected before it was asked to")
		}
		s.c.Open()
		s.c.Open()
		synctest.Wait()
		s.c.Open()
		synctest.Wait()
		if st := s.c.Stats(); st.Connects != 1 || s.net.Dials() != 1 {
			s.Errorf("%d dials, stats %+v", s.net.Dials(), st)
		}
		s.c.Close(s.Context())
		s.c.Open()
		advance(time.Minute)
		if s.net.Dials() != 1 {
			s.Error("a closed client was opened")
		}
	})
}

// After the retry policy gave up, Open starts anew.
func TestOpenAfterGivingUp(t *testing.T) {
	play(t, func(s *stage, o *iothub.ClientOptions) {
		o.Retry = &iothub.RetryPolicy{Strategy: iothub.RetryNone}
		s.net.Plan = func(n int) simnet.Plan {
			if n == 0 {
				return simnet.Plan{Refuse: syscall.ECONNREFUSED}
			}
			return simnet.Plan{}
		}
	}, func(s *stage) {
		s.c.Open()
		advance(time.Minute)
		if st := s.c.Stats(); st.Connects != 0 || s.net.Dials() != 1 {
			s.Fatalf("%d dials, stats %+v", s.net.Dials(), st)
		}
		s.c.Open()
		synctest.Wait()
		if st := s.c.Stats(); st.Connects != 1 {
			s.Errorf("stats %+v", st)
		}
	})
}

// What OnConnectionStatus is told over a life: connected, lost, refused twice,
// connected again, closed.
func TestConnectionStatusSequence(t *testing.T) {
	play(t, func(s *stage, o *iothub.ClientOptions) {
		o.Retry = &iothub.RetryPolicy{Strategy: iothub.RetryInterval, InitialDelay: 10 * time.Second}
		s.net.Plan = func(n int) simnet.Plan {
			if n == 1 {
				return simnet.Plan{Refuse: syscall.EHOSTUNREACH}
			}
			return simnet.Plan{}
		}
		s.hub.Connack = func(session int, _ *mqtt.ConnectPacket) int {
			if session == 1 {
				return 5
			}
			return 0
		}
	}, func(s *stage) {
		s.c.Open()
		advance(2 * time.Minute) // a stable link: the first attempt after it is immediate
		s.hub.Drop()
		advance(time.Minute)
		s.c.Close(s.Context())
		want := []struct {
			status iothub.ConnectionStatus
			reason iothub.StatusReason
			kind   iothub.Kind
			retry  time.Duration
		}{
			{iothub.Authenticated, iothub.ReasonOK, iothub.KindUnknown, 0},
			{iothub.Unauthenticated, iothub.ReasonNoNetwork, iothub.KindNetwork, 0},
			{iothub.Unauthenticated, iothub.ReasonNoNetwork, iothub.KindNetwork, 10 * time.Second},
			{iothub.Unauthenticated, iothub.ReasonBadCredential, iothub.KindUnauthorized, 10 * time.Second},
			{iothub.Authenticated, iothub.ReasonOK, iothub.KindUnknown, 0},
		}
		got := s.seen()
		if len(got) != len(want) {
			s.Fatalf("%d events: %v", len(got), got)
		}
		for i, w := range want {
			g := got[i]
			if g.Status != w.status || g.Reason != w.reason || iothub.KindOf(g.Err) != w.kind || g.RetryIn != w.retry {
				s.Errorf("event %d: %v, retry in %v; want %+v", i, g, g.RetryIn, w)
			}
			if (g.Err == nil) != (w.status == iothub.Authenticated) {
				s.Errorf("event %d: error %v", i, g.Err)
			}
		}
		if !errors.Is(got[2].Err, syscall.EHOSTUNREACH) {
			s.Errorf("the error does not lead to the cause: %v", got[2].Err)
		}
		for _, e := range got {
			if strings.Contains(fmt.Sprintf("%v %+v %#v", e, e, e), key) {
				s.Errorf("an event shows the key: %v", e)
			}
		}
	})
}

// A hub that accepts and drops at once is not hammered.
func TestAcceptAndDropIsNotHammered(t *testing.T) {
	play(t, func(s *stage, o *iothub.ClientOptions) {
		o.Retry = &iothub.RetryPolicy{Strategy: iothub.RetryExponentialBackoff}
		s.net.Plan = func(int) simnet.Plan {
			return simnet.Plan{Down: simnet.Direction{Fault: simnet.EOF, After: 4}} // just CONNACK
		}
	}, func(s *stage) {
		s.c.Open()
		advance(10 * time.Minute)
		// After 0, 1 and 2 s it looks like the work of a second client with
		// the same identity, to be left alone for 1, 2, 4 and 8 minutes.
		if n := s.net.Dials(); n < 5 || n > 8 {
			s.Errorf("%d dials in ten minutes", n)
		}
	})
}

// With X.509 no password goes to the hub, and the client certificate proves
// the identity in the handshake.
func TestCertificateCredential(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := newCertificate(t, "hub.example"), newCertificate(t, "dev1")
		roots, clients := x509.NewCertPool(), x509.NewCertPool()
		roots.AddCert(server.Leaf)
		clients.AddCert(client.Leaf)
		n, hub := simnet.New(nil), &simhub.Hub{}
		go hub.Serve(tls.NewListener(n, &tls.Config{Certificates: []tls.Certificate{server},
			ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}))
		const cs = "HostName=hub.example;DeviceId=dev1;x509=true"
		c, err := device.NewClientFromConnectionString(cs, &device.ClientOptions{
			Credential: iothub.NewCertificateCredential(client), Dial: n.Dial, TLS: &tls.Config{RootCAs: roots},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SendEvent(within(t, time.Minute), msg("m")); err != nil {
			t.Error(err)
		}
		if got := hub.Connects(); len(got) != 1 || got[0].HasPassword || len(got[0].Password) > 0 {
			t.Errorf("CONNECT: %+v", got)
		}
		c.Close(t.Context())
		n.Close()
		hub.Drop()
		hub.Wait()
	})
}

func newCertificate(t *testing.T, name string) tls.Certificate {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private, Leaf: leaf}
}

// An unknown authority is the first thing a newcomer with a local hub meets:
// the error says what to do, and nothing is sent.
func TestUnknownAuthority(t *testing.T) {
	play(t, func(s *stage, o *iothub.ClientOptions) {
		o.DialTLS = nil
		n := simnet.New(nil)
		o.Dial = n.Dial
		l := tls.NewListener(n, &tls.Config{Certificates: []tls.Certificate{newCertificate(s.T, "hub.example")}})
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.(*tls.Conn).HandshakeContext(context.Background())
				c.Close()
			}
		}()
		s.Cleanup(func() { n.Close() })
		o.TLS = &tls.Config{RootCAs: x509.NewCertPool()}
		o.Retry = &iothub.RetryPolicy{Strategy: iothub.RetryNone}
	}, func(s *stage) {
		err := s.c.SendEvent(s.Context(), msg("m"))
		if iothub.KindOf(err) != iothub.KindTLS || !iothub.NotSent(err) || !strings.Contains(err.Error(), "RootCAs") {
			s.Errorf("got %v", err)
		}
	})
}

// source is a token source that may fail and may take its time.
type source struct {
	calls int
	token func(ctx context.Context, n int) (iothub.Token, error)
}

func (s *source) Token(ctx context.Context, resource string, lifetime time.Duration) (iothub.Token, error) {
	s.calls++
	if resource != "hub.example/devices/dev1/modules/mod1" || lifetime != iothub.DefaultTokenLifetime {
		return iothub.Token{}, fmt.Errorf("asked for %q, %v", resource, lifetime)
	}
	return s.token(ctx, s.calls)
}

func TestTokenSource(t *testing.T) {
	src := &source{token: func(_ context.Context, n int) (iothub.Token, error) {
		if n == 1 {
			return iothub.Token{}, errors.New("the vault is sealed")
		}
		return iothub.Token{Value: fmt.Sprint("token ", n), Expires: time.Now().Add(10 * time.Minute)}, nil
	}}
	play(t, func(s *stage, o *iothub.ClientOptions) {
		o.Credential = iothub.NewTokenSourceCredential(src)
	}, func(s *stage) {
		s.c.Open()
		advance(9 * time.Minute) // beyond 85 % of ten minutes
		var passwords []string
		for _, c := range s.hub.Connects() {
			passwords = append(passwords, string(c.Password))
		}
		if !slices.Equal(passwords, []string{"token 2", "token 3"}) {
			s.Errorf("passwords: %v", passwords)
		}
		if e := s.seen()[0]; e.Reason != iothub.ReasonBadCredential || !strings.Contains(fmt.Sprint(e.Err), "sealed") {
			s.Errorf("the first event is %v", e)
		}
	})
}

// A token source that hangs cannot hold Close.
func TestCloseEndsATokenSource(t *testing.T) {
	src := &source{token: func(ctx context.Context, _ int) (iothub.Token, error) {
		<-ctx.Done()
		return iothub.Token{}, ctx.Err()
	}}
	play(t, func(s *stage, o *iothub.ClientOptions) {
		o.Credential = iothub.NewTokenSourceCredential(src)
	}, func(s *stage) {
		var n count
		s.send("m", n.confirm)
		synctest.Wait()
		w := start(func() error { return s.c.Close(ended()) })
		if !w.returned() || w.took != 0 || n.get(iothub.ConfirmBecauseDestroy) != 1 {
			s.Errorf("returned %v after %v, confirmed %v", w.returned(), w.took, n.of)
		}
	})
}

// The address is the host of the connection string with the protocol's port,
// or what the string says.
func TestAddress(t *testing.T) {
	for cs, want := range map[string]string{
		"HostName=h.example;DeviceId=d;SharedAccessKey=" + key:                                          "h.example:8883",
		"HostName=localhost:18883;DeviceId=d;SharedAccessKey=" + key:                                    "localhost:18883",
		"HostName=h.example;GatewayHostName=edge.local;DeviceId=d;SharedAccessKey=" + key:               "edge.local:8883",
		"HostName=h.example;GatewayHostName=192.0.2.7:443;DeviceId=d;SharedAccessKey=" + key:            "192.0.2.7:443",
		"HostName=h.example;GatewayHostName=[2001:db8::1]:8883;DeviceId=d;SharedAccessKey=" + key:       "[2001:db8::1]:8883",
		"hostname=H.example;deviceid=d;sharedaccesskey=" + key + ";":                                    "H.example:8883",
		"HostName=h.example;DeviceId=d;SharedAccessKeyName=device;SharedAccessKey=" + key + ";Extra=no": "h.example:8883",
	} {
		t.Run(want, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := ""
				c, err := device.NewClientFromConnectionString(cs, &device.ClientOptions{
					Retry: &iothub.RetryPolicy{Strategy: iothub.RetryNone},
					DialTLS: func(_ context.Context, network, address string) (net.Conn, error) {
						got = network + " " + address
						return nil, syscall.ECONNREFUSED
					},
				})
				if err != nil {
					t.Fatal(err)
				}
				c.Open()
				synctest.Wait()
				c.Close(t.Context())
				if got != "tcp "+want {
					t.Errorf("dialled %q, want %q", got, want)
				}
			})
		})
	}
}
