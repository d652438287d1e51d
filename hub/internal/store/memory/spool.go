package memory

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"sync"

	"github.com/iothub-go/iothub/hub/internal/core"
)

type spool struct {
	mu   sync.Mutex
	docs map[string][]byte
}

// Spool returns the spool of that name.
func (s *Store) Spool(_ context.Context, name string) (core.Spool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.spools[name]
	if p == nil {
		p = &spool{docs: make(map[string][]byte)}
		s.spools[name] = p
	}
	return p, nil
}

func (p *spool) Put(_ context.Context, key string, value []byte) error {
	if key == "" {
		return errors.New("memory: the key of a document is empty")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.docs[key] = bytes.Clone(value)
	return nil
}

func (p *spool) Remove(_ context.Context, key string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.docs, key)
	return nil
}

func (p *spool) Each(_ context.Context, fn func(key string, value []byte) error) error {
	p.mu.Lock()
	docs := maps.Clone(p.docs)
	p.mu.Unlock()
	for key, value := range docs {
		if err := fn(key, value); err != nil {
			return err
		}
	}
	return nil
}
