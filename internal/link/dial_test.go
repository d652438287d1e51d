package link

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/simnet"
)

// authority makes a self-signed certificate for hub.example, valid at the
// virtual time of a bubble and now.
func authority(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "hub.example"}, DNSNames: []string{"hub.example"},
		NotBefore: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: cert}, pool
}

// dialTo dials in virtual time; serve plays the peer.
func dialTo(t *testing.T, o *iothub.ClientOptions, plan simnet.Plan, serve func(net.Conn), check func(net.Conn, error, time.Duration)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(func(int) simnet.Plan { return plan })
		var wg sync.WaitGroup
		go func() {
			for {
				c, err := n.Accept()
				if err != nil {
					return
				}
				wg.Go(func() { serve(c); c.Close() })
			}
		}()
		opts := *o
		if opts.DialTLS == nil {
			opts.Dial = n.Dial
		}
		full, err := opts.WithDefaults()
		if err != nil {
			t.Fatal(err)
		}
		d, err := NewDialer("hub.example", nil, full, Path{Port: "8883"})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		conn, err := d.Dial(t.Context())
		check(conn, err, time.Since(start))
		if conn != nil {
			HardClose(conn)
		}
		n.Close()
		wg.Wait()
	})
}

func echo(cert tls.Certificate) func(net.Conn) {
	return func(c net.Conn) {
		s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}})
		io.Copy(s, s)
	}
}

func TestDial(t *testing.T) {
	cert, pool := authority(t)
	o := &iothub.ClientOptions{TLS: &tls.Config{RootCAs: pool}}
	dialTo(t, o, simnet.Plan{}, echo(cert), func(conn net.Conn, err error, _ time.Duration) {
		if err != nil {
			t.Fatal(err)
		}
		// More than one batch, in pieces of every kind.
		out := make([]byte, 300<<10)
		for i := range out {
			out[i] = byte(i * 11 >> 2)
		}
		pieces := [][]byte{out[:1], out[1:1], out[1:100_000], out[100_000:100_010], out[100_010:]}
		in := make([]byte, len(out))
		read := make(chan error)
		go func() { _, err := io.ReadFull(conn, in); read <- err }()
		if n, err := WriteAll(conn, pieces); n != len(out) || err != nil {
			t.Errorf("wrote %d of %d: %v", n, len(out), err)
		}
		if n, err := WriteAll(conn, nil); n != 0 || err != nil {
			t.Errorf("wrote nothing: %d, %v", n, err)
		}
		if err := <-read; err != nil || !bytes.Equal(in, out) {
			t.Errorf("the echo differs, or %v", err)
		}
	})
}

// A certificate that nobody here vouches for: the error says what to do.
func TestDialUnknownAuthority(t *testing.T) {
	cert, _ := authority(t)
	_, other := authority(t)
	o := &iothub.ClientOptions{TLS: &tls.Config{RootCAs: other}}
	dialTo(t, o, simnet.Plan{}, echo(cert), func(_ net.Conn, err error, _ time.Duration) {
		if iothub.KindOf(err) != iothub.KindTLS || !iothub.Retryable(err) {
			t.Errorf("kind %v of %v", iothub.KindOf(err), err)
		}
		if _, ok := errors.AsType[x509.UnknownAuthorityError](err); !ok {
			t.Errorf("the cause is lost: %#v", err)
		}
		if s := err.Error(); !strings.Contains(s, "ClientOptions.TLS.RootCAs") || !strings.Contains(s, "hub.example:8883") {
			t.Errorf("the error does not help: %v", err)
		}
	})
}

func TestDialWrongHost(t *testing.T) {
	cert, pool := authority(t)
	o := &iothub.ClientOptions{TLS: &tls.Config{RootCAs: pool, ServerName: "other.example"}}
	dialTo(t, o, simnet.Plan{}, echo(cert), func(_ net.Conn, err error, _ time.Duration) {
		if iothub.KindOf(err) != iothub.KindTLS || !strings.Contains(err.Error(), "other.example") {
			t.Errorf("%v", err)
		}
	})
}

func TestDialPeerWithoutTLS(t *testing.T) {
	o := &iothub.ClientOptions{}
	dialTo(t, o, simnet.Plan{}, func(c net.Conn) { c.Write([]byte("220 mail.example ESMTP ready\r\n")); io.Copy(io.Discard, c) },
		func(_ net.Conn, err error, _ time.Duration) {
			if iothub.KindOf(err) != iothub.KindTLS || !strings.Contains(err.Error(), "does not speak TLS") {
				t.Errorf("%v", err)
			}
		})
}

func TestDialTimeouts(t *testing.T) {
	o := &iothub.ClientOptions{ConnectTimeout: 7 * time.Second}
	silent := func(c net.Conn) { io.Copy(io.Discard, c) }
	for name, c := range map[string]struct {
		plan simnet.Plan
		kind iothub.Kind
	}{
		"network":   {simnet.Plan{Silent: true}, iothub.KindNetwork},
		"slow":      {simnet.Plan{DialDelay: time.Minute}, iothub.KindNetwork},
		"handshake": {simnet.Plan{}, iothub.KindNetwork},
	} {
		t.Run(name, func(t *testing.T) {
			dialTo(t, o, c.plan, silent, func(_ net.Conn, err error, took time.Duration) {
				if took != o.ConnectTimeout || !errors.Is(err, context.DeadlineExceeded) || iothub.KindOf(err) != c.kind || !iothub.Retryable(err) {
					t.Errorf("after %v: %v, kind %v", took, err, iothub.KindOf(err))
				}
			})
		})
	}
}

func TestDialRefused(t *testing.T) {
	dialTo(t, &iothub.ClientOptions{}, simnet.Plan{Refuse: syscall.ECONNREFUSED}, nil, func(_ net.Conn, err error, _ time.Duration) {
		if !errors.Is(err, syscall.ECONNREFUSED) || iothub.KindOf(err) != iothub.KindNetwork {
			t.Errorf("%v", err)
		}
	})
}

// DialTLS replaces TLS and Dial, and gets the address with its port.
func TestDialTLS(t *testing.T) {
	for peer, want := range map[string]string{
		"hub.example": "hub.example:8883", "hub.example:1234": "hub.example:1234", "[::1]:1": "[::1]:1", "::1": "[::1]:8883",
	} {
		var got string
		o := &iothub.ClientOptions{DialTLS: func(_ context.Context, _, address string) (net.Conn, error) {
			got = address
			return nil, syscall.EHOSTUNREACH
		}}
		full, err := o.WithDefaults()
		if err != nil {
			t.Fatal(err)
		}
		host, port := SplitHost(peer)
		d, err := NewDialer(host, nil, full, Path{Port: cmp.Or(port, "8883")})
		if err != nil {
			t.Fatal(err)
		}
		if conn, err := d.Dial(t.Context()); conn != nil || !errors.Is(err, syscall.EHOSTUNREACH) {
			t.Errorf("%v, %v", conn, err)
		}
		if got != want {
			t.Errorf("%s was dialled as %s, want %s", peer, got, want)
		}
	}
	if _, err := NewDialer(Host(":8883"), nil, &iothub.ClientOptions{}); iothub.KindOf(err) != iothub.KindInvalidArgument {
		t.Errorf("no host: %v", err)
	}
}
