package core

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/iothub-go/iothub/internal/wire/topic"
)

// FaultKind is what a [Fault] does.
type FaultKind uint8

// The kinds. Those that last refuse the identity, on whatever connection, until
// their duration is over; the others end the one connection that asked for it.
const (
	// FaultKillTCP cuts the network connection without a word.
	FaultKillTCP FaultKind = iota + 1
	// FaultShutDownMQTT and FaultShutDownAMQP end a connection of that
	// protocol in the orderly way.
	FaultShutDownMQTT
	FaultShutDownAMQP
	// FaultKillAMQP ends a part of an AMQP connection: the type says which.
	FaultKillAMQP
	// FaultThrottle refuses events with 429001, FaultQuota with 403002,
	// FaultAuth refuses to authenticate with 401003. They last.
	FaultThrottle
	FaultQuota
	FaultAuth
)

// Lasts reports whether the fault has a duration.
func (k FaultKind) Lasts() bool { return k >= FaultThrottle }

// faultTypes are the values of AzIoTHub_FaultOperationType that the test suites
// of the official SDKs send.
var faultTypes = map[string]FaultKind{
	"KillTcp":               FaultKillTCP,
	"ShutDownMqtt":          FaultShutDownMQTT,
	"ShutDownAmqp":          FaultShutDownAMQP,
	"KillAmqpConnection":    FaultKillAMQP,
	"KillAmqpSession":       FaultKillAMQP,
	"KillAmqpCBSLinkReq":    FaultKillAMQP,
	"KillAmqpCBSLinkResp":   FaultKillAMQP,
	"KillAmqpD2CLink":       FaultKillAMQP,
	"KillAmqpC2DLink":       FaultKillAMQP,
	"KillAmqpTwinLinkReq":   FaultKillAMQP,
	"KillAmqpTwinLinkResp":  FaultKillAMQP,
	"KillAmqpMethodReqLink": FaultKillAMQP, "KillAmqpMethodRespLink": FaultKillAMQP,
	"InvokeThrottling":      FaultThrottle,
	"InvokeMaxMessageQuota": FaultQuota,
	"InvokeAuthError":       FaultAuth,
}

// Fault is what a device asks the hub to do to it, by the properties of a
// message, to see how its client bears it.
type Fault struct {
	Kind FaultKind
	// Type is the operation type as it was sent.
	Type string
	// CloseReason is text that the device gave, for the log.
	CloseReason string
	// Delay is the time until it happens, Duration how long a fault lasts
	// that does.
	Delay, Duration time.Duration
}

const (
	// faultPrefix begins the names of the properties.
	faultPrefix = "AzIoTHub_FaultOperation"
	// maxFaultTime bounds the delay and the duration.
	maxFaultTime = time.Hour
)

// ParseFault finds a fault in the property bag of an event, still escaped. Its
// kind is 0 when there is none, which costs next to nothing to find out. An
// error says what is wrong with a message that means to be one.
func ParseFault(bag []byte) (Fault, error) {
	var f Fault
	if !bytes.Contains(bag, []byte(faultPrefix)) {
		return f, nil
	}
	var failed error
	err := topic.DecodeBag(bag, func(key, value string, _ bool) error {
		switch key {
		case faultPrefix + "Type":
			f.Type, f.Kind = value, faultTypes[value]
		case faultPrefix + "CloseReason":
			f.CloseReason = value
		case faultPrefix + "DelayInSecs":
			f.Delay, failed = parseFaultTime(key, value, failed)
		case faultPrefix + "DurationInSecs":
			f.Duration, failed = parseFaultTime(key, value, failed)
		}
		return nil
	})
	switch {
	case err != nil:
		return Fault{}, err
	case f.Type == "":
		return Fault{}, nil // no type, no fault
	case f.Kind == 0:
		return Fault{}, fmt.Errorf("%sType is %q, which this hub does not know", faultPrefix, f.Type)
	case failed != nil:
		return Fault{}, failed
	}
	return f, nil
}

