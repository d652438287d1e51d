package dps

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/iothub-go/iothub/internal/backend"
	"github.com/iothub-go/iothub/internal/rest"
	"github.com/iothub-go/iothub/service"
)

// CertificateResponse is the certificate of an authority that the service has under
// a name, as Azure Resource Manager shows it. Enrollments may refer to it once it is
// verified.
type CertificateResponse struct {
	// Name is the caller's to choose: up to 64 letters, digits and -._
	Name string `json:"name"`
	// ETag is the version.
	ETag ETag `json:"etag,omitempty"`
	// Properties are what there is to know of it.
	Properties CertificateProperties `json:"properties"`
}

// CertificateProperties are what there is to know of a [CertificateResponse].
type CertificateProperties struct {
	// Subject is its distinguished name, Expiry when it ends to be valid,
	// Thumbprint SHA-1 in hexadecimal.
	Subject    string       `json:"subject"`
	Expiry     service.Time `json:"expiry,omitzero"`
	Thumbprint string       `json:"thumbprint"`
	// IsVerified says that its owner has proved to have its key.
	IsVerified bool `json:"isVerified"`
	// Certificate is base64 of DER.
	Certificate string `json:"certificate,omitempty"`
	// VerificationCode is what is to be proved with; see
	// [Client.GenerateVerificationCode].
	VerificationCode string `json:"verificationCode,omitempty"`
	// Created and Updated are set by the service.
	Created service.Time `json:"created,omitzero"`
	Updated service.Time `json:"updated,omitzero"`
}

// X509 parses the certificate.
func (r *CertificateResponse) X509() (*x509.Certificate, error) {
	der, err := base64.StdEncoding.DecodeString(r.Properties.Certificate)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func certificatePath(op, name string, more ...string) ([]string, error) {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._"
	if name == "" || len(name) > 64 || strings.Trim(name, ".") == "" || strings.ContainsFunc(name, func(r rune) bool { return !strings.ContainsRune(allowed, r) }) {
		return nil, backend.Invalid(op, "%.80q is no name of a certificate: 1 to 64 letters, digits and -._", name)
	}
	return append([]string{"certificates", name}, more...), nil
}

// CreateCertificate adds the certificate of an authority, not verified. verified says
// that the caller vouches for it, so that no proof is needed. It fails with
// iothub.KindConflict when there is one of this name.
func (c *Client) CreateCertificate(ctx context.Context, name string, cert *x509.Certificate, verified bool) (*CertificateResponse, error) {
	const op = "create certificate"
	path, err := certificatePath(op, name)
	if err != nil {
		return nil, err
	}
	if cert == nil {
		return nil, backend.Invalid(op, "there is no certificate")
	}
	return backend.Result[CertificateResponse](ctx, c.rest, &rest.Request{Op: op, Method: http.MethodPut, Path: path,
		Body: map[string]any{"properties": map[string]any{
			"certificate": base64.StdEncoding.EncodeToString(cert.Raw), "isVerified": verified}}})
}

// GetCertificate returns a certificate. It fails with iothub.KindNotFound when there
// is none of this name.
func (c *Client) GetCertificate(ctx context.Context, name string) (*CertificateResponse, error) {
	const op = "get certificate"
	path, err := certificatePath(op, name)
	if err != nil {
		return nil, err
	}
	return backend.Result[CertificateResponse](ctx, c.rest, &rest.Request{Op: op, Method: http.MethodGet, Path: path, Idempotent: true})
}

// ListCertificates returns all certificates.
func (c *Client) ListCertificates(ctx context.Context) ([]*CertificateResponse, error) {
	var l struct {
		Value []*CertificateResponse `json:"value"`
	}
	_, err := c.rest.Do(ctx, &rest.Request{Op: "list certificates", Method: http.MethodGet, Path: []string{"certificates"}, Idempotent: true}, &l)
	return l.Value, err
}

// DeleteCertificate deletes a certificate that no enrollment refers to. It fails with
// iothub.KindPreconditionFailed when its version is not etag, which [service.AnyETag]
// makes any.
func (c *Client) DeleteCertificate(ctx context.Context, name string, etag ETag) error {
	const op = "delete certificate"
	path, err := certificatePath(op, name)
	if err != nil {
		return err
	}
	return c.remove(ctx, op, etag, path...)
}

// GenerateVerificationCode begins the proof that the caller has the key of a
// certificate whose version is etag: it returns the certificate with a code, which
// is the common name of the certificate that [Client.VerifyCertificate] takes. An
// earlier code is no longer good.
func (c *Client) GenerateVerificationCode(ctx context.Context, name string, etag ETag) (*CertificateResponse, error) {
	return c.actOnCertificate(ctx, "generate verification code", name, etag, "generateVerificationCode", nil)
}

// VerifyCertificate ends the proof that the caller has the key of a certificate whose
// version is etag: proof is a certificate that it has signed, whose common name is
// the verification code. The code is used up then.
func (c *Client) VerifyCertificate(ctx context.Context, name string, proof *x509.Certificate, etag ETag) (*CertificateResponse, error) {
	const op = "verify certificate"
	if proof == nil {
		return nil, backend.Invalid(op, "there is no proof")
	}
	return c.actOnCertificate(ctx, op, name, etag, "verify", map[string]string{"certificate": base64.StdEncoding.EncodeToString(proof.Raw)})
}

func (c *Client) actOnCertificate(ctx context.Context, op, name string, etag ETag, action string, body any) (*CertificateResponse, error) {
	path, err := certificatePath(op, name, action)
	if err != nil {
		return nil, err
	}
	if err := backend.NeedETag(op, string(etag)); err != nil {
		return nil, err
	}
	r := &rest.Request{Op: op, Method: http.MethodPost, Path: path, Body: body}
	condition(r, etag)
	return backend.Result[CertificateResponse](ctx, c.rest, r)
}
