//go:build windows

package jetstream

import (
	"fmt"
	"path/filepath"
	"syscall"
)

// lockDir keeps a second process out of the folder: two servers on the same
// files would destroy them. The file is opened without sharing, which the system
// ends with the process.
func lockDir(dir string) (unlock func(), err error) {
	name, err := syscall.UTF16PtrFromString(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("jetstream: lock the data folder: %w", err)
	}
	h, err := syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0, nil,
		syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if err != nil {
		return nil, fmt.Errorf("jetstream: the data folder %s is in use by another hub: %w", dir, err)
	}
	return func() { _ = syscall.CloseHandle(h) }, nil
}
