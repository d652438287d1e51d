//go:build !windows

package tpm

import (
	"os"

	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxtpm"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"
)

// devices are tried where no path is given: the one that several programs can use at once
// goes first.
var devices = []string{"/dev/tpmrm0", "/dev/tpm0"}

func openDevice(path string) (transport.TPMCloser, error) {
	if path != "" {
		if info, err := os.Stat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
			return linuxudstpm.Open(path)
		}
		return linuxtpm.Open(path)
	}
	var first error
	for _, d := range devices {
		t, err := linuxtpm.Open(d)
		if err == nil {
			return t, nil
		}
		if first == nil || os.IsNotExist(first) {
			first = err
		}
	}
	return nil, first
}
