package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/iothub-go/iothub"
)

// connectionStringVariable is where the connection string comes from when no
// flag gives it.
const connectionStringVariable = "IOTHUB_SERVICE_CONNECTION_STRING"

// monitorFlags are the flags of "iothub monitor".
type monitorFlags struct {
	connectionString string
	ca               string
	from             string
	partition        int
	device           string
	json             bool
	max              int
	noFollow         bool
}

func newMonitorCommand() *cobra.Command {
	f := &monitorFlags{}
	cmd := &cobra.Command{
		Use:   "monitor",
		Short: "Print the events that devices send to a local hub",
		Long: `Print the events that devices send to a local hub, one line each: the time, who
sent it, partition and offset, properties, and the body, shortened and with what
is no text escaped.

When the hub restarts, monitor connects again and goes on behind the last event
that it has printed.

Exit codes: 0 ended by --max, --no-follow or a signal, 1 failed, 2 wrong usage,
3 the hub refused the connection string.`,
		Example: `  iothub monitor --ca iothub-data/ca.pem --connection-string 'HostName=…'
  iothub monitor --from start --no-follow --json | jq .properties`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	hubTarget.addConnectionString(cmd, &f.connectionString)
	flags.StringVar(&f.ca, "ca", "", "file with the authority of the hub (ca.pem)")
	flags.StringVar(&f.from, "from", "now", "start, now, a time as 2026-01-31T12:00:00Z, or an offset (with --partition)")
	flags.IntVar(&f.partition, "partition", -1, "only this partition")
	flags.StringVar(&f.device, "device", "", "only events of this device and its modules")
	flags.BoolVar(&f.json, "json", false, "print events as JSON, one a line, whole")
	flags.IntVar(&f.max, "max", 0, "end after so many events; 0 is no bound")
	flags.BoolVar(&f.noFollow, "no-follow", false, "end at the newest event; without --from it begins at the start")
	return cmd
}

// run checks the flags and prints events.
func (f *monitorFlags) run(cmd *cobra.Command) error {
	text, err := hubTarget.connectionString(cmd, f.connectionString)
	if err != nil {
		return err
	}
	cs, err := iothub.ParseConnectionString(text)
	if err != nil {
		return err
	}
	if f.noFollow && !cmd.Flags().Changed("from") {
		f.from = "start"
	}
	if err := f.checkFrom(); err != nil {
		return usage(cmd, err)
	}
	if f.max < 0 {
		return usage(cmd, errors.New("--max is negative"))
	}
	client, err := f.client()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	w := &watcher{
		flags: f, cs: cs, client: client,
		warn: func(format string, args ...any) {
			_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "iothub: "+format+"\n", args...) // nowhere else to say it
		},
	}
	return w.run(cmd.Context(), cmd.OutOrStdout())
}

// checkFrom refuses what the hub would refuse, with words for this command.
func (f *monitorFlags) checkFrom() error {
	if f.from == "start" || f.from == "now" {
		return nil
	}
	if _, err := time.Parse(time.RFC3339, f.from); err == nil {
		return nil
	}
	if _, err := strconv.ParseUint(f.from, 10, 63); err != nil {
		return fmt.Errorf("--from %q is none of start, now, a time as 2026-01-31T12:00:00Z, an offset", f.from)
	}
	if f.partition < 0 {
		return errors.New("--from with an offset needs --partition: an offset is a place in one partition")
	}
	return nil
}

func (f *monitorFlags) client() (*http.Client, error) {
	config, err := trust(f.ca)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = config
	transport.ResponseHeaderTimeout = 30 * time.Second
	return &http.Client{Transport: transport}, nil
}

// token signs a token for the hub.
func (w *watcher) token(ctx context.Context) (string, error) {
	t, err := w.cs.Credential().Token(ctx, w.cs.HostName, time.Now(), iothub.DefaultTokenLifetime)
	return t.Value, err
}
