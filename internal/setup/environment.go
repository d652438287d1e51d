package setup

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/link"
	"github.com/iothub-go/iothub/internal/workload"
)

// What IoT Edge tells a module in its environment (wire-device G.1).
const (
	envWorkload   = "IOTEDGE_WORKLOADURI"
	envDevice     = "IOTEDGE_DEVICEID"
	envModule     = "IOTEDGE_MODULEID"
	envGeneration = "IOTEDGE_MODULEGENERATIONID"
	envHub        = "IOTEDGE_IOTHUBHOSTNAME"
	envAuth       = "IOTEDGE_AUTHSCHEME"
	envGateway    = "IOTEDGE_GATEWAYHOSTNAME" // absent: straight to the hub
	envVersion    = "IOTEDGE_APIVERSION"      // absent: the oldest

	// While a module is developed outside of IoT Edge, one of the first two takes
	// precedence.
	envEdgeHubString = "EdgeHubConnectionString"
	envIotHubString  = "IotHubConnectionString"
	envEdgeHubCA     = "EdgeModuleCACertificateFile"
)

// FromEnvironment makes the client of a module out of what IoT Edge, or a
// developer, has put into the environment. It touches no network. Errors are
// *iothub.Error of kind KindInvalidArgument.
func FromEnvironment(o *iothub.ClientOptions) (*Client, error) {
	for _, name := range []string{envEdgeHubString, envIotHubString} {
		if s := os.Getenv(name); s != "" {
			return fromDevelopment(name, s, o)
		}
	}
	env, err := edgeEnvironment()
	if err != nil {
		return nil, err
	}
	api, err := workload.New(workload.Config{
		URI: env[envWorkload], Version: os.Getenv(envVersion), ModuleID: env[envModule], GenerationID: env[envGeneration],
	})
	if err != nil {
		return nil, badEnvironment("%s: %w", envWorkload, err)
	}
	cs := &iothub.ConnectionString{
		HostName: env[envHub], GatewayHostName: os.Getenv(envGateway), DeviceID: env[envDevice], ModuleID: env[envModule],
	}
	if err := cs.Identity().Validate(); err != nil {
		return nil, badEnvironment("%s and %s: %w", envDevice, envModule, err)
	}
	var opts iothub.ClientOptions
	if o != nil {
		opts = *o
	}
	if opts.Credential == nil {
		opts.Credential = iothub.NewTokenSourceCredential(api)
	}
	return client(target{ConnectionString: cs, roots: trustBundle(api, cs.GatewayHostName)}, &opts)
}

// fromDevelopment takes the connection string in the variable called name.
func fromDevelopment(name, s string, o *iothub.ClientOptions) (*Client, error) {
	var opts iothub.ClientOptions
	if o != nil {
		opts = *o
	}
	if file := os.Getenv(envEdgeHubCA); file != "" && (opts.TLS == nil || opts.TLS.RootCAs == nil) {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, badEnvironment("%s: %w", envEdgeHubCA, err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, badEnvironment("%s: %s holds no certificate in PEM", envEdgeHubCA, file)
		}
		cfg := &tls.Config{}
		if opts.TLS != nil {
			cfg = opts.TLS.Clone()
		}
		cfg.RootCAs = roots
		opts.TLS = cfg
	}
	c, err := FromConnectionString(s, Module, &opts)
	if err != nil {
		return nil, badEnvironment("%s: %w", name, err)
	}
	return c, nil
}

// edgeEnvironment returns what has to be there, or says all that is not.
func edgeEnvironment() (map[string]string, error) {
	env := map[string]string{}
	var missing []string
	for _, name := range []string{envWorkload, envDevice, envModule, envGeneration, envHub, envAuth} {
		if env[name] = os.Getenv(name); env[name] == "" {
			missing = append(missing, name)
		}
	}
	switch {
	case len(missing) == len(env):
		return nil, badEnvironment("no variable IOTEDGE_… is set: this is no module of IoT Edge; to develop one, set %s, or start it by iothub edge --module", envEdgeHubString)
	case len(missing) > 0:
		return nil, badEnvironment("not set: %s", strings.Join(missing, ", "))
	case !strings.EqualFold(env[envAuth], "sasToken"):
		return nil, badEnvironment("%s is %.40q, known is sasToken", envAuth, env[envAuth])
	}
	return env, nil
}

func badEnvironment(format string, args ...any) error {
	return &iothub.Error{Op: "environment", Kind: iothub.KindInvalidArgument, Err: fmt.Errorf(format, args...)}
}

// trustBundle asks for the authorities at each connection, so that new ones need
// no restart of the module. Those of the daemon are the only ones for the gateway;
// elsewhere, and where there is none, they are trusted beside the system's.
func trustBundle(api *workload.Client, gateway string) link.Roots {
	return func(ctx context.Context, host string) (*x509.CertPool, error) {
		pem, err := api.TrustBundle(ctx)
		if err != nil {
			return nil, err
		}
		toGateway := gateway != "" && strings.EqualFold(host, link.Host(gateway))
		roots := x509.NewCertPool()
		if !toGateway {
			if system, err := x509.SystemCertPool(); err == nil {
				roots = system
			}
		}
		if !roots.AppendCertsFromPEM(pem) && toGateway {
			return nil, &iothub.Error{Op: "workload API", Kind: iothub.KindTLS, Retryable: true,
				Err: errors.New("the trust bundle of the daemon holds no certificate, so nobody can vouch for the gateway")}
		}
		return roots, nil
	}
}