func parseFaultTime(name, value string, failed error) (time.Duration, error) {
	seconds, err := strconv.ParseFloat(value, 64)
	if err != nil || math.IsNaN(seconds) || seconds < 0 || seconds > maxFaultTime.Seconds() {
		return 0, fmt.Errorf("%s is %q, allowed are 0 to %d seconds", name, value, int(maxFaultTime.Seconds()))
	}
	return time.Duration(seconds * float64(time.Second)), failed
}

// faults are the faults that last.
type faults struct {
	active atomic.Int64 // len(lasting), to be read without the lock

	mu      sync.Mutex
	lasting map[identityKey]lastingFault
}

type lastingFault struct {
	Fault
	until time.Time
}

func newFaults(enabled bool) *faults {
	if !enabled {
		return nil
	}
	return &faults{lasting: make(map[identityKey]lastingFault)}
}

func (f *faults) begin(key identityKey, fault Fault, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lasting[key] = lastingFault{fault, now.Add(fault.Duration)}
	f.active.Store(int64(len(f.lasting)))
}

// check gives the error that an identity is to get now, for one of the kinds.
func (f *faults) check(key identityKey, now time.Time, kinds ...FaultKind) *Error {
	if f.active.Load() == 0 {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	l, ok := f.lasting[key]
	if !ok {
		return nil
	}
	if !now.Before(l.until) {
		delete(f.lasting, key)
		f.active.Store(int64(len(f.lasting)))
		return nil
	}
	for _, k := range kinds {
		if k == l.Kind {
			return l.err(l.until.Sub(now))
		}
	}
	return nil
}

// err is what the peer gets.
func (f *Fault) err(left time.Duration) *Error {
	code := CodeFaultInjection
	switch f.Kind {
	case FaultThrottle:
		code = CodeThrottling
	case FaultQuota:
		code = CodeQuotaExceeded
	case FaultAuth:
		code = CodeUnauthorized
	}
	e := NewError(code, "fault injection: %s (%q)", f.Type, f.CloseReason)
	e.RetryAfter = left
	return e
}

// FaultInjection reports whether devices may ask for faults, by
// [Config.FaultInjection].
func (h *Hub) FaultInjection() bool { return h.faults != nil }

// InjectFault lets a fault happen to the identity of the connection, after its
// delay. act then ends the connection, in the way of its protocol; it must not
// block. Nothing happens when the connection is gone by then, or has asked for
// another fault. It needs [Hub.FaultInjection].
func (a *Attachment) InjectFault(f Fault, act func(reason error)) {
	h := a.hub
	h.log.Info("fault injection: a device has asked for a fault", "identity", a.key.String(),
		"type", f.Type, "reason", f.CloseReason, "delay", f.Delay, "duration", f.Duration)
	happen := func() {
		h.log.Info("fault injection: it happens now", "identity", a.key.String(), "type", f.Type)
		if f.Kind.Lasts() {
			h.faults.begin(a.key, f, h.now())
		}
		act(f.err(f.Duration))
	}
	if f.Delay == 0 {
		a.stopFault(nil)
		happen()
		return
	}
	a.stopFault(time.AfterFunc(f.Delay, happen))
}

// stopFault takes back a fault that has not happened yet, for the next one.
func (a *Attachment) stopFault(next *time.Timer) {
	if t := a.fault.Swap(next); t != nil {
		t.Stop()
	}
}

// Disconnect ends the live connection of an identity as if the network had
// failed, and reports whether there was one. Nothing keeps it from connecting
// again. moduleID is empty for a device.
func (h *Hub) Disconnect(deviceID, moduleID string) bool {
	h.mu.RLock()
	a := h.live[identityKey{deviceID, moduleID}]
	h.mu.RUnlock()
	if a == nil {
		return false
	}
	a.kickOnce(NewError(CodeFaultInjection, "the connection of %q was ended on request", a.key.String()))
	return true
}
