package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/iothub-go/iothub/service"
)

func newTwinCommand() *cobra.Command {
	show := serviceCommand(&cobra.Command{Use: "show DEVICE[/MODULE]", Short: "Show a twin", Args: cobra.ExactArgs(1)}, nil,
		func(ctx context.Context, c *service.Client, args []string) (*result, error) {
			deviceID, moduleID := identityArg(args[0])
			t, err := c.GetTwin(ctx, deviceID, moduleID)
			if err != nil {
				return nil, err
			}
			return twinResult(t), nil
		})
	return group("twin", "Twins of devices and modules", show,
		newTwinChange("update", "Merge tags and desired properties into a twin; null deletes", (*service.Client).PatchTwin),
		newTwinChange("replace", "Replace the tags, the desired properties or both", (*service.Client).ReplaceTwin))
}

func newTwinChange(name, short string, change func(*service.Client, context.Context, string, string, *service.TwinUpdate) (*service.Twin, error)) *cobra.Command {
	f := &twinFlags{}
	cmd := &cobra.Command{Use: name + " DEVICE[/MODULE]", Short: short, Args: cobra.ExactArgs(1),
		Example: `  iothub twin ` + name + ` dev1 --desired '{"interval":30}' --tags @tags.json`}
	f.add(cmd)
	return serviceCommand(cmd, nil, func(ctx context.Context, c *service.Client, args []string) (*result, error) {
		u, err := f.update(cmd)
		if err != nil {
			return nil, err
		}
		deviceID, moduleID := identityArg(args[0])
		t, err := change(c, ctx, deviceID, moduleID, u)
		if err != nil {
			return nil, err
		}
		return twinResult(t), nil
	})
}

// twinFlags are those of a change of twins.
type twinFlags struct{ tags, desired, etag string }

func (f *twinFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.tags, "tags", "", "JSON object; @FILE reads a file, @- the standard input")
	cmd.Flags().StringVar(&f.desired, "desired", "", "the same for the desired properties")
	cmd.Flags().StringVar(&f.etag, "etag", "", "only when this is the version of the twin")
}

func (f *twinFlags) update(cmd *cobra.Command) (*service.TwinUpdate, error) {
	if f.tags == "" && f.desired == "" {
		return nil, usage(cmd, errors.New("there is nothing to change: give --tags or --desired"))
	}
	u := &service.TwinUpdate{IfMatch: service.ETag(f.etag)}
	var err error
	if u.Tags, err = objectFlag(cmd, "tags", f.tags); err != nil {
		return nil, err
	}
	u.Desired, err = objectFlag(cmd, "desired", f.desired)
	return u, err
}

func twinResult(t *service.Twin) *result {
	name := t.DeviceID
	if t.ModuleID != "" {
		name += "/" + t.ModuleID
	}
	tags := string(t.Tags)
	if tags == "" {
		tags = "{}"
	}
	rows := [][]string{
		{"twin", name}, {"status", string(t.Status)}, {"connection", string(t.ConnectionState)}, {"etag", string(t.ETag)},
		{"tags", tags},
		{"desired", string(t.Properties.Desired.Values)}, {"desired version", strconv.FormatInt(t.Properties.Desired.Version, 10)},
		{"reported", string(t.Properties.Reported.Values)}, {"reported version", strconv.FormatInt(t.Properties.Reported.Version, 10)},
	}
	if t.ModelID != "" {
		rows = append(rows, []string{"model", t.ModelID})
	}
	for _, id := range slices.Sorted(maps.Keys(t.Configurations)) {
		rows = append(rows, []string{"configuration " + id, t.Configurations[id].Status})
	}
	return &result{json: t, rows: rows}
}

