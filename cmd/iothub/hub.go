package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/iothub-go/iothub/hub"
)

// noPort, as a port, is not to listen.
const noPort = -1

// shutdownTimeout bounds the graceful end.
const shutdownTimeout = 10 * time.Second

// hubFlags are the flags of "iothub hub".
type hubFlags struct {
	data        string
	listen      string
	devices     []string
	modules     []string
	routes      []string
	mqttPort    int
	httpsPort   int
	amqpPort    int
	plainPort   int
	hostnames   []string
	noSync      bool
	retention   time.Duration
	tier        string
	units       int
	faults      bool
	noPage      bool
	noDPS       bool
	idScope     string
	linked      []string
	routing     string
	authorities string
	groups      []string
	logLevel    string
	json        bool

	httpsPortSet bool
	faultsSet    bool
	plainPortSet bool
	fallbackPort int // taken where the standard HTTPS port may not be bound
}

func newHubCommand() *cobra.Command {
	f := &hubFlags{fallbackPort: 8443}
	cmd := &cobra.Command{
		Use:   "hub",
		Short: "Run an IoT Hub on this machine",
		Long: `Run an IoT Hub on this machine, until it is interrupted.

Devices and back-end programs written for Azure IoT Hub connect to it unmodified.
On its first start the hub makes a private certificate authority under the data
folder, which they have to trust; what is printed says how.

What is printed holds keys. SIGINT and SIGTERM end the hub gracefully, within ten
seconds; a second signal ends it at once.

Exit codes: 0 ended by a signal, 1 failed, 2 wrong usage.`,
		Example: `  iothub hub --device dev1
  iothub hub --data /var/lib/iothub --listen 0.0.0.0 --hostname hub.example.com --device dev1 --module dev1/mod1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.httpsPortSet = cmd.Flags().Changed("https-port")
			f.faultsSet = cmd.Flags().Changed("fault-injection")
			f.plainPortSet = cmd.Flags().Changed("amqp-plain-port")
			return f.run(cmd)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.data, "data", "iothub-data", "folder that keeps everything; made when missing")
	flags.StringVar(&f.listen, "listen", "127.0.0.1", "IP address to listen on; 0.0.0.0 is all, give --hostname with it")
	flags.StringArrayVar(&f.devices, "device", nil, "create this device unless it exists, and print its connection string; repeatable")
	flags.StringArrayVar(&f.modules, "module", nil, "the same for a module, as DEVICE/MODULE; repeatable")
	flags.StringArrayVar(&f.routes, "route", nil, `send outputs of a device's modules to inputs of others, as IoT Edge does: 'DEVICE FROM /messages/modules/A/outputs/X INTO BrokeredEndpoint("/modules/B/inputs/Y")' or '… INTO $upstream'; repeatable`)
	flags.IntVar(&f.mqttPort, "mqtt-port", hub.MQTT.Port(), "port for MQTT; 0 is any free one")
	flags.IntVar(&f.httpsPort, "https-port", hub.HTTPS.Port(), fmt.Sprintf("port for HTTPS; 0 is any free one. Unless given, %d is taken where 443 cannot be", f.fallbackPort))
	flags.IntVar(&f.amqpPort, "amqp-port", hub.AMQP.Port(), "port for AMQP; 0 is any free one")
	flags.IntVar(&f.plainPort, "amqp-plain-port", hub.AMQPPlain.Port(), "port for AMQP without TLS, for Event Hubs clients with UseDevelopmentEmulator=true; 0 is any free one, -1 is none. Unless given, there is none on other than loopback addresses")
	flags.StringArrayVar(&f.hostnames, "hostname", nil, "name or IP address that clients reach the hub by; the first one stands in connection strings; repeatable")
	flags.BoolVar(&f.noSync, "no-sync", false, "acknowledge before events are synced to disk: faster, and a power failure may lose the last second")
	flags.DurationVar(&f.retention, "retention", 24*time.Hour, "how long events are kept, 1m to 168h")
	flags.StringVar(&f.tier, "tier", "", "limit rates and messages a day as IoT Hub does in this tier: "+strings.Join(hub.Tiers(), ", ")+"; default no limits")
	flags.IntVar(&f.units, "units", 0, "number of units of the tier (default 1)")
	flags.BoolVar(&f.faults, "fault-injection", false, "let devices ask for faults of their own connection, as the test suites of the SDKs do (default true on a loopback address, otherwise false)")
	flags.StringArrayVar(&f.groups, "consumer-group", nil, "consumer group of the built-in event hub beside $Default; repeatable")
	flags.StringVar(&f.routing, "routing", "", "JSON file that says where events go: routes, endpoints, enrichments (docs/routing.md); default is what was set over REST")
	flags.BoolVar(&f.noDPS, "no-provisioning", false, "leave out the Device Provisioning Service")
	flags.StringVar(&f.idScope, "id-scope", "", "id scope of the provisioning service; default is one that is made once and kept in the data folder")
	flags.StringArrayVar(&f.linked, "linked-hub", nil, "service connection string of another hub that devices are assigned to; may end in ;AllocationWeight=N; repeatable")
	flags.StringVar(&f.authorities, "device-authority", "", "PEM `file` of authorities, for devices that authenticate with a certificate of one (certificateAuthority)")
	flags.BoolVar(&f.noPage, "no-page", false, "leave out the web page of the HTTPS listener")
	flags.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error; the log goes to stderr")
	flags.BoolVar(&f.json, "json", false, "print one line of JSON instead of text")
	return cmd
}

// options checks the flags and makes the options of the server.
func (f *hubFlags) options(cmd *cobra.Command) (*hub.Options, error) {
	log, err := newLogger(cmd, f.logLevel)
	if err != nil {
		return nil, err
	}
	ip, err := parseListen(cmd, f.listen)
	if err != nil {
		return nil, err
	}
	if f.tier != "" && !slices.ContainsFunc(hub.Tiers(), func(t string) bool { return strings.EqualFold(t, f.tier) }) {
		return nil, usage(cmd, fmt.Errorf("--tier %q is none of %s", f.tier, strings.Join(hub.Tiers(), ", ")))
	}
	if f.units < 0 || f.units > 0 && f.tier == "" {
		return nil, usage(cmd, fmt.Errorf("--units %d needs a --tier and at least 1", f.units))
	}
	if !f.faultsSet {
		f.faults = ip.IsLoopback()
	}
	if !f.plainPortSet && !ip.IsLoopback() {
		f.plainPort = noPort
	}
	ports := map[string]int{"--mqtt-port": f.mqttPort, "--https-port": f.httpsPort, "--amqp-port": f.amqpPort}
	if f.plainPort != noPort {
		ports["--amqp-plain-port"] = f.plainPort
	}
	if err := checkPorts(cmd, ports); err != nil {
		return nil, err
	}
	for _, m := range f.modules {
		if d, id, ok := strings.Cut(m, "/"); !ok || d == "" || id == "" || strings.Contains(id, "/") {
			return nil, usage(cmd, fmt.Errorf("--module %q does not have the form DEVICE/MODULE", m))
		}
	}
	var routes []hub.Route
	for _, r := range f.routes {
		device, text, ok := strings.Cut(r, " ")
		if !ok {
			return nil, usage(cmd, fmt.Errorf("--route %q does not have the form 'DEVICE FROM … INTO …'", r))
		}
		routes = append(routes, hub.Route{DeviceID: device, Text: text})
	}
	var authorities []byte
	if f.authorities != "" {
		if authorities, err = os.ReadFile(f.authorities); err != nil {
			return nil, usage(cmd, fmt.Errorf("--device-authority: %w", err))
		}
	}
	var routing []byte
	if f.routing != "" {
		var err error
		if routing, err = os.ReadFile(f.routing); err != nil {
			return nil, usage(cmd, fmt.Errorf("--routing: %w", err))
		}
	}
	names := f.hostnames
	if !ip.IsUnspecified() {
		names = append(names[:len(names):len(names)], ip.String())
	}
	return &hub.Options{
		DataDir: f.data, HostNames: names, Retention: f.retention, NoSync: f.noSync,
		Tier: f.tier, Units: f.units, FaultInjection: f.faults, Routes: routes, NoPage: f.noPage, Routing: routing,
		DeviceAuthorities: authorities, NoProvisioning: f.noDPS, IDScope: f.idScope, LinkedHubs: f.linked,
		ConsumerGroups: f.groups,
		Logger:         log,
	}, nil
}

func (f *hubFlags) run(cmd *cobra.Command) error {
	dir, err := filepath.Abs(f.data)
	if err != nil {
		return fmt.Errorf("--data: %w", err)
	}
	f.data = dir
	o, err := f.options(cmd)
	if err != nil {
		return err
	}
	srv, err := hub.New(o)
	if err != nil {
		return fmt.Errorf("open the hub in %s: %w", f.data, err)
	}
	err = f.serve(cmd, srv)
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if e := srv.Shutdown(ctx); e != nil && err == nil {
		err = fmt.Errorf("the hub did not end gracefully: %w", e)
	}
	return err
}

// serve listens, says so, and waits to be interrupted.
func (f *hubFlags) serve(cmd *cobra.Command, srv *hub.Server) error {
	report := hubReport{DataDir: f.data, CAFile: srv.CACertFile(), NoSync: f.noSync, Retention: f.retention.String()}
	if err := f.listenAll(srv, &report); err != nil {
		return err
	}
	if err := f.createAll(cmd.Context(), srv, &report); err != nil {
		return err
	}
	report.ServiceConnectionString = srv.ServiceConnectionString()
	report.IDScope = srv.IDScope()
	report.ProvisioningConnectionString = srv.ProvisioningConnectionString()
	report.EventHub = srv.EventHubConnectionString("")
	report.EventHubEmulator = srv.EventHubEmulatorConnectionString("")
	if ip := net.ParseIP(f.listen); ip.IsUnspecified() && len(f.hostnames) == 0 {
		report.Notes = append(report.Notes, "Connection strings name "+srv.HostNames()[0]+
			": for clients on other machines, start with --hostname NAME.")
	}
	return announce(cmd, &report, f.json)
}

// listenAll binds the ports. Clients that have the standard ports built in need
// exactly those, so only the one that is privileged has a substitute.
func (f *hubFlags) listenAll(srv *hub.Server, r *hubReport) error {
	addr, err := srv.Listen(hub.MQTT, f.address(f.mqttPort))
	if err != nil {
		return portError(err, f.mqttPort, "--mqtt-port")
	}
	r.addListener(hub.MQTT, addr)
	addr, err = srv.Listen(hub.HTTPS, f.address(f.httpsPort))
	if err != nil && !f.httpsPortSet {
		r.Notes = append(r.Notes, insteadNote(f.httpsPort, f.fallbackPort, err))
		f.httpsPort = f.fallbackPort
		addr, err = srv.Listen(hub.HTTPS, f.address(f.httpsPort))
	}
	if err != nil {
		return portError(err, f.httpsPort, "--https-port")
	}
	r.addListener(hub.HTTPS, addr)
	if !f.noPage {
		r.Page = pageURL(srv.HostNames()[0], addr)
	}
	return f.listenAMQP(srv, r)
}

func (f *hubFlags) listenAMQP(srv *hub.Server, r *hubReport) error {
	addr, err := srv.Listen(hub.AMQP, f.address(f.amqpPort))
	if err != nil {
		return portError(err, f.amqpPort, "--amqp-port")
	}
	r.addListener(hub.AMQP, addr)
	if f.plainPort == noPort {
		return nil
	}
	if addr, err = srv.Listen(hub.AMQPPlain, f.address(f.plainPort)); err != nil {
		return portError(err, f.plainPort, "--amqp-plain-port")
	}
	r.addListener(hub.AMQPPlain, addr)
	return nil
}

func (f *hubFlags) address(port int) string { return net.JoinHostPort(f.listen, strconv.Itoa(port)) }

// createAll creates what the flags name and collects the connection strings.
func (f *hubFlags) createAll(ctx context.Context, srv *hub.Server, r *hubReport) error {
	for _, id := range f.devices {
		if _, err := srv.CreateDevice(ctx, id); err != nil {
			return fmt.Errorf("--device %s: %w", id, err)
		}
		cs, err := srv.DeviceConnectionString(id)
		if err != nil {
			return fmt.Errorf("--device %s: %w", id, err)
		}
		r.Devices = append(r.Devices, reportedIdentity{DeviceID: id, ConnectionString: cs})
	}
	for _, m := range f.modules {
		deviceID, moduleID, _ := strings.Cut(m, "/")
		if _, err := srv.CreateModule(ctx, deviceID, moduleID); err != nil {
			return fmt.Errorf("--module %s: %w", m, err)
		}
		cs, err := srv.ModuleConnectionString(deviceID, moduleID)
		if err != nil {
			return fmt.Errorf("--module %s: %w", m, err)
		}
		r.Devices = append(r.Devices, reportedIdentity{DeviceID: deviceID, ModuleID: moduleID, ConnectionString: cs})
	}
	return nil
}
