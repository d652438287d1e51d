package iothub

import (
	"errors"
	"fmt"
)

// RecommendedAction is what somebody should do about an error: the program
// itself for the first ones, a person for the others. Clients go on trying to
// connect whatever it is, at a pace that fits; see [RetryPolicy].
type RecommendedAction uint8

// The actions.
const (
	// ActionNone: nothing is known that would help.
	ActionNone RecommendedAction = iota
	// ActionRetry: try again; it may work at once.
	ActionRetry
	// ActionWait: try again later: after [RetryAfter] if that is set, after
	// the quota's day for KindQuotaExceeded.
	ActionWait
	// ActionReadAgain: somebody else changed it meanwhile; read it, decide
	// anew, write again.
	ActionReadAgain
	// ActionFixCall: the program asks for what cannot be.
	ActionFixCall
	// ActionSendLess: split the message, or send a reference to the data.
	ActionSendLess
	// ActionCheckCredential: is the key, token or certificate that of this
	// identity, does the identity exist, is it enabled?
	ActionCheckCredential
	// ActionCheckClock: is the clock of this machine right? Else the token
	// is too old.
	ActionCheckClock
	// ActionCheckPermission: the identity or the policy lacks a right.
	ActionCheckPermission
	// ActionEnableIdentity: the identity is disabled; enable it.
	ActionEnableIdentity
	// ActionCreate: there is no such thing; create it, or correct its name.
	ActionCreate
	// ActionCloseDuplicate: find the other program that runs with the same
	// identity and stop it, or give each an identity of its own.
	ActionCloseDuplicate
	// ActionCheckNetwork: is there a route, does the name resolve, does a
	// firewall close the port? mqtt.Options.Fallback and
	// ClientOptions.Proxy are ways around.
	ActionCheckNetwork
	// ActionCheckProxy: correct ClientOptions.Proxy, or what the proxy lets
	// through.
	ActionCheckProxy
	// ActionCheckHost: is the host name that of an IoT Hub, is the port
	// right?
	ActionCheckHost
	// ActionCheckTrust: the peer's certificate, or this machine's list of
	// authorities: see ClientOptions.TLS.
	ActionCheckTrust
	// ActionUpgrade: the two sides speak different versions; update this
	// library, or the hub.
	ActionUpgrade
)

var actionNames = [...]string{
	"nothing is known that would help",
	"try again",
	"wait, then try again",
	"read it again and decide anew",
	"correct the call",
	"send less at once",
	"check the credential, and that the identity exists and is enabled",
	"check the clock of this machine",
	"check the permissions",
	"enable the identity",
	"create it, or correct its name",
	"stop the other program that uses the same identity",
	"check the network, the name and the firewall",
	"check the proxy",
	"check the host name and the port",
	"check the certificates and the authorities that are trusted",
	"update this library or the hub",
}

// String returns the action in words.
func (a RecommendedAction) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return fmt.Sprintf("RecommendedAction(%d)", uint8(a))
}

var kindActions = [...]RecommendedAction{
	KindUnknown:            ActionNone,
	KindInvalidArgument:    ActionFixCall,
	KindMessageTooLarge:    ActionSendLess,
	KindUnauthorized:       ActionCheckCredential,
	KindTokenExpired:       ActionCheckClock,
	KindForbidden:          ActionCheckPermission,
	KindDeviceDisabled:     ActionEnableIdentity,
	KindNotFound:           ActionCreate,
	KindConflict:           ActionReadAgain,
	KindPreconditionFailed: ActionReadAgain,
	KindDuplicateIdentity:  ActionCloseDuplicate,
	KindThrottled:          ActionWait,
	KindQuotaExceeded:      ActionWait,
	KindTimeout:            ActionRetry,
	KindNetwork:            ActionCheckNetwork,
	KindTLS:                ActionCheckTrust,
	KindProtocol:           ActionCheckHost,
	KindUnavailable:        ActionWait,
	KindServer:             ActionWait,
	KindProxy:              ActionCheckProxy,
}

// Action returns what to do about e.
func (e *Error) Action() RecommendedAction {
	switch {
	case e.Kind == KindProtocol && e.Op == "connect" && e.Code == 1:
		return ActionUpgrade // the CONNACK that refuses MQTT 3.1.1
	case int(e.Kind) < len(kindActions):
		return kindActions[e.Kind]
	}
	return ActionNone
}

// ActionOf returns what to do about err: that of the first *Error in its
// chain, or of one of this package's sentinels; [ActionNone] otherwise.
func ActionOf(err error) RecommendedAction {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Action()
	}
	switch {
	case errors.Is(err, ErrQueueFull):
		return ActionWait
	case errors.Is(err, ErrMessageTimeout):
		return ActionRetry
	case errors.Is(err, ErrNotSupported), errors.Is(err, ErrConcurrentUse):
		return ActionFixCall
	}
	return ActionNone
}
