package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/service"
)

// target is what a command works on as a back end.
type target struct {
	what     string
	variable string // of the environment, for its connection string
}

var hubTarget = target{"hub", connectionStringVariable}

// serviceFlags are those of every command that works on a hub, or on another
// target, as a back end.
type serviceFlags struct {
	target
	service   string // the connection string
	ca        string
	output    string
	amqpPort  int
	webSocket bool
}

// addConnectionString adds the flag for the connection string.
func (t target) addConnectionString(cmd *cobra.Command, flag *string) {
	cmd.Flags().StringVar(flag, "connection-string", "", "service connection string of the "+t.what+", as iothub hub prints it; default is the variable "+t.variable)
}

// connectionString returns the service connection string of the flag or of the
// environment.
func (t target) connectionString(cmd *cobra.Command, flag string) (string, error) {
	if flag == "" {
		flag = os.Getenv(t.variable)
	}
	if flag == "" {
		return "", usage(cmd, fmt.Errorf("which %s? Give --connection-string or set %s; iothub hub prints it", t.what, t.variable))
	}
	cs, err := iothub.ParseConnectionString(flag)
	if err != nil {
		return "", usage(cmd, err)
	}
	if cs.SharedAccessKeyName == "" || cs.Credential() == nil {
		return "", usage(cmd, fmt.Errorf("the connection string is one of a device; %s needs the service connection string, with SharedAccessKeyName", cmd.Name()))
	}
	return flag, nil
}

func (f *serviceFlags) add(cmd *cobra.Command) {
	if f.what == "" {
		f.target = hubTarget
	}
	f.addConnectionString(cmd, &f.service)
	flags := cmd.Flags()
	flags.StringVar(&f.ca, "ca", "", "file with the authority of the hub (ca.pem); default is those of the system")
	outputFlag(cmd, &f.output)
}

// outputFlag adds the flag for how results are printed.
func outputFlag(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", "table", "table or json")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
}

// addAMQP adds the flags of commands that speak AMQP.
func (f *serviceFlags) addAMQP(cmd *cobra.Command) {
	cmd.Flags().IntVar(&f.amqpPort, "amqp-port", 0, "port for AMQP; default 5671")
	cmd.Flags().BoolVar(&f.webSocket, "websocket", false, "AMQP over WebSockets, on the port of HTTPS")
}

// connect returns a client as the flags say.
func (f *serviceFlags) connect(cmd *cobra.Command) (*service.Client, error) {
	return connect(cmd, f, service.NewClientFromConnectionString)
}

// opener makes a client of a service.
type opener[C any] func(connectionString string, o *service.ClientOptions) (C, error)

func connect[C any](cmd *cobra.Command, f *serviceFlags, open opener[C]) (c C, err error) {
	if f.output != "table" && f.output != "json" {
		return c, usage(cmd, fmt.Errorf("--output %q is neither table nor json", f.output))
	}
	cs, err := f.connectionString(cmd, f.service)
	if err != nil {
		return c, err
	}
	config, err := trust(f.ca)
	if err != nil {
		return c, fmt.Errorf("--ca: %w", err)
	}
	return open(cs, &service.ClientOptions{
		TLS: config, AMQPPort: f.amqpPort, WebSocket: f.webSocket,
		// Somebody waits at a terminal: say soon what is wrong.
		Retry: &iothub.RetryPolicy{Strategy: iothub.RetryExponentialBackoffWithJitter, InitialDelay: 200 * time.Millisecond, Limit: 5 * time.Second},
	})
}

// verb is the work of a command on a hub. What it returns is printed.
type verb func(ctx context.Context, c *service.Client, args []string) (*result, error)

// serviceCommand completes a command that works on a hub as a back end.
func serviceCommand(cmd *cobra.Command, f *serviceFlags, do verb) *cobra.Command {
	if f == nil {
		f = &serviceFlags{}
	}
	return backEndCommand(cmd, f, service.NewClientFromConnectionString, do)
}

// backEndCommand completes a command that works with a client.
func backEndCommand[C interface{ Close(context.Context) error }](cmd *cobra.Command, f *serviceFlags, open opener[C],
	do func(ctx context.Context, c C, args []string) (*result, error)) *cobra.Command {
	f.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect(cmd, f, open)
		if err != nil {
			return err
		}
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), 2*time.Second)
			defer cancel()
			_ = c.Close(ctx) // the process ends
		}()
		r, err := do(cmd.Context(), c, args)
		if err == nil && r != nil {
			err = r.print(cmd.OutOrStdout(), f.output)
		}
		return failure(cmd, err)
	}
	return cmd
}

