package nullserver

import (
	"bytes"
	"testing"

	"github.com/iothub-go/iothub/bench/internal/packet"
)

// However the stream is cut, the answers are the same and complete.
func TestScanAnswersAcrossCuts(t *testing.T) {
	var stream, want []byte
	stream = append(stream, packet.Connect("d/m", "user", "password")...)
	want = append(want, 0x20, 2, 0, 0)
	for id := range uint16(20) {
		stream = packet.AppendPublish(stream, "a/b", id+1, make([]byte, int(id)*17))
		want = append(want, 0x40, 2, 0, byte(id+1))
	}
	stream = append(stream, 0xc0, 0)
	want = append(want, 0xd0, 0)
	stream = append(stream, 0x82, 6, 0, 9, 0, 1, 'x', 1)
	want = append(want, 0x90, 3, 0, 9, 1)
	for step := 1; step < len(stream); step += 7 {
		var in, got []byte
		for rest := stream; len(rest) > 0; {
			n := min(step, len(rest))
			in, rest = append(in, rest[:n]...), rest[n:]
			var used int
			var err error
			if got, used, err = scan(in, got); err != nil {
				t.Fatal(err)
			}
			in = in[used:]
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("in steps of %d: answered %x, want %x", step, got, want)
		}
	}
}

func TestScanRefusesNonsense(t *testing.T) {
	for _, in := range [][]byte{
		{0x32, 0xff, 0xff, 0xff, 0xff, 1}, // a length of five bytes
		{0x32, 1, 0},                      // no room for the topic's length
		{0x32, 3, 0, 9, 0},                // a topic longer than the packet
		{0x82, 1, 0},
		{0xa2, 0},
	} {
		if _, _, err := scan(in, nil); err == nil {
			t.Errorf("scan(%x) takes it", in)
		}
	}
}

func FuzzScan(f *testing.F) {
	f.Add(packet.AppendPublish(nil, "a/b", 1, []byte("x")))
	f.Add([]byte{0x82, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		if _, used, _ := scan(in, nil); used > len(in) {
			t.Fatalf("used %d of %d", used, len(in))
		}
	})
}
