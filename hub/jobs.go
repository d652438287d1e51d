package hub

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"time"
)

// newHTTPClient makes the client for storage accounts: of import and export jobs,
// and of uploads. It reads no environment, and there is no limit on how long a blob
// takes, because what asks for it can be cancelled.
func (s *Server) newHTTPClient() *http.Client {
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
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 2 * time.Minute,
		IdleConnTimeout:       30 * time.Second,
	}}
}
