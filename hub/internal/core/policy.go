package core

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// Permission is a set of rights of a shared access policy.
type Permission uint8

// The rights of IoT Hub. RegistryWrite includes RegistryRead.
const (
	RegistryRead Permission = 1 << iota
	RegistryWrite
	ServiceConnect
	DeviceConnect
)

// Has reports whether all of need is in the set.
func (p Permission) Has(need Permission) bool {
	if p&RegistryWrite != 0 {
		p |= RegistryRead
	}
	return p&need == need
}

// String lists the rights, for example "ServiceConnect, DeviceConnect".
func (p Permission) String() string {
	var names []string
	for i, name := range []string{"RegistryRead", "RegistryWrite", "ServiceConnect", "DeviceConnect"} {
		if p&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// Policy is a shared access policy. It prints without its keys.
type Policy struct {
	Name         string     `json:"name"`
	PrimaryKey   string     `json:"primaryKey"`   // base64
	SecondaryKey string     `json:"secondaryKey"` // base64
	Permissions  Permission `json:"permissions"`
}

// String gives the name and the rights, not the keys.
func (p Policy) String() string { return fmt.Sprintf("policy %s (%s)", p.Name, p.Permissions) }

// GoString gives the name and the rights, not the keys.
func (p Policy) GoString() string { return p.String() }

// LogValue gives the name and the rights, not the keys.
func (p Policy) LogValue() slog.Value { return slog.StringValue(p.String()) }

// ConnectionString gives the connection string of the policy with its primary
// key, for tools that act as the back end.
func (p Policy) ConnectionString(hostName string) string {
	return "HostName=" + hostName + ";SharedAccessKeyName=" + p.Name + ";SharedAccessKey=" + p.PrimaryKey
}

// heldPolicy is a policy with its keys decoded.
type heldPolicy struct {
	Policy
	keys [][]byte
}

// Policies returns the shared access policies of the hub, keys included.
func (h *Hub) Policies() []Policy {
	list := make([]Policy, len(h.policies))
	for i, p := range h.policies {
		list[i] = p.Policy
	}
	return list
}

func (h *Hub) policy(name string) *heldPolicy {
	for _, p := range h.policies {
		if p.Name == name {
			return p
		}
	}
	return nil
}

func newPolicies() []Policy {
	list := []Policy{
		{Name: "iothubowner", Permissions: RegistryRead | RegistryWrite | ServiceConnect | DeviceConnect},
		{Name: "service", Permissions: ServiceConnect},
		{Name: "device", Permissions: DeviceConnect},
		{Name: "registryRead", Permissions: RegistryRead},
		{Name: "registryReadWrite", Permissions: RegistryRead | RegistryWrite},
	}
	for i := range list {
		list[i].PrimaryKey, list[i].SecondaryKey = newKey(), newKey()
	}
	return list
}

// newKey makes a symmetric key: base64 of 32 random bytes.
func newKey() string {
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails (crypto/rand)
	return base64.StdEncoding.EncodeToString(key[:])
}

// settings are the facts fixed when a hub's storage is created.
type settings struct {
	Partitions int       `json:"partitions"`
	Policies   []Policy  `json:"policies"`
	Created    time.Time `json:"created,omitzero"`
}

const settingsKey = "hub"

// loadSettings reads the settings, or makes them when the storage is new.
func loadSettings(ctx context.Context, bucket Bucket, cfg Config) (settings, error) {
	for {
		var stored *settings
		var bad error
		stop, err := bucket.Watch(ctx, func(c Change) {
			if c.Key != settingsKey || c.Deleted || stored != nil {
				return
			}
			stored = new(settings)
			bad = json.Unmarshal(c.Value, stored)
		})
		if err != nil {
			return settings{}, err
		}
		stop()
		if bad != nil {
			return settings{}, fmt.Errorf("core: the stored settings are damaged: %w", bad)
		}
		if stored != nil {
			return *stored, nil
		}
		made := settings{Partitions: cfg.Partitions, Policies: newPolicies(), Created: cfg.Clock().UTC()}
		if made.Partitions == 0 {
			made.Partitions = defaultPartitions
		}
		data, err := json.Marshal(made)
		if err != nil {
			return settings{}, err
		}
		_, err = bucket.Create(ctx, settingsKey, data)
		if err == nil {
			return made, nil
		}
		// Another node was first: read what it made.
		if !errors.Is(err, ErrKeyExists) {
			return settings{}, err
		}
	}
}

// holdPolicies decodes the keys once.
func holdPolicies(list []Policy) ([]*heldPolicy, error) {
	held := make([]*heldPolicy, 0, len(list))
	for _, p := range list {
		hp := &heldPolicy{Policy: p}
		for _, text := range []string{p.PrimaryKey, p.SecondaryKey} {
			key, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				return nil, fmt.Errorf("core: a stored key of policy %s is damaged", p.Name)
			}
			hp.keys = append(hp.keys, key)
		}
		held = append(held, hp)
	}
	return held, nil
}
