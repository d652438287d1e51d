package examples_test

import (
	"crypto/tls"
	"testing"

	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/module"
)

// sensor opens a client for the module dev1/sensor.
func sensor(t *testing.T, s *hub.Server) *module.Client {
	t.Helper()
	if _, err := s.CreateModule(t.Context(), "dev1", "sensor"); err != nil {
		t.Fatal(err)
	}
	cs, err := s.ModuleConnectionString("dev1", "sensor")
	if err != nil {
		t.Fatal(err)
	}
	c, err := module.NewClientFromConnectionString(cs, &module.ClientOptions{TLS: &tls.Config{RootCAs: s.CertPool()}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
