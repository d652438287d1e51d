// Package workload is a client of the workload API, by which the IoT Edge daemon
// signs for a module, makes its certificates and says whom to trust. The module's
// key never leaves the daemon.
package workload

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/rest"
	"github.com/iothub-go/iothub/internal/sas"
)

const (
	// DefaultVersion is the version of the API that every IoT Edge 1.x has.
	DefaultVersion = "2018-06-28"

	// timeout bounds one call. The daemon makes keys and may have to ask a TPM.
	timeout = time.Minute
	// maxAnswer bounds an answer; a trust bundle holds some dozens of certificates.
	maxAnswer = 1 << 20

	op = "workload API"
)

// Config says where the daemon is and for whom it is asked.
type Config struct {
	// URI is unix:///path/of/socket or http://host:port.
	URI string
	// Version of the API; empty is DefaultVersion.
	Version string
	// ModuleID and GenerationID are the module's own.
	ModuleID, GenerationID string
}

// Client calls the workload API. Each call has a connection of its own: calls are
// rare, and so a daemon that was restarted is not noticed. It is safe for
// concurrent use. Errors are *iothub.Error; the call may have been carried out
// when ctx ends first.
type Client struct {
	cfg  Config
	base string // of all URLs
	http *http.Client
}

// New checks the configuration and touches no network.
func New(cfg Config) (*Client, error) {
	if cfg.Version == "" {
		cfg.Version = DefaultVersion
	}
	network, address, base, err := parseURI(cfg.URI)
	if err != nil {
		return nil, &iothub.Error{Op: op, Kind: iothub.KindInvalidArgument, Err: err}
	}
	return &Client{cfg: cfg, base: base, http: &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, address)
			},
			DisableKeepAlives: true,
		},
	}}, nil
}

func parseURI(text string) (network, address, base string, err error) {
	u, err := url.Parse(text)
	if err != nil {
		return "", "", "", errors.New("the URI is malformed: it has to be unix:///path/of/socket or http://host:port")
	}
	switch {
	case u.Scheme == "unix" && u.Host == "" && len(u.Path) > 1:
		path := u.Path
		if runtime.GOOS == "windows" { // unix:///C:/…
			path = strings.TrimPrefix(path, "/")
		}
		return "unix", path, "http://workload", nil
	case u.Scheme == "http" && u.Hostname() != "":
		port := u.Port()
		if port == "" {
			port = "80"
		}
		return "tcp", net.JoinHostPort(u.Hostname(), port), "http://" + u.Host + strings.TrimSuffix(u.EscapedPath(), "/"), nil
	}
	return "", "", "", fmt.Errorf("the URI %q is neither unix:///path/of/socket nor http://host:port", u.Redacted())
}

// Sign returns the HMAC-SHA256 of text with the module's key.
func (c *Client) Sign(ctx context.Context, text []byte) ([]byte, error) {
	var answer struct {
		Digest []byte `json:"digest"`
	}
	err := c.call(ctx, http.MethodPost, c.module("sign"), map[string]any{"keyId": "primary", "algo": "HMACSHA256", "data": text}, &answer)
	if err == nil && len(answer.Digest) != 32 {
		return nil, protocolError("the digest has %d bytes, one of SHA-256 has 32", len(answer.Digest))
	}
	return answer.Digest, err
}

// Token implements [iothub.TokenSource].
func (c *Client) Token(ctx context.Context, resource string, lifetime time.Duration) (iothub.Token, error) {
	expires := time.Now().Add(lifetime).Truncate(time.Second)
	text, err := sas.SignWith(resource, expires, "", func(text []byte) ([]byte, error) { return c.Sign(ctx, text) })
	return iothub.Token{Value: text, Expires: expires}, err
}

// TrustBundle returns the certificates, in PEM, of the authorities that stand
// behind the gateway.
func (c *Client) TrustBundle(ctx context.Context) ([]byte, error) {
	var answer struct {
		Certificate string `json:"certificate"`
	}
	if err := c.call(ctx, http.MethodGet, "/trust-bundle", nil, &answer); err != nil {
		return nil, err
	}
	return []byte(answer.Certificate), nil
}

// Certificate is one made by the daemon, with its key.
type Certificate struct {
	// Certificate and PrivateKey are PEM, the first with its chain.
	Certificate, PrivateKey []byte
	Expires                 time.Time
}

// ServerCertificate makes a certificate with which the module serves TLS under a
// name. The daemon may let it end sooner than asked.
func (c *Client) ServerCertificate(ctx context.Context, commonName string, expires time.Time) (*Certificate, error) {
	var answer struct {
		PrivateKey struct {
			Type  string `json:"type"`
			Bytes string `json:"bytes"`
		} `json:"privateKey"`
		Certificate string    `json:"certificate"`
		Expiration  time.Time `json:"expiration"`
	}
	body := map[string]any{"commonName": commonName, "expiration": expires.UTC().Format(time.RFC3339)}
	if err := c.call(ctx, http.MethodPost, c.module("certificate/server"), body, &answer); err != nil {
		return nil, err
	}
	if answer.PrivateKey.Type != "key" {
		return nil, protocolError("the private key is a %.40q, which this library cannot use", answer.PrivateKey.Type)
	}
	return &Certificate{[]byte(answer.Certificate), []byte(answer.PrivateKey.Bytes), answer.Expiration}, nil
}

func (c *Client) module(what string) string {
	return "/modules/" + url.PathEscape(c.cfg.ModuleID) + "/genid/" + url.PathEscape(c.cfg.GenerationID) + "/" + what
}

func (c *Client) call(ctx context.Context, method, path string, body, answer any) error {
	var r io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		r = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path+"?api-version="+url.QueryEscape(c.cfg.Version), r)
	if err != nil {
		return &iothub.Error{Op: op, Kind: iothub.KindInvalidArgument, Err: err}
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.unreachable(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return c.unreachable(err)
	case len(text) > maxAnswer:
		return protocolError("the answer has more than %d bytes", maxAnswer)
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return c.refused(resp, text)
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return protocolError("the answer is not what it should be: %w", err)
	}
	return nil
}

// unreachable says what keeps a daemon from answering.
func (c *Client) unreachable(err error) error {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err // without the URL, which says nothing more
	}
	e := &iothub.Error{Op: op, Kind: iothub.KindNetwork, Retryable: true}
	switch {
	case errors.Is(err, context.Canceled):
		e.Err = err
	case errors.Is(err, fs.ErrPermission):
		e.Err = fmt.Errorf("this user may not open %s: %w", c.cfg.URI, err)
	case errors.Is(err, context.DeadlineExceeded):
		e.Kind = iothub.KindTimeout
		e.Err = fmt.Errorf("%s does not answer: %w", c.cfg.URI, err)
	default:
		e.Err = fmt.Errorf("%s cannot be reached, is the IoT Edge daemon running? %w", c.cfg.URI, err)
	}
	return e
}

// refused says what the usual refusals mean.
func (c *Client) refused(resp *http.Response, body []byte) error {
	e := rest.Refused(op, resp, body)
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		e.Kind = iothub.KindUnauthorized
		e.Err = fmt.Errorf("the daemon does not take this process for module %q: %w", c.cfg.ModuleID, e.Err)
	case http.StatusNotFound:
		e.Err = fmt.Errorf("the daemon does not know module %q with generation %q, which may have been deleted or made again: %w", c.cfg.ModuleID, c.cfg.GenerationID, e.Err)
	}
	return e
}

func protocolError(format string, args ...any) error {
	return &iothub.Error{Op: op, Kind: iothub.KindProtocol, Err: fmt.Errorf(format, args...)}
}
