package provisioning

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/link"
	"github.com/iothub-go/iothub/internal/rest"
	"github.com/iothub-go/iothub/internal/transport"
)

// maxSkew is how far the clock of this machine may be from that of the service before it
// is what a refused token is blamed on.
const maxSkew = 5 * time.Minute

// httpsConversation is a connection over HTTPS; it is opened again when it breaks
// between two requests. (wire-device F.4)
type httpsConversation struct {
	r     *registration
	http  *http.Transport
	first net.Conn // of the dial before the first request; nil when taken
}

func (r *registration) openHTTPS(ctx context.Context) (conversation, error) {
	conn, err := r.dial(ctx)
	if err != nil {
		return nil, err
	}
	c := &httpsConversation{r: r, first: conn}
	c.http = &http.Transport{
		MaxConnsPerHost: 1, // first is taken by one request at a time
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			if conn := c.first; conn != nil {
				c.first = nil
				return conn, nil
			}
			return r.dial(ctx)
		},
	}
	return c, nil
}

// ask implements conversation.
func (c *httpsConversation) ask(ctx context.Context, operation string) (*answer, error) {
	method, path, body := http.MethodPut, "/register", c.r.request
	if operation != "" {
		method, path, body = http.MethodGet, "/operations/"+url.PathEscape(operation), nil
	}
	token, err := c.authorization(ctx)
	if err != nil {
		return nil, err
	}
	status, header, text, err := c.send(ctx, method, path, token, body)
	if err == nil && status == http.StatusUnauthorized && c.r.Attestation.tpm != nil && operation == "" {
		if token, err = c.challenged(ctx, text, token != ""); err == nil {
			status, header, text, err = c.send(ctx, method, path, token, body)
		}
	}
	if err != nil {
		return nil, err
	}
	wait := rest.RetryAfter(header, time.Now())
	if status >= 300 {
		err := c.r.refused(status, text, wait)
		return nil, c.blameClock(err, header)
	}
	a, err := parseAnswer(text)
	if err == nil {
		a.retryAfter = wait
	}
	return a, err
}

// authorization returns the header of that name, "" for none. A TPM has something to
// sign with only when it was challenged.
func (c *httpsConversation) authorization(ctx context.Context) (string, error) {
	if c.r.Attestation.tpm != nil {
		return c.r.token, nil
	}
	return c.r.Attestation.token(ctx, c.r.Config)
}

// challenged takes the answer to a request of a TPM that has not proved itself: a key,
// sealed to it, by which it does.
func (c *httpsConversation) challenged(ctx context.Context, body []byte, again bool) (token string, err error) {
	var challenge struct {
		AuthenticationKey string `json:"authenticationKey"`
	}
	_ = json.Unmarshal(body, &challenge) // whatever it is, it is a refusal
	sealed, err := base64.StdEncoding.DecodeString(challenge.AuthenticationKey)
	if err != nil || len(sealed) == 0 || again && c.r.token == "" {
		return "", c.r.refused(http.StatusUnauthorized, body, 0)
	}
	c.r.token = ""
	if err := c.r.Attestation.tpm.Activate(ctx, sealed); err != nil {
		return "", tpmError(err)
	}
	c.r.token, err = c.r.Attestation.token(ctx, c.r.Config)
	return c.r.token, err
}

// send sends one request.
func (c *httpsConversation) send(ctx context.Context, method, path, token string, body []byte) (int, http.Header, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.r.Options.ConnectTimeout+answerTimeout)
	defer cancel()
	u := url.URL{Scheme: "https", Host: c.r.Endpoint, RawQuery: "api-version=" + apiVersion,
		Path: "/" + c.r.IDScope + "/registrations/" + c.r.RegistrationID + path}
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), reader)
	if err != nil {
		return 0, nil, nil, invalid("the request: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", transport.ProductInfo(c.r.Options.ProductInfo))
	if body != nil {
		req.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	if token != "" {
		req.Header.Set("Authorization", token)
	}
	resp, err := c.http.RoundTrip(req)
	if err != nil {
		return 0, nil, nil, httpError(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return 0, nil, nil, httpError(err)
	}
	if len(text) > maxAnswer {
		return 0, nil, nil, errBroken("the answer has more than %d bytes", maxAnswer)
	}
	return resp.StatusCode, resp.Header, text, nil
}

func httpError(err error) error {
	if e, ok := errors.AsType[*iothub.Error](err); ok { // of the dialer
		return e
	}
	return networkError(err)
}

// blameClock says so when it is the clock of this machine that had a token refused.
func (c *httpsConversation) blameClock(err error, header http.Header) error {
	e, ok := errors.AsType[*iothub.Error](err)
	if !ok || e.Kind != iothub.KindUnauthorized || c.r.Attestation.cert != nil {
		return err
	}
	theirs, bad := http.ParseTime(header.Get("Date"))
	off := time.Since(theirs).Round(time.Second)
	if bad != nil || off.Abs() <= maxSkew {
		return err
	}
	e.Kind = iothub.KindTokenExpired
	e.Err = fmt.Errorf("the clock of this machine is %v off that of the provisioning service: %w", off, e.Err)
	return e
}

// close implements conversation.
func (c *httpsConversation) close() {
	if c.first != nil {
		link.HardClose(c.first)
	}
	c.http.CloseIdleConnections()
}

var _ conversation = (*httpsConversation)(nil)
