package main

import (
	"encoding/json"
	"errors"

	"github.com/spf13/cobra"

	"github.com/iothub-go/iothub/service"
	"github.com/iothub-go/iothub/service/dps"
)

// enrollmentFlags are the properties of enrollments that flags set.
type enrollmentFlags struct {
	deviceID, status, endorsementKey    string
	primaryKey, secondaryKey            string
	certificate, secondaryCertificate   string
	authority, secondaryAuthority       string
	allocation, webhook, webhookVersion string
	hubs                                []string
	reprovision, tags, desired          string
	edge                                bool
}

// The policies for devices that register again.
var reprovisionPolicies = []struct {
	name   string
	policy dps.ReprovisionPolicy
}{
	{"migrate", dps.ReprovisionPolicy{UpdateHubAssignment: true, MigrateDeviceData: true}},
	{"reset", dps.ReprovisionPolicy{UpdateHubAssignment: true}},
	{"never", dps.ReprovisionPolicy{}},
}

func reprovisionName(p dps.ReprovisionPolicy) string {
	p.MigrateDeviceData = p.MigrateDeviceData && p.UpdateHubAssignment
	for _, r := range reprovisionPolicies {
		if r.policy == p {
			return r.name
		}
	}
	return ""
}

func (f *enrollmentFlags) add(cmd *cobra.Command, individual bool) {
	flags := cmd.Flags()
	what := "that signs the certificates of the devices"
	if individual {
		what = "of the device"
		flags.StringVar(&f.deviceID, "device-id", "", "its id in the hub; default is that of the enrollment")
		flags.StringVar(&f.endorsementKey, "endorsement-key", "", "public part of the endorsement key of its TPM, base64")
	}
	flags.StringVar(&f.primaryKey, "primary-key", "", "symmetric key, base64; default is that the service makes it")
	flags.StringVar(&f.secondaryKey, "secondary-key", "", "the second symmetric key")
	flags.StringVar(&f.certificate, "certificate", "", "`file` with the certificate "+what)
	flags.StringVar(&f.secondaryCertificate, "secondary-certificate", "", "`file` with a second one")
	flags.StringVar(&f.authority, "root-ca", "", "`name` of a certificate that the service has (iothub dps certificate)")
	flags.StringVar(&f.secondaryAuthority, "secondary-root-ca", "", "`name` of a second one")
	flags.StringVar(&f.status, "status", "", "enabled or disabled")
	flags.StringVar(&f.allocation, "allocation", "", "how a hub is found: hashed, geoLatency, static or custom (with --webhook)")
	flags.StringArrayVar(&f.hubs, "hub", nil, "host `name` of a hub that may be chosen; may be given several times; default is all")
	flags.StringVar(&f.webhook, "webhook", "", "`URL` that chooses the hub")
	flags.StringVar(&f.webhookVersion, "webhook-api-version", "2021-10-01", "`version` of the API of the webhook")
	flags.StringVar(&f.reprovision, "reprovision", "", "when a device registers again: migrate it with its twin, reset its twin, or never move it")
	flags.StringVar(&f.tags, "tags", "", "tags of the twin at the beginning, a JSON object or @FILE")
	flags.StringVar(&f.desired, "desired", "", "desired properties at the beginning, a JSON object or @FILE")
	flags.BoolVar(&f.edge, "edge", false, "for IoT Edge devices")
	for name, values := range map[string][]string{
		"status": {"enabled", "disabled"}, "allocation": {"hashed", "geoLatency", "static", "custom"}, "reprovision": {"migrate", "reset", "never"},
	} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // the flags are there
	}
	cmd.MarkFlagsMutuallyExclusive("primary-key", "certificate", "root-ca")
	if individual {
		cmd.MarkFlagsMutuallyExclusive("endorsement-key", "primary-key", "certificate", "root-ca")
	}
}

