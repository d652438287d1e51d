package iothubotel

import (
	"context"

	"go.opentelemetry.io/otel/metric"

	"github.com/iothub-go/iothub"
)

// stat is one number of a client's counters.
type stat struct {
	name, unit, text string
	up               bool // it only grows
	of               func(*iothub.Stats) int64
}

var stats = []stat{
	{"iothub.client.queued", "{message}", "Messages accepted and waiting to be sent", false, func(s *iothub.Stats) int64 { return int64(s.Queued) }},
	{"iothub.client.queued.size", "By", "Encoded bytes of the messages queued or in flight", false, func(s *iothub.Stats) int64 { return int64(s.QueuedBytes) }},
	{"iothub.client.in_flight", "{message}", "Messages sent and not yet acknowledged", false, func(s *iothub.Stats) int64 { return int64(s.InFlight) }},
	{"iothub.client.confirmed", "{message}", "Messages acknowledged by the hub", true, func(s *iothub.Stats) int64 { return int64(s.Confirmed) }},
	{"iothub.client.failed", "{message}", "Messages confirmed as not delivered", true, func(s *iothub.Stats) int64 { return int64(s.Failed) }},
	{"iothub.client.resent", "{message}", "Messages sent again after a reconnect", true, func(s *iothub.Stats) int64 { return int64(s.Resent) }},
	{"iothub.client.connects", "{connection}", "Connections that the hub accepted", true, func(s *iothub.Stats) int64 { return int64(s.Connects) }},
	{"iothub.client.reconnects", "{connection}", "Connections that the hub accepted, after the first", true, func(s *iothub.Stats) int64 { return int64(s.Reconnects) }},
	{"iothub.client.connect.failures", "{attempt}", "Attempts to connect that failed or were refused", true, func(s *iothub.Stats) int64 { return int64(s.ConnectFails) }},
}

// Watch exports the counters of the client of id until stop is called. read
// returns them, whenever they are collected, on the collector's goroutine:
// client.Stats of a managed client. A client of package ll belongs to its own
// goroutine; have that store its Stats where read finds them. The error is that
// of the meter provider.
func (t *Telemetry) Watch(id iothub.Identity, read func() iothub.Stats) (stop func() error, err error) {
	attrs := metric.WithAttributes(identity(id)...)
	observables := make([]metric.Int64Observable, len(stats))
	all := make([]metric.Observable, len(stats))
	for i, s := range stats {
		if s.up {
			observables[i], err = t.meter.Int64ObservableCounter(s.name, metric.WithUnit(s.unit), metric.WithDescription(s.text))
		} else {
			observables[i], err = t.meter.Int64ObservableUpDownCounter(s.name, metric.WithUnit(s.unit), metric.WithDescription(s.text))
		}
		if err != nil {
			return nil, err
		}
		all[i] = observables[i]
	}
	reg, err := t.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		st := read()
		for i := range stats {
			o.ObserveInt64(observables[i], stats[i].of(&st), attrs)
		}
		return nil
	}, all...)
	if err != nil {
		return nil, err
	}
	return reg.Unregister, nil
}
