package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/iothub-go/iothub/service"
)

// jobFlags say when a job runs and on what.
type jobFlags struct {
	query string
	start string
	max   time.Duration
	wait  bool
}

func (f *jobFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.query, "query", "", `which devices: the part of a query behind WHERE, "*" is all`)
	flags.StringVar(&f.start, "start", "", "when it begins, as 2026-01-31T12:00:00Z; default is now")
	flags.DurationVar(&f.max, "max-time", time.Hour, "how long it may run")
	flags.BoolVar(&f.wait, "wait", false, "wait until it has ended")
}

func (f *jobFlags) options(cmd *cobra.Command) (*service.JobOptions, error) {
	if f.query == "" {
		return nil, usage(cmd, errors.New(`which devices? Give --query, "*" is all`))
	}
	o := &service.JobOptions{Query: f.query, MaxExecutionTime: f.max}
	if f.start != "" {
		var err error
		if o.StartTime, err = time.Parse(time.RFC3339, f.start); err != nil {
			return nil, usage(cmd, fmt.Errorf("--start %q is no time as 2026-01-31T12:00:00Z", f.start))
		}
	}
	return o, nil
}

// finish waits for the job if that was asked for, and shows it.
func (f *jobFlags) finish(ctx context.Context, c *service.Client, j *service.Job, err error) (*result, error) {
	if err == nil && f.wait {
		j, err = c.WaitForJob(ctx, j.ID, 0)
	}
	if err != nil {
		return nil, err
	}
	if f.wait && j.Status != service.JobCompleted {
		return nil, fmt.Errorf("job %s: %s %s", j.ID, j.Status, j.FailureReason)
	}
	return jobResult(j), nil
}

func jobResult(j *service.Job) *result {
	d := j.Devices
	rows := [][]string{
		{"job", j.ID}, {"type", string(j.Type)}, {"status", string(j.Status)}, {"query", j.Query},
		{"start", when(j.StartTime)}, {"end", when(j.EndTime)},
		{"devices", fmt.Sprintf("%d: %d succeeded, %d failed, %d running, %d pending", d.Total, d.Succeeded, d.Failed, d.Running, d.Pending)},
	}
	if j.FailureReason != "" {
		rows = append(rows, []string{"failure", j.FailureReason})
	}
	return &result{json: j, rows: rows}
}

func newJobCommand() *cobra.Command {
	return group("job", "Jobs over many devices", newJobTwin(), newJobMethod(), newJobList(), newJobShow(), newJobCancel())
}

func newJobTwin() *cobra.Command {
	f, t := &jobFlags{}, &twinFlags{}
	cmd := &cobra.Command{Use: "schedule-twin JOB", Short: "Merge tags and desired properties into many twins", Args: cobra.ExactArgs(1),
		Example: `  iothub job schedule-twin job1 --query "tags.site = 'north'" --desired '{"interval":30}' --wait`}
	f.add(cmd)
	t.add(cmd)
	return serviceCommand(cmd, nil, func(ctx context.Context, c *service.Client, args []string) (*result, error) {
		o, err := f.options(cmd)
		if err != nil {
			return nil, err
		}
		u, err := t.update(cmd)
		if err != nil {
			return nil, err
		}
		j, err := c.ScheduleTwinUpdate(ctx, args[0], u, o)
		return f.finish(ctx, c, j, err)
	})
}

func newJobMethod() *cobra.Command {
	f, call := &jobFlags{}, &callFlags{}
	cmd := &cobra.Command{Use: "schedule-method JOB METHOD [PAYLOAD]", Short: "Call a direct method of many devices", Args: cobra.RangeArgs(2, 3),
		Example: `  iothub job schedule-method job1 reboot --query '*' --wait`}
	f.add(cmd)
	call.add(cmd)
	return serviceCommand(cmd, nil, func(ctx context.Context, c *service.Client, args []string) (*result, error) {
		o, err := f.options(cmd)
		if err != nil {
			return nil, err
		}
		payload, err := payloadArg(cmd, args, 2)
		if err != nil {
			return nil, err
		}
		j, err := c.ScheduleMethod(ctx, args[0], args[1], payload, call.options(), o)
		return f.finish(ctx, c, j, err)
	})
}

