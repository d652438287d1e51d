package iothub

import (
	"fmt"
	"math"
	"time"
)

// ConnectionStatus says whether the hub knows the client.
type ConnectionStatus uint8

// The two states, with the numbers of the C SDK's
// IOTHUB_CLIENT_CONNECTION_STATUS.
const (
	// Authenticated: connected, the hub has accepted the credential.
	Authenticated ConnectionStatus = iota
	// Unauthenticated: not connected. The reason says why.
	Unauthenticated
)

// String returns "authenticated" or "unauthenticated".
func (s ConnectionStatus) String() string {
	if s == Authenticated {
		return "authenticated"
	}
	return "unauthenticated"
}

// StatusReason says why the connection status is what it is.
type StatusReason uint8

// The reasons, with the numbers of the C SDK's
// IOTHUB_CLIENT_CONNECTION_STATUS_REASON.
const (
	ReasonExpiredSASToken    StatusReason = iota // the token is being renewed, or had expired
	ReasonDeviceDisabled                         // the hub refused service: the identity may be disabled
	ReasonBadCredential                          // the hub refused the credential
	ReasonRetryExpired                           // the retry policy gave up
	ReasonNoNetwork                              // name look-up, connect, TLS or socket failed
	ReasonCommunicationError                     // the connection broke, or acknowledgements stopped
	ReasonOK                                     // connected
	ReasonNoPingResponse                         // keep-alive went unanswered
	ReasonQuotaExceeded                          // the hub's quota is used up
)

var reasonNames = [...]string{
	"EXPIRED_SAS_TOKEN", "DEVICE_DISABLED", "BAD_CREDENTIAL", "RETRY_EXPIRED", "NO_NETWORK",
	"COMMUNICATION_ERROR", "OK", "NO_PING_RESPONSE", "QUOTA_EXCEEDED",
}

// String returns the reason as the C SDK spells it, without its prefix.
func (r StatusReason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return fmt.Sprintf("StatusReason(%d)", uint8(r))
}

// ConnectionEvent is one change of the connection.
type ConnectionEvent struct {
	// Status is what the connection is now, Reason why.
	Status ConnectionStatus
	Reason StatusReason
	// Err is the cause of Unauthenticated, nil for Authenticated. Its kind
	// says what to do: see [Error].
	Err error
	// RetryIn is how long the client waits before it tries again; negative
	// when it has given up.
	RetryIn time.Duration
}

// String returns the event in words.
func (e ConnectionEvent) String() string {
	s := e.Status.String() + " (" + e.Reason.String() + ")"
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// RetryStrategy is how the wait between attempts to connect grows.
type RetryStrategy uint8

// The strategies, with the numbers of the C SDK's IOTHUB_CLIENT_RETRY_POLICY.
const (
	RetryNone                         RetryStrategy = iota // never reconnect
	RetryImmediate                                         // at once, always
	RetryInterval                                          // the initial wait, always
	RetryLinearBackoff                                     // 1, 2, 3 … times the initial wait
	RetryExponentialBackoff                                // 1, 2, 4 … times the initial wait
	RetryExponentialBackoffWithJitter                      // uniformly between 0 and the exponential wait
	RetryRandom                                            // uniformly between 0 and the initial wait
)

var strategyNames = [...]string{"none", "immediate", "interval", "linear backoff",
	"exponential backoff", "exponential backoff with jitter", "random"}

// String returns the strategy in words.
func (s RetryStrategy) String() string {
	if int(s) < len(strategyNames) {
		return strategyNames[s]
	}
	return fmt.Sprintf("RetryStrategy(%d)", uint8(s))
}

// RetryPolicy says how a client tries to connect again. The first attempt to
// reconnect is immediate, as in the C SDK; the policy governs those after it.
// It starts over when a connection has held for a minute, so that a hub that
// accepts and drops is not hammered.
type RetryPolicy struct {
	// Strategy is how the wait grows.
	Strategy RetryStrategy
	// InitialDelay is the unit of the wait; 0 means 1 s for the exponential
	// strategies and 5 s for the others.
	InitialDelay time.Duration
	// MaxDelay bounds the wait; 0 means 30 s.
	MaxDelay time.Duration
	// Limit ends the attempts this long after the first one of an outage;
	// 0 means never.
	Limit time.Duration
}

// DefaultRetryPolicy is exponential with full jitter from 1 s to 30 s, without
// limit.
func DefaultRetryPolicy() *RetryPolicy {
	return &RetryPolicy{Strategy: RetryExponentialBackoffWithJitter}
}

// Delay returns the wait after the n-th attempt (n ≥ 1). random is a uniform
// number in [0, 1), which only the strategies with chance in them use.
func (p *RetryPolicy) Delay(n int, random float64) time.Duration {
	unit, limit := p.InitialDelay, p.MaxDelay
	exponential := p.Strategy == RetryExponentialBackoff || p.Strategy == RetryExponentialBackoffWithJitter
	if unit <= 0 {
		unit = 5 * time.Second
		if exponential {
			unit = time.Second
		}
	}
	if limit <= 0 {
		limit = 30 * time.Second
	}
	d := float64(unit)
	switch {
	case p.Strategy == RetryImmediate:
		return 0
	case p.Strategy == RetryLinearBackoff:
		d *= float64(n)
	case exponential:
		d *= math.Pow(2, float64(min(n, 64)-1))
	}
	d = min(d, float64(limit))
	if p.Strategy == RetryExponentialBackoffWithJitter || p.Strategy == RetryRandom {
		d *= random
	}
	return time.Duration(d)
}

// Stats counts what a client did since it was made. The counters of messages
// always add up: accepted = queued + in flight + confirmed + failed.
type Stats struct {
	Queued       int    // accepted, waiting to be sent
	QueuedBytes  int    // encoded bytes of what is queued or in flight
	InFlight     int    // sent, not yet acknowledged
	Confirmed    uint64 // acknowledged by the hub
	Failed       uint64 // confirmed with anything but ConfirmOK
	Resent       uint64 // sent again after a reconnect
	Connects     uint64 // connections that the hub accepted
	Reconnects   uint64 // of these, those after the first
	ConnectFails uint64 // attempts that failed or were refused
}
