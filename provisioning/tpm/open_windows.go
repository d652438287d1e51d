package tpm

import (
	"fmt"
	"io/fs"

	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/windowstpm"
)

func openDevice(path string) (transport.TPMCloser, error) {
	if path != "" {
		return nil, fmt.Errorf("%q: on Windows there is one TPM, and its path is empty: %w", path, fs.ErrNotExist)
	}
	return windowstpm.Open()
}
