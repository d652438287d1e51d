package core

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"slices"
	"sync"
)

const (
	// maxImportLine bounds a line of an import: an identity with a full twin and
	// its metadata takes less.
	maxImportLine = 1 << 20
	// importWorkers is how many identities are imported at once, so that they
	// share the writes of the storage. All about one device is in order.
	importWorkers = 8
)

// exportTo writes every identity as one line, devices before their modules.
func (h *Hub) exportTo(ctx context.Context, container string, j *RegistryJob, progress func(percent int)) error {
	h.mu.RLock()
	ids := make([]string, 0, len(h.registry))
	for id := range h.registry {
		ids = append(ids, id)
	}
	h.mu.RUnlock()
	slices.Sort(ids)
	blob := h.cfg.Blobs.Create(ctx, container, j.OutputBlob)
	lines := json.NewEncoder(blob)
	lines.SetEscapeHTML(false)
	for i, id := range ids {
		if err := ctx.Err(); err != nil {
			return err
		}
		h.mu.RLock()
		doc := h.registry[id]
		h.mu.RUnlock()
		if doc == nil {
			continue // deleted meanwhile
		}
		if err := lines.Encode(h.exported(doc, nil, j.ExcludeKeys)); err != nil {
			return fmt.Errorf("write the export: %w", err)
		}
		for k := range doc.Modules {
			if err := lines.Encode(h.exported(doc, &doc.Modules[k], j.ExcludeKeys)); err != nil {
				return fmt.Errorf("write the export: %w", err)
			}
		}
		progress(i * 100 / len(ids))
	}
	if err := blob.Close(); err != nil {
		return fmt.Errorf("write the export: %w", err)
	}
	if j.IncludeConfigurations {
		return h.exportConfigurations(ctx, container, j.ConfigurationsBlob)
	}
	return nil
}

// exported gives an identity, of which mod is nil for a device, with its twin.
func (h *Hub) exported(dev *deviceDoc, mod *moduleDoc, excludeKeys bool) ImportIdentity {
	i := ImportIdentity{ID: dev.ID, ETag: etagOf(dev.Version), Status: dev.Status, StatusReason: dev.StatusReason}
	auth, key := dev.Auth, identityKey{device: dev.ID}
	if mod != nil {
		i = ImportIdentity{ID: dev.ID, ModuleID: mod.ID, ETag: etagOf(mod.Version), Status: dev.Status, ManagedBy: mod.ManagedBy}
		auth, key.module = mod.Auth, mod.ID
	} else {
		i.Capabilities = &Capabilities{IoTEdge: dev.IoTEdge}
		i.DeviceScope, i.ParentScopes = dev.Scope, dev.ParentScopes
	}
	if !excludeKeys {
		i.Authentication = &auth
	}
	doc := h.twins.get(key, generationOf(dev, mod))
	i.TwinETag = etagOf(doc.etag)
	i.Tags = doc.tags.root.appendValue(nil)
	i.Properties = &ImportProperties{
		Desired:  doc.desired.root.appendFull(nil, doc.desired.version),
		Reported: doc.reported.root.appendFull(nil, doc.reported.version),
	}
	return i
}

// importError is a line of importErrors.log: about an identity, or, where that is
// there, a configuration.
type importError struct {
	DeviceID        string `json:"deviceId"`
	ModuleID        string `json:"moduleId,omitempty"`
	ConfigurationID string `json:"configurationId,omitempty"`
	ErrorCode       int    `json:"errorCode"`
	ErrorStatus     string `json:"errorStatus"`
}

// importer takes the lines of one blob in.
type importer struct {
	hub    *Hub
	ctx    context.Context
	errors func() io.WriteCloser

	mu     sync.Mutex
	log    io.WriteCloser // nil before the first error
	failed int
	err    error // that ends the import
}

