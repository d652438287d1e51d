package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/spf13/cobra"

	"github.com/iothub-go/iothub/service"
	"github.com/iothub-go/iothub/service/dps"
)

// enrollments are the verbs of one of the two kinds of enrollments.
type enrollments[T any] struct {
	noun, arg string
	settings  func(*T) settings
	blank     func(id string) *T
	query     func(*dps.Client, context.Context, string, *service.QueryOptions) iter.Seq2[*T, error]
	create    func(*dps.Client, context.Context, *T) (*T, error)
	update    func(*dps.Client, context.Context, *T) (*T, error)
	get       func(*dps.Client, context.Context, string) (*T, error)
	delete    func(*dps.Client, context.Context, string, dps.ETag) error
	keys      func(*dps.Client, context.Context, string) (*dps.AttestationMechanism, error)
}

// settings are what both kinds have, in the enrollment.
type settings struct {
	id           string
	registration *dps.DeviceRegistrationState
	deviceID     *string // nil in groups
	attestation  *dps.AttestationMechanism
	capabilities *service.Capabilities
	status       *service.Status
	allocation   *dps.AllocationPolicy
	hubs         *[]string
	oldHub       *string
	webhook      **dps.CustomAllocationDefinition
	reprovision  **dps.ReprovisionPolicy
	twin         **dps.InitialTwin
	etag         *dps.ETag
}

func newIndividualCommand() *cobra.Command {
	return (&enrollments[dps.IndividualEnrollment]{
		noun: "individual enrollment", arg: "ENROLLMENT",
		settings: func(e *dps.IndividualEnrollment) settings {
			return settings{e.RegistrationID, e.RegistrationState, &e.DeviceID, &e.Attestation, &e.Capabilities, &e.ProvisioningStatus, &e.AllocationPolicy,
				&e.IoTHubs, &e.IoTHubHostName, &e.CustomAllocationDefinition, &e.ReprovisionPolicy, &e.InitialTwin, &e.ETag}
		},
		blank:  func(id string) *dps.IndividualEnrollment { return &dps.IndividualEnrollment{RegistrationID: id} },
		query:  (*dps.Client).QueryIndividualEnrollments,
		create: (*dps.Client).CreateIndividualEnrollment, update: (*dps.Client).UpdateIndividualEnrollment,
		get: (*dps.Client).GetIndividualEnrollment, delete: (*dps.Client).DeleteIndividualEnrollment,
		keys: (*dps.Client).GetIndividualEnrollmentAttestation,
	}).command("enrollment", "Individual enrollments: one device each")
}

func newEnrollmentGroupCommand() *cobra.Command {
	return (&enrollments[dps.EnrollmentGroup]{
		noun: "enrollment group", arg: "GROUP",
		settings: func(g *dps.EnrollmentGroup) settings {
			return settings{g.EnrollmentGroupID, nil, nil, &g.Attestation, &g.Capabilities, &g.ProvisioningStatus, &g.AllocationPolicy,
				&g.IoTHubs, &g.IoTHubHostName, &g.CustomAllocationDefinition, &g.ReprovisionPolicy, &g.InitialTwin, &g.ETag}
		},
		blank:  func(id string) *dps.EnrollmentGroup { return &dps.EnrollmentGroup{EnrollmentGroupID: id} },
		query:  (*dps.Client).QueryEnrollmentGroups,
		create: (*dps.Client).CreateEnrollmentGroup, update: (*dps.Client).UpdateEnrollmentGroup,
		get: (*dps.Client).GetEnrollmentGroup, delete: (*dps.Client).DeleteEnrollmentGroup,
		keys: (*dps.Client).GetEnrollmentGroupAttestation,
	}).command("group", "Enrollment groups: many devices with keys or certificates from one source")
}

func (k *enrollments[T]) command(use, short string) *cobra.Command {
	return group(use, short, k.newList(), k.newShow(), k.newCreate(), k.newUpdate(), k.newDelete(), k.newKeys())
}

func (k *enrollments[T]) newList() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List " + k.noun + "s", Args: cobra.NoArgs}
	query := cmd.Flags().String("query", "", `which: as "SELECT * FROM enrollments WHERE provisioningStatus = 'disabled'"; default is all`)
	return dpsCommand(cmd, func(ctx context.Context, c *dps.Client, _ []string) (*result, error) {
		all := []*T{}
		r := &result{header: []string{k.arg, "STATUS", "ATTESTATION", "ALLOCATION", "REGISTERED"}}
		for e, err := range k.query(c, ctx, *query, nil) {
			if err != nil {
				return nil, err
			}
			all = append(all, e)
			s := k.settings(e)
			row := []string{s.id, string(*s.status), string(s.attestation.Type), string(*s.allocation)}
			if s.deviceID != nil {
				row = append(row, s.registered())
			}
			r.rows = append(r.rows, row)
		}
		if k.settings(new(T)).deviceID == nil {
			r.header = r.header[:4]
		}
		r.json = all
		return r, nil
	})
}

// registered says what has become of the registration of an individual enrollment.
func (s settings) registered() string {
	switch r := s.registration; {
	case r == nil:
		return "no"
	case r.AssignedHub != "":
		return r.AssignedHub + "/" + r.DeviceID
	default:
		return string(r.Status)
	}
}

