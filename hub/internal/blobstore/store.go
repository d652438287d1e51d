// Package blobstore keeps block blobs: as files under a folder, or in memory up to
// a limit. Blocks are gathered until they are committed, as in Azure Storage; what
// is committed is on the disk.
package blobstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// MaxBlock is the largest block, and the largest blob that is put at once.
	MaxBlock = 256 << 20
	// MaxBlocks is how many blocks a blob may have, and how many may wait.
	MaxBlocks = 50_000
	// MaxBlockID is the longest id of a block, decoded.
	MaxBlockID = 64
	// maxMemory bounds what a store without a folder holds.
	maxMemory = 256 << 20
	// blockLife is how long blocks wait to be committed.
	blockLife = 7 * 24 * time.Hour
)

// What goes wrong, beside what the file system says.
var (
	ErrNotFound = errors.New("blobstore: there is no such blob")
	ErrNoBlock  = errors.New("blobstore: a block of the list was never put")
	ErrFull     = errors.New("blobstore: the store is full")
	ErrTooLarge = errors.New("blobstore: it is too large")
)

// Info describes a blob.
type Info struct {
	Name        string    `json:"name"`
	Size        int64     `json:"size"`
	Modified    time.Time `json:"modified"`
	ContentType string    `json:"type,omitempty"`
	MD5         []byte    `json:"md5,omitempty"`
	Blocks      []Block   `json:"blocks,omitempty"`
}

// Block is a block of a blob.
type Block struct {
	ID   string `json:"id"` // decoded
	Size int64  `json:"size"`
}

// Store keeps blobs. It is safe for use by many goroutines.
type Store struct {
	dir string // "" in memory
	now func() time.Time

	mu     sync.Mutex
	locks  map[string]*nameLock
	memory map[string][]byte // by path, without a folder
	used   int64
}

// nameLock is held while a blob is changed.
type nameLock struct {
	sync.Mutex
	users int
}

// Open opens the store in a folder, which is made when it is missing; "" keeps
// everything in memory. clock is nil for time.Now.
func Open(dir string, clock func() time.Time) (*Store, error) {
	if clock == nil {
		clock = time.Now
	}
	s := &Store{dir: dir, now: clock, locks: make(map[string]*nameLock), memory: make(map[string][]byte)}
	if dir == "" {
		return s, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return s, s.sweep()
}

// sweep removes blocks that nobody has committed for long.
func (s *Store) sweep() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		blocks := filepath.Join(s.dir, e.Name(), "blocks")
		info, err := os.Stat(blocks)
		if err == nil && s.now().Sub(info.ModTime()) > blockLife {
			if err := os.RemoveAll(blocks); err != nil {
				return err
			}
		}
	}
	return nil
}

// lock takes the lock of a blob and returns what gives it back.
func (s *Store) lock(name string) func() {
	s.mu.Lock()
	l := s.locks[name]
	if l == nil {
		l = new(nameLock)
		s.locks[name] = l
	}
	l.users++
	s.mu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		s.mu.Lock()
		defer s.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(s.locks, name)
		}
	}
}

// folder is where a blob is. Names are hashed, so that none of them means anything
// to the file system.
func folder(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:16])
}

func blockFile(name, id string) string {
	return folder(name) + "/blocks/" + hex.EncodeToString([]byte(id))
}

// PutBlock keeps a block until it is committed, in place of one with the same id.
func (s *Store) PutBlock(ctx context.Context, name, id string, r io.Reader) error {
	if id == "" || len(id) > MaxBlockID {
		return fmt.Errorf("blobstore: the id of a block has %d bytes, it can have 1 to %d", len(id), MaxBlockID)
	}
	defer s.lock(name)()
	_, err := s.write(ctx, blockFile(name, id), r, MaxBlock, false)
	return err
}

// Put makes a blob of one piece.
func (s *Store) Put(ctx context.Context, name, contentType string, md5 []byte, r io.Reader) (Info, error) {
	defer s.lock(name)()
	size, err := s.write(ctx, folder(name)+"/new", r, MaxBlock, true)
	if err != nil {
		return Info{}, err
	}
	return s.commit(ctx, Info{Name: name, Size: size, ContentType: contentType, MD5: md5})
}

