package dps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/internal/rest"
)

const (
	// remoteTimeout bounds each request to a hub, remoteRetry all attempts of one.
	remoteTimeout = 10 * time.Second
	remoteRetry   = 20 * time.Second
	// maxWeight bounds the share of a hub in hashed allocation.
	maxWeight = 100

	weightKey  = "AllocationWeight"
	apiVersion = "2021-04-12"
)

// Remote is a hub elsewhere, by the connection string of a policy that may write to
// its registry and change twins. It may end in ;AllocationWeight=N, 1 to 100. It has
// to be closed, which [Service.Close] does.
func Remote(connectionString string, transport http.RoundTripper) (Hub, error) {
	var kept []string
	weight := 1
	for part := range strings.SplitSeq(connectionString, ";") {
		name, value, _ := strings.Cut(part, "=")
		if !strings.EqualFold(strings.TrimSpace(name), weightKey) {
			kept = append(kept, part)
			continue
		}
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > maxWeight {
			return nil, fmt.Errorf("%s is %.20q, allowed are 1 to %d", weightKey, value, maxWeight)
		}
		weight = n
	}
	cs, err := iothub.ParseConnectionString(strings.Join(kept, ";"))
	if err != nil {
		return nil, err
	}
	cred := cs.Credential()
	if cs.DeviceID != "" || cred == nil {
		return nil, errors.New("it is that of a device; a linked hub needs one with SharedAccessKeyName")
	}
	h := &remote{host: cs.HostName, weight: weight}
	h.rest = rest.New(rest.Config{
		Host: cs.HostName, APIVersion: apiVersion, UserAgent: "iothub-provisioning",
		Authorize: func(ctx context.Context) (string, error) {
			t, err := cred.Token(ctx, cs.HostName, time.Now(), time.Hour)
			return t.Value, err
		},
		Transport: transport, Timeout: remoteTimeout,
		Retry: iothub.RetryPolicy{
			Strategy: iothub.RetryExponentialBackoffWithJitter, InitialDelay: 200 * time.Millisecond, MaxDelay: 5 * time.Second, Limit: remoteRetry,
		},
	})
	return h, nil
}

type remote struct {
	host    string
	weight  int
	rest    *rest.Client
	latency atomic.Int64
}

func (h *remote) Key() string      { return strings.ToLower(h.host) }
func (h *remote) HostName() string { return h.host }
func (h *remote) Weight() int      { return h.weight }

// Latency is that of the last request; before the first it is longer than any.
func (h *remote) Latency() time.Duration {
	if d := h.latency.Load(); d > 0 {
		return time.Duration(d)
	}
	return time.Hour
}

// Close ends the requests and the connections.
func (h *remote) Close(ctx context.Context) error { return h.rest.Close(ctx) }

// do sends a request. What the hub refuses is an error of package core.
func (h *remote) do(ctx context.Context, r *rest.Request, result any) error {
	begun := time.Now()
	r.Op, r.Idempotent = "linked hub "+h.host, true
	_, err := h.rest.Do(ctx, r, result)
	if err == nil {
		h.latency.Store(int64(max(time.Since(begun), 1)))
		return nil
	}
	e, ok := errors.AsType[*iothub.Error](err)
	switch {
	case !ok:
		return NewError(CodeUnavailable, "the hub %s cannot be reached", h.host)
	case e.Kind == iothub.KindNotFound:
		return core.NewError(core.CodeDeviceNotFound, "the hub %s has no such device", h.host)
	case e.Kind == iothub.KindConflict:
		return core.NewError(core.CodeDeviceAlreadyExists, "the hub %s has the device already", h.host)
	}
	return NewError(CodeUnavailable, "the hub %s does not take the device: %v", h.host, e)
}

func devicePath(id string) []string { return []string{"devices", id} }

// Put reads what is there first, so that it can leave the rest as it is.
func (h *remote) Put(ctx context.Context, d core.Device) (created bool, err error) {
	var there map[string]json.RawMessage
	err = h.do(ctx, &rest.Request{Method: http.MethodGet, Path: devicePath(d.DeviceID)}, &there)
	if isGone(err) {
		fresh := map[string]any{"deviceId": d.DeviceID, "authentication": d.Authentication, "capabilities": d.Capabilities, "status": core.StatusEnabled}
		if d.Status != "" {
			fresh["status"], fresh["statusReason"] = d.Status, d.StatusReason
		}
		err = h.do(ctx, &rest.Request{Method: http.MethodPut, Path: devicePath(d.DeviceID), Body: fresh}, nil)
		if !errors.Is(err, &core.Error{Code: core.CodeDeviceAlreadyExists}) {
			return err == nil, err
		}
		// An earlier attempt whose answer was lost, or somebody else.
		if err = h.do(ctx, &rest.Request{Method: http.MethodGet, Path: devicePath(d.DeviceID)}, &there); err == nil {
			created = true
		}
	}
	if err != nil {
		return false, err
	}
	if there == nil {
		there = make(map[string]json.RawMessage)
	}
	there["authentication"], there["capabilities"] = encode(d.Authentication), encode(d.Capabilities)
	return created, h.do(ctx, &rest.Request{Method: http.MethodPut, Path: devicePath(d.DeviceID), Body: there, IfMatch: rest.AnyETag}, nil)
}

func (h *remote) Delete(ctx context.Context, id string) error {
	return h.do(ctx, &rest.Request{Method: http.MethodDelete, Path: devicePath(id), IfMatch: rest.AnyETag}, nil)
}

func (h *remote) Twin(ctx context.Context, id string) (core.Twin, error) {
	var t core.Twin
	err := h.do(ctx, &rest.Request{Method: http.MethodGet, Path: []string{"twins", id}}, &t)
	return t, err
}

func (h *remote) PatchTwin(ctx context.Context, id string, twin []byte) error {
	return h.do(ctx, &rest.Request{Method: http.MethodPatch, Path: []string{"twins", id}, Body: json.RawMessage(twin), IfMatch: rest.AnyETag}, nil)
}

func (h *remote) ReplaceTwin(ctx context.Context, id string, twin []byte) error {
	return h.do(ctx, &rest.Request{Method: http.MethodPut, Path: []string{"twins", id}, Body: json.RawMessage(twin), IfMatch: rest.AnyETag}, nil)
}
