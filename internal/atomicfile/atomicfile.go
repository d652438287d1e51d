// Package atomicfile replaces files as a whole.
package atomicfile

import (
	"os"
	"path/filepath"
)

// Write replaces the file at path, or makes it, for its owner only. What it holds is
// on disk before Write returns, and a reader sees all of it or what was there before.
func Write(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // the first error counts
		}
	}()
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
