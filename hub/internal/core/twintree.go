package core

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// twinNode is a value in a twin, with what $metadata says about it, or in a
// patch. Nodes are never changed once they are made: a change shares what it
// leaves alone with what was before.
type twinNode struct {
	stamp   int64        // of the last change, Unix nanoseconds; 0: never
	version uint64       // of the desired properties at that change; 0: none
	leaf    string       // the JSON text of a scalar or an array; "" for an object
	size    int          // of the value, as IoT Hub counts
	members []twinMember // of an object, sorted by name
}

type twinMember struct {
	name string
	node *twinNode
}

// fewMembers is up to where looking at each member is faster than halving: most
// names differ in their length already.
const fewMembers = 16

// nullLeaf is how a patch says that a member is to go. A twin never holds one.
const nullLeaf = "null"

func (n *twinNode) isObject() bool { return n != nil && n.leaf == "" }

// member gives the member of that name, nil when n has none or is no object.
func (n *twinNode) member(name string) *twinNode {
	if !n.isObject() {
		return nil
	}
	if len(n.members) <= fewMembers {
		for i := range n.members {
			if n.members[i].name == name {
				return n.members[i].node
			}
		}
		return nil
	}
	i, ok := slices.BinarySearchFunc(n.members, name, func(m twinMember, name string) int { return strings.Compare(m.name, name) })
	if !ok {
		return nil
	}
	return n.members[i].node
}

func (n *twinNode) add(m twinMember) {
	n.members = append(n.members, m)
	n.size += len(m.name) + m.node.size
}

// mergeTwin applies a merge patch (RFC 7396) to old, which may be nil. All that
// the patch mentions gets the stamp and the version, and so does all above it.
func mergeTwin(old, patch *twinNode, stamp int64, version uint64) *twinNode {
	if !patch.isObject() {
		return &twinNode{stamp: stamp, version: version, leaf: patch.leaf, size: patch.size}
	}
	var have []twinMember
	if old.isObject() {
		have = old.members
	}
	out := &twinNode{stamp: stamp, version: version}
	if n := len(have) + len(patch.members); n > 0 {
		out.members = make([]twinMember, 0, n)
	}
	for _, p := range patch.members {
		for len(have) > 0 && have[0].name < p.name {
			out.add(have[0])
			have = have[1:]
		}
		var was *twinNode
		if len(have) > 0 && have[0].name == p.name {
			was, have = have[0].node, have[1:]
		}
		if p.node.leaf != nullLeaf {
			out.add(twinMember{p.name, mergeTwin(was, p.node, stamp, version)})
		}
	}
	for _, m := range have {
		out.add(m)
	}
	return out
}

// patchTo gives the merge patch that makes next of old: null for what next does
// not have, and of the rest all of it, or only what is different. There is none,
// nil, when nothing is.
func patchTo(old, next *twinNode, all bool) *twinNode {
	if !old.isObject() || !next.isObject() {
		if !all && old != nil && !old.isObject() && !next.isObject() && old.leaf == next.leaf {
			return nil
		}
		return next
	}
	out := new(twinNode)
	have := old.members
	gone := func() {
		out.add(twinMember{have[0].name, &twinNode{leaf: nullLeaf}})
		have = have[1:]
	}
	for _, m := range next.members {
		for len(have) > 0 && have[0].name < m.name {
			gone()
		}
		if len(have) > 0 && have[0].name == m.name {
			m.node = patchTo(have[0].node, m.node, all)
			have = have[1:]
		}
		if m.node != nil {
			out.add(m)
		}
	}
	for len(have) > 0 {
		gone()
	}
	if !all && len(out.members) == 0 {
		return nil
	}
	return out
}

// appendValue appends the JSON of a value.
func (n *twinNode) appendValue(dst []byte) []byte {
	if !n.isObject() {
		return append(dst, n.leaf...)
	}
	return append(n.appendMembers(append(dst, '{')), '}')
}

// appendMembers appends the members of an object without the braces.
func (n *twinNode) appendMembers(dst []byte) []byte {
	for i, m := range n.members {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendJSONString(dst, m.name), ':')
		dst = m.node.appendValue(dst)
	}
	return dst
}

// appendVersioned appends an object with its $version, as devices see it.
func (n *twinNode) appendVersioned(dst []byte, version uint64) []byte {
	dst = n.appendMembers(append(dst, '{'))
	if len(n.members) > 0 {
		dst = append(dst, ',')
	}
	dst = append(dst, `"$version":`...)
	return append(strconv.AppendUint(dst, version, 10), '}')
}

// appendFull appends an object with $metadata and $version, as the back end sees
// it.
func (n *twinNode) appendFull(dst []byte, version uint64) []byte {
	dst = n.appendMembers(append(dst, '{'))
	if len(n.members) > 0 {
		dst = append(dst, ',')
	}
	dst = n.appendMetadata(append(dst, `"$metadata":`...))
	dst = append(dst, `,"$version":`...)
	return append(strconv.AppendUint(dst, version, 10), '}')
}

// appendMetadata appends the tree of stamps. An array has one for all of it.
func (n *twinNode) appendMetadata(dst []byte) []byte {
	dst = append(dst, `{"$lastUpdated":`...)
	dst = appendTime(dst, n.stamp)
	if n.version > 0 {
		dst = append(dst, `,"$lastUpdatedVersion":`...)
		dst = strconv.AppendUint(dst, n.version, 10)
	}
	for _, m := range n.members {
		dst = append(dst, ',')
		dst = append(appendJSONString(dst, m.name), ':')
		dst = m.node.appendMetadata(dst)
	}
	return append(dst, '}')
}

func appendTime(dst []byte, stamp int64) []byte {
	var t Time
	if stamp != 0 {
		t.Time = time.Unix(0, stamp)
	}
	text, _ := t.MarshalJSON() // never fails
	return append(dst, text...)
}

// appendJSONString appends a text as JSON. Unlike encoding/json it escapes only
// what has to be.
func appendJSONString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := range len(s) {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		if c < 0x20 {
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			continue
		}
		dst = append(dst, '\\', c)
	}
	return append(append(dst, s[start:]...), '"')
}

// textSize counts the bytes of a text as IoT Hub does: without control
// characters.
func textSize(s string) int {
	n := 0
	for _, r := range s {
		if !isControl(r) {
			n += utf8.RuneLen(r)
		}
	}
	return n
}

// isControl reports whether r is in segment C0 or C1.
func isControl(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }
