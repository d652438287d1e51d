package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/edge"
	"github.com/iothub-go/iothub/hub"
)

// edgeConnectionString is the variable for --connection-string.
const edgeConnectionString = "IOTHUB_EDGE_CONNECTION_STRING"

// edgeFlags are the flags of "iothub edge".
type edgeFlags struct {
	connectionString string
	ca               string
	leafCA           string
	upstreamHTTPS    int
	withHub          bool
	data             string
	hostname         string
	listen           string
	mqttPort         int
	httpsPort        int
	httpsPortSet     bool
	modules          []string
	restart          string
	routes           []string
	storeLimit       string
	dropOldest       bool
	ttl              time.Duration
	workloadHTTP     bool
	grace            time.Duration
	logLevel         string
	json             bool

	fallbackPort int // taken where the standard HTTPS port may not be bound
}

func newEdgeCommand() *cobra.Command {
	f := &edgeFlags{fallbackPort: 8443}
	cmd := &cobra.Command{
		Use:   "edge",
		Short: "Run a local IoT Edge runtime, and modules in it",
		Long: `Run a local IoT Edge runtime for development, until it is interrupted.

Programs that were written as modules of IoT Edge run as processes of this machine,
unmodified: each --module is made at the hub, started with the environment of IoT
Edge, and started again when it ends. They connect to an edge hub, which routes
between them, keeps what is for the hub while it cannot be reached, and serves leaf
devices. What modules print stands behind their names; the log goes to stderr.

The hub is that of the connection string, of an IoT Edge device at Azure IoT Hub or
at "iothub hub"; or, with --with-hub, one in this process that has everything ready.

Commands of modules are run by the shell. SIGINT and SIGTERM end the modules, then
the edge hub; a second signal ends them at once.

Exit codes: 0 ended by a signal, 1 failed, 2 wrong usage, 3 the hub refused the
credential.`,
		Example: `  iothub edge --with-hub --module 'sensor=python3 sensor.py' --module 'filter=node filter.js' \
    --route 'FROM /messages/modules/sensor/outputs/* INTO BrokeredEndpoint("/modules/filter/inputs/input1")'
  iothub edge --connection-string 'HostName=…;DeviceId=edge1;SharedAccessKey=…' --module 'filter=./filter'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.httpsPortSet = cmd.Flags().Changed("https-port")
			return f.run(cmd)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.connectionString, "connection-string", "", "of an IoT Edge device (default $"+edgeConnectionString+")")
	flags.StringVar(&f.ca, "ca", "", "PEM `file` of authorities that the hub is trusted by beside the system's, such as the ca.pem of a local hub")
	flags.StringVar(&f.leafCA, "leaf-authority", "", "PEM `file` of authorities, for leaf devices that authenticate with a certificate of one")
	flags.IntVar(&f.upstreamHTTPS, "upstream-https-port", hub.HTTPS.Port(), "port of the REST API of the hub")
	flags.BoolVar(&f.withHub, "with-hub", false, "run the hub too, in this process, with the IoT Edge device edge1")
	flags.StringVar(&f.data, "data", "edge-data", "folder that keeps everything; made when missing")
	flags.StringVar(&f.hostname, "hostname", "", "name or IP address by which modules and leaf devices reach the edge hub (default the address of --listen, or 127.0.0.1)")
	flags.StringVar(&f.listen, "listen", "127.0.0.1", "IP address for the edge hub to listen on; 0.0.0.0 is all, give --hostname with it")
	flags.IntVar(&f.mqttPort, "mqtt-port", hub.MQTT.Port(), "port of the edge hub for MQTT; 0 is any free one. SDKs other than this one know only the standard port")
	flags.IntVar(&f.httpsPort, "https-port", hub.HTTPS.Port(), fmt.Sprintf("the same for WebSockets and for modules that call methods. Unless given, %d is taken where 443 cannot be", f.fallbackPort))
	flags.StringArrayVar(&f.modules, "module", nil, "a module and the command that runs it, as NAME=COMMAND; repeatable")
	flags.StringVar(&f.restart, "restart", "always", "when modules that have ended are started again: always, on-failure, never")
	flags.StringArrayVar(&f.routes, "route", nil, `where messages go, as in IoT Edge: 'FROM /messages/modules/A/outputs/X INTO BrokeredEndpoint("/modules/B/inputs/Y")' or '… INTO $upstream'; what no route matches goes to the hub; repeatable`)
	flags.StringVar(&f.storeLimit, "store-limit", "1GiB", "how much is kept for the hub while it cannot be reached, in bytes or with KiB, MiB, GiB")
	flags.BoolVar(&f.dropOldest, "drop-oldest", false, "at the limit let the oldest messages go, where senders would wait")
	flags.DurationVar(&f.ttl, "ttl", 0, "how long a message waits for the hub; 0 is for as long as it takes")
	flags.BoolVar(&f.workloadHTTP, "workload-http", false, "workload API over HTTP on loopback ports, for modules that know no Unix sockets (default on Windows)")
	flags.DurationVar(&f.grace, "grace", edge.DefaultGracePeriod, "how long a module has to end before it is killed")
	flags.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error; the log goes to stderr")
	flags.BoolVar(&f.json, "json", false, "print one line of JSON instead of text, before what modules print")
	return cmd
}

// options checks the flags and makes the options of the runtime, but for the hub
// upstream.
func (f *edgeFlags) options(cmd *cobra.Command) (*edge.Options, error) {
	log, err := newLogger(cmd, f.logLevel)
	if err != nil {
		return nil, err
	}
	ip, err := parseListen(cmd, f.listen)
	if err != nil {
		return nil, err
	}
	if err := checkPorts(cmd, map[string]int{"--mqtt-port": f.mqttPort, "--https-port": f.httpsPort, "--upstream-https-port": f.upstreamHTTPS}); err != nil {
		return nil, err
	}
	limit, err := parseSize(f.storeLimit)
	if err != nil {
		return nil, usage(cmd, fmt.Errorf("--store-limit %w", err))
	}
	o := &edge.Options{
		DataDir: f.data, HostName: f.hostname, Routes: f.routes, StoreLimit: limit, DropOldest: f.dropOldest, TimeToLive: f.ttl,
		WorkloadHTTP: f.workloadHTTP, GracePeriod: f.grace, Output: cmd.OutOrStdout(), Logger: log,
	}
	if f.leafCA != "" {
		if o.LeafAuthorities, err = os.ReadFile(f.leafCA); err != nil {
			return nil, usage(cmd, fmt.Errorf("--leaf-authority: %w", err))
		}
	}
	if o.HostName == "" && !ip.IsUnspecified() {
		o.HostName = ip.String()
	}
	for _, m := range f.modules {
		name, command, ok := strings.Cut(m, "=")
		if !ok || name == "" || strings.TrimSpace(command) == "" {
			return nil, usage(cmd, fmt.Errorf("--module %q does not have the form NAME=COMMAND", m))
		}
		o.Modules = append(o.Modules, edge.Module{Name: name, Command: shell(command), Restart: f.restart})
	}
	return o, nil
}

// shell is how a command line is run. Where it is one program, that takes the place of
// the shell, so that signals and the exit code are its own.
func shell(command string) []string {
	if runtime.GOOS == "windows" {
		return []string{"cmd", "/C", command}
	}
	first, _, _ := strings.Cut(strings.TrimSpace(command), " ")
	if _, err := exec.LookPath(first); err == nil && !strings.ContainsAny(command, ";&|<>()`\n") {
		command = "exec " + command
	}
	return []string{"sh", "-c", command}
}

