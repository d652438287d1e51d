package edge

import (
	"encoding/base64"
	"os"
	"strings"

	"github.com/iothub-go/iothub/internal/link"
	"github.com/iothub-go/iothub/internal/workload"
)

// environment is that of a module: this process's, what the user has set for the
// module, and what IoT Edge sets (wire-device G.1). Connection strings of this process
// are not the modules' business.
func (rt *Runtime) environment(m *running, uri string) []string {
	var env []string
	for _, pair := range append(os.Environ(), m.Env...) {
		name, _, _ := strings.Cut(pair, "=")
		if !ours(name) {
			env = append(env, pair)
		}
	}
	return append(env,
		"IOTEDGE_WORKLOADURI="+uri,
		"IOTEDGE_DEVICEID="+rt.device.DeviceID,
		"IOTEDGE_MODULEID="+m.Name,
		"IOTEDGE_MODULEGENERATIONID="+rt.known.Modules[m.Name].GenerationID,
		"IOTEDGE_IOTHUBHOSTNAME="+link.Host(rt.device.HostName),
		"IOTEDGE_GATEWAYHOSTNAME="+rt.GatewayHostName(),
		"IOTEDGE_AUTHSCHEME=sasToken",
		"IOTEDGE_APIVERSION="+workload.DefaultVersion,
	)
}

// ours reports whether a variable is one that IoT Edge sets, takes precedence over
// those, or holds a credential of this process.
func ours(name string) bool {
	switch name {
	case "EdgeHubConnectionString", "IotHubConnectionString", "EdgeModuleCACertificateFile":
		return true
	}
	return strings.HasPrefix(name, "IOTEDGE_") || strings.HasPrefix(name, "IOTHUB_") && strings.Contains(name, "CONNECTION_STRING")
}

func base64Text(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
