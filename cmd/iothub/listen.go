package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"syscall"

	"github.com/spf13/cobra"
)

// newLogger logs to stderr what --log-level asks for.
func newLogger(cmd *cobra.Command, text string) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(text)); err != nil {
		return nil, usage(cmd, fmt.Errorf("--log-level %q is none of debug, info, warn, error", text))
	}
	return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level})), nil
}

// parseListen reads --listen.
func parseListen(cmd *cobra.Command, text string) (net.IP, error) {
	ip := net.ParseIP(text)
	if ip == nil {
		return nil, usage(cmd, fmt.Errorf("--listen %q is not an IP address", text))
	}
	return ip, nil
}

const allow443 = "run as root, allow it with sysctl net.ipv4.ip_unprivileged_port_start=443, or setcap cap_net_bind_service=+ep on this program"

// insteadNote says that a port has a substitute.
func insteadNote(port, instead int, err error) string {
	return fmt.Sprintf("Port %d could not be bound (%s); HTTPS is on %d instead. "+
		"Clients that know only 443 need it: %s.", port, cause(err), instead, allow443)
}

// portError says what to do about a port that cannot be bound.
func portError(err error, port int, flag string) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("port %d is in use by another program: end that, or choose another port with %s", port, flag)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("port %d may not be bound by this user: choose another port with %s, or %s", port, flag, allow443)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%w: --listen has to be an address of this machine", err)
	}
	return fmt.Errorf("%w; choose another port with %s", err, flag)
}

func cause(err error) string {
	switch {
	case errors.Is(err, os.ErrPermission):
		return "permission denied"
	case errors.Is(err, syscall.EADDRINUSE):
		return "it is in use"
	}
	return err.Error()
}

// checkPorts checks the ports that flags give.
func checkPorts(cmd *cobra.Command, ports map[string]int) error {
	for flag, port := range ports {
		if port < 0 || port > 65535 {
			return usage(cmd, fmt.Errorf("%s %d is not a port", flag, port))
		}
	}
	return nil
}

// announce says what runs, as a text or in one line of JSON, and waits to be
// interrupted.
func announce(cmd *cobra.Command, report interface{ text() []byte }, asJSON bool) error {
	text := report.text()
	if asJSON {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		_ = e.Encode(report) // a struct of texts always encodes
		text = b.Bytes()
	}
	if _, err := cmd.OutOrStdout().Write(text); err != nil {
		return fmt.Errorf("say what runs: %w", err)
	}
	<-cmd.Context().Done()
	return nil
}
