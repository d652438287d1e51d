//go:build cgo

package main

// #include "bridge.h"
import "C"

import (
	"errors"
	"os"
	"strings"

	"github.com/iothub-go/iothub/capi/internal/client"
)

//export capiCreateFromEnvironment
func capiCreateFromEnvironment(kind, protocol C.int) C.uintptr_t {
	const function = "CreateFromEnvironment"
	if protocol != C.CAPI_MQTT {
		invalid(function, errors.New("protocol must be MQTT_Protocol"))
		return 0
	}
	if err := takeEnvironment(); err != nil {
		invalid(function, err)
		return 0
	}
	return create(function, kind, protocol, func(o client.Options) (*client.Client, error) {
		return client.NewFromEnvironment(host{}, o)
	})
}

// takeEnvironment gives Go the variables of IoT Edge that the program has set, or
// has removed, since it was started: Go has a copy of the environment from before.
func takeEnvironment() error {
	if !C.capi_environment_is_apart() {
		return nil
	}
	now := map[string]string{}
	for i := C.size_t(0); ; i++ {
		p := C.capi_environment(i)
		if p == nil {
			break
		}
		if name, value, ok := strings.Cut(C.GoString(p), "="); ok && ofEdge(name) {
			now[name] = value
		}
	}
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); ofEdge(name) {
			if _, ok := now[name]; !ok {
				if err := os.Unsetenv(name); err != nil {
					return err
				}
			}
		}
	}
	for name, value := range now {
		if old, ok := os.LookupEnv(name); ok && old == value {
			continue
		}
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	return nil
}

func ofEdge(name string) bool {
	for _, prefix := range []string{"IOTEDGE_", "EdgeHub", "EdgeModule", "IotHub"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