func (f *edgeFlags) run(cmd *cobra.Command) error {
	dir, err := filepath.Abs(f.data)
	if err != nil {
		return fmt.Errorf("--data: %w", err)
	}
	f.data = dir
	o, err := f.options(cmd)
	if err != nil {
		return err
	}
	report := edgeReport{DataDir: f.data}
	switch {
	case f.withHub && (f.connectionString != "" || f.ca != ""):
		return usage(cmd, errors.New("--with-hub brings its own hub: it excludes --connection-string and --ca"))
	case f.withHub:
		end, err := f.startHub(cmd.Context(), o, &report)
		if err != nil {
			return err
		}
		defer end()
	default:
		if err := f.upstream(cmd, o); err != nil {
			return err
		}
	}
	if err := f.addresses(o, &report); err != nil {
		return err
	}
	rt, err := edge.New(cmd.Context(), o)
	if err != nil {
		return edgeError(cmd, err)
	}
	err = f.serve(cmd, rt, o, &report)
	ctx, cancel := context.WithTimeout(context.Background(), f.grace+3*shutdownTimeout)
	defer cancel()
	if e := rt.Shutdown(ctx); e != nil && err == nil {
		err = fmt.Errorf("the runtime did not end gracefully: %w", e)
	}
	return err
}

// edgeError gives what stops a runtime from starting its exit code.
func edgeError(cmd *cobra.Command, err error) error {
	switch iothub.KindOf(err) {
	case iothub.KindInvalidArgument:
		return usage(cmd, err)
	case iothub.KindUnauthorized, iothub.KindTokenExpired, iothub.KindForbidden, iothub.KindDeviceDisabled:
		return &exitError{exitRefused, err}
	case iothub.KindTLS:
		return fmt.Errorf("%w; give the authority of a local hub with --ca", err)
	}
	return err
}

