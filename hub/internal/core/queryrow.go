package core

import (
	"encoding/json"

	"github.com/iothub-go/iothub/hub/internal/query"
)

// twinRow is a twin as queries see it. It reads only what it is asked for, from
// trees that never change: a query over many twins makes no JSON of those that it
// does not give.
type twinRow struct {
	hub *Hub
	dev *deviceDoc
	mod *moduleDoc // nil for a device
	doc *twinDoc   // nil until it is needed
}

var _ query.Row = (*twinRow)(nil)

func (r *twinRow) key() identityKey {
	if r.mod != nil {
		return identityKey{r.dev.ID, r.mod.ID}
	}
	return identityKey{device: r.dev.ID}
}

func (r *twinRow) twin() *twinDoc {
	if r.doc == nil {
		gen := generationOf(r.dev, r.mod)
		if r.doc = cellOf(r.dev, r.mod).Load(); r.doc == nil || r.doc.gen != gen {
			r.doc = freshTwin(gen)
		}
	}
	return r.doc
}

// Lookup returns the value at a path.
func (r *twinRow) Lookup(path []string) query.Value {
	switch path[0] {
	case "deviceId":
		return only(path, query.Text(r.dev.ID))
	case "moduleId":
		if r.mod == nil {
			return query.Value{}
		}
		return only(path, query.Text(r.mod.ID))
	case "tags":
		return valueAt(r.twin().tags.root, path[1:])
	case "properties":
		if len(path) == 1 {
			break
		}
		switch path[1] {
		case "desired":
			return r.twin().desired.lookup(path[2:])
		case "reported":
			return r.twin().reported.lookup(path[2:])
		}
		return query.Value{}
	case "status":
		return only(path, query.Text(r.dev.Status))
	case "version":
		return only(path, query.Num(float64(r.twin().version)))
	case "etag":
		return only(path, query.Text(etagOf(r.twin().etag)))
	case "modelId":
		return only(path, query.Text(r.twin().model))
	case "connectionState", "lastActivityTime":
		return only(path, r.connection(path[0]))
	}
	return r.fromJSON(path)
}

func only(path []string, v query.Value) query.Value {
	if len(path) > 1 {
		return query.Value{}
	}
	return v
}

func (r *twinRow) connection(name string) query.Value {
	r.hub.mu.RLock()
	state, _, activity := r.hub.connectionLocked(r.key())
	r.hub.mu.RUnlock()
	if name == "connectionState" {
		return query.Text(state)
	}
	text, _ := activity.MarshalJSON() // never fails
	return query.FromJSON(string(text))
}

// fromJSON answers for what is seldom asked, from the twin as the back end has it.
func (r *twinRow) fromJSON(path []string) query.Value {
	t, err := r.hub.twinOf(r.key(), r.twin())
	if err != nil {
		return query.Value{} // gone meanwhile
	}
	data, err := json.Marshal(t)
	if err != nil {
		return query.Value{}
	}
	return jsonAt(data, path)
}

// jsonAt finds the value at a path of JSON.
func jsonAt(data []byte, path []string) query.Value {
	for _, name := range path {
		var object map[string]json.RawMessage
		if json.Unmarshal(data, &object) != nil {
			return query.Value{}
		}
		var there bool
		if data, there = object[name]; !there {
			return query.Value{}
		}
	}
	return query.FromJSON(string(data))
}

// valueAt finds the value at a path of a tree.
func valueAt(n *twinNode, path []string) query.Value {
	for _, name := range path {
		if n = n.member(name); n == nil {
			return query.Value{}
		}
	}
	if n.isObject() {
		return query.FromJSON(string(n.appendValue(nil)))
	}
	return query.FromJSON(n.leaf)
}

// lookup finds a property, the version, or what the metadata says of a property.
func (s twinSection) lookup(path []string) query.Value {
	if len(path) == 0 {
		return query.FromJSON(string(s.root.appendFull(nil, s.version)))
	}
	switch path[0] {
	case "$version":
		return only(path, query.Num(float64(s.version)))
	case "$metadata":
		return metadataAt(s.root, path[1:])
	}
	return valueAt(s.root, path)
}

func metadataAt(n *twinNode, path []string) query.Value {
	for i, name := range path {
		last := i == len(path)-1
		switch {
		case last && name == "$lastUpdated":
			return query.FromJSON(string(appendTime(nil, n.stamp)))
		case last && name == "$lastUpdatedVersion" && n.version > 0:
			return query.Num(float64(n.version))
		}
		if n = n.member(name); n == nil {
			return query.Value{}
		}
	}
	return query.FromJSON(string(n.appendMetadata(nil)))
}

// parseTwinCondition parses a condition over twins.
func parseTwinCondition(text string) (*query.Condition, error) {
	c, err := query.ParseCondition(text)
	if err != nil {
		return nil, NewError(CodeArgumentInvalid, "%v", err)
	}
	return c, nil
}

// rowOf is the twin of an identity as queries see it; nil when there is none.
func (h *Hub) rowOf(key identityKey) *twinRow {
	h.mu.RLock()
	defer h.mu.RUnlock()
	dev, mod, err := h.documentsLocked(key)
	if err != nil {
		return nil
	}
	return &twinRow{hub: h, dev: dev, mod: mod}
}