// show is an enrollment with the symmetric keys, if they are there.
func (k *enrollments[T]) show(e *T) *result {
	s := k.settings(e)
	rows := [][]string{{strings.ToLower(k.arg), s.id}, {"status", string(*s.status)}, {"attestation", string(s.attestation.Type)}, {"allocation", string(*s.allocation)}}
	add := func(name, value string) {
		if value != "" {
			rows = append(rows, []string{name, value})
		}
	}
	if x := s.attestation.X509; x != nil {
		for _, certs := range []*dps.X509Certificates{x.ClientCertificates, x.SigningCertificates} {
			if certs != nil {
				add("certificate", subjectOf(certs.Primary))
				add("secondary certificate", subjectOf(certs.Secondary))
			}
		}
		if refs := x.CAReferences; refs != nil {
			add("authority", refs.Primary)
			add("secondary authority", refs.Secondary)
		}
	}
	if *s.oldHub != "" {
		add("hub", *s.oldHub)
	}
	add("hubs", strings.Join(*s.hubs, ", "))
	if w := *s.webhook; w != nil {
		add("webhook", w.WebhookURL)
	}
	if p := *s.reprovision; p != nil {
		add("reprovisioning", reprovisionName(*p))
	}
	if t := *s.twin; t != nil {
		add("tags", string(t.Tags))
		add("desired", string(t.Properties.Desired))
	}
	if s.capabilities.IoTEdge {
		add("IoT Edge", "yes")
	}
	if s.deviceID != nil {
		add("device", *s.deviceID)
		add("registered", s.registered())
	}
	add("etag", string(*s.etag))
	if keys := s.attestation.SymmetricKey; keys != nil {
		add("primary", string(keys.Primary))
		add("secondary", string(keys.Secondary))
	}
	return &result{json: e, rows: rows}
}

func subjectOf(c *dps.X509CertificateWithInfo) string {
	if c == nil || c.Info == nil {
		return ""
	}
	return fmt.Sprintf("%s, until %s", c.Info.SubjectName, when(c.Info.NotAfter))
}

func (k *enrollments[T]) newShow() *cobra.Command {
	return dpsCommand(&cobra.Command{Use: "show " + k.arg, Short: "Show an " + k.noun + ", without its keys", Args: cobra.ExactArgs(1)},
		func(ctx context.Context, c *dps.Client, args []string) (*result, error) {
			e, err := k.get(c, ctx, args[0])
			if err != nil {
				return nil, err
			}
			return k.show(e), nil
		})
}

func (k *enrollments[T]) newCreate() *cobra.Command {
	f := &enrollmentFlags{}
	cmd := &cobra.Command{Use: "create " + k.arg, Short: "Create an " + k.noun + " and print its keys", Args: cobra.ExactArgs(1),
		Long: "Create an " + k.noun + ". Where neither certificates nor a TPM are given, it is for\nsymmetric keys, which the service makes unless they are given."}
	f.add(cmd, k.settings(new(T)).deviceID != nil)
	return dpsCommand(cmd, func(ctx context.Context, c *dps.Client, args []string) (*result, error) {
		e := k.blank(args[0])
		s := k.settings(e)
		err := f.apply(cmd, s)
		if err == nil {
			e, err = k.create(c, ctx, e)
		}
		if err != nil {
			return nil, err
		}
		return k.show(e), nil
	})
}

func (k *enrollments[T]) newUpdate() *cobra.Command {
	f := &enrollmentFlags{}
	cmd := &cobra.Command{Use: "update " + k.arg, Short: "Change an " + k.noun, Args: cobra.ExactArgs(1)}
	f.add(cmd, k.settings(new(T)).deviceID != nil)
	etag := cmd.Flags().String("etag", "", "only when this is its version")
	return dpsCommand(cmd, func(ctx context.Context, c *dps.Client, args []string) (*result, error) {
		e, err := k.get(c, ctx, args[0])
		if err != nil {
			return nil, err
		}
		s := k.settings(e)
		if err = f.apply(cmd, s); err != nil {
			return nil, err
		}
		if *etag != "" {
			*s.etag = dps.ETag(*etag)
		}
		if e, err = k.update(c, ctx, e); err != nil {
			return nil, err
		}
		k.settings(e).attestation.SymmetricKey = nil // they are not what was asked for
		return k.show(e), nil
	})
}

func (k *enrollments[T]) newDelete() *cobra.Command {
	cmd := &cobra.Command{Use: "delete " + k.arg, Short: "Delete an " + k.noun + "; devices in hubs stay", Args: cobra.ExactArgs(1)}
	etag := etagFlag(cmd)
	return dpsCommand(cmd, func(ctx context.Context, c *dps.Client, args []string) (*result, error) {
		return nil, k.delete(c, ctx, args[0], dps.ETag(*etag))
	})
}

func (k *enrollments[T]) newKeys() *cobra.Command {
	return dpsCommand(&cobra.Command{Use: "keys " + k.arg, Short: "Print the symmetric keys", Args: cobra.ExactArgs(1)},
		func(ctx context.Context, c *dps.Client, args []string) (*result, error) {
			a, err := k.keys(c, ctx, args[0])
			if err != nil {
				return nil, err
			}
			if a.SymmetricKey == nil {
				return nil, errors.New(args[0] + " has no symmetric keys")
			}
			return &result{json: a.SymmetricKey, rows: [][]string{{"primary", string(a.SymmetricKey.Primary)}, {"secondary", string(a.SymmetricKey.Secondary)}}}, nil
		})
}