func newJobList() *cobra.Command {
	var o service.ListJobsOptions
	cmd := &cobra.Command{Use: "list", Short: "List jobs", Args: cobra.NoArgs}
	cmd.Flags().StringVar((*string)(&o.Type), "type", "", "only this type, as scheduleDeviceMethod or scheduleUpdateTwin")
	cmd.Flags().StringVar((*string)(&o.Status), "status", "", "only this status, as running or completed")
	return serviceCommand(cmd, nil, func(ctx context.Context, c *service.Client, _ []string) (*result, error) {
		jobs := []*service.Job{}
		r := &result{header: []string{"JOB", "TYPE", "STATUS", "START", "END", "DEVICES", "FAILED"}}
		for j, err := range c.ListJobs(ctx, &o) {
			if err != nil {
				return nil, err
			}
			jobs = append(jobs, j)
			r.rows = append(r.rows, []string{j.ID, string(j.Type), string(j.Status), when(j.StartTime), when(j.EndTime),
				strconv.Itoa(j.Devices.Total), strconv.Itoa(j.Devices.Failed)})
		}
		r.json = jobs
		return r, nil
	})
}

func newJobShow() *cobra.Command {
	var results bool
	cmd := &cobra.Command{Use: "show JOB", Short: "Show a job, or what it did on each device", Args: cobra.ExactArgs(1)}
	cmd.Flags().BoolVar(&results, "results", false, "show what it did on each device")
	return serviceCommand(cmd, nil, func(ctx context.Context, c *service.Client, args []string) (*result, error) {
		if !results {
			j, err := c.GetJob(ctx, args[0])
			if err != nil {
				return nil, err
			}
			return jobResult(j), nil
		}
		all := []*service.DeviceJob{}
		r := &result{header: []string{"DEVICE", "STATUS", "END", "OUTCOME"}}
		for d, err := range c.JobResults(ctx, args[0]) {
			if err != nil {
				return nil, err
			}
			all = append(all, d)
			outcome := ""
			switch {
			case d.Failure != nil:
				outcome = d.Failure.Description
			case d.Outcome != nil && d.Outcome.Method != nil:
				outcome = fmt.Sprintf("%d %s", d.Outcome.Method.Status, d.Outcome.Method.Payload)
			}
			name := strings.TrimSuffix(d.DeviceID+"/"+d.ModuleID, "/")
			r.rows = append(r.rows, []string{name, d.Status, when(d.EndTime), outcome})
		}
		r.json = all
		return r, nil
	})
}

func newJobCancel() *cobra.Command {
	return serviceCommand(&cobra.Command{Use: "cancel JOB", Short: "End a job; what it has done stays done", Args: cobra.ExactArgs(1)}, nil,
		func(ctx context.Context, c *service.Client, args []string) (*result, error) {
			j, err := c.CancelJob(ctx, args[0])
			if err != nil {
				return nil, err
			}
			return jobResult(j), nil
		})
}

