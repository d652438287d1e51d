//go:build cgo

package main

// #include "bridge.h"
import "C"

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"unsafe"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/capi/internal/client"
	"github.com/iothub-go/iothub/provisioning"
	"github.com/iothub-go/iothub/provisioning/tpm"
)

// security is how devices of the process prove themselves. What C is given of it
// lives until it is replaced.
var security securityState

type securityState struct {
	mu           sync.Mutex
	kind         C.int // 0 for none
	registration *C.char
	key          *C.char
	// certificate and privateKey, PEM, are those that the device has registered with.
	certificate, privateKey string
	chip                    *tpm.TPM // nil for none
}

// tpmVariable names the variable of the environment for the device or the socket of the
// TPM, where it is not the usual one.
var tpmVariable = C.CString("IOTHUB_TPM_DEVICE")

// set replaces what C was given. The caller holds mu.
func (s *securityState) set(registration, key *C.char) {
	if s.key != nil {
		C.memset(unsafe.Pointer(s.key), 0, C.strlen(s.key))
	}
	C.free(unsafe.Pointer(s.registration))
	C.free(unsafe.Pointer(s.key))
	s.registration, s.key = registration, key
}

// credential returns the part of a connection string by which a device proves itself, and
// what takes its place where the key is in a TPM.
func (s *securityState) credential() (string, *iothub.Credential, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.kind {
	case C.CAPI_X509:
		return "x509=true", nil, nil
	case C.CAPI_TPM:
		return "x509=true", provisioning.NewTPMAttestation(s.chip).Credential(""), nil
	case C.CAPI_SYMMETRIC_KEY:
		if s.key == nil {
			return "", nil, errors.New("there is no key: call iothub_security_set_symmetric_key_info first")
		}
		key := C.GoString(s.key)
		if key == "" || strings.Contains(key, ";") {
			return "", nil, errors.New("the symmetric key is empty, or has a semicolon")
		}
		return "SharedAccessKey=" + key, nil, nil
	}
	return "", nil, errors.New("nothing says how the device proves itself: call iothub_security_init first")
}

// present gives a client the certificate that the device has registered with, if it did; the
// program may set another one.
func (s *securityState) present(c *client.Client) {
	s.mu.Lock()
	cert, key := s.certificate, s.privateKey
	s.mu.Unlock()
	if cert != "" {
		c.SetOption("x509certificate", cert) // they were good for registering
		c.SetOption("x509privatekey", key)
	}
}

// withSecurity puts the credential in the place of UseProvisioning=true, if a
// connection string has that.
func withSecurity(connectionString string) (string, *iothub.Credential, error) {
	const use = "UseProvisioning=true"
	parts := strings.Split(connectionString, ";")
	for i, p := range parts {
		if p != use {
			continue
		}
		for _, other := range parts {
			for _, name := range []string{"SharedAccessKey=", "SharedAccessSignature=", "x509="} {
				if strings.HasPrefix(other, name) {
					return "", nil, fmt.Errorf("%s and %s exclude each other", use, strings.TrimSuffix(name, "="))
				}
			}
		}
		c, cred, err := security.credential()
		parts[i] = c
		return strings.Join(parts, ";"), cred, err
	}
	return connectionString, nil, nil
}

//export capiCreateFromDeviceAuth
func capiCreateFromDeviceAuth(kind C.int, uri, device *C.char, protocol C.int) C.uintptr_t {
	const function = "CreateFromDeviceAuth"
	if uri == nil || device == nil {
		invalid(function, errNull)
		return 0
	}
	name, id := C.GoString(uri), C.GoString(device)
	if id == "" || strings.Contains(name+id, ";") || !strings.Contains(name, ".") {
		invalid(function, errors.New("iothub_uri is no host name, or device_id empty, or one of them has a semicolon"))
		return 0
	}
	c, cred, err := security.credential()
	if err != nil {
		invalid(function, err)
		return 0
	}
	return create(function, kind, protocol, func(o client.Options) (*client.Client, error) {
		o.Credential = cred
		made, err := client.New("HostName="+name+";DeviceId="+id+";"+c, host{}, o)
		if err == nil {
			security.present(made)
		}
		return made, err
	})
}

//export capiSecurityInit
func capiSecurityInit(kind C.int) C.int {
	const function = "security_init"
	s := &security
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case kind != C.CAPI_SYMMETRIC_KEY && kind != C.CAPI_X509 && kind != C.CAPI_TPM:
		return invalid(function, errors.New("the type is none of TPM, SYMMETRIC_KEY and X509; a module of IoT Edge uses CreateFromEnvironment"))
	case s.kind != 0 && s.kind != kind:
		return invalid(function, errors.New("another type was chosen already: call security_deinit first"))
	}
	if kind == C.CAPI_TPM && s.chip == nil {
		chip, err := tpm.Open(C.GoString(C.getenv(tpmVariable)), nil)
		if err != nil {
			return invalid(function, err)
		}
		s.chip = chip
	}
	s.kind = kind
	return 0
}

//export capiSecurityDeinit
func capiSecurityDeinit() {
	s := &security
	s.mu.Lock()
	defer s.mu.Unlock()
	// The TPM holds nothing open, and clients that were created go on with it.
	s.kind, s.certificate, s.privateKey, s.chip = 0, "", "", nil
	s.set(nil, nil)
}

//export capiSecurityType
func capiSecurityType() C.int {
	s := &security
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kind
}

//export capiSecuritySetKey
func capiSecuritySetKey(registration, key *C.char) C.int {
	if registration == nil || key == nil {
		return invalid("set_symmetric_key_info", errNull)
	}
	s := &security
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(C.CString(C.GoString(registration)), C.CString(C.GoString(key)))
	return 0
}

//export capiSecurityKey
func capiSecurityKey() *C.char {
	s := &security
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.key
}

//export capiSecurityRegistration
func capiSecurityRegistration() *C.char {
	s := &security
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.registration
}
