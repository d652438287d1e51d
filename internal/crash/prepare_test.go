package crash_test

import (
	"context"
	"crypto/x509"
	"testing"

	"github.com/iothub-go/iothub/hub"
)

// prepare makes the data folder with a module in it.
func prepare(t *testing.T, dir string) (connectionString string, pool *x509.CertPool) {
	t.Helper()
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
	return cs, s.CertPool()
}
