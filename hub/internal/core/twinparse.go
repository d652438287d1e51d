package core

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The limits on twins (H.2). Sizes count names and values: 8 for a number, 4 for
// a boolean, the bytes of a text without its control characters.
const (
	maxTagBytes      = 8 << 10
	maxPropertyBytes = 32 << 10 // desired and reported, each
	maxTwinName      = 1 << 10
	maxTwinValue     = 4 << 10 // of one text or array
	maxTwinDepth     = 10
	minTwinInteger   = -1 << 52
	maxTwinInteger   = 1<<52 - 1
	// maxTwinNumber bounds the digits of a number, which IoT Hub need not
	// because it does not keep them as they were written.
	maxTwinNumber = 1 << 10

	tagsPath     = "tags"
	desiredPath  = "properties.desired"
	reportedPath = "properties.reported"
)

// decodeTwinJSON reads one JSON value; numbers keep their digits.
func decodeTwinJSON(data []byte) (any, error) {
	if !utf8.Valid(data) {
		return nil, NewError(CodeIotHubFormatError, "the body is not valid UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		if err == io.EOF {
			return nil, NewError(CodeIotHubFormatError, "the body is empty; a JSON object is needed")
		}
		return nil, NewError(CodeIotHubFormatError, "the body is not JSON: %v", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, NewError(CodeIotHubFormatError, "the body goes on after its JSON value")
	}
	return v, nil
}

// twinParser makes nodes of decoded JSON and checks every rule that can be
// checked without the twin that they are for.
type twinParser struct {
	path []string // to where it is, the section first
	// fromService lets names that begin with '$' pass, and leaves them out, at
	// the top: tools send whole twins back, with $version and $metadata.
	fromService bool
	// whole is set when the value replaces what is there: null then stands for
	// nothing at all.
	whole bool
}

func (p *twinParser) fail(format string, args ...any) error {
	return NewError(CodeArgumentInvalid, "%s: %s", strings.Join(p.path, "."), fmt.Sprintf(format, args...))
}

// parseReported parses what a device sends.
func parseReported(patch []byte) (*twinNode, error) {
	v, err := decodeTwinJSON(patch)
	if err != nil {
		return nil, err
	}
	p := twinParser{path: []string{reportedPath}}
	return p.section(v)
}

// section parses the top of tags, desired or reported properties.
func (p *twinParser) section(v any) (*twinNode, error) {
	object, ok := v.(map[string]any)
	if !ok {
		return nil, p.fail("it has to be a JSON object, not %s", kindOf(v))
	}
	if p.fromService {
		for name := range object {
			if strings.HasPrefix(name, "$") {
				delete(object, name)
			}
		}
	}
	return p.object(object, 0)
}

// object parses the members of an object that is depth levels below the section.
func (p *twinParser) object(object map[string]any, depth int) (*twinNode, error) {
	if depth > maxTwinDepth {
		return nil, p.tooDeep()
	}
	names := make([]string, 0, len(object))
	for name := range object {
		names = append(names, name)
	}
	slices.Sort(names)
	n := new(twinNode)
	for _, name := range names {
		if err := p.name(name); err != nil {
			return nil, err
		}
		p.path = append(p.path, name)
		v, err := p.value(object[name], depth)
		if err != nil {
			return nil, err
		}
		p.path = p.path[:len(p.path)-1]
		if v.leaf != nullLeaf || !p.whole {
			n.add(twinMember{name, v})
		}
	}
	return n, nil
}

func (p *twinParser) tooDeep() error {
	return p.fail("it is more than %d levels deep", maxTwinDepth)
}

func (p *twinParser) name(name string) error {
	if name == "" {
		return p.fail("a name is empty")
	}
	if len(name) > maxTwinName {
		return p.fail("the name %.40q… has %d bytes, the limit is %d", name, len(name), maxTwinName)
	}
	for _, r := range name {
		if isControl(r) || r == '.' || r == '$' || r == ' ' {
			return p.fail("the name %q holds %q; not allowed are '.', '$', the space and control characters", name, r)
		}
	}
	return nil
}

// value parses the value of a member of an object at depth.
func (p *twinParser) value(v any, depth int) (*twinNode, error) {
	switch v := v.(type) {
	case nil:
		return &twinNode{leaf: nullLeaf}, nil
	case map[string]any:
		return p.object(v, depth+1)
	default:
		leaf, size, err := p.leaf(nil, v, depth)
		if err != nil {
			return nil, err
		}
		if _, ok := v.([]any); ok && size > maxTwinValue {
			return nil, p.fail("the array has %d bytes, the limit is %d", size, maxTwinValue)
		}
		return &twinNode{leaf: string(leaf), size: size}, nil
	}
}

// leaf appends the JSON of a scalar, or of an array with whatever it holds, and
// counts its size.
func (p *twinParser) leaf(dst []byte, v any, depth int) (text []byte, size int, err error) {
	switch v := v.(type) {
	case bool:
		return strconv.AppendBool(dst, v), 4, nil
	case string:
		if len(v) > maxTwinValue {
			return nil, 0, p.fail("the text has %d bytes, the limit is %d", len(v), maxTwinValue)
		}
		return appendJSONString(dst, v), textSize(v), nil
	case json.Number:
		if err := p.number(string(v)); err != nil {
			return nil, 0, err
		}
		return append(dst, v...), 8, nil
	case []any:
		return p.array(dst, v, depth+1)
	case map[string]any:
		return p.arrayObject(dst, v, depth+1)
	default: // nil
		return nil, 0, p.fail("null is not allowed in an array")
	}
}

func (p *twinParser) array(dst []byte, list []any, depth int) ([]byte, int, error) {
	if depth > maxTwinDepth {
		return nil, 0, p.tooDeep()
	}
	dst = append(dst, '[')
	total := 0
	for i, v := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		var size int
		var err error
		if dst, size, err = p.leaf(dst, v, depth); err != nil {
			return nil, 0, err
		}
		total += size
	}
	return append(dst, ']'), total, nil
}

