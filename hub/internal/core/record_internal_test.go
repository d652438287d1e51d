package core

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"
)

func sampleRecord() []byte {
	b := new(batch)
	b.reset(1)
	for i, model := range []string{"", "dtmi:x;1"} {
		s := &sender{entry: appendConnection(nil, &Principal{DeviceID: "d", ModuleID: "m", AuthMethod: "a", GenerationID: "g"}, model)}
		for n := range 3 {
			b.add(b.connection(s), &Event{Bag: []byte("k=v"), Payload: bytes.Repeat([]byte("x"), n), Will: i == 1}, 1000+int64(n)-1)
		}
	}
	return b.seal(42)
}

func TestRecordRoundTrip(t *testing.T) {
	r, err := decodeRecord(sampleRecord())
	if err != nil {
		t.Fatal(err)
	}
	if r.first != 42 || r.count != 6 || len(r.conns) != 2 || r.last != 1001 || r.conns[1].model != "dtmi:x;1" {
		t.Errorf("record %+v", r)
	}
	for i := range r.count {
		e, err := r.next()
		if err != nil {
			t.Fatal(err)
		}
		if e.conn != &r.conns[i/3] || e.time != 999+int64(i%3) || len(e.payload) != i%3 || string(e.bag) != "k=v" || e.flags != byte(i/3)*flagWill {
			t.Errorf("event %d: %+v", i, e)
		}
	}
	if _, err := r.next(); err == nil {
		t.Error("more events than there are")
	}
}

// FuzzDecodeRecord gives the decoder whatever, with a checksum that fits.
func FuzzDecodeRecord(f *testing.F) {
	f.Add(sampleRecord())
	f.Add(make([]byte, recordHeader))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) >= recordHeader {
			data = bytes.Clone(data)
			copy(data, recordMagic)
			binary.LittleEndian.PutUint32(data[4:], crc32.Checksum(data[8:], castagnoli))
		}
		r, err := decodeRecord(data)
		if err != nil {
			return
		}
		for r.index < r.count {
			e, err := r.next()
			if err != nil {
				return
			}
			_ = decodeEvent(&e)
		}
	})
}

func TestDamagedRecords(t *testing.T) {
	good := sampleRecord()
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x10
		if _, err := decodeRecord(bad); err == nil {
			t.Errorf("byte %d changed and not noticed", i)
		}
		if _, err := decodeRecord(good[:i]); err == nil {
			t.Errorf("cut at %d and not noticed", i)
		}
	}
}
