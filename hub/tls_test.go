package hub

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// A server that runs for months must not end up with a certificate that has
// expired, and what clients trust must stay.
func TestCertificateIsRenewed(t *testing.T) {
	for _, kept := range []bool{true, false} {
		dir := ""
		if kept {
			dir = t.TempDir()
		}
		files, err := loadTLS(dir, []string{"hub.test"}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		authority, ends := string(files.authority().CAPEM()), files.authority().NotAfter()
		early, again := files.get("", ends.Add(-30*24*time.Hour)), files.get("", time.Now())
		if early != again {
			t.Error("the configuration, and with it the session tickets, changes without need")
		}
		late := files.get("", ends.Add(-time.Hour))
		if renewed := late != early; renewed != kept {
			t.Errorf("kept %v: renewed %v", kept, renewed)
		}
		if kept && !files.authority().NotAfter().After(ends) {
			t.Errorf("it still ends at %v", files.authority().NotAfter())
		}
		if string(files.authority().CAPEM()) != authority {
			t.Error("the authority has changed")
		}
		if c := files.get("http/1.1", time.Now()); len(c.NextProtos) != 1 {
			t.Errorf("HTTPS offers %v", c.NextProtos)
		}
	}
}

// A certificate that the hub has issued is taken by whoever trusts its authority, and
// its key is not printed.
func TestIssueCertificate(t *testing.T) {
	s, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown(context.Background())
	end := time.Now().Add(time.Hour).Truncate(time.Second)
	for _, client := range []bool{false, true} {
		c, err := s.IssueCertificate(CertificateRequest{CommonName: "m", Names: []string{"m.example", "10.0.0.1"}, Client: client, NotAfter: end})
		if err != nil {
			t.Fatal(err)
		}
		pair, err := tls.X509KeyPair(c.Certificate, c.Key)
		if err != nil {
			t.Fatal(err)
		}
		usage := x509.ExtKeyUsageServerAuth
		if client {
			usage = x509.ExtKeyUsageClientAuth
		}
		for _, name := range []string{"m.example", "10.0.0.1"} {
			if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: s.CertPool(), KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
				t.Error(err)
			}
		}
		if !c.NotAfter.Equal(end) || !pair.Leaf.NotAfter.Equal(end) {
			t.Errorf("it ends %v", c.NotAfter)
		}
		if text := fmt.Sprintf("%v %+v %#v %v", c, c, *c, slog.AnyValue(c)); strings.Contains(text, "PRIVATE") || strings.Contains(text, fmt.Sprint(c.Key[:8])) {
			t.Errorf("printed: %s", text)
		}
	}
	c, err := s.IssueCertificate(CertificateRequest{NotAfter: time.Now().Add(100 * 365 * 24 * time.Hour)})
	if err != nil || c.NotAfter.After(time.Now().Add(11*365*24*time.Hour)) {
		t.Errorf("it outlives the authority: %v, %v", c, err)
	}
}