func newQueryCommand() *cobra.Command {
	var pageSize int
	f := &serviceFlags{}
	cmd := &cobra.Command{Use: "query QUERY", Short: "Query twins and jobs; --output json prints a row a line", Args: cobra.ExactArgs(1),
		Example: `  iothub query "SELECT * FROM devices WHERE tags.site = 'north'"
  iothub query "SELECT COUNT() AS n, status FROM devices GROUP BY status"`}
	cmd.Flags().IntVar(&pageSize, "page-size", 0, "how many rows are fetched at once, 1 to 1000; default is the hub's")
	return serviceCommand(cmd, f, func(ctx context.Context, c *service.Client, args []string) (*result, error) {
		r := &result{}
		columns := map[string]bool{}
		var rows []map[string]json.RawMessage
		for row, err := range c.Query(ctx, args[0], &service.QueryOptions{PageSize: pageSize}) {
			if err != nil {
				return nil, err
			}
			if f.output == "json" {
				var b bytes.Buffer
				if err := json.Compact(&b, row); err != nil {
					return nil, err
				}
				b.WriteByte('\n')
				if _, err := cmd.OutOrStdout().Write(b.Bytes()); err != nil {
					return nil, err
				}
				continue
			}
			var m map[string]json.RawMessage
			if err := json.Unmarshal(row, &m); err != nil {
				return nil, err
			}
			for k := range m {
				columns[k] = true
			}
			rows = append(rows, m)
		}
		if f.output == "json" {
			return nil, nil
		}
		r.header = tableColumns(columns)
		for _, m := range rows {
			var line []string
			for _, k := range r.header {
				line = append(line, cell(m[k]))
			}
			r.rows = append(r.rows, line)
		}
		return r, nil
	})
}

// twinColumns are those of whole twins that fit a line.
var twinColumns = []string{"deviceId", "moduleId", "status", "connectionState", "lastActivityTime", "tags", "version"}

// tableColumns returns the columns of rows with these keys.
func tableColumns(keys map[string]bool) []string {
	if keys["deviceEtag"] && keys["properties"] { // whole twins
		return slices.DeleteFunc(slices.Clone(twinColumns), func(k string) bool { return !keys[k] })
	}
	return slices.Sorted(maps.Keys(keys))
}

// cell shows a JSON value, a text without its quotes.
func cell(v json.RawMessage) string {
	var s string
	if json.Unmarshal(v, &s) == nil {
		return s
	}
	return string(v)
}

// callFlags are those of a method call.
type callFlags struct{ connect, response time.Duration }

func (f *callFlags) add(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&f.connect, "connect-timeout", 0, "how long to wait for the device to connect, up to 5m")
	cmd.Flags().DurationVar(&f.response, "response-timeout", 30*time.Second, "how long to wait for its answer, 5s to 5m")
}

func (f *callFlags) options() *service.MethodOptions {
	return &service.MethodOptions{ConnectTimeout: f.connect, ResponseTimeout: f.response}
}

// payloadArg reads the payload behind the other arguments, if there is one.
func payloadArg(cmd *cobra.Command, args []string, at int) (json.RawMessage, error) {
	if len(args) <= at {
		return nil, nil
	}
	return jsonArg(cmd, "the payload", args[at])
}

func newMethodCommand() *cobra.Command {
	f := &callFlags{}
	cmd := &cobra.Command{Use: "invoke DEVICE[/MODULE] METHOD [PAYLOAD]", Short: "Call a direct method and print what it answers", Args: cobra.RangeArgs(2, 3),
		Example: `  iothub method invoke dev1 reboot '{"delay":5}' --connect-timeout 30s`}
	f.add(cmd)
	serviceCommand(cmd, nil, func(ctx context.Context, c *service.Client, args []string) (*result, error) {
		payload, err := payloadArg(cmd, args, 2)
		if err != nil {
			return nil, err
		}
		deviceID, moduleID := identityArg(args[0])
		a, err := c.InvokeMethod(ctx, deviceID, moduleID, args[1], payload, f.options())
		if err != nil {
			return nil, err
		}
		shown := a.Payload
		if len(shown) == 0 {
			shown = []byte("null")
		}
		return &result{
			json: struct {
				Status  int             `json:"status"`
				Payload json.RawMessage `json:"payload"`
			}{a.Status, shown},
			rows: [][]string{{"status", strconv.Itoa(a.Status)}, {"payload", string(shown)}},
		}, nil
	})
	return group("method", "Direct methods", cmd)
}
