package hub

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"time"

	"github.com/iothub-go/iothub/hub/internal/blobs"
)

// newBlobClient makes the client for the containers of import and export jobs. It
// reads no environment, and there is no limit on how long a blob takes, because a
// job can be cancelled.
func (s *Server) newBlobClient() *blobs.Client {
	roots := s.opts.RootCAs
	if roots == nil {
		var err error
		if roots, err = x509.SystemCertPool(); err != nil {
			s.log.Warn("the certificate authorities of the system cannot be read", "error", err)
			roots = x509.NewCertPool()
		}
	}
	roots = roots.Clone()
	roots.AppendCertsFromPEM(s.tls.authority().CAPEM())
	return blobs.New(&http.Client{Transport: &http.Transport{
		TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 2 * time.Minute,
		IdleConnTimeout:       30 * time.Second,
	}})
}
