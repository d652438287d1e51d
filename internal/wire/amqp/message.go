package amqp

import "strconv"

// Header tells how a message is to be transported. (AMQP 3.2.1)
type Header struct {
	Durable       bool
	Priority      Opt[uint8]
	TTL           Opt[uint32] // milliseconds
	FirstAcquirer bool
	DeliveryCount uint32
}

// Properties are the immutable properties of a message. (AMQP 3.2.4) An empty
// text is an absent one.
type Properties struct {
	// MessageID and CorrelationID are a uint64, a UUID, a []byte, a string or nil.
	MessageID     any
	UserID        []byte // nil when it is absent
	To            string
	Subject       string
	ReplyTo       string
	CorrelationID any

	ContentType        Symbol
	ContentEncoding    Symbol
	AbsoluteExpiryTime Opt[Timestamp]
	CreationTime       Opt[Timestamp]
	GroupID            string
	GroupSequence      Opt[uint32]
	ReplyToGroupID     string
}

// Message is a message in its sections. (AMQP 3.2) Absent sections are nil.
//
// The body is one of Data, which has a slice for each data section, Sequences and
// Value. A message may be without any; Value counts when HasValue is set.
type Message struct {
	Header                *Header
	DeliveryAnnotations   Map
	MessageAnnotations    Map
	Properties            *Properties
	ApplicationProperties Map
	Data                  [][]byte
	Sequences             []List
	Value                 any
	HasValue              bool
	Footer                Map
}

// Body is the payload of the message: its data sections one after the other, or
// the text or binary that is its value. It is nil for other bodies.
func (m *Message) Body() []byte {
	switch {
	case len(m.Data) == 1:
		return m.Data[0]
	case len(m.Data) > 1:
		var all []byte
		for _, d := range m.Data {
			all = append(all, d...)
		}
		return all
	}
	switch v := m.Value.(type) {
	case string:
		return []byte(v)
	case []byte:
		return v
	}
	return nil
}

// Append appends the message. Errors match ErrUnsupported; dst is then as it was.
func (m *Message) Append(dst []byte) ([]byte, error) {
	from := len(dst)
	dst, err := m.append(dst)
	if err != nil {
		return dst[:from], err
	}
	return dst, nil
}

func (m *Message) append(dst []byte) (_ []byte, err error) {
	if m.Header != nil {
		if dst, err = m.Header.append(dst); err != nil {
			return dst, err
		}
	}
	if dst, err = appendSection(dst, CodeDeliveryAnnotations, m.DeliveryAnnotations); err != nil {
		return dst, err
	}
	if dst, err = appendSection(dst, CodeMessageAnnotations, m.MessageAnnotations); err != nil {
		return dst, err
	}
	if m.Properties != nil {
		if dst, err = m.Properties.append(dst); err != nil {
			return dst, err
		}
	}
	if dst, err = appendSection(dst, CodeApplicationProperties, m.ApplicationProperties); err != nil {
		return dst, err
	}
	for _, d := range m.Data {
		if d == nil {
			d = []byte{}
		}
		dst = appendBinary(appendDescriptor(dst, CodeData), d)
	}
	for _, s := range m.Sequences {
		if dst, err = appendList(appendDescriptor(dst, CodeSequence), s, 0); err != nil {
			return dst, err
		}
	}
	if m.HasValue {
		if dst, err = appendValue(appendDescriptor(dst, CodeValue), m.Value, 0); err != nil {
			return dst, err
		}
	}
	return appendSection(dst, CodeFooter, m.Footer)
}

// appendSection appends a section that is a map, unless it is absent.
func appendSection(dst []byte, code Code, m Map) ([]byte, error) {
	if m == nil {
		return dst, nil
	}
	return appendMap(appendDescriptor(dst, code), m, 0)
}

func (h *Header) append(dst []byte) ([]byte, error) {
	l := beginList(dst, CodeHeader)
	l.flag(h.Durable)
	l.optUint8(h.Priority)
	l.optUint32(h.TTL)
	l.flag(h.FirstAcquirer)
	l.uint32Unless(h.DeliveryCount, 0)
	return l.end()
}