// upstream is the hub that the flags name.
func (f *edgeFlags) upstream(cmd *cobra.Command, o *edge.Options) error {
	o.ConnectionString, o.HTTPSPort = cmp.Or(f.connectionString, os.Getenv(edgeConnectionString)), f.upstreamHTTPS
	if o.ConnectionString == "" {
		return usage(cmd, fmt.Errorf("--connection-string or $%s is missing: that of an IoT Edge device; or try --with-hub", edgeConnectionString))
	}
	if f.ca != "" {
		var err error
		if o.Authorities, err = os.ReadFile(f.ca); err != nil {
			return fmt.Errorf("--ca: %w", err)
		}
	}
	return nil
}

// addresses says where the edge hub listens. The port that is privileged has a
// substitute.
func (f *edgeFlags) addresses(o *edge.Options, r *edgeReport) error {
	o.MQTT = net.JoinHostPort(f.listen, strconv.Itoa(f.mqttPort))
	if err := free(o.MQTT); err != nil {
		return portError(err, f.mqttPort, "--mqtt-port")
	}
	o.HTTPS = net.JoinHostPort(f.listen, strconv.Itoa(f.httpsPort))
	err := free(o.HTTPS)
	if err != nil && !f.httpsPortSet {
		r.Notes = append(r.Notes, insteadNote(f.httpsPort, f.fallbackPort, err))
		f.httpsPort = f.fallbackPort
		o.HTTPS = net.JoinHostPort(f.listen, strconv.Itoa(f.httpsPort))
		err = free(o.HTTPS)
	}
	if err != nil {
		return portError(err, f.httpsPort, "--https-port")
	}
	return nil
}

// free says why an address cannot be listened on; nil when it can.
func free(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	return l.Close()
}

// serve says what runs, and waits to be interrupted.
func (f *edgeFlags) serve(cmd *cobra.Command, rt *edge.Runtime, o *edge.Options, r *edgeReport) error {
	for _, p := range []hub.Protocol{hub.MQTT, hub.HTTPS} {
		r.Listeners = append(r.Listeners, reportedListener{p, rt.Addr(p).String()})
	}
	cs, err := iothub.ParseConnectionString(o.ConnectionString)
	if err != nil {
		return err
	}
	r.DeviceID, r.Upstream, r.GatewayHostName, r.CAFile = cs.DeviceID, cs.HostName, rt.GatewayHostName(), rt.CACertFile()
	for _, s := range rt.Status() {
		r.Modules = append(r.Modules, s.Name)
	}
	if err := rt.Offline(); err != nil {
		r.Notes = append(r.Notes, "The hub cannot be reached; the modules known from before work without it.")
	}
	return announce(cmd, r, f.json)
}

// parseSize reads a number of bytes.
func parseSize(s string) (int64, error) {
	number, unit := s, int64(1)
	for suffix, n := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40} {
		if rest, ok := strings.CutSuffix(s, suffix); ok {
			number, unit = rest, n
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	if err != nil || n <= 0 || n > (1<<62)/unit {
		return 0, fmt.Errorf("%q is no size: use bytes, or 500MiB", s)
	}
	return n * unit, nil
}
