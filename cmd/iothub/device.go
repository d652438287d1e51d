package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/service"
)

func newDeviceCommand() *cobra.Command {
	return group("device", "Devices of a hub",
		newDeviceCreate(), newDeviceShow(), newDeviceList(), newDeviceUpdate(), newDeviceDelete(), newKeys("DEVICE"))
}

// deviceFlags are the properties of a device that flags set.
type deviceFlags struct {
	auth        string
	thumbprints []string
	disabled    bool
	reason      string
	edge        bool
	parent      string
	etag        string
}

// below puts a device into the scope of an IoT Edge device: an IoT Edge device has a
// scope of its own, others that of their parent.
func below(ctx context.Context, c *service.Client, d *service.Device, parent string) error {
	p, err := c.GetDevice(ctx, parent)
	if err != nil {
		return fmt.Errorf("--parent: %w", err)
	}
	if !p.Capabilities.IoTEdge {
		return fmt.Errorf("--parent %s is no IoT Edge device", parent)
	}
	if d.Capabilities.IoTEdge {
		d.ParentScopes = []string{p.Scope}
	} else {
		d.Scope = p.Scope
	}
	return nil
}

func (f *deviceFlags) addAuth(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.auth, "auth", "sas", "how it authenticates: sas, selfSigned (with --thumbprint) or certificateAuthority")
	cmd.Flags().StringArrayVar(&f.thumbprints, "thumbprint", nil, "SHA-1 or SHA-256 of its certificate in hexadecimal; twice for a second one")
}

func (f *deviceFlags) authentication(cmd *cobra.Command) (*service.Authentication, error) {
	if err := oneOf(cmd, "auth", f.auth, "sas", "selfSigned", "certificateAuthority"); err != nil {
		return nil, err
	}
	a := &service.Authentication{Type: service.AuthenticationType(f.auth)}
	if (a.Type == service.SelfSignedAuthentication) != (len(f.thumbprints) > 0) || len(f.thumbprints) > 2 {
		return nil, usage(cmd, errors.New("--auth selfSigned needs --thumbprint once or twice, and only it"))
	}
	if len(f.thumbprints) > 0 {
		a.Thumbprints = &service.Thumbprints{Primary: f.thumbprints[0], Secondary: f.thumbprints[len(f.thumbprints)-1]}
	}
	return a, nil
}

func newDeviceCreate() *cobra.Command {
	f := &deviceFlags{}
	cmd := &cobra.Command{Use: "create DEVICE", Short: "Create a device and print its connection string", Args: cobra.ExactArgs(1)}
	f.addAuth(cmd)
	cmd.Flags().BoolVar(&f.disabled, "disabled", false, "it may not connect")
	cmd.Flags().StringVar(&f.reason, "reason", "", "why it has its status")
	cmd.Flags().BoolVar(&f.edge, "edge", false, "it is an IoT Edge device")
	cmd.Flags().StringVar(&f.parent, "parent", "", "IoT Edge `device` through which it connects")
	return serviceCommand(cmd, nil, func(ctx context.Context, c *service.Client, args []string) (*result, error) {
		a, err := f.authentication(cmd)
		if err != nil {
			return nil, err
		}
		d := &service.Device{DeviceID: args[0], StatusReason: f.reason, Authentication: a, Capabilities: service.Capabilities{IoTEdge: f.edge}}
		if f.disabled {
			d.Status = service.Disabled
		}
		if f.parent != "" {
			if err := below(ctx, c, d, f.parent); err != nil {
				return nil, err
			}
		}
		if d, err = c.CreateDevice(ctx, d); err != nil {
			return nil, err
		}
		r := deviceResult(d)
		if cs := d.ConnectionString(hostOf(c)); cs != "" {
			r.rows = append(r.rows, []string{"connection string", cs})
		}
		return r, nil
	})
}

// hostOf is the host name for the connection strings of devices: the port of HTTPS
// is of no use to them.
func hostOf(c *service.Client) string {
	if host, _, err := net.SplitHostPort(c.HostName()); err == nil {
		return host
	}
	return c.HostName()
}

// deviceResult shows a device without its keys; as JSON with them.
func deviceResult(d *service.Device) *result {
	rows := [][]string{
		{"device", d.DeviceID}, {"status", string(d.Status)}, {"connection", string(d.ConnectionState)},
		{"last activity", when(d.LastActivityTime)}, {"messages waiting", strconv.Itoa(d.CloudToDeviceMessageCount)},
		{"etag", string(d.ETag)},
	}
	if d.StatusReason != "" {
		rows = append(rows, []string{"reason", d.StatusReason})
	}
	if d.Authentication != nil {
		rows = append(rows, []string{"authentication", string(d.Authentication.Type)})
	}
	if d.Capabilities.IoTEdge {
		rows = append(rows, []string{"IoT Edge", "yes"})
	}
	return &result{json: d, rows: rows}
}