func (p *Properties) append(dst []byte) ([]byte, error) {
	l := beginList(dst, CodeProperties)
	l.any(p.MessageID)
	l.binary(p.UserID)
	l.string(p.To)
	l.string(p.Subject)
	l.string(p.ReplyTo)
	l.any(p.CorrelationID)
	l.symbol(p.ContentType)
	l.symbol(p.ContentEncoding)
	l.timestamp(p.AbsoluteExpiryTime)
	l.timestamp(p.CreationTime)
	l.string(p.GroupID)
	l.optUint32(p.GroupSequence)
	l.string(p.ReplyToGroupID)
	return l.end()
}

// Decode decodes a whole message, whose binaries alias src. Sections have to be
// in order, each there once but for those of data and sequences. A message
// without a body is let pass: clients in use send such. (AMQP 3.2)
func (m *Message) Decode(src []byte) error {
	*m = Message{}
	last := Code(0)
	for c := (cursor{src}); len(c.b) > 0; {
		code, err := c.descriptor()
		if err != nil {
			return err
		}
		if code < CodeHeader || code > CodeFooter {
			return errDescriptor
		}
		again := code == last && (code == CodeData || code == CodeSequence)
		body := code >= CodeData && code <= CodeValue && last >= CodeData && last <= CodeValue
		if !again && (code <= last || body) {
			return errSection
		}
		last = code
		if err := m.section(&c, code); err != nil {
			return err
		}
	}
	return nil
}

// section decodes what follows the descriptor of a section.
func (m *Message) section(c *cursor, code Code) (err error) {
	switch code {
	case CodeHeader:
		m.Header, err = c.header()
	case CodeDeliveryAnnotations:
		m.DeliveryAnnotations, err = c.mapSection()
	case CodeMessageAnnotations:
		m.MessageAnnotations, err = c.mapSection()
	case CodeProperties:
		m.Properties, err = c.properties()
	case CodeApplicationProperties:
		m.ApplicationProperties, err = c.mapSection()
	case CodeData:
		var v any
		if v, err = c.value(0); err == nil {
			b, ok := v.([]byte)
			if !ok {
				return errType
			}
			m.Data = append(m.Data, b)
		}
	case CodeSequence:
		var v any
		if v, err = c.value(0); err == nil {
			l, ok := v.(List)
			if !ok {
				return errType
			}
			m.Sequences = append(m.Sequences, l)
		}
	case CodeValue:
		m.HasValue = true
		m.Value, err = c.value(0)
	case CodeFooter:
		m.Footer, err = c.mapSection()
	}
	return err
}

// mapSection reads a map; null counts as one without entries, as some clients
// write it.
func (c *cursor) mapSection() (Map, error) {
	v, err := c.value(0)
	if err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case nil:
		return Map{}, nil
	case Map:
		return v, nil
	}
	return nil, errType
}

func (c *cursor) header() (*Header, error) {
	f, err := c.fields(0)
	if err != nil {
		return nil, err
	}
	h := &Header{
		Durable: f.bool().Or(false), Priority: f.uint8(), TTL: f.uint32(),
		FirstAcquirer: f.bool().Or(false), DeliveryCount: f.uint32().Or(0),
	}
	return h, f.end()
}

func (c *cursor) properties() (*Properties, error) {
	f, err := c.fields(0)
	if err != nil {
		return nil, err
	}
	p := &Properties{
		MessageID: f.messageID(), UserID: f.binary(), To: f.string(), Subject: f.string(), ReplyTo: f.string(),
		CorrelationID: f.messageID(), ContentType: f.symbol(), ContentEncoding: f.symbol(),
		AbsoluteExpiryTime: f.timestamp(), CreationTime: f.timestamp(),
		GroupID: f.string(), GroupSequence: f.uint32(), ReplyToGroupID: f.string(),
	}
	return p, f.end()
}

func (f *fields) messageID() any {
	switch v := f.any().(type) {
	case nil:
		return nil
	case uint64, UUID, []byte, string:
		return v
	}
	f.fail(errMessageID)
	return nil
}

// IDText gives a message or correlation id as text: a UUID in its usual form, a
// number in decimal; "" for none.
func IDText(id any) string {
	switch id := id.(type) {
	case string:
		return id
	case []byte:
		return string(id)
	case UUID:
		return id.String()
	case uint64:
		return strconv.FormatUint(id, 10)
	}
	return ""
}
