package setup

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/url"
	"strconv"

	"github.com/iothub-go/iothub"
)

// Options of the C SDK by which ClientOptions are made, for the packages that take them.

// Trust adds authorities, in PEM, to those that o trusts.
func Trust(o *iothub.ClientOptions, pem string) error {
	cfg := &tls.Config{}
	if o.TLS != nil {
		cfg = o.TLS.Clone()
	}
	roots := cfg.RootCAs
	if roots == nil {
		var err error
		if roots, err = x509.SystemCertPool(); err != nil {
			roots = x509.NewCertPool()
		}
	}
	roots = roots.Clone()
	if !roots.AppendCertsFromPEM([]byte(pem)) {
		return errors.New("there is no certificate in it")
	}
	cfg.RootCAs = roots
	o.TLS = cfg
	return nil
}

// HTTPProxy sets a proxy that is spoken to by HTTP CONNECT.
func HTTPProxy(o *iothub.ClientOptions, host string, port int, username, password string) error {
	switch {
	case host == "":
		return errors.New("HostAddress is empty")
	case (username == "") != (password == ""):
		return errors.New("user name and password go together")
	case o.DialTLS != nil:
		return errors.New("ClientOptions.DialTLS opens the whole connection, so there is nothing for a proxy to do")
	}
	u := url.URL{Scheme: "http", Host: net.JoinHostPort(host, strconv.Itoa(port))}
	if username != "" {
		u.User = url.UserPassword(username, password)
	}
	proxy, err := iothub.ParseProxy(u.String())
	if err != nil {
		return errors.Unwrap(err) // the option's name is added
	}
	o.Proxy = proxy
	return nil
}
