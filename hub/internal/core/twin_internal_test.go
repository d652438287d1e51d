package core

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
)

// applyReference is RFC 7396 on decoded JSON.
func applyReference(old any, patch map[string]any) map[string]any {
	out := map[string]any{}
	if m, ok := old.(map[string]any); ok {
		for k, v := range m {
			out[k] = v
		}
	}
	for k, v := range patch {
		switch v := v.(type) {
		case nil:
			delete(out, k)
		case map[string]any:
			out[k] = applyReference(out[k], v)
		default:
			out[k] = v
		}
	}
	return out
}

func decodeExact(t *testing.T, data []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
	return v
}

// Whatever devices send, what is taken merges as RFC 7396 says, keeps every
// digit, and is the same after it was stored.
func FuzzTwinPatch(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"a":1}`, `{"a":{"b":null,"c":[1,{"x":2.50}]}}`, `{"a":null}`, `{"a":{"b":{}}}`, `{"a":"\u0007\"\\\ud800"}`,
		`{"b":1e300,"a":-0}`, `[]`, `{"a":[null]}`, `{"a":[[[[]]]]}`, `{"$version":1}`, `{"a":1,"a":{"b":2}}`, `{"a.b":1}`, "{\"\xff\":1}",
		`{"a":4503599627370496}`,
	} {
		f.Add([]byte(`{"a":{"b":1,"c":2},"d":[1]}`), []byte(s))
		f.Add([]byte(s), []byte(`{"a":{"b":{"c":3}},"d":null}`))
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		doc := freshTwin("g")
		var want any
		for _, patch := range [][]byte{first, second} {
			parsed, err := parseReported(patch)
			if err != nil {
				continue
			}
			next, err := doc.report(parsed, 12345)
			if err != nil {
				continue
			}
			if n := len(parsed.append(nil)); n > parsed.encodedLen() {
				t.Fatalf("encodes to %d bytes, estimated %d", n, parsed.encodedLen())
			}
			want = applyReference(want, decodeExact(t, patch).(map[string]any))
			doc = next
			got := decodeExact(t, doc.reported.root.appendValue(nil))
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("got %#v, want %#v", got, want)
			}
			decodeExact(t, doc.reported.root.appendMetadata(nil))
			checkSizes(t, doc.reported.root)

			// As the back end would replace by it, and tell the device.
			p := twinParser{path: []string{desiredPath}, fromService: true, whole: true}
			whole, err := p.section(decodeExact(t, patch))
			if err != nil {
				t.Fatalf("a device may, the back end not: %v", err)
			}
			fresh := mergeTwin(nil, whole, 1, 1)
			for _, all := range []bool{true, false} {
				got := doc.reported.root
				told := patchTo(got, fresh, all)
				if told == nil {
					told = emptyObject
				}
				if got = mergeTwin(got, told, 1, 1); !bytes.Equal(got.appendValue(nil), fresh.appendValue(nil)) {
					t.Fatalf("told %s, the device makes %s of it, want %s", told.appendValue(nil), got.appendValue(nil), fresh.appendValue(nil))
				}
			}
			if told := patchTo(fresh, fresh, false); told != nil {
				t.Fatalf("the difference of a twin from itself is %s", told.appendValue(nil))
			}
		}
		record := appendTwin(appendRecordHead(nil, 7), identityKey{"d", "m"}, doc)
		var back *twinDoc
		err := decodeTwins(record, func(seq uint64, key identityKey, d *twinDoc) {
			if seq != 7 || key != (identityKey{"d", "m"}) {
				t.Errorf("%d %v", seq, key)
			}
			back = d
		})
		if err != nil || back == nil {
			t.Fatal(err)
		}
		if !bytes.Equal(back.deviceView(), doc.deviceView()) || back.encoded != doc.encoded ||
			!bytes.Equal(back.reported.root.appendFull(nil, 1), doc.reported.root.appendFull(nil, 1)) {
			t.Fatalf("stored %s, read %s", doc.deviceView(), back.deviceView())
		}
		checkSizes(t, back.reported.root)
	})
}

func checkSizes(t *testing.T, n *twinNode) {
	t.Helper()
	if !n.isObject() {
		return
	}
	size, last := 0, ""
	for _, m := range n.members {
		checkSizes(t, m.node)
		size += len(m.name) + m.node.size
		if m.name <= last {
			t.Fatalf("%q comes behind %q", m.name, last)
		}
		last = m.name
	}
	if size != n.size {
		t.Fatalf("the size is %d, counted %d", size, n.size)
	}
}

// Whatever is stored, reading it ends, and does not end the hub.
func FuzzTwinRecord(f *testing.F) {
	doc := freshTwin("g")
	patch, err := parseReported([]byte(`{"a":{"b":1},"c":[1,2],"d":"x"}`))
	if err != nil {
		f.Fatal(err)
	}
	if doc, err = doc.report(patch, 1); err != nil {
		f.Fatal(err)
	}
	record := appendTwin(appendTwin(appendRecordHead(nil, 1), identityKey{"d", ""}, doc), identityKey{"d", "m"}, freshTwin("h"))
	f.Add(record)
	f.Add(record[:len(record)-1])
	f.Add([]byte{twinRecordFormat})
	f.Fuzz(func(t *testing.T, record []byte) {
		_ = decodeTwins(record, func(_ uint64, _ identityKey, d *twinDoc) {
			_ = d.deviceView()
		})
	})
}

func TestTextSize(t *testing.T) {
	for text, want := range map[string]int{"": 0, "abc": 3, "a\x00\x1f\x7fb": 2, "\u0080\u009f\u00a0": 2, "ü€😀": 9} {
		if got := textSize(text); got != want {
			t.Errorf("%q has size %d, want %d", text, got, want)
		}
	}
}