// apply changes what flags were given for.
func (f *enrollmentFlags) apply(cmd *cobra.Command, s settings) error {
	flags := cmd.Flags()
	if flags.Changed("status") {
		if err := oneOf(cmd, "status", f.status, "enabled", "disabled"); err != nil {
			return err
		}
		*s.status = service.Status(f.status)
	}
	if flags.Changed("device-id") {
		*s.deviceID = f.deviceID
	}
	if flags.Changed("edge") {
		s.capabilities.IoTEdge = f.edge
	}
	if flags.Changed("reprovision") {
		if err := oneOf(cmd, "reprovision", f.reprovision, "migrate", "reset", "never"); err != nil {
			return err
		}
		for _, r := range reprovisionPolicies {
			if r.name == f.reprovision {
				*s.reprovision = &r.policy
			}
		}
	}
	if err := f.allocate(cmd, s); err != nil {
		return err
	}
	if err := f.attest(cmd, s); err != nil {
		return err
	}
	return f.begin(cmd, s)
}

// allocate sets how a hub is found.
func (f *enrollmentFlags) allocate(cmd *cobra.Command, s settings) error {
	flags := cmd.Flags()
	if flags.Changed("allocation") {
		if err := oneOf(cmd, "allocation", f.allocation, "hashed", "geoLatency", "static", "custom"); err != nil {
			return err
		}
		*s.allocation = dps.AllocationPolicy(f.allocation)
	}
	if f.webhook != "" {
		*s.webhook = &dps.CustomAllocationDefinition{WebhookURL: f.webhook, APIVersion: f.webhookVersion}
	}
	if (*s.allocation == dps.CustomAllocation) && *s.webhook == nil {
		return usage(cmd, errors.New("--allocation custom needs --webhook"))
	}
	if flags.Changed("hub") {
		*s.hubs, *s.oldHub = f.hubs, ""
	}
	return nil
}

// attest sets how devices prove themselves.
func (f *enrollmentFlags) attest(cmd *cobra.Command, s settings) error {
	switch {
	case f.endorsementKey != "":
		*s.attestation = dps.AttestationMechanism{TPM: &dps.TPMAttestation{EndorsementKey: f.endorsementKey}}
	case f.authority != "":
		*s.attestation = dps.CAReferences(f.authority, f.secondaryAuthority)
	case f.primaryKey != "":
		*s.attestation = dps.AttestationMechanism{SymmetricKey: &service.SymmetricKey{Primary: service.Key(f.primaryKey), Secondary: service.Key(f.secondaryKey)}}
	case f.certificate != "":
		primary, err := readCertificate(f.certificate)
		if err != nil {
			return err
		}
		attest := dps.SigningCertificates
		if s.deviceID != nil {
			attest = dps.ClientCertificates
		}
		*s.attestation = attest(primary, nil)
		if f.secondaryCertificate != "" {
			secondary, err := readCertificate(f.secondaryCertificate)
			if err != nil {
				return err
			}
			*s.attestation = attest(primary, secondary)
		}
	case f.secondaryKey != "" || f.secondaryAuthority != "" || f.secondaryCertificate != "":
		return usage(cmd, errors.New("the secondary key, certificate or authority is given with the primary one"))
	}
	return nil
}

// begin sets what twins begin with.
func (f *enrollmentFlags) begin(cmd *cobra.Command, s settings) error {
	for _, part := range []struct {
		flag, arg string
		to        func(*dps.InitialTwin) *json.RawMessage
	}{
		{"tags", f.tags, func(t *dps.InitialTwin) *json.RawMessage { return &t.Tags }},
		{"desired", f.desired, func(t *dps.InitialTwin) *json.RawMessage { return &t.Properties.Desired }},
	} {
		object, err := objectFlag(cmd, part.flag, part.arg)
		if err != nil {
			return err
		}
		if object == nil {
			continue
		}
		if *s.twin == nil {
			*s.twin = &dps.InitialTwin{}
		}
		*part.to(*s.twin) = object.(json.RawMessage)
	}
	return nil
}