// importFrom does what the lines of a blob say. The note is about those that
// failed, which are in the log in the output container; the error is for what ends
// the import.
func (h *Hub) importFrom(ctx context.Context, input, output string, j *RegistryJob, progress func(percent int)) (note string, err error) {
	m := &importer{hub: h, ctx: ctx, errors: func() io.WriteCloser { return h.cfg.Blobs.Create(ctx, output, importErrorsBlob) }}
	lines, err := m.readBlob(input, j.InputBlob, progress, m.identities)
	if err == nil && j.IncludeConfigurations {
		var more int
		more, err = m.readBlob(input, j.ConfigurationsBlob, func(int) {}, m.configurations)
		lines += more
	}
	if err != nil {
		return "", fmt.Errorf("read the import: %w", err)
	}
	if m.log != nil {
		if err := m.log.Close(); err != nil && m.err == nil {
			m.err = fmt.Errorf("write %s: %w", importErrorsBlob, err)
		}
	}
	return importNote(m.failed, lines), m.err
}

// readBlob has the lines of a blob taken in.
func (m *importer) readBlob(container, name string, progress func(percent int), take func(io.Reader, func(read int64)) (int, error)) (count int, err error) {
	body, size, err := m.hub.cfg.Blobs.Get(m.ctx, container, name)
	if err != nil {
		return 0, err
	}
	defer func() { _ = body.Close() }() // read to its end, or not worth it
	return take(body, func(read int64) {
		if size > 0 {
			progress(int(read * 100 / size))
		}
	})
}

// eachLine gives the lines that are not empty, with their numbers, and tells how much
// was read.
func (m *importer) eachLine(body io.Reader, read func(int64), take func(n int, line []byte)) (count int, err error) {
	scanner := bufio.NewScanner(body)
	scanner.Buffer(nil, maxImportLine)
	var bytesRead int64
	for m.going() && scanner.Scan() {
		bytesRead += int64(len(scanner.Bytes())) + 1
		line := bytes.TrimSpace(bytes.TrimPrefix(scanner.Bytes(), []byte("\xef\xbb\xbf")))
		if len(line) == 0 {
			continue
		}
		count++
		take(count, line)
		read(bytesRead)
	}
	return count, scanner.Err()
}

// identities hands every line to a crew, and waits for it.
func (m *importer) identities(body io.Reader, read func(int64)) (count int, err error) {
	crew := newImportCrew()
	count, err = m.eachLine(body, read, func(n int, line []byte) {
		var identity ImportIdentity
		if err := json.Unmarshal(line, &identity); err != nil {
			m.fail(importError{}, NewError(CodeIotHubFormatError, "line %d is not the JSON of an identity", n))
			return
		}
		crew.do(identity.ID, func() { m.one(identity) })
	})
	crew.wait()
	return count, err
}

// importCrew works on many identities at once, and on all about one device in order.
type importCrew struct {
	seed   maphash.Seed
	queues [importWorkers]chan func()
	wg     sync.WaitGroup
}

func newImportCrew() *importCrew {
	c := &importCrew{seed: maphash.MakeSeed()}
	for i := range c.queues {
		c.queues[i] = make(chan func(), 16)
		c.wg.Go(func() {
			for work := range c.queues[i] {
				work()
			}
		})
	}
	return c
}

// do has work about a device done. It waits while there is too much.
func (c *importCrew) do(deviceID string, work func()) {
	c.queues[maphash.String(c.seed, deviceID)%importWorkers] <- work
}

// wait ends the crew when all is done.
func (c *importCrew) wait() {
	for _, q := range c.queues {
		close(q)
	}
	c.wg.Wait()
}

func (m *importer) going() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err == nil && m.ctx.Err() == nil
}

func (m *importer) one(identity ImportIdentity) {
	if !m.going() {
		return
	}
	if err := m.hub.Import(m.ctx, identity); err != nil && m.ctx.Err() == nil {
		m.fail(importError{DeviceID: identity.ID, ModuleID: identity.ModuleID}, err)
	}
}

// fail notes what went wrong with one line, which was about what the note names.
func (m *importer) fail(note importError, err error) {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		e = NewError(CodeServerError, "it was not imported")
	}
	note.ErrorCode, note.ErrorStatus = e.Code, e.Message
	line, err := json.Marshal(note)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed++; m.log == nil {
		m.log = m.errors()
	}
	if err == nil {
		_, err = m.log.Write(append(line, '\n'))
	}
	if err != nil && m.err == nil {
		m.err = fmt.Errorf("write %s: %w", importErrorsBlob, err)
	}
}
