package nullserver

import "errors"

var errMalformed = errors.New("malformed packet")

// scan appends to acks what answers the complete packets at the start of in,
// and returns acks and the number of bytes those packets take. A PUBLISH with
// QoS 1 costs a look at its length, its topic's length and its packet id.
func scan(in, acks []byte) (_ []byte, used int, err error) {
	for {
		b := in[used:]
		if len(b) < 2 {
			return acks, used, nil
		}
		n, head := int(b[1]&0x7f), 2
		for shift := 7; b[head-1]&0x80 != 0; shift += 7 {
			if head == 5 {
				return acks, used, errMalformed
			}
			if len(b) == head {
				return acks, used, nil
			}
			n |= int(b[head]&0x7f) << shift
			head++
		}
		if len(b) < head+n {
			return acks, used, nil
		}
		body := b[head : head+n]
		switch b[0] {
		case 0x32, 0x3a, 0x33, 0x3b: // PUBLISH, QoS 1
			if len(body) < 2 {
				return acks, used, errMalformed
			}
			t := int(body[0])<<8 | int(body[1])
			if len(body) < t+4 {
				return acks, used, errMalformed
			}
			acks = append(acks, 0x40, 2, body[t+2], body[t+3])
		case 0x10: // CONNECT
			acks = append(acks, 0x20, 2, 0, 0)
		case 0xc0: // PINGREQ
			acks = append(acks, 0xd0, 0)
		case 0x82: // SUBSCRIBE, answered for one filter a packet
			if len(body) < 2 {
				return acks, used, errMalformed
			}
			acks = append(acks, 0x90, 3, body[0], body[1], body[n-1]&1)
		case 0xa2: // UNSUBSCRIBE
			if len(body) < 2 {
				return acks, used, errMalformed
			}
			acks = append(acks, 0xb0, 2, body[0], body[1])
		}
		used += head + n
	}
}