func newDeviceShow() *cobra.Command {
	return serviceCommand(&cobra.Command{Use: "show DEVICE", Short: "Show a device; --output json has its keys, too", Args: cobra.ExactArgs(1)}, nil,
		func(ctx context.Context, c *service.Client, args []string) (*result, error) {
			d, err := c.GetDevice(ctx, args[0])
			if err != nil {
				return nil, err
			}
			return deviceResult(d), nil
		})
}

func newDeviceList() *cobra.Command {
	var top int
	cmd := &cobra.Command{Use: "list", Short: "List devices, at most 1000; iothub query has no bound", Args: cobra.NoArgs}
	cmd.Flags().IntVar(&top, "top", 1000, "how many at most, 1 to 1000")
	return serviceCommand(cmd, nil, func(ctx context.Context, c *service.Client, _ []string) (*result, error) {
		l, err := c.ListDevices(ctx, top)
		if err != nil {
			return nil, err
		}
		slices.SortFunc(l, func(a, b *service.Device) int { return strings.Compare(a.DeviceID, b.DeviceID) })
		r := &result{json: l, header: []string{"DEVICE", "STATUS", "CONNECTION", "LAST ACTIVITY", "MESSAGES"}}
		for _, d := range l {
			r.rows = append(r.rows, []string{d.DeviceID, string(d.Status), string(d.ConnectionState), when(d.LastActivityTime), strconv.Itoa(d.CloudToDeviceMessageCount)})
		}
		return r, nil
	})
}

func newDeviceUpdate() *cobra.Command {
	f := &deviceFlags{}
	var status string
	cmd := &cobra.Command{Use: "update DEVICE", Short: "Change a device", Args: cobra.ExactArgs(1),
		Example: `  iothub device update dev1 --status disabled --reason lost`}
	flags := cmd.Flags()
	flags.StringVar(&status, "status", "", "enabled or disabled")
	flags.StringVar(&f.reason, "reason", "", "why it has its status")
	flags.BoolVar(&f.edge, "edge", false, "it is an IoT Edge device")
	flags.StringVar(&f.etag, "etag", "", "only when this is its version")
	return serviceCommand(cmd, nil, func(ctx context.Context, c *service.Client, args []string) (*result, error) {
		d, err := c.GetDevice(ctx, args[0])
		if err != nil {
			return nil, err
		}
		if flags.Changed("status") {
			if err := oneOf(cmd, "status", status, "enabled", "disabled"); err != nil {
				return nil, err
			}
			d.Status = service.Status(status)
		}
		if flags.Changed("reason") {
			d.StatusReason = f.reason
		}
		if flags.Changed("edge") {
			d.Capabilities.IoTEdge = f.edge
		}
		if f.etag != "" {
			d.ETag = service.ETag(f.etag)
		}
		if d, err = c.UpdateDevice(ctx, d); err != nil {
			return nil, err
		}
		return deviceResult(d), nil
	})
}

func newDeviceDelete() *cobra.Command {
	f := &deviceFlags{}
	cmd := &cobra.Command{Use: "delete DEVICE", Short: "Delete a device and its modules", Args: cobra.ExactArgs(1)}
	cmd.Flags().StringVar(&f.etag, "etag", string(service.AnyETag), "only when this is its version")
	return serviceCommand(cmd, nil, func(ctx context.Context, c *service.Client, args []string) (*result, error) {
		return nil, c.DeleteDevice(ctx, args[0], service.ETag(f.etag))
	})
}

// newKeys is for devices and for modules.
func newKeys(what string) *cobra.Command {
	var regenerate string
	var swap bool
	cmd := &cobra.Command{Use: "keys " + what, Short: "Print keys and connection string; swap or regenerate them first", Args: cobra.ExactArgs(1)}
	cmd.Flags().StringVar(&regenerate, "regenerate", "", "have the hub make new ones: primary, secondary or both")
	cmd.Flags().BoolVar(&swap, "swap", false, "exchange primary and secondary key")
	cmd.MarkFlagsMutuallyExclusive("regenerate", "swap")
	return serviceCommand(cmd, nil, func(ctx context.Context, c *service.Client, args []string) (*result, error) {
		deviceID, moduleID := identityArg(args[0])
		if moduleID == "" && what != "DEVICE" {
			_, _, err := moduleArg(cmd, args[0])
			return nil, err
		}
		if err := changeKeys(ctx, cmd, c, iothub.Identity{DeviceID: deviceID, ModuleID: moduleID}, regenerate, swap); err != nil {
			return nil, err
		}
		var a *service.Authentication
		var cs string
		if moduleID == "" {
			d, err := c.GetDevice(ctx, deviceID)
			if err != nil {
				return nil, err
			}
			a, cs = d.Authentication, d.ConnectionString(hostOf(c))
		} else {
			m, err := c.GetModule(ctx, deviceID, moduleID)
			if err != nil {
				return nil, err
			}
			a, cs = m.Authentication, m.ConnectionString(hostOf(c))
		}
		if a == nil || a.SymmetricKey == nil || cs == "" {
			return nil, fmt.Errorf("%s has no symmetric keys", args[0])
		}
		k := a.SymmetricKey
		return &result{
			json: map[string]string{"primaryKey": string(k.Primary), "secondaryKey": string(k.Secondary), "connectionString": cs},
			rows: [][]string{{"primary", string(k.Primary)}, {"secondary", string(k.Secondary)}, {"connection string", cs}},
		}, nil
	})
}