// arrayObject appends an object in an array, which is part of its value.
func (p *twinParser) arrayObject(dst []byte, object map[string]any, depth int) ([]byte, int, error) {
	if depth > maxTwinDepth {
		return nil, 0, p.tooDeep()
	}
	names := make([]string, 0, len(object))
	for name := range object {
		names = append(names, name)
	}
	slices.Sort(names)
	dst = append(dst, '{')
	total := 0
	for i, name := range names {
		if err := p.name(name); err != nil {
			return nil, 0, err
		}
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendJSONString(dst, name), ':')
		p.path = append(p.path, name)
		var size int
		var err error
		if dst, size, err = p.leaf(dst, object[name], depth); err != nil {
			return nil, 0, err
		}
		p.path = p.path[:len(p.path)-1]
		total += len(name) + size
	}
	return append(dst, '}'), total, nil
}

// number checks a number, whose digits are kept as they are.
func (p *twinParser) number(text string) error {
	if len(text) > maxTwinNumber {
		return p.fail("a number has %d characters, the limit is %d", len(text), maxTwinNumber)
	}
	if strings.ContainsAny(text, ".eE") {
		if _, err := strconv.ParseFloat(text, 64); err != nil {
			return p.fail("the number %.40s is larger than a double can be", text)
		}
		return nil
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil || v < minTwinInteger || v > maxTwinInteger {
		return p.fail("the integer %.40s is not in %d to %d", text, int64(minTwinInteger), int64(maxTwinInteger))
	}
	return nil
}

func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case string:
		return "a text"
	case []any:
		return "an array"
	case map[string]any:
		return "an object"
	default:
		return "a number"
	}
}

// checkSectionSize checks what has come of a change.
func checkSectionSize(path string, n *twinNode, limit int) error {
	if n.size > limit {
		return NewError(CodeArgumentInvalid, "%s: it would have %d bytes, the limit is %d", path, n.size, limit)
	}
	return nil
}
