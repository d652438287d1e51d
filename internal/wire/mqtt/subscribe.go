package mqtt

// SubackFailure is the return code of a refused subscription; the other codes
// of a SUBACK packet are the granted QoS, 0, 1 or 2.
const SubackFailure byte = 0x80

// Subscription is one topic filter of a SUBSCRIBE packet and the highest QoS
// at which its messages are wanted.
type Subscription struct {
	Filter string
	QoS    byte
}

// AppendSubscribe appends a SUBSCRIBE packet.
func AppendSubscribe(dst []byte, id uint16, subs []Subscription) ([]byte, error) {
	if id == 0 {
		return dst, errPacketID // [MQTT-2.3.1-1]
	}
	if len(subs) == 0 {
		return dst, errNoFilters // [MQTT-3.8.3-3]
	}
	rem := 2
	for i := range subs {
		if subs[i].QoS > 2 {
			return dst, errSubQoS // [MQTT-3-8.3-4]
		}
		if err := checkFilterString(subs[i].Filter); err != nil {
			return dst, err
		}
		if rem += 2 + len(subs[i].Filter) + 1; rem > MaxRemaining {
			return dst, ErrTooLarge
		}
	}
	dst = appendHeader(dst, byte(TypeSubscribe)<<4|headerFlags(TypeSubscribe), rem)
	dst = appendUint16(dst, id)
	for i := range subs {
		dst = appendString(dst, subs[i].Filter)
		dst = append(dst, subs[i].QoS)
	}
	return dst, nil
}

// DecodeSubscribe decodes a SUBSCRIBE packet. The filters are copies. The
// packet is validated as a whole before anything is allocated.
func DecodeSubscribe(frame []byte) (id uint16, subs []Subscription, err error) {
	b, err := body(frame, TypeSubscribe)
	if err != nil {
		return 0, nil, err
	}
	r := cursor{b}
	if id, err = r.packetID(); err != nil {
		return 0, nil, err
	}
	if len(r.b) == 0 {
		return 0, nil, errNoFilters // [MQTT-3.8.3-3]
	}
	n := 0
	for check := r; len(check.b) > 0; n++ {
		if _, err := check.filter(); err != nil {
			return 0, nil, err
		}
		qos, err := check.byte()
		if err != nil {
			return 0, nil, err
		}
		if qos > 2 {
			return 0, nil, errSubQoS // [MQTT-3-8.3-4]
		}
	}
	subs = make([]Subscription, n)
	for i := range subs {
		f, _ := r.binary()
		qos, _ := r.byte()
		subs[i] = Subscription{Filter: string(f), QoS: qos}
	}
	return id, subs, nil
}

// AppendSuback appends a SUBACK packet with one code per topic filter of the
// SUBSCRIBE packet it answers, in the same order: the granted QoS or
// SubackFailure. [MQTT-3.9.3-1] id must not be 0, codes neither empty nor
// longer than MaxRemaining-2.
func AppendSuback(dst []byte, id uint16, codes []byte) []byte {
	dst = appendHeader(dst, byte(TypeSuback)<<4, 2+len(codes))
	dst = appendUint16(dst, id)
	return append(dst, codes...)
}

// DecodeSuback decodes a SUBACK packet. codes aliases frame and has at least
// one element; that it has one per topic filter is for the caller to check.
func DecodeSuback(frame []byte) (id uint16, codes []byte, err error) {
	b, err := body(frame, TypeSuback)
	if err != nil {
		return 0, nil, err
	}
	r := cursor{b}
	if id, err = r.packetID(); err != nil {
		return 0, nil, err
	}
	if len(r.b) == 0 {
		return 0, nil, errSubackEmpty // [MQTT-3.8.4-5]
	}
	for _, c := range r.b {
		if c > 2 && c != SubackFailure {
			return 0, nil, errSubackCode // [MQTT-3.9.3-2]
		}
	}
	return id, r.b, nil
}

// AppendUnsubscribe appends an UNSUBSCRIBE packet.
func AppendUnsubscribe(dst []byte, id uint16, filters []string) ([]byte, error) {
	if id == 0 {
		return dst, errPacketID // [MQTT-2.3.1-1]
	}
	if len(filters) == 0 {
		return dst, errNoUnfilters // [MQTT-3.10.3-2]
	}
	rem := 2
	for _, f := range filters {
		if err := checkFilterString(f); err != nil {
			return dst, err
		}
		if rem += 2 + len(f); rem > MaxRemaining {
			return dst, ErrTooLarge
		}
	}
	dst = appendHeader(dst, byte(TypeUnsubscribe)<<4|headerFlags(TypeUnsubscribe), rem)
	dst = appendUint16(dst, id)
	for _, f := range filters {
		dst = appendString(dst, f)
	}
	return dst, nil
}

// DecodeUnsubscribe decodes an UNSUBSCRIBE packet. The filters are copies. The
// packet is validated as a whole before anything is allocated.
func DecodeUnsubscribe(frame []byte) (id uint16, filters []string, err error) {
	b, err := body(frame, TypeUnsubscribe)
	if err != nil {
		return 0, nil, err
	}
	r := cursor{b}
	if id, err = r.packetID(); err != nil {
		return 0, nil, err
	}
	if len(r.b) == 0 {
		return 0, nil, errNoUnfilters // [MQTT-3.10.3-2]
	}
	n := 0
	for check := r; len(check.b) > 0; n++ {
		if _, err := check.filter(); err != nil {
			return 0, nil, err
		}
	}
	filters = make([]string, n)
	for i := range filters {
		f, _ := r.binary()
		filters[i] = string(f)
	}
	return id, filters, nil
}

// filter reads a topic filter, aliasing the packet. [MQTT-3.8.3-1]
// [MQTT-3.10.3-1]
func (c *cursor) filter() ([]byte, error) {
	f, err := c.text()
	if err != nil {
		return nil, err
	}
	return f, checkFilter(f)
}

func checkFilterString(f string) error {
	if err := checkString(f); err != nil {
		return err
	}
	return checkFilter(f)
}