func changeKeys(ctx context.Context, cmd *cobra.Command, c *service.Client, id iothub.Identity, regenerate string, swap bool) error {
	if swap {
		_, err := c.SwapKeys(ctx, id.DeviceID, id.ModuleID)
		return err
	}
	if regenerate == "" {
		return nil
	}
	which, ok := map[string]service.WhichKey{"primary": service.PrimaryKey, "secondary": service.SecondaryKey, "both": service.BothKeys}[regenerate]
	if !ok {
		return oneOf(cmd, "regenerate", regenerate, "primary", "secondary", "both")
	}
	_, err := c.RegenerateKeys(ctx, which, id)
	return err
}

func newModuleCommand() *cobra.Command {
	show := func(m *service.Module, c *service.Client) *result {
		rows := [][]string{{"module", m.DeviceID + "/" + m.ModuleID}, {"connection", string(m.ConnectionState)},
			{"last activity", when(m.LastActivityTime)}, {"etag", string(m.ETag)}}
		if c != nil {
			if cs := m.ConnectionString(hostOf(c)); cs != "" {
				rows = append(rows, []string{"connection string", cs})
			}
		}
		return &result{json: m, rows: rows}
	}
	f := &deviceFlags{}
	create := &cobra.Command{Use: "create DEVICE/MODULE", Short: "Create a module and print its connection string", Args: cobra.ExactArgs(1)}
	f.addAuth(create)
	serviceCommand(create, nil, func(ctx context.Context, c *service.Client, args []string) (*result, error) {
		deviceID, moduleID, err := moduleArg(create, args[0])
		if err != nil {
			return nil, err
		}
		a, err := f.authentication(create)
		if err != nil {
			return nil, err
		}
		m, err := c.CreateModule(ctx, &service.Module{DeviceID: deviceID, ModuleID: moduleID, Authentication: a})
		if err != nil {
			return nil, err
		}
		return show(m, c), nil
	})
	showCmd := &cobra.Command{Use: "show DEVICE/MODULE", Short: "Show a module; --output json has its keys, too", Args: cobra.ExactArgs(1)}
	serviceCommand(showCmd, nil, func(ctx context.Context, c *service.Client, args []string) (*result, error) {
		deviceID, moduleID, err := moduleArg(showCmd, args[0])
		if err != nil {
			return nil, err
		}
		m, err := c.GetModule(ctx, deviceID, moduleID)
		if err != nil {
			return nil, err
		}
		return show(m, nil), nil
	})
	list := serviceCommand(&cobra.Command{Use: "list DEVICE", Short: "List the modules of a device", Args: cobra.ExactArgs(1)}, nil,
		func(ctx context.Context, c *service.Client, args []string) (*result, error) {
			l, err := c.ListModules(ctx, args[0])
			if err != nil {
				return nil, err
			}
			slices.SortFunc(l, func(a, b *service.Module) int { return strings.Compare(a.ModuleID, b.ModuleID) })
			r := &result{json: l, header: []string{"MODULE", "CONNECTION", "LAST ACTIVITY", "MANAGED BY"}}
			for _, m := range l {
				r.rows = append(r.rows, []string{m.ModuleID, string(m.ConnectionState), when(m.LastActivityTime), m.ManagedBy})
			}
			return r, nil
		})
	del := &cobra.Command{Use: "delete DEVICE/MODULE", Short: "Delete a module", Args: cobra.ExactArgs(1)}
	del.Flags().StringVar(&f.etag, "etag", string(service.AnyETag), "only when this is its version")
	serviceCommand(del, nil, func(ctx context.Context, c *service.Client, args []string) (*result, error) {
		deviceID, moduleID, err := moduleArg(del, args[0])
		if err != nil {
			return nil, err
		}
		return nil, c.DeleteModule(ctx, deviceID, moduleID, service.ETag(f.etag))
	})
	return group("module", "Modules of devices", create, showCmd, list, del, newKeys("DEVICE/MODULE"))
}

func newStatisticsCommand() *cobra.Command {
	return serviceCommand(&cobra.Command{Use: "statistics", Short: "Count the devices of a hub", Args: cobra.NoArgs}, nil,
		func(ctx context.Context, c *service.Client, _ []string) (*result, error) {
			s, err := c.RegistryStatistics(ctx)
			if err != nil {
				return nil, err
			}
			connected, err := c.ConnectedDevices(ctx)
			if err != nil {
				return nil, err
			}
			return &result{
				json: map[string]int{"total": s.Total, "enabled": s.Enabled, "disabled": s.Disabled, "connected": connected},
				rows: [][]string{{"devices", strconv.Itoa(s.Total)}, {"enabled", strconv.Itoa(s.Enabled)},
					{"disabled", strconv.Itoa(s.Disabled)}, {"connected", strconv.Itoa(connected)}},
			}, nil
		})
}
