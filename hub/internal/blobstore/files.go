package blobstore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The few things that are done with files, on the disk or in memory. Paths are
// relative, with slashes.

func (s *Store) path(name string) string { return filepath.Join(s.dir, filepath.FromSlash(name)) }

// write writes a file of at most limit bytes, -1 for any, and says how long it is.
// A file of a blob that is to be kept is synced.
func (s *Store) write(ctx context.Context, name string, r io.Reader, limit int64, sync bool) (int64, error) {
	if limit >= 0 {
		r = io.LimitReader(r, limit+1)
	}
	r = &contextReader{ctx, r}
	if s.dir == "" {
		return s.writeMemory(name, r, limit)
	}
	path := s.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return 0, err
	}
	f, err := os.OpenFile(path+".tmp", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(f, r)
	if err == nil && limit >= 0 && n > limit {
		err = ErrTooLarge
	}
	if err == nil && sync {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err != nil {
		_ = os.Remove(path + ".tmp") // it goes with the next attempt otherwise
	}
	return n, err
}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

func (s *Store) writeMemory(name string, r io.Reader, limit int64) (int64, error) {
	var b bytes.Buffer
	n, err := io.Copy(&b, io.LimitReader(r, maxMemory+1))
	switch {
	case err != nil:
		return n, err
	case limit >= 0 && n > limit:
		return n, ErrTooLarge
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	used := s.used - int64(len(s.memory[name])) + n
	if used > maxMemory {
		return n, ErrFull
	}
	s.used, s.memory[name] = used, b.Bytes()
	return n, nil
}

func (s *Store) rename(from, to string) error {
	if s.dir != "" {
		if err := os.Rename(s.path(from), s.path(to)); err != nil {
			return err
		}
		return syncFolder(filepath.Dir(s.path(to)))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used -= int64(len(s.memory[to]))
	s.memory[to] = s.memory[from]
	delete(s.memory, from)
	return nil
}

func (s *Store) size(name string) (int64, bool) {
	if s.dir != "" {
		info, err := os.Stat(s.path(name))
		if err != nil {
			return 0, false
		}
		return info.Size(), true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	data, ok := s.memory[name]
	return int64(len(data)), ok
}

func notFound(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotFound
	}
	return err
}

func (s *Store) read(name string) ([]byte, error) {
	if s.dir != "" {
		data, err := os.ReadFile(s.path(name))
		return data, notFound(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	data, ok := s.memory[name]
	if !ok {
		return nil, ErrNotFound
	}
	return data, nil
}

// memoryBlob is a blob in memory, whose bytes never change.
type memoryBlob struct{ *bytes.Reader }

func (memoryBlob) Close() error { return nil }

func (s *Store) open(name string) (Blob, error) {
	if s.dir != "" {
		f, err := os.Open(s.path(name))
		if err != nil {
			return nil, notFound(err)
		}
		return f, nil
	}
	data, err := s.read(name)
	if err != nil {
		return nil, err
	}
	return memoryBlob{bytes.NewReader(data)}, nil
}

// lazyFile opens a file when it is read and closes it at its end: a blob may have
// more blocks than a process may have files.
type lazyFile struct {
	store *Store
	path  string
	blob  Blob
	r     io.Reader
}

func (l *lazyFile) Read(p []byte) (int, error) {
	if l.r == nil {
		blob, err := l.store.open(l.path)
		if err != nil {
			return 0, err
		}
		l.blob, l.r = blob, io.NewSectionReader(blob, 0, MaxBlock)
	}
	n, err := l.r.Read(p)
	if err != nil {
		_ = l.blob.Close() // was only read
	}
	return n, err
}

// list gives the files of a folder with their sizes.
func (s *Store) list(dir string) (map[string]int64, error) {
	files := make(map[string]int64)
	if s.dir != "" {
		entries, err := os.ReadDir(s.path(dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			if info, err := e.Info(); err == nil && !strings.HasSuffix(e.Name(), ".tmp") {
				files[e.Name()] = info.Size()
			}
		}
		return files, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, data := range s.memory {
		if rest, ok := strings.CutPrefix(name, dir+"/"); ok {
			files[rest] = int64(len(data))
		}
	}
	return files, nil
}

func (s *Store) removeAll(dir string) error {
	if s.dir != "" {
		return os.RemoveAll(s.path(dir))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, data := range s.memory {
		if strings.HasPrefix(name, dir+"/") {
			s.used -= int64(len(data))
			delete(s.memory, name)
		}
	}
	return nil
}

// infos describes all blobs.
func (s *Store) infos() ([]Info, error) {
	var texts [][]byte
	if s.dir != "" {
		entries, err := os.ReadDir(s.dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if text, err := s.read(e.Name() + "/info"); err == nil {
				texts = append(texts, text)
			}
		}
	} else {
		s.mu.Lock()
		for _, name := range slices.Sorted(maps.Keys(s.memory)) {
			if strings.HasSuffix(name, "/info") {
				texts = append(texts, s.memory[name])
			}
		}
		s.mu.Unlock()
	}
	var list []Info
	for _, text := range texts {
		var info Info
		if json.Unmarshal(text, &info) == nil {
			list = append(list, info)
		}
	}
	return list, nil
}
