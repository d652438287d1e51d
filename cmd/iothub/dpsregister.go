package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/provisioning"
)

// The variables of the environment for secrets, which do not belong on a command line.
const (
	deviceKeyVariable = "IOTHUB_DPS_KEY"
	groupKeyVariable  = "IOTHUB_DPS_GROUP_KEY"
)

type derivedKey struct {
	RegistrationID string `json:"registrationId"`
	Key            string `json:"key"`
}

func newDeriveKeyCommand() *cobra.Command {
	var groupKey, output string
	cmd := &cobra.Command{
		Use:   "derive-key REGISTRATION...",
		Short: "Derive the keys of devices from that of their group, without any network",
		Long: `Derive the keys of devices from that of their enrollment group: of each the
HMAC-SHA256 of its registration id, exactly as the device will write it. No network is
touched. For one device the key alone is printed.`,
		Example: `  IOTHUB_DPS_GROUP_KEY=… iothub dps derive-key sensor-1
  iothub dps derive-key --group-key … sensor-1 sensor-2 sensor-3 -o json`,
		Args: cobra.MinimumNArgs(1),
	}
	cmd.Flags().StringVar(&groupKey, "group-key", "", "key of the group, base64; default is the variable "+groupKeyVariable)
	outputFlag(cmd, &output)
	cmd.RunE = func(cmd *cobra.Command, ids []string) error {
		if err := oneOf(cmd, "output", output, "table", "json"); err != nil {
			return err
		}
		if groupKey = cmp.Or(groupKey, os.Getenv(groupKeyVariable)); groupKey == "" {
			return usage(cmd, errors.New("which key? Give --group-key or set "+groupKeyVariable))
		}
		keys := []derivedKey{}
		r := &result{}
		for _, id := range ids {
			key, err := provisioning.DeriveKey(groupKey, id)
			if err != nil {
				return usage(cmd, fmt.Errorf("%s: %w", id, err))
			}
			keys = append(keys, derivedKey{id, key})
			r.rows = append(r.rows, []string{id, key})
		}
		if r.json = keys; len(keys) == 1 {
			r.rows = [][]string{{keys[0].Key}}
		}
		return r.print(cmd.OutOrStdout(), output)
	}
	return cmd
}

// registerFlags are those of "iothub dps register".
type registerFlags struct {
	endpoint, scope                        string
	key, groupKey, certificate, privateKey string
	transport, payload, ca, output         string
	timeout                                time.Duration
	connectionString                       bool
}