// PutList makes a blob of blocks that were put, or that it has already, in that
// order, and forgets the other blocks that wait.
func (s *Store) PutList(ctx context.Context, name, contentType string, md5 []byte, ids []string) (Info, error) {
	if len(ids) > MaxBlocks {
		return Info{}, ErrTooLarge
	}
	defer s.lock(name)()
	info := Info{Name: name, ContentType: contentType, MD5: md5}
	var parts []io.Reader
	var opened []io.Closer
	defer func() {
		for _, c := range opened {
			_ = c.Close() // was only read
		}
	}()
	committed := s.committedBlocks(name)
	for _, id := range ids {
		if size, ok := s.size(blockFile(name, id)); ok {
			parts = append(parts, &lazyFile{store: s, path: blockFile(name, id)})
			info.Blocks = append(info.Blocks, Block{id, size})
			continue
		}
		old, ok := committed[id]
		if !ok {
			return Info{}, ErrNoBlock
		}
		data, err := s.open(folder(name) + "/data")
		if err != nil {
			return Info{}, err
		}
		opened = append(opened, data)
		parts = append(parts, io.NewSectionReader(data, old.offset, old.size))
		info.Blocks = append(info.Blocks, Block{id, old.size})
	}
	var err error
	if info.Size, err = s.write(ctx, folder(name)+"/new", io.MultiReader(parts...), -1, true); err != nil {
		return Info{}, err
	}
	if info, err = s.commit(ctx, info); err != nil {
		return Info{}, err
	}
	return info, s.removeAll(folder(name) + "/blocks")
}

type extent struct{ offset, size int64 }

func (s *Store) committedBlocks(name string) map[string]extent {
	list := make(map[string]extent)
	info, err := s.Stat(name)
	if err != nil {
		return list
	}
	at := int64(0)
	for _, b := range info.Blocks {
		list[b.ID] = extent{at, b.Size}
		at += b.Size
	}
	return list
}

// commit puts the new content in the place of the old one: first the data, then
// what describes it, each in one step.
func (s *Store) commit(ctx context.Context, info Info) (Info, error) {
	info.Modified = s.now().UTC().Truncate(time.Second)
	text, err := json.Marshal(info)
	if err != nil {
		return Info{}, err
	}
	dir := folder(info.Name)
	if _, err := s.write(ctx, dir+"/info.new", bytes.NewReader(text), -1, true); err != nil {
		return Info{}, err
	}
	for _, file := range []string{"/new:/data", "/info.new:/info"} {
		from, to, _ := strings.Cut(file, ":")
		if err := s.rename(dir+from, dir+to); err != nil {
			return Info{}, err
		}
	}
	return info, nil
}

// Stat describes a blob; ErrNotFound when there is none.
func (s *Store) Stat(name string) (Info, error) {
	text, err := s.read(folder(name) + "/info")
	if err != nil {
		return Info{}, err
	}
	var info Info
	if err := json.Unmarshal(text, &info); err != nil || info.Name != name {
		return Info{}, fmt.Errorf("blobstore: what describes the blob is damaged")
	}
	return info, nil
}

// Blob is the content of a blob as it was when it was opened.
type Blob interface {
	io.ReaderAt
	io.Closer
}

// Open opens a blob for reading.
func (s *Store) Open(name string) (Info, Blob, error) {
	defer s.lock(name)()
	info, err := s.Stat(name)
	if err != nil {
		return Info{}, nil, err
	}
	data, err := s.open(folder(name) + "/data")
	return info, data, err
}

// Waiting are the blocks that were put and not committed.
func (s *Store) Waiting(name string) ([]Block, error) {
	defer s.lock(name)()
	list, err := s.list(folder(name) + "/blocks")
	if err != nil {
		return nil, err
	}
	blocks := make([]Block, 0, len(list))
	for file, size := range list {
		if id, err := hex.DecodeString(file); err == nil {
			blocks = append(blocks, Block{string(id), size})
		}
	}
	slices.SortFunc(blocks, func(x, y Block) int { return strings.Compare(x.ID, y.ID) })
	return blocks, nil
}

// Delete removes a blob and its blocks; ErrNotFound when there is neither.
func (s *Store) Delete(name string) error {
	defer s.lock(name)()
	_, err := s.Stat(name)
	if e := s.removeAll(folder(name)); e != nil {
		return e
	}
	return err
}

// List gives the blobs whose names begin with prefix, by name, behind after, up to
// most of them.
func (s *Store) List(prefix, after string, most int) ([]Info, error) {
	all, err := s.infos()
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(i Info) bool { return !strings.HasPrefix(i.Name, prefix) || i.Name <= after })
	slices.SortFunc(all, func(x, y Info) int { return strings.Compare(x.Name, y.Name) })
	return all[:min(len(all), most)], nil
}
