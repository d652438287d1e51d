package core

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Twins are stored in records of several, whichever were changed while the write
// before was under way (see twinStore):
//
//	format    1 byte
//	sequence  uvarint; of two states of a twin the one with the larger counts
//	twins     to the end of the record, each with its length in front
//
// A twin is device id, module id and generation, versions, model and the three
// sections; a node of a section is
//
//	stamp     8 bytes, little-endian
//	version   uvarint
//	leaf      text; when it is empty, an object: uvarint of members, and of
//	          each the name and the node
//	size      uvarint, of a leaf only
//
// where a text is a uvarint of bytes and the bytes.
const twinRecordFormat = 1

var errTwinRecord = errors.New("core: the record of twins is damaged")

// maxStoredDepth bounds the recursion over what the storage returns. Nodes are
// at most maxTwinDepth deep, arrays being leaves.
const maxStoredDepth = maxTwinDepth + 1

// encodedLen is how much a node takes in a record at most.
func (n *twinNode) encodedLen() int {
	const fixed = 8 + binary.MaxVarintLen64
	if !n.isObject() {
		return fixed + 2*binary.MaxVarintLen32 + len(n.leaf)
	}
	total := fixed + 1 + binary.MaxVarintLen32
	for _, m := range n.members {
		total += binary.MaxVarintLen32 + len(m.name) + m.node.encodedLen()
	}
	return total
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func (n *twinNode) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(n.stamp))
	dst = binary.AppendUvarint(dst, n.version)
	dst = appendText(dst, n.leaf)
	if !n.isObject() {
		return binary.AppendUvarint(dst, uint64(n.size))
	}
	dst = binary.AppendUvarint(dst, uint64(len(n.members)))
	for _, m := range n.members {
		dst = m.node.append(appendText(dst, m.name))
	}
	return dst
}

// appendTwin appends a twin with its length.
func appendTwin(dst []byte, key identityKey, d *twinDoc) []byte {
	var body []byte
	for _, text := range []string{key.device, key.module, d.gen, d.model} {
		body = appendText(body, text)
	}
	body = binary.AppendUvarint(body, d.version)
	body = binary.AppendUvarint(body, d.etag)
	for _, s := range []*twinSection{&d.tags, &d.desired, &d.reported} {
		body = s.root.append(binary.AppendUvarint(body, s.version))
	}
	d.encoded = len(body) + binary.MaxVarintLen32
	return append(binary.AppendUvarint(dst, uint64(len(body))), body...)
}

func appendRecordHead(dst []byte, seq uint64) []byte {
	return binary.AppendUvarint(append(dst, twinRecordFormat), seq)
}

// decodeTwins calls fn for each twin of a record, whose memory is not kept.
func decodeTwins(record []byte, fn func(seq uint64, key identityKey, d *twinDoc)) error {
	if len(record) == 0 || record[0] != twinRecordFormat {
		return fmt.Errorf("%w: it has an unknown format", errTwinRecord)
	}
	r := twinReader{rest: string(record[1:])}
	seq := r.uvarint()
	for !r.bad && r.rest != "" {
		// A copy of its own, so that a twin does not hold the whole record.
		body := twinReader{rest: string([]byte(r.text()))}
		key, d := body.twin()
		if r.bad || body.bad || body.rest != "" {
			return errTwinRecord
		}
		fn(seq, key, d)
	}
	if r.bad {
		return errTwinRecord
	}
	return nil
}

// twinReader reads a record. What it returns after bad is set means nothing.
type twinReader struct {
	rest string
	bad  bool
}

func (r *twinReader) take(n uint64) string {
	if n > uint64(len(r.rest)) {
		r.bad, r.rest = true, ""
		return ""
	}
	s := r.rest[:n]
	r.rest = r.rest[n:]
	return s
}

func (r *twinReader) uvarint() uint64 {
	var v uint64
	for shift := 0; shift < 64; shift += 7 {
		b := r.take(1)
		if r.bad {
			return 0
		}
		v |= uint64(b[0]&0x7f) << shift
		if b[0] < 0x80 {
			return v
		}
	}
	r.bad = true
	return 0
}

func (r *twinReader) text() string { return r.take(r.uvarint()) }

func (r *twinReader) twin() (identityKey, *twinDoc) {
	d := &twinDoc{encoded: len(r.rest) + binary.MaxVarintLen32}
	key := identityKey{r.text(), r.text()}
	d.gen, d.model = r.text(), r.text()
	d.version, d.etag = r.uvarint(), r.uvarint()
	for _, s := range []*twinSection{&d.tags, &d.desired, &d.reported} {
		s.version = r.uvarint()
		s.root = r.node(0)
		r.bad = r.bad || !s.root.isObject()
	}
	return key, d
}

func (r *twinReader) node(depth int) *twinNode {
	n := new(twinNode)
	stamp := r.take(8)
	if r.bad || depth > maxStoredDepth {
		r.bad = true
		return n
	}
	n.stamp = int64(binary.LittleEndian.Uint64([]byte(stamp)))
	n.version = r.uvarint()
	if n.leaf = r.text(); n.leaf != "" {
		n.size = int(r.uvarint())
		return n
	}
	count := r.uvarint()
	if count > uint64(len(r.rest)) { // each takes more than a byte
		r.bad = true
		return n
	}
	if count > 0 {
		n.members = make([]twinMember, 0, count)
	}
	for range count {
		name := r.text()
		child := r.node(depth + 1)
		if r.bad {
			return n
		}
		n.add(twinMember{name, child})
	}
	return n
}
