package iothub

import (
	"log/slog"
	"net"
	"net/url"
	"strconv"
)

// Proxy is the way out of a network that lets nothing go directly: an HTTP
// proxy that takes CONNECT, over plain TCP or TLS, or a SOCKS5 proxy. It is
// immutable, safe for concurrent use, and never prints its password.
type Proxy struct {
	// A function for the reason that SharedAccessKey has.
	url func() url.URL
}

// proxyPorts are the schemes of proxies and the ports they have when the URL
// names none.
var proxyPorts = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}

// ParseProxy parses "scheme://user:password@host:port". The scheme is http or
// https (a proxy that takes CONNECT; with https TLS is spoken to the proxy
// itself, below that to the hub) or socks5 (socks5h is the same: names are
// always looked up by the proxy). User and password are percent-encoded and
// optional; an HTTP proxy gets them as Basic authentication. The port is
// optional, too: 80, 443 and 1080. The error is an *[Error] of kind
// [KindInvalidArgument] and never repeats a password.
func ParseProxy(s string) (*Proxy, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, badProxy("it is not a URL such as http://user:password@host:3128") // err repeats s
	}
	port, known := proxyPorts[u.Scheme]
	switch {
	case !known:
		return nil, badProxy("it has to begin with http://, https:// or socks5://")
	case u.Hostname() == "":
		return nil, badProxy("it names no host")
	case (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.Fragment != "":
		return nil, badProxy("there is something after the host and the port; percent-encode special characters of the password")
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return nil, badProxy("its port is not one of 1 to 65535")
		}
		port = p
	}
	c := url.URL{Scheme: u.Scheme, Host: net.JoinHostPort(u.Hostname(), port), User: u.User}
	if c.Scheme == "socks5h" {
		c.Scheme = "socks5"
	}
	if c.Scheme == "socks5" && c.User != nil {
		// RFC 1929: one byte says how long each is.
		password, _ := c.User.Password()
		if len(c.User.Username()) > 255 || len(password) > 255 || c.User.Username() == "" {
			return nil, badProxy("SOCKS5 takes user names and passwords of 1 to 255 bytes")
		}
	}
	return &Proxy{func() url.URL { return c }}, nil
}

func badProxy(why string) error {
	return badOption("the URL of the proxy cannot be used: %s", why)
}

// URL returns a copy of the URL with its port and its secrets, for
// http.Transport.Proxy and the like. Its scheme is http, https or socks5. A nil
// proxy, or one that ParseProxy did not make, has none.
func (p *Proxy) URL() *url.URL {
	if p == nil || p.url == nil {
		return nil
	}
	u := p.url()
	return &u
}

// String returns the URL with its password redacted, "none" for a nil proxy.
func (p *Proxy) String() string {
	u := p.URL()
	if u == nil {
		return "none"
	}
	return u.Redacted()
}

// GoString is String, for %#v.
func (p *Proxy) GoString() string { return p.String() }

// LogValue is String, for log/slog.
func (p *Proxy) LogValue() slog.Value { return slog.StringValue(p.String()) }

// MarshalText is String, for encoding/json and what uses it.
func (p *Proxy) MarshalText() ([]byte, error) { return []byte(p.String()), nil }