func newConfigurationCommand() *cobra.Command {
	show := serviceCommand(&cobra.Command{Use: "show CONFIGURATION", Short: "Show a configuration", Args: cobra.ExactArgs(1)}, nil,
		func(ctx context.Context, c *service.Client, args []string) (*result, error) {
			conf, err := c.GetConfiguration(ctx, args[0])
			if err != nil {
				return nil, err
			}
			return configurationResult(conf)
		})
	list := serviceCommand(&cobra.Command{Use: "list", Short: "List configurations", Args: cobra.NoArgs}, nil,
		func(ctx context.Context, c *service.Client, _ []string) (*result, error) {
			l, err := c.ListConfigurations(ctx, 0)
			if err != nil {
				return nil, err
			}
			slices.SortFunc(l, func(a, b *service.Configuration) int { return strings.Compare(a.ID, b.ID) })
			r := &result{json: l, header: []string{"CONFIGURATION", "PRIORITY", "TARGETED", "APPLIED", "TARGET CONDITION"}}
			for _, conf := range l {
				r.rows = append(r.rows, []string{conf.ID, strconv.Itoa(conf.Priority), metric(conf, "targetedCount"), metric(conf, "appliedCount"), conf.TargetCondition})
			}
			return r, nil
		})
	var etag string
	del := &cobra.Command{Use: "delete CONFIGURATION", Short: "Delete a configuration and take away what it set", Args: cobra.ExactArgs(1)}
	del.Flags().StringVar(&etag, "etag", string(service.AnyETag), "only when this is its version")
	serviceCommand(del, nil, func(ctx context.Context, c *service.Client, args []string) (*result, error) {
		return nil, c.DeleteConfiguration(ctx, args[0], service.ETag(etag))
	})
	return group("configuration", "Configurations that a hub keeps on twins", list, show, newConfigurationCreate(), del)
}

func newConfigurationCreate() *cobra.Command {
	var content, target string
	var labels, metrics []string
	var priority int
	cmd := &cobra.Command{Use: "create CONFIGURATION", Short: "Create a configuration", Args: cobra.ExactArgs(1),
		Example: `  iothub configuration create north --target "tags.site = 'north'" --content '{"deviceContent":{"properties.desired.interval":30}}'`}
	flags := cmd.Flags()
	flags.StringVar(&content, "content", "", "JSON object with deviceContent, moduleContent or modulesContent; @FILE reads a file")
	flags.StringVar(&target, "target", "", `which twins: the part of a query behind WHERE, "*" is all; default none`)
	flags.IntVar(&priority, "priority", 0, "the highest one wins")
	flags.StringArrayVar(&labels, "label", nil, "NAME=VALUE, for people; repeatable")
	flags.StringArrayVar(&metrics, "metric", nil, "NAME=QUERY that counts twins; repeatable, up to five")
	return serviceCommand(cmd, nil, func(ctx context.Context, c *service.Client, args []string) (*result, error) {
		conf := &service.Configuration{ID: args[0], TargetCondition: target, Priority: priority}
		b, err := jsonArg(cmd, "--content", content)
		if err != nil {
			return nil, err
		}
		if json.Unmarshal(b, &conf.Content) != nil || conf.Content.DeviceContent == nil && conf.Content.ModuleContent == nil && conf.Content.ModulesContent == nil {
			return nil, usage(cmd, errors.New("--content has none of deviceContent, moduleContent, modulesContent"))
		}
		if conf.Labels, err = pairs(cmd, "label", labels); err != nil {
			return nil, err
		}
		queries, err := pairs(cmd, "metric", metrics)
		if err != nil {
			return nil, err
		}
		if len(queries) > 0 {
			conf.Metrics = &service.ConfigurationMetrics{Queries: queries}
		}
		if conf, err = c.CreateConfiguration(ctx, conf); err != nil {
			return nil, err
		}
		return configurationResult(conf)
	})
}

// metric shows a metric of the hub's own.
func metric(conf *service.Configuration, name string) string {
	if conf.SystemMetrics == nil {
		return ""
	}
	n, ok := conf.SystemMetrics.Results[name]
	if !ok {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

func configurationResult(conf *service.Configuration) (*result, error) {
	content, err := json.Marshal(conf.Content)
	if err != nil {
		return nil, err
	}
	rows := [][]string{
		{"configuration", conf.ID}, {"target condition", conf.TargetCondition}, {"priority", strconv.Itoa(conf.Priority)},
		{"targeted", metric(conf, "targetedCount")}, {"applied", metric(conf, "appliedCount")},
		{"content", string(content)}, {"etag", string(conf.ETag)},
	}
	if conf.Metrics != nil {
		for _, name := range slices.Sorted(maps.Keys(conf.Metrics.Results)) {
			rows = append(rows, []string{"metric " + name, strconv.FormatInt(conf.Metrics.Results[name], 10)})
		}
	}
	return &result{json: conf, rows: rows}, nil
}
