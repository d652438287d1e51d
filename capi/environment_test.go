//go:build cgo && linux

package main

import (
	"context"
	"encoding/base64"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/testkit"
)

// Modules that IoT Edge starts.
func TestEnvironment(t *testing.T) {
	inDialects(t, "environment", func(t *testing.T, bin string) {
		w := newWorld(t, nil)
		start(t, bin, append(w.env, startDaemon(t, w)...)...).finish()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		want := map[string]bool{"daemon ll": true, "daemon threaded": true, "development ll": true, "development threaded": true}
		for e, err := range w.Events(ctx, &hub.EventsOptions{}) {
			if err != nil {
				t.Fatalf("%v are missing: %v", want, err)
			}
			if delete(want, string(e.Body)); len(want) == 0 {
				return
			}
		}
	})
}

// startDaemon starts a daemon for the module and returns what it puts into the module's
// environment.
func startDaemon(t *testing.T, w *world) []string {
	t.Helper()
	_, key, _ := strings.Cut(w.env[1], "SharedAccessKey=")
	secret, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	socket, ca := filepath.Join(dir, "w.sock"), filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, w.CACertPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: &testkit.Daemon{Key: secret, Bundle: w.CACertPEM()}}}
	s.Start()
	t.Cleanup(s.Close)
	_, gateway, _ := strings.Cut(secrets(w)[1], "=")
	return []string{
		"HUB_CA_FILE=" + ca, "IOTEDGE_WORKLOADURI=unix://" + socket, "IOTEDGE_DEVICEID=dev1", "IOTEDGE_MODULEID=mod1",
		"IOTEDGE_MODULEGENERATIONID=gen1", "IOTEDGE_IOTHUBHOSTNAME=127.0.0.1", "IOTEDGE_GATEWAYHOSTNAME=" + gateway,
		"IOTEDGE_AUTHSCHEME=sasToken", "IOTEDGE_APIVERSION=2018-06-28",
	}
}

// Devices that prove themselves by what was chosen for the process.
func TestSecurity(t *testing.T) {
	inDialects(t, "security", func(t *testing.T, bin string) {
		w := newWorld(t, nil)
		start(t, bin, append(w.env, secrets(w)...)...).finish()
	})
}

// secrets are the parts of the device's connection string, and a TPM that is not there.
func secrets(w *world) []string {
	_, key, _ := strings.Cut(w.env[0], "SharedAccessKey=")
	_, host, _ := strings.Cut(w.env[0], "HostName=")
	host, _, _ = strings.Cut(host, ";")
	return []string{"DEVICE_KEY=" + key, "HUB_HOST=" + host, "IOTHUB_TPM_DEVICE=nowhere"}
}
