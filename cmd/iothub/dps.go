package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/iothub-go/iothub/service/dps"
)

// provisioningTarget is the Device Provisioning Service.
var provisioningTarget = target{"provisioning service", "IOTHUB_DPS_CONNECTION_STRING"}

func newDPSCommand() *cobra.Command {
	return group("dps", "The Device Provisioning Service",
		newIndividualCommand(), newEnrollmentGroupCommand(), newRegistrationCommand(), newCertificateCommand(),
		newRegisterCommand(), newDeriveKeyCommand())
}

// dpsCommand completes a command that works on the provisioning service as a back
// end.
func dpsCommand(cmd *cobra.Command, do func(ctx context.Context, c *dps.Client, args []string) (*result, error)) *cobra.Command {
	return backEndCommand(cmd, &serviceFlags{target: provisioningTarget}, dps.NewClientFromConnectionString, do)
}

func newRegistrationCommand() *cobra.Command {
	list := dpsCommand(&cobra.Command{Use: "list GROUP", Short: "List the registrations in an enrollment group", Args: cobra.ExactArgs(1)},
		func(ctx context.Context, c *dps.Client, args []string) (*result, error) {
			all := []*dps.DeviceRegistrationState{}
			r := &result{header: []string{"REGISTRATION", "STATUS", "HUB", "DEVICE", "LAST", "ERROR"}}
			for s, err := range c.QueryRegistrations(ctx, args[0], nil) {
				if err != nil {
					return nil, err
				}
				all = append(all, s)
				r.rows = append(r.rows, []string{s.RegistrationID, string(s.Status), s.AssignedHub, s.DeviceID, when(s.LastUpdatedTime), s.ErrorMessage})
			}
			r.json = all
			return r, nil
		})
	show := dpsCommand(&cobra.Command{Use: "show REGISTRATION", Short: "Show what has become of a registration", Args: cobra.ExactArgs(1)},
		func(ctx context.Context, c *dps.Client, args []string) (*result, error) {
			s, err := c.GetRegistration(ctx, args[0])
			if err != nil {
				return nil, err
			}
			rows := [][]string{{"registration", s.RegistrationID}, {"status", string(s.Status)}, {"created", when(s.CreatedTime)},
				{"last", when(s.LastUpdatedTime)}, {"etag", string(s.ETag)}}
			for _, row := range [][]string{{"substatus", string(s.Substatus)}, {"hub", s.AssignedHub}, {"device", s.DeviceID}, {"error", s.ErrorMessage}} {
				if row[1] != "" {
					rows = append(rows, row)
				}
			}
			return &result{json: s, rows: rows}, nil
		})
	del := &cobra.Command{Use: "delete REGISTRATION", Short: "Forget a registration; the device in the hub stays", Args: cobra.ExactArgs(1)}
	etag := etagFlag(del)
	dpsCommand(del, func(ctx context.Context, c *dps.Client, args []string) (*result, error) {
		return nil, c.DeleteRegistration(ctx, args[0], dps.ETag(*etag))
	})
	return group("registration", "What has become of the devices that registered", list, show, del)
}
