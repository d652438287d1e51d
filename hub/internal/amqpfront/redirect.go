package amqpfront

import (
	"crypto/tls"
	"net"
	"strings"

	"github.com/iothub-go/iothub/internal/wire/amqp"
)

// eventHubPort stands in redirects whatever the port is that the hub listens on:
// clients in use look for it in the address. (wire-service E1)
const eventHubPort = 5671

// redirect refuses links with the place where the events are.
func redirect(path string) func(l *link) (serve, error) {
	return func(l *link) (serve, error) {
		f := l.c.front
		host := f.hub.HostName()
		inURL := host
		if strings.Contains(host, ":") {
			inURL = "[" + host + "]"
		}
		l.answer.MaxMessageSize = amqp.Some(uint64(256 << 10))
		return nil, &amqp.Error{Condition: amqp.ErrCondLinkRedirect, Info: amqp.Map{
			{Key: amqp.Symbol("hostname"), Value: host},
			{Key: amqp.Symbol("network-host"), Value: host},
			{Key: amqp.Symbol("port"), Value: int32(l.c.port())},
			{Key: amqp.Symbol("address"), Value: "amqps://" + inURL + ":5671/" + f.hub.BuiltIn().Name() + path},
			{Key: amqp.Symbol("com.microsoft:tracking-id"), Value: newTrackingID()},
		}}
	}
}

// port is the port that the client came to: a hub may listen on another than the
// standard one, and clients that look for it here find it. One that came over a
// WebSocket or without TLS has not come to that port at all.
func (c *conn) port() int {
	if _, ok := c.nc.(*tls.Conn); ok {
		if a, ok := c.raw.LocalAddr().(*net.TCPAddr); ok {
			return a.Port
		}
	}
	return eventHubPort
}
