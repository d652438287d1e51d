package tpm

import (
	"errors"
	"io/fs"

	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/windowstpm"
)

func openDevice(path string) (transport.TPMCloser, error) {
	if path != "" {
		return nil, invalid("the path is %q: on Windows it is empty", path)
	}
	t, err := windowstpm.Open()
	if errors.Is(err, windowstpm.ErrNotTPM20) {
		return nil, errors.Join(fs.ErrNotExist, err)
	}
	return t, err
}
