package core

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
)

// The digital twin of a device is its twin, read by the conventions of IoT Plug
// and Play: an object with the member "__t":"c" is a component, an object with
// value, ac and av is what the device says to a writable property.
const (
	componentMark  = "__t"
	componentValue = `"c"`

	// maxTwinOperations bounds a JSON patch of a digital twin.
	maxTwinOperations = 1000
)

// DigitalTwin gives the digital twin of a device: properties and components as
// the device reports them, and in $metadata what is desired and what the device
// said to it. Errors are *Error: 404001.
func (h *Hub) DigitalTwin(deviceID string) (body []byte, etag string, err error) {
	key := identityKey{device: deviceID}
	gen, err := h.generationFor(key)
	if err != nil {
		return nil, "", err
	}
	doc := h.twins.get(key, gen)
	return doc.digitalTwin(deviceID), etagOf(doc.etag), nil
}

func (doc *twinDoc) digitalTwin(deviceID string) []byte {
	dst := appendJSONString([]byte(`{"$dtId":`), deviceID)
	var meta []byte
	for _, p := range unionOf(doc.desired.root, doc.reported.root) {
		if !p.isComponent() {
			dst, meta = p.append(dst, meta)
			continue
		}
		dst = append(appendJSONString(append(dst, ','), p.name), ":{"...)
		start := len(dst)
		var inner []byte
		for _, q := range unionOf(p.desired, p.reported) {
			if q.name != componentMark {
				dst, inner = q.append(dst, inner)
			}
		}
		if len(dst) > start { // the comma in front of the first property
			dst = append(append(dst[:start], dst[start+1:]...), ',')
		}
		dst = append(dst, `"$metadata":{`...)
		if len(inner) > 0 {
			dst = append(dst, inner[1:]...)
		}
		dst = append(dst, "}}"...)
	}
	dst = appendJSONString(append(dst, `,"$metadata":{"$model":`...), doc.model)
	return append(append(dst, meta...), "}}"...)
}

// twinProperty is a name under the desired or the reported properties, or both.
type twinProperty struct {
	name              string
	desired, reported *twinNode
}

// unionOf gives the members of two objects, either of which may be nil or none.
func unionOf(desired, reported *twinNode) []twinProperty {
	var d, r []twinMember
	if desired.isObject() {
		d = desired.members
	}
	if reported.isObject() {
		r = reported.members
	}
	var list []twinProperty
	for len(d) > 0 || len(r) > 0 {
		switch {
		case len(r) == 0 || len(d) > 0 && d[0].name < r[0].name:
			list = append(list, twinProperty{d[0].name, d[0].node, nil})
			d = d[1:]
		case len(d) == 0 || r[0].name < d[0].name:
			list = append(list, twinProperty{r[0].name, nil, r[0].node})
			r = r[1:]
		default:
			list = append(list, twinProperty{d[0].name, d[0].node, r[0].node})
			d, r = d[1:], r[1:]
		}
	}
	return list
}

func (p *twinProperty) isComponent() bool { return isComponent(p.desired) || isComponent(p.reported) }

func isComponent(n *twinNode) bool {
	mark := n.member(componentMark)
	return mark != nil && mark.leaf == componentValue
}

// append appends the property, with a comma in front, to the properties, and
// what is to be said about it to the metadata.
func (p *twinProperty) append(dst, meta []byte) (properties, metadata []byte) {
	value := p.reported
	ack := value.member("value")
	code, version := value.member("ac"), value.member("av")
	acknowledges := code != nil && version != nil // a null value may have gone
	if acknowledges {
		value = ack
	}
	if value != nil {
		dst = value.appendValue(append(appendJSONString(append(dst, ','), p.name), ':'))
	}
	meta = append(appendJSONString(append(meta, ','), p.name), ":{"...)
	if p.desired != nil {
		meta = p.desired.appendValue(append(meta, `"desiredValue":`...))
		meta = strconv.AppendUint(append(meta, `,"desiredVersion":`...), p.desired.version, 10)
	}
	if acknowledges {
		if p.desired != nil {
			meta = append(meta, ',')
		}
		meta = version.appendValue(append(meta, `"ackVersion":`...))
		meta = code.appendValue(append(meta, `,"ackCode":`...))
		if text := p.reported.member("ad"); text != nil {
			meta = text.appendValue(append(meta, `,"ackDescription":`...))
		}
	}
	if p.reported != nil {
		if p.desired != nil || acknowledges {
			meta = append(meta, ',')
		}
		meta = appendTime(append(meta, `"lastUpdateTime":`...), p.reported.stamp)
	}
	return dst, append(meta, '}')
}

