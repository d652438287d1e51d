package dps

import (
	"context"
	"encoding/json"
	"errors"
	"hash/fnv"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/internal/sas"
)

// Hub is an IoT Hub that devices are assigned to. Errors are *core.Error, 404001
// when there is no such device.
type Hub interface {
	// Key tells the hub from others for good.
	Key() string
	// HostName is the name that devices reach it by.
	HostName() string
	// Weight is its share in hashed allocation, 1 or more.
	Weight() int
	// Latency is how long it took to answer lately.
	Latency() time.Duration
	// Put makes a device, or gives the one there is this authentication and these
	// capabilities and leaves the rest; created tells which.
	Put(ctx context.Context, d core.Device) (created bool, err error)
	// Delete removes a device.
	Delete(ctx context.Context, id string) error
	// Twin returns the twin of a device.
	Twin(ctx context.Context, id string) (core.Twin, error)
	// PatchTwin merges tags and desired properties into a twin, ReplaceTwin
	// replaces them.
	PatchTwin(ctx context.Context, id string, twin []byte) error
	ReplaceTwin(ctx context.Context, id string, twin []byte) error
}

// Local is a hub of this process. name gives the name that devices reach it by.
func Local(h *core.Hub, name func() string) Hub { return &local{h, name} }

type local struct {
	hub  *core.Hub
	name func() string
}

func (l *local) Key() string            { return "." }
func (l *local) HostName() string       { return l.name() }
func (l *local) Weight() int            { return 1 }
func (l *local) Latency() time.Duration { return 0 }

func (l *local) Put(ctx context.Context, d core.Device) (created bool, err error) {
	if _, err = l.hub.CreateDevice(ctx, d); !errors.Is(err, &core.Error{Code: core.CodeDeviceAlreadyExists}) {
		return err == nil, err
	}
	_, err = l.hub.UpdateDevice(ctx, core.Device{DeviceID: d.DeviceID, Authentication: d.Authentication, Capabilities: d.Capabilities}, core.AnyETag)
	return false, err
}

func (l *local) Delete(ctx context.Context, id string) error {
	return l.hub.DeleteDevice(ctx, id, core.AnyETag)
}

func (l *local) Twin(_ context.Context, id string) (core.Twin, error) { return l.hub.GetTwin(id, "") }

func (l *local) PatchTwin(ctx context.Context, id string, twin []byte) error {
	_, err := l.hub.UpdateTwin(ctx, id, "", twin, core.AnyETag)
	return err
}

func (l *local) ReplaceTwin(ctx context.Context, id string, twin []byte) error {
	_, err := l.hub.ReplaceTwin(ctx, id, "", twin, core.AnyETag)
	return err
}

func hostNames(hubs []Hub) []string {
	names := make([]string, len(hubs))
	for i, h := range hubs {
		names[i] = h.HostName()
	}
	return names
}

// hubNamed finds a linked hub by its host name; a name without a port finds one
// that has one.
func (s *Service) hubNamed(name string) Hub { return hubAmong(s.cfg.Hubs, name) }

func hubAmong(hubs []Hub, name string) Hub {
	for _, h := range hubs {
		if strings.EqualFold(h.HostName(), name) {
			return h
		}
	}
	for _, h := range hubs {
		if sas.NormalizeHost(h.HostName()) == strings.ToLower(name) {
			return h
		}
	}
	return nil
}

func (s *Service) hubWithKey(key string) Hub {
	for _, h := range s.cfg.Hubs {
		if h.Key() == key {
			return h
		}
	}
	return nil
}

// candidates are the hubs that an enrollment allows.
func (s *Service) candidates(e *Enrollment) []Hub {
	if len(e.IoTHubs) == 0 {
		return s.cfg.Hubs
	}
	var list []Hub
	for _, name := range e.IoTHubs {
		if h := s.hubNamed(name); h != nil && !slices.Contains(list, h) {
			list = append(list, h)
		}
	}
	return list
}

// hashed picks a hub by weight, the same one as long as it is there: each hub draws
// a number from the hash of both names, and the largest wins (rendezvous hashing).
func hashed(hubs []Hub, registrationKey string) Hub {
	var best Hub
	top := math.Inf(-1)
	for _, h := range hubs {
		sum := fnv.New64a()
		_, _ = sum.Write([]byte(registrationKey + "\x00" + h.Key())) // never fails (hash.Hash)
		draw := (float64(mix(sum.Sum64())>>11) + 0.5) / (1 << 53)
		if score := float64(h.Weight()) / -math.Log(draw); score > top {
			best, top = h, score
		}
	}
	return best
}

// mix spreads the differences of a hash over all of its bits.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// nearest picks the hub that answers soonest.
func nearest(hubs []Hub) Hub {
	return slices.MinFunc(hubs, func(a, b Hub) int { return int(a.Latency() - b.Latency()) })
}

// twinOf is the twin that a device begins with: as JSON, empty parts included.
func twinOf(tags, desired json.RawMessage) []byte {
	var t struct {
		Tags       json.RawMessage `json:"tags"`
		Properties struct {
			Desired json.RawMessage `json:"desired"`
		} `json:"properties"`
	}
	t.Tags, t.Properties.Desired = withoutMetadata(tags), withoutMetadata(desired)
	return encode(t)
}

// withoutMetadata drops what a hub adds to a section of a twin.
func withoutMetadata(section json.RawMessage) json.RawMessage {
	members := map[string]json.RawMessage{}
	if json.Unmarshal(section, &members) != nil || members == nil {
		return json.RawMessage("{}")
	}
	for name := range members {
		if strings.HasPrefix(name, "$") {
			delete(members, name)
		}
	}
	return encode(members)
}

// sections are the parts of an initial twin.
func (t *InitialTwin) sections() (tags, desired json.RawMessage) {
	if t == nil {
		return nil, nil
	}
	if t.Properties != nil {
		desired = t.Properties.Desired
	}
	return t.Tags, desired
}
