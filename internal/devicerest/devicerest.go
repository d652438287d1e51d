// Package devicerest sends requests of devices and modules to the HTTPS endpoint of
// a hub, by the paths, with the trust and the credential of their client.
package devicerest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/link"
	"github.com/iothub-go/iothub/internal/transport"
)

// APIVersion is the version of IoT Hub's REST API that is asked for.
const APIVersion = "2021-04-12"

// Do sends a request to peer, a host name, at a port, 0 being 443, with the
// identity's credential. The host of the request's URL is filled in. Each request
// has a connection of its own: they are rare, and an idle one would cost more than
// it saves. The body of the answer has to be closed. Errors are *iothub.Error.
func Do(ctx context.Context, op string, p *transport.Params, peer string, port int, req *http.Request) (*http.Response, error) {
	if p.HostName == "" {
		return nil, transport.Unassigned(op)
	}
	text := "443"
	if port != 0 {
		text = strconv.Itoa(port)
	}
	d, err := link.NewDialer(link.Host(peer), p.Credential.Certificate(), p.Options, link.Path{Port: text})
	if err != nil {
		return nil, err
	}
	d.SetRoots(p.Roots)
	tok, err := p.Credential.Token(ctx, p.Identity.Resource(link.Host(p.HostName)), time.Now(), p.Options.TokenLifetime)
	if err != nil {
		return nil, err
	}
	if tok.Value != "" {
		req.Header.Set("Authorization", tok.Value)
	}
	req.Host = ""
	req.URL.Host = net.JoinHostPort(link.Host(peer), text)
	return send(op, d, req)
}

// send sends a request by a dialer.
func send(op string, d *link.Dialer, req *http.Request) (*http.Response, error) {
	t := &http.Transport{
		DialTLSContext:    func(ctx context.Context, _, _ string) (net.Conn, error) { return d.Dial(ctx) },
		DisableKeepAlives: true,
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		t.CloseIdleConnections()
		if _, ok := errors.AsType[*iothub.Error](err); ok {
			return nil, err
		}
		return nil, &iothub.Error{Op: op, Kind: iothub.KindNetwork, Retryable: true, Err: err}
	}
	resp.Body = &body{resp.Body, t}
	return resp, nil
}

// body ends its transport when it is closed.
type body struct {
	io.ReadCloser
	transport *http.Transport
}

func (b *body) Close() error {
	err := b.ReadCloser.Close()
	b.transport.CloseIdleConnections()
	return err
}
