//go:build cgo

package main

// #include "bridge.h"
import "C"

import (
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"
	"unsafe"

	"github.com/iothub-go/iothub/capi/internal/handle"
	"github.com/iothub-go/iothub/capi/internal/registration"
	"github.com/iothub-go/iothub/internal/setup"
	"github.com/iothub-go/iothub/provisioning"
)

// registrar is what a handle of a registration stands for: the client, and the text of it
// that C was given.
type registrar struct {
	*registration.Client

	mu      sync.Mutex
	payload *string // what shown is a copy of
	shown   *C.char
}

// registrationHost is what package registration calls.
type registrationHost struct{ host }

// Dispatch implements registration.Host.
func (registrationHost) Dispatch(r *registration.Record) {
	f, context := C.uintptr_t(r.Func), C.uintptr_t(r.Context)
	switch {
	case !r.Final:
		C.capi_call_registering(f, context, C.int(r.Status))
	case r.Result != registration.OK:
		C.capi_call_registered(f, context, C.int(r.Result), nil, nil)
	default:
		C.capi_call_registered(f, context, C.int(r.Result), textFor(r.Hub), textFor(r.Device))
	}
}

// findRegistrar returns what is behind a handle.
func findRegistrar(function string, kind C.int, h C.uintptr_t) (*registrar, bool) {
	r, ok := handle.Get[*registrar](&handles, handle.Kind(kind), uintptr(h))
	if !ok {
		invalid(function, errStale)
	}
	return r, ok
}

//export capiRegistrationCreate
func capiRegistrationCreate(kind C.int, uri, scope *C.char, protocol C.int) C.uintptr_t {
	const function = "Prov_Device_Create"
	if uri == nil || scope == nil {
		invalid(function, errNull)
		return 0
	}
	t, ok := map[C.int]provisioning.Transport{C.CAPI_MQTT: provisioning.MQTT, C.CAPI_MQTT_WS: provisioning.MQTTWebSocket, C.CAPI_HTTP: provisioning.HTTPS}[protocol]
	if !ok {
		invalid(function, errors.New("protocol is NULL, AMQP, or not one of this library: use one of MQTT or HTTP"))
		return 0
	}
	c, err := registration.New(registrationHost{}, C.GoString(uri), C.GoString(scope), t, kind == C.CAPI_REGISTRATION)
	if err != nil {
		invalid(function, err)
		return 0
	}
	return C.uintptr_t(handles.Add(handle.Kind(kind), &registrar{Client: c}))
}

//export capiRegistrationDestroy
func capiRegistrationDestroy(kind C.int, h C.uintptr_t) {
	if r, ok := handle.Take[*registrar](&handles, handle.Kind(kind), uintptr(h)); ok {
		r.Destroy()
		r.mu.Lock()
		defer r.mu.Unlock()
		C.free(unsafe.Pointer(r.shown))
		r.shown = nil
	}
}

//export capiRegistrationWork
func capiRegistrationWork(h C.uintptr_t) {
	if r, ok := handle.Get[*registrar](&handles, C.CAPI_REGISTRATION_LL, uintptr(h)); ok {
		r.DoWork()
	}
}

//export capiRegister
func capiRegister(kind C.int, h, f, context, status, statusContext C.uintptr_t) C.int {
	const function = "Register_Device"
	r, ok := findRegistrar(function, kind, h)
	if !ok {
		return C.int(registration.InvalidArg)
	}
	if f == 0 {
		return invalid(function, errNull)
	}
	return C.int(r.Register(security.attestation, registration.Callback{Func: uintptr(f), Context: uintptr(context)},
		registration.Callback{Func: uintptr(status), Context: uintptr(statusContext)}))
}

// attestation is what a device proves itself with to a provisioning service.
func (s *securityState) attestation(cert, key string) (*provisioning.Attestation, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.kind {
	case C.CAPI_SYMMETRIC_KEY:
		if s.key == nil {
			return nil, "", errors.New("there is no key: call prov_dev_set_symmetric_key_info first")
		}
		a, err := provisioning.NewKeyAttestation(C.GoString(s.key))
		return a, C.GoString(s.registration), err
	case C.CAPI_TPM:
		return provisioning.NewTPMAttestation(s.chip), C.GoString(s.registration), nil
	case C.CAPI_X509:
		if cert == "" || key == "" {
			return nil, "", errors.New("there is no certificate: set the options x509certificate and x509privatekey")
		}
		pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
		if err != nil {
			return nil, "", fmt.Errorf("x509certificate, x509privatekey: %w", err)
		}
		// Clients of the hub that is found are to present it too.
		s.certificate, s.privateKey = cert, key
		return provisioning.NewCertificateAttestation(pair), "", nil
	}
	return nil, "", errors.New("nothing says how the device proves itself: call prov_dev_security_init first")
}

//export capiRegistrationOption
func capiRegistrationOption(kind C.int, h C.uintptr_t, name *C.char, value unsafe.Pointer) C.int {
	const function = "SetOption"
	r, ok := findRegistrar(function, kind, h)
	if !ok {
		return C.int(registration.InvalidArg)
	}
	if name == nil || value == nil {
		return invalid(function, errNull)
	}
	option := C.GoString(name)
	return C.int(r.Set(func(s *registration.Settings) error { return setRegistrationOption(s, option, value) }))
}

func setRegistrationOption(s *registration.Settings, option string, value unsafe.Pointer) error {
	switch option {
	case "logtrace":
		if s.Options.Logger = nil; bool(*(*C.bool)(value)) {
			s.Options.Logger = logger
		}
	case "provisioning_timeout":
		seconds := int64(*(*C.long)(value))
		if seconds < 0 || seconds > 1<<31 {
			return fmt.Errorf("provisioning_timeout is %d s", seconds)
		}
		s.Timeout = time.Duration(seconds) * time.Second
	case "do_work_freq_ms": // there is nothing to poll
	case "registration_id":
		s.RegistrationID = C.GoString((*C.char)(value))
	case "x509certificate":
		s.Certificate = C.GoString((*C.char)(value))
	case "x509privatekey":
		s.PrivateKey = C.GoString((*C.char)(value))
	case "TrustedCerts":
		return setup.Trust(&s.Options, C.GoString((*C.char)(value)))
	case "proxy_data":
		p := (*proxyOptions)(value)
		return setup.HTTPProxy(&s.Options, C.GoString(p.host), int(p.port), C.GoString(p.username), C.GoString(p.password))
	default:
		return fmt.Errorf("there is no option %q for registering", option)
	}
	return nil
}

//export capiRegistrationSetPayload
func capiRegistrationSetPayload(kind C.int, h C.uintptr_t, json *C.char) C.int {
	r, ok := findRegistrar("Set_Provisioning_Payload", kind, h)
	if !ok {
		return C.int(registration.InvalidArg)
	}
	return C.int(r.SetPayload(C.GoString(json)))
}

//export capiRegistrationPayload
func capiRegistrationPayload(kind C.int, h C.uintptr_t) *C.char {
	r, ok := findRegistrar("Get_Provisioning_Payload", kind, h)
	if !ok {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.Payload(); now != r.payload {
		C.free(unsafe.Pointer(r.shown))
		if r.payload, r.shown = now, nil; now != nil {
			r.shown = C.CString(*now)
		}
	}
	return r.shown
}