// failure gives an error its exit code, and says what to do where that is known.
func failure(cmd *cobra.Command, err error) error {
	switch {
	case err == nil:
		return nil
	case cmd.Context().Err() != nil && errors.Is(err, context.Canceled):
		return nil // interrupted, which is how streams end
	}
	if _, ok := errors.AsType[*exitError](err); ok {
		return err
	}
	switch iothub.KindOf(err) {
	case iothub.KindUnauthorized, iothub.KindTokenExpired:
		return &exitError{exitRefused, fmt.Errorf("%w; is the connection string the right one, and may its policy do this?", err)}
	case iothub.KindTLS:
		return fmt.Errorf("%w; for a local hub give --ca with the ca.pem of its data folder", err)
	case iothub.KindNetwork:
		if iothub.NotSent(err) {
			return fmt.Errorf("%w; is the hub running?", err)
		}
	}
	return err
}

// result is what a command has to say: as JSON and as a table.
type result struct {
	json   any
	header []string
	rows   [][]string
}

// text is a result of one line.
func text(json any, format string, args ...any) *result {
	return &result{json: json, rows: [][]string{{fmt.Sprintf(format, args...)}}}
}

// line prints one result of a stream: v as a line of JSON, or the cells, two spaces
// apart.
func (f *serviceFlags) line(w io.Writer, v any, cells ...string) error {
	if f.output == "json" {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		return e.Encode(v)
	}
	for i, c := range cells {
		cells[i] = printable(c)
	}
	_, err := fmt.Fprintln(w, strings.Join(cells, "  "))
	return err
}

func (r *result) print(w io.Writer, output string) error {
	if output == "json" {
		if r.json == nil {
			return nil
		}
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(r.json)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(cells []string) {
		for i, cell := range cells {
			if i > 0 {
				_, _ = io.WriteString(tw, "\t") // Flush says what failed
			}
			_, _ = io.WriteString(tw, printable(cell))
		}
		_, _ = io.WriteString(tw, "\n")
	}
	if r.header != nil {
		line(r.header)
	}
	for _, row := range r.rows {
		line(row)
	}
	return tw.Flush()
}

// group is a command that only has others.
func group(use, short string, sub ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(sub...)
	return cmd
}

// newServiceCommands returns the commands that work on a hub as a back end.
func newServiceCommands() []*cobra.Command {
	return []*cobra.Command{
		newDeviceCommand(), newModuleCommand(), newTwinCommand(), newQueryCommand(), newMethodCommand(), newC2DCommand(),
		newJobCommand(), newConfigurationCommand(), newStatisticsCommand(), newEventsCommand(), newDPSCommand(),
	}
}

// identityArg takes "DEVICE" or "DEVICE/MODULE" apart; ids have no slash.
func identityArg(arg string) (deviceID, moduleID string) {
	deviceID, moduleID, _ = strings.Cut(arg, "/")
	return deviceID, moduleID
}

// modulesArg takes "DEVICE/MODULE" apart.
func moduleArg(cmd *cobra.Command, arg string) (deviceID, moduleID string, err error) {
	deviceID, moduleID, ok := strings.Cut(arg, "/")
	if !ok || deviceID == "" || moduleID == "" {
		return "", "", usage(cmd, fmt.Errorf("%q does not have the form DEVICE/MODULE", arg))
	}
	return deviceID, moduleID, nil
}

// jsonArg reads JSON that is an argument, or stands in the file behind an "@"; "@-"
// is the standard input. An empty argument is nil.
func jsonArg(cmd *cobra.Command, name, arg string) (json.RawMessage, error) {
	var b []byte
	var err error
	switch file, isFile := strings.CutPrefix(arg, "@"); {
	case arg == "":
		return nil, nil
	case isFile && file == "-":
		b, err = io.ReadAll(io.LimitReader(cmd.InOrStdin(), 16<<20))
	case isFile:
		b, err = os.ReadFile(file)
	default:
		b = []byte(arg)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if !json.Valid(b) {
		return nil, usage(cmd, fmt.Errorf("%s is not JSON (a text needs quotes of its own; @FILE reads a file)", name))
	}
	return b, nil
}

// objectFlag reads a flag that is a JSON object, nil when it was not given.
func objectFlag(cmd *cobra.Command, flag, arg string) (any, error) {
	b, err := jsonArg(cmd, "--"+flag, arg)
	if err != nil || b == nil {
		return nil, err
	}
	var m map[string]json.RawMessage
	if json.Unmarshal(b, &m) != nil || m == nil {
		return nil, usage(cmd, fmt.Errorf("--%s is not a JSON object", flag))
	}
	return b, nil
}

// pairs reads NAME=VALUE flags.
func pairs(cmd *cobra.Command, flag string, list []string) (map[string]string, error) {
	m := map[string]string{}
	for _, p := range list {
		k, v, ok := strings.Cut(p, "=")
		if !ok || k == "" {
			return nil, usage(cmd, fmt.Errorf("--%s %q does not have the form NAME=VALUE", flag, p))
		}
		m[k] = v
	}
	return m, nil
}

// when shows a time, "never" for none.
func when(t service.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format(time.RFC3339)
}

// oneOf checks a flag with few values.
func oneOf(cmd *cobra.Command, flag, value string, values ...string) error {
	if !slices.Contains(values, value) {
		return usage(cmd, fmt.Errorf("--%s %q is none of %s", flag, value, strings.Join(values, ", ")))
	}
	return nil
}
