package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync/atomic"
	"time"
)

// target is what every implementation is pointed at.
type target struct {
	addr  string // host:port
	roots *x509.CertPool
	size  int // bytes of payload
}

const (
	deviceID = "bench-device"
	moduleID = "bench-module"
	user     = "127.0.0.1/" + deviceID + "/" + moduleID + "/?api-version=2021-04-12"

	// key is no secret: the null server asks for none.
	key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
)

// properties are the three application properties of every message.
var properties = map[string]string{
	"temperatureAlert": "true",
	"line":             "seven",
	"plant":            "north",
}

// topic is the one IoT Hub's module clients publish on, with the properties.
const topic = "devices/" + deviceID + "/modules/" + moduleID +
	"/messages/events/temperatureAlert=true&line=seven&plant=north"

func (t target) payload() []byte {
	p := make([]byte, t.size)
	for i := range p {
		p[i] = byte('a' + i%26)
	}
	return p
}

func (t target) tls() *tls.Config {
	return &tls.Config{RootCAs: t.roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS13}
}

func (t target) connectionString() string {
	return fmt.Sprintf("HostName=%s;DeviceId=%s;ModuleId=%s;SharedAccessKey=%s", t.addr, deviceID, moduleID, key)
}

// sender is one connected client of one implementation.
type sender interface {
	// flood sends as fast as it can until stop is set, waits for the
	// confirmation of everything it sent and returns how many those were.
	flood(stop *atomic.Bool) (int, error)
	// one sends a message and waits for its confirmation.
	one() error
	// close ends the connection.
	close() error
}

// queuer is a sender that takes messages while it is not connected.
type queuer interface {
	sender
	// queue accepts n messages.
	queue(n int) error
}

// implementation makes senders.
type implementation struct {
	name string
	open func(target) (sender, error)
	// openOffline makes a client that cannot connect and may queue n
	// messages; nil where there is no such thing.
	openOffline func(t target, n int) (queuer, error)
	// extra leaves it out unless it is asked for by name.
	extra bool
}

// implementations is filled by the files of the implementations and sorted by
// selectImplementations.
var implementations []implementation

func register(i implementation) { implementations = append(implementations, i) }

// waitTime bounds the wait for confirmations.
const waitTime = 20 * time.Second