func newRegisterCommand() *cobra.Command {
	f := &registerFlags{}
	cmd := &cobra.Command{
		Use:   "register [REGISTRATION]",
		Short: "Register a device, as the device itself would",
		Long: `Register a device with the provisioning service, as the device itself would, and
print the hub that it is assigned to. With a certificate the registration id may be
left out: it is the common name.

Exit codes: 0 assigned, 1 failed, 2 wrong usage, 3 the service refused the device.`,
		Example: `  IOTHUB_DPS_KEY=… iothub dps register sensor-1 --id-scope 0ne00000001
  iothub dps register --endpoint 127.0.0.1 --ca iothub-data/ca.pem --id-scope 0neABC \
      --certificate sensor-1.pem --private-key sensor-1.key --transport https`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.endpoint, "endpoint", provisioning.DefaultEndpoint, "host name of the service, with :port where that is not the usual one of the transport")
	flags.StringVar(&f.scope, "id-scope", "", "id scope, as the service shows it")
	flags.StringVar(&f.key, "key", "", "key of the device, base64; default is the variable "+deviceKeyVariable)
	flags.StringVar(&f.groupKey, "group-key", "", "key of its group, base64; default is the variable "+groupKeyVariable)
	flags.StringVar(&f.certificate, "certificate", "", "PEM `file` with its certificate, and behind it those of authorities")
	flags.StringVar(&f.privateKey, "private-key", "", "PEM `file` with the key of the certificate; default is the same file")
	flags.StringVar(&f.transport, "transport", provisioning.Auto.String(), "auto, mqtt, mqtt-ws or https")
	flags.StringVar(&f.payload, "payload", "", "JSON for a custom allocation, or @FILE")
	flags.StringVar(&f.ca, "ca", "", "file with the authority of the service (ca.pem); default is those of the system")
	flags.DurationVar(&f.timeout, "timeout", time.Minute, "how long to wait")
	flags.BoolVar(&f.connectionString, "connection-string", false, "print the connection string of the device too, with its key")
	outputFlag(cmd, &f.output)
	_ = cmd.MarkFlagRequired("id-scope") // the flag is there
	cmd.MarkFlagsMutuallyExclusive("key", "group-key", "certificate")
	_ = cmd.RegisterFlagCompletionFunc("transport", cobra.FixedCompletions([]string{"auto", "mqtt", "mqtt-ws", "https"}, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	return cmd
}

func (f *registerFlags) run(cmd *cobra.Command, args []string) error {
	if err := oneOf(cmd, "output", f.output, "table", "json"); err != nil {
		return err
	}
	cfg, err := f.config(cmd, args)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout)
	defer cancel()
	a, err := provisioning.Register(ctx, cfg)
	switch iothub.KindOf(err) {
	case iothub.KindUnauthorized, iothub.KindTokenExpired, iothub.KindDeviceDisabled:
		return &exitError{exitRefused, err}
	case iothub.KindInvalidArgument:
		return usage(cmd, err)
	}
	if err != nil {
		return failure(cmd, err)
	}
	r, err := f.result(a)
	if err != nil {
		return err
	}
	return r.print(cmd.OutOrStdout(), f.output)
}

// config is what the flags say.
func (f *registerFlags) config(cmd *cobra.Command, args []string) (*provisioning.Config, error) {
	c := &provisioning.Config{Endpoint: f.endpoint, IDScope: f.scope}
	if len(args) > 0 {
		c.RegistrationID = args[0]
	}
	var err error
	if c.Transport, err = provisioning.ParseTransport(f.transport); err != nil {
		return nil, usage(cmd, err)
	}
	if c.Attestation, err = f.attestation(); err != nil {
		return nil, usage(cmd, err)
	}
	if c.Payload, err = jsonArg(cmd, "--payload", f.payload); err != nil {
		return nil, err
	}
	config, err := trust(f.ca)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	c.Options = &iothub.ClientOptions{TLS: config}
	if err := c.Validate(); err != nil {
		return nil, usage(cmd, err)
	}
	return c, nil
}

// attestation takes what flags give before what the environment does.
func (f *registerFlags) attestation() (*provisioning.Attestation, error) {
	if f.certificate != "" {
		cert, err := tls.LoadX509KeyPair(f.certificate, cmp.Or(f.privateKey, f.certificate))
		if err != nil {
			return nil, fmt.Errorf("--certificate, --private-key: %w", err)
		}
		return provisioning.NewCertificateAttestation(cert), nil
	}
	if f.key == "" && f.groupKey == "" {
		f.key, f.groupKey = os.Getenv(deviceKeyVariable), os.Getenv(groupKeyVariable)
	}
	switch {
	case f.key != "":
		f.groupKey = ""
		return provisioning.NewKeyAttestation(f.key)
	case f.groupKey != "":
		return provisioning.NewGroupKeyAttestation(f.groupKey)
	}
	return nil, fmt.Errorf("how does the device prove itself? Give --key, --group-key or --certificate, or set %s or %s", deviceKeyVariable, groupKeyVariable)
}

// result is the assignment, with the connection string where that was asked for.
func (f *registerFlags) result(a *provisioning.Assignment) (*result, error) {
	shown := struct {
		*provisioning.Assignment
		ConnectionString string `json:"connectionString,omitempty"`
	}{Assignment: a}
	r := &result{rows: [][]string{{"registration", a.RegistrationID}, {"hub", a.HubHostName}, {"device", a.DeviceID}}}
	for _, row := range [][]string{{"substatus", a.Substatus}, {"group", a.EnrollmentGroup}, {"payload", string(a.Payload)}} {
		if row[1] != "" {
			r.rows = append(r.rows, row)
		}
	}
	if f.connectionString {
		secret := "SharedAccessKey=" + f.key
		if f.groupKey != "" {
			key, err := provisioning.DeriveKey(f.groupKey, a.RegistrationID)
			if err != nil {
				return nil, err
			}
			secret = "SharedAccessKey=" + key
		}
		if f.certificate != "" {
			secret = "x509=true"
		}
		shown.ConnectionString = "HostName=" + a.HubHostName + ";DeviceId=" + a.DeviceID + ";" + secret
		r.rows = append(r.rows, []string{"connection string", shown.ConnectionString})
	}
	r.json = shown
	return r, nil
}
