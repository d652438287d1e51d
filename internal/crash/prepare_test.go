package crash_test

import (
	"context"
	"crypto/x509"
	"net"
	"strings"
	"testing"

	"github.com/iothub-go/iothub/hub"
)

// address is where the module sends and how.
type address struct{ addr, text string }

// prepare makes the data folder with a module in it and picks a port that the
// hubs of the test use one after the other.
func prepare(t *testing.T, dir string) (address, *x509.CertPool) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	s, err := hub.New(&hub.Options{DataDir: dir, HostNames: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown(context.Background())
	if _, err := s.CreateModule(context.Background(), "dev1", "mod1"); err != nil {
		t.Fatal(err)
	}
	cs, err := s.ModuleConnectionString("dev1", "mod1")
	if err != nil {
		t.Fatal(err)
	}
	cs = strings.Replace(cs, "HostName=127.0.0.1;", "HostName="+addr+";", 1)
	return address{addr, cs}, s.CertPool()
}
