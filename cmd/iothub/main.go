// Command iothub runs a local IoT Hub and the tools to work with it.
//
// Exit codes: 0 done, also when interrupted; 1 it failed; 2 wrong usage; 3 the
// hub refused the credential.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// The exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
	exitRefused = 3
)

// exitError is an error with an exit code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel() // ends gracefully
		<-signals
		os.Exit(exitFailure)
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run runs one command and returns its exit code. The end of ctx asks it to end.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	// The library's errors begin with its name, which is the command's, too.
	_, _ = fmt.Fprintln(stderr, "iothub:", strings.TrimPrefix(err.Error(), "iothub: ")) // nowhere else to say it
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	return exitFailure
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "iothub",
		Short:         "A local IoT Hub, and tools to work with it",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.AddCommand(newHubCommand(), newEdgeCommand(), newMonitorCommand(), newQuickstartCommand())
	root.AddCommand(newServiceCommands()...)
	markUsage(root)
	return root
}

// markUsage gives wrong flags and arguments their exit code.
func markUsage(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usage(c, err) })
	if check := cmd.Args; check != nil {
		cmd.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usage(c, err)
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		markUsage(sub)
	}
}

func usage(cmd *cobra.Command, err error) error {
	return &exitError{exitUsage, fmt.Errorf("%w; see: %s --help", err, cmd.CommandPath())}
}
