package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/edge"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/service"
)

// demoDevice is the IoT Edge device of --with-hub.
const demoDevice = "edge1"

// edgeReport is what "iothub edge" prints when the modules were started. With --json
// it is one JSON object in one line.
type edgeReport struct {
	DeviceID        string             `json:"deviceId"`
	Upstream        string             `json:"upstream"`
	Listeners       []reportedListener `json:"listeners"`
	GatewayHostName string             `json:"gatewayHostName"`
	CAFile          string             `json:"caFile"`
	DataDir         string             `json:"dataDir"`
	Modules         []string           `json:"modules,omitempty"`
	Notes           []string           `json:"notes,omitempty"`
	// The rest is of --with-hub.
	ServiceConnectionString string `json:"serviceConnectionString,omitempty"`
	UpstreamCAFile          string `json:"upstreamCaFile,omitempty"`
	UpstreamPage            string `json:"upstreamPage,omitempty"`
}

func (r *edgeReport) text() []byte {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("IoT Edge device %s is running, at the hub %s.", r.DeviceID, r.Upstream)
	line("")
	for _, l := range r.Listeners {
		line("  %-7s %s", l.Protocol, l.Address)
	}
	line("  %-7s %s", "Data", r.DataDir)
	modules := strings.Join(r.Modules, ", ")
	if modules == "" {
		modules = "none; start with --module NAME=COMMAND"
	}
	line("  %-7s %s", "Modules", modules)
	for _, note := range r.Notes {
		line("")
		line("Note: %s", note)
	}
	if r.ServiceConnectionString != "" {
		line("")
		line("Service connection string of the hub (policy iothubowner):")
		line("  %s", r.ServiceConnectionString)
		line("")
		line("See what arrives there:")
		line("  iothub monitor --ca %s --connection-string '…'", r.UpstreamCAFile)
		line("  or in a browser: %s", r.UpstreamPage)
	}
	line("")
	line("Leaf devices have ;GatewayHostName=%s in their connection strings and trust", r.GatewayHostName)
	line("  %s", r.CAFile)
	line("")
	line("Press Ctrl-C to end.")
	line("")
	return b.Bytes()
}

// startHub runs a hub upstream, on free ports, with an IoT Edge device. It returns what
// ends it.
func (f *edgeFlags) startHub(ctx context.Context, o *edge.Options, r *edgeReport) (end func(), err error) {
	s, err := hub.New(&hub.Options{DataDir: filepath.Join(f.data, "upstream"), Logger: o.Logger.With("hub", "upstream")})
	if err != nil {
		return nil, err
	}
	end = func() {
		ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
		defer cancel()
		_ = s.Shutdown(ctx) // the process ends
	}
	defer func() {
		if err != nil {
			end()
		}
	}()
	at := map[hub.Protocol]*net.TCPAddr{}
	for _, p := range []hub.Protocol{hub.MQTT, hub.HTTPS, hub.AMQP} {
		addr, err := s.Listen(p, "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		at[p] = addr.(*net.TCPAddr)
	}
	r.ServiceConnectionString, r.UpstreamCAFile = s.ServiceConnectionString(), s.CACertFile()
	r.UpstreamPage = pageURL(s.HostNames()[0], at[hub.HTTPS])
	c, err := service.NewClientFromConnectionString(r.ServiceConnectionString, &service.ClientOptions{TLS: &tls.Config{RootCAs: s.CertPool()}})
	if err != nil {
		return nil, err
	}
	defer c.Close(ctx)
	d, err := c.CreateDevice(ctx, &service.Device{DeviceID: demoDevice, Capabilities: service.Capabilities{IoTEdge: true}})
	if iothub.KindOf(err) == iothub.KindConflict {
		d, err = c.GetDevice(ctx, demoDevice)
	}
	if err != nil {
		return nil, err
	}
	o.ConnectionString, o.HTTPSPort, o.Authorities = d.ConnectionString(at[hub.MQTT].String()), at[hub.HTTPS].Port, s.CACertPEM()
	return end, nil
}
