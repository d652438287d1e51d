package hub

import (
	"log/slog"
	"time"

	"github.com/iothub-go/iothub/hub/internal/pki"
)

// CertificateRequest says what a certificate of the hub's authority is to be like.
type CertificateRequest struct {
	// CommonName is that of the subject.
	CommonName string
	// Names are the DNS names and IP addresses that it is for.
	Names []string
	// Client makes it one for clients, where it would be one for servers.
	Client bool
	// NotAfter is when it ends; the end of the authority bounds it.
	NotAfter time.Time
}

// Certificate is a certificate with its key, in PEM. It never prints the key.
type Certificate struct {
	// Certificate has that of the authority behind it, Key is PKCS #8.
	Certificate, Key []byte
	// NotAfter is when it ends.
	NotAfter time.Time
}

// String says until when it holds.
func (c Certificate) String() string { return "certificate until " + c.NotAfter.Format(time.RFC3339) }

// GoString is String, for %#v.
func (c Certificate) GoString() string { return c.String() }

// LogValue is String, for log/slog.
func (c Certificate) LogValue() slog.Value { return slog.StringValue(c.String()) }

// IssueCertificate makes a key and a certificate for it, signed by the authority that
// CACertPEM returns: for a program beside the hub that serves its clients, or a device
// in a test. Nothing of it is kept.
func (s *Server) IssueCertificate(r CertificateRequest) (*Certificate, error) {
	cert, key, end, err := s.tls.authority().Issue(pki.Request(r), time.Now())
	if err != nil {
		return nil, err
	}
	return &Certificate{cert, key, end}, nil
}
