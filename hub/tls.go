package hub

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/iothub-go/iothub/hub/internal/pki"
)

// renewBefore is when a running server begins to replace its certificate; the
// authority stays, so clients notice nothing.
const renewBefore = 7 * 24 * time.Hour

// tlsFiles are the certificates of a server and the TLS configurations made of
// them, one per protocol.
type tlsFiles struct {
	mqtt, https *tls.Config // read-only; they hand every client the current one

	dir   string
	names []string
	log   *slog.Logger

	mu      sync.Mutex
	pki     *pki.PKI
	tries   time.Time // when a renewal was tried last
	current map[string]*tls.Config
}

func loadTLS(dir string, names []string, log *slog.Logger) (*tlsFiles, error) {
	t := &tlsFiles{dir: dir, names: names, log: log}
	p, err := pki.Load(dir, names, time.Now())
	if err != nil {
		return nil, err
	}
	t.useLocked(p)
	// IoT Hub's REST API and WebSockets are HTTP/1.1.
	t.mqtt, t.https = t.config(""), t.config("http/1.1")
	return t, nil
}

// useLocked makes configurations of p. They are kept, because session tickets
// belong to one.
func (t *tlsFiles) useLocked(p *pki.PKI) {
	t.pki = p
	t.current = map[string]*tls.Config{"": p.TLSConfig(), "http/1.1": p.TLSConfig()}
	t.current["http/1.1"].NextProtos = []string{"http/1.1"}
}

func (t *tlsFiles) config(proto string) *tls.Config {
	c := t.current[proto].Clone()
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return t.get(proto, time.Now()), nil }
	return c
}

// get returns the current configuration, with a new certificate when the old one
// is about to end. An authority that is kept nowhere cannot sign a new one, but a
// hub in memory does not last for months.
func (t *tlsFiles) get(proto string, now time.Time) *tls.Config {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dir != "" && now.After(t.pki.NotAfter().Add(-renewBefore)) && now.Sub(t.tries) > time.Hour {
		t.tries = now
		if p, err := pki.Load(t.dir, t.names, now); err != nil {
			t.log.Error("the server certificate could not be renewed", "ends", t.pki.NotAfter(), "error", err)
		} else {
			t.log.Info("the server certificate was renewed", "ends", p.NotAfter())
			t.useLocked(p)
		}
	}
	return t.current[proto]
}

func (t *tlsFiles) authority() *pki.PKI {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.pki
}

// CACertPEM returns the certificate of the authority that clients have to trust.
func (s *Server) CACertPEM() []byte { return s.tls.authority().CAPEM() }

// CertPool returns a pool with that certificate, for clients written in Go.
func (s *Server) CertPool() *x509.CertPool { return s.tls.authority().Pool() }

// CACertFile is the file with that certificate; empty for a server in memory.
func (s *Server) CACertFile() string {
	if s.opts.DataDir == "" {
		return ""
	}
	return filepath.Join(s.opts.DataDir, "ca.pem")
}

// HostNames returns all names of the hub, the one in connection strings first.
func (s *Server) HostNames() []string { return slices.Clone(s.opts.HostNames) }
