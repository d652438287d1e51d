package main

import (
	"bytes"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/iothub-go/iothub/hub"
)

// hubReport is what "iothub hub" prints when it is ready. With --json it is one
// JSON object in one line.
type hubReport struct {
	Listeners               []reportedListener `json:"listeners"`
	ServiceConnectionString string             `json:"serviceConnectionString"`
	// IDScope and ProvisioningConnectionString are of the Device Provisioning
	// Service, for devices and for its back ends.
	IDScope                      string `json:"idScope,omitempty"`
	ProvisioningConnectionString string `json:"provisioningConnectionString,omitempty"`
	// EventHub is for Event Hubs clients, and EventHubEmulator for those in
	// development mode, which is without TLS.
	EventHub         string             `json:"eventHubConnectionString,omitempty"`
	EventHubEmulator string             `json:"eventHubEmulatorConnectionString,omitempty"`
	Page             string             `json:"page,omitempty"`
	Devices          []reportedIdentity `json:"devices,omitempty"`
	CAFile           string             `json:"caFile"`
	DataDir          string             `json:"dataDir"`
	Retention        string             `json:"retention"`
	NoSync           bool               `json:"noSync,omitempty"`
	Notes            []string           `json:"notes,omitempty"`
}

type reportedListener struct {
	Protocol hub.Protocol `json:"protocol"`
	Address  string       `json:"address"`
}

type reportedIdentity struct {
	DeviceID         string `json:"deviceId"`
	ModuleID         string `json:"moduleId,omitempty"`
	ConnectionString string `json:"connectionString"`
}

func (r *hubReport) addListener(p hub.Protocol, addr net.Addr) {
	r.Listeners = append(r.Listeners, reportedListener{p, addr.String()})
}

// pageURL is where a browser finds the page.
func pageURL(host string, addr net.Addr) string {
	_, port, _ := net.SplitHostPort(addr.String()) // a listener's own
	if port == strconv.Itoa(hub.HTTPS.Port()) {
		port = ""
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port != "" {
		host += ":" + port
	}
	return "https://" + host + "/"
}

func (r *hubReport) text() []byte {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("IoT Hub is running.")
	line("")
	for _, l := range r.Listeners {
		line("  %-7s %s", l.Protocol, l.Address)
	}
	synced := "synced to disk before they are acknowledged"
	if r.NoSync {
		synced = "acknowledged before they are synced to disk (--no-sync)"
	}
	if r.Page != "" {
		line("  %-7s %s", "Page", r.Page)
	}
	line("  %-7s %s", "Data", r.DataDir)
	line("  %-7s kept %s, %s", "Events", r.Retention, synced)
	for _, note := range r.Notes {
		line("")
		line("Note: %s", note)
	}
	line("")
	line("Service connection string (policy iothubowner):")
	line("  %s", r.ServiceConnectionString)
	if r.EventHub != "" {
		line("")
		line("Event Hubs-compatible connection string:")
		line("  %s", r.EventHub)
	}
	if r.IDScope != "" {
		line("")
		line("Device Provisioning Service, id scope %s, connection string:", r.IDScope)
		line("  %s", r.ProvisioningConnectionString)
	}
	if len(r.Devices) == 0 {
		line("")
		line("No devices were named: start with --device NAME to create one.")
	}
	for _, d := range r.Devices {
		line("")
		if d.ModuleID != "" {
			line("Module %s/%s:", d.DeviceID, d.ModuleID)
		} else {
			line("Device %s:", d.DeviceID)
		}
		line("  %s", d.ConnectionString)
	}
	line("")
	line("Clients have to trust the authority of this hub, %s:", r.CAFile)
	line("  %-7s NODE_EXTRA_CA_CERTS=%s node app.js", "Node", r.CAFile)
	line("  %-7s SSL_CERT_FILE=%s ./app", "Go", r.CAFile)
	line("  %-7s IoTHubDeviceClient_LL_SetOption(client, OPTION_TRUSTED_CERT, pem);  /* the text of the file */", "C")
	line("  %-7s create_from_connection_string(cs, server_verification_cert=open(%q).read())", "Python", r.CAFile)
	line("  %-7s iothub monitor --ca %s --connection-string '…'", "Events", r.CAFile)
	line("")
	line("Press Ctrl-C to end.")
	return b.Bytes()
}