// twinOperation is one operation of a JSON patch (RFC 6902).
type twinOperation struct {
	Op    string          `json:"op"`
	Path  string          `json:"path"`
	Value json.RawMessage `json:"value"`
}

// PatchDigitalTwin applies a JSON patch of add, replace and remove to the desired
// properties of a device whose twin has that ETag ([AnyETag] for any), and returns
// the ETag after it. A path is /property or /component/property; a first segment
// that the twin does not know as a property is a component. Errors are those of
// [Hub.UpdateTwin].
func (h *Hub) PatchDigitalTwin(ctx context.Context, deviceID string, patch []byte, etag string) (string, error) {
	key := identityKey{device: deviceID}
	gen, err := h.generationFor(key)
	if err != nil {
		return "", err
	}
	merge, err := h.twins.get(key, gen).mergeOf(patch)
	if err != nil {
		return "", err
	}
	t, err := h.UpdateTwin(ctx, deviceID, "", merge, etag)
	return t.ETag, err
}

// mergeOf makes the merge patch of a twin of a JSON patch of its digital twin.
func (doc *twinDoc) mergeOf(patch []byte) ([]byte, error) {
	var ops []twinOperation
	if err := json.Unmarshal(patch, &ops); err != nil {
		return nil, NewError(CodeIotHubFormatError, "the body is not a JSON patch, an array of operations: %v", err)
	}
	if len(ops) > maxTwinOperations {
		return nil, NewError(CodeArgumentInvalid, "the patch has %d operations, the limit is %d", len(ops), maxTwinOperations)
	}
	desired := make(map[string]any)
	for i := range ops {
		if err := ops[i].applyTo(desired, doc); err != nil {
			return nil, err
		}
	}
	merge, err := json.Marshal(map[string]any{"properties": map[string]any{"desired": desired}})
	if err != nil {
		return nil, NewError(CodeArgumentInvalid, "the patch cannot be applied: %v", err)
	}
	return merge, nil
}

// applyTo puts an operation into a merge patch of the desired properties.
func (o *twinOperation) applyTo(desired map[string]any, doc *twinDoc) error {
	path, err := splitPointer(o.Path)
	if err != nil {
		return err
	}
	var value any
	switch strings.ToLower(o.Op) {
	case "add", "replace":
		if !said(o.Value) {
			return NewError(CodeArgumentInvalid, "the operation %s of %q has no value", o.Op, o.Path)
		}
		if value, err = decodeTwinJSON(o.Value); err != nil {
			return err
		}
	case "remove":
	default:
		return NewError(CodeArgumentInvalid, "the operation is %.40q, allowed are add, replace and remove", o.Op)
	}
	top := path[0]
	was := twinProperty{top, doc.desired.root.member(top), doc.reported.root.member(top)}
	object, whole := value.(map[string]any)
	_, marked := object["$metadata"]
	component := was.isComponent() || len(path) > 1 && was.desired == nil && was.reported == nil ||
		len(path) == 1 && whole && marked
	at := desired
	for _, segment := range path[:len(path)-1] {
		next, ok := at[segment].(map[string]any)
		if !ok {
			next = make(map[string]any)
			at[segment] = next
		}
		at = next
	}
	if len(path) == 1 && component && whole {
		delete(object, "$metadata")
		object[componentMark] = "c"
	}
	at[path[len(path)-1]] = value
	if len(path) > 1 && component {
		desired[top].(map[string]any)[componentMark] = "c" // made by the loop above
	}
	return nil
}

// splitPointer cuts a JSON pointer (RFC 6901) into segments; one at least.
func splitPointer(pointer string) ([]string, error) {
	rest, ok := strings.CutPrefix(pointer, "/")
	if !ok || rest == "" {
		return nil, NewError(CodeArgumentInvalid, "the path is %.100q, it has to be /property or /component/property", pointer)
	}
	path := strings.Split(rest, "/")
	if len(path) > maxTwinDepth {
		return nil, NewError(CodeArgumentInvalid, "the path %.100q is more than %d levels deep", pointer, maxTwinDepth)
	}
	for i, segment := range path {
		path[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(segment)
		if strings.HasPrefix(path[i], "$") {
			return nil, NewError(CodeArgumentInvalid, "the path %.100q leads to %q, which cannot be written", pointer, path[i])
		}
	}
	return path, nil
}
