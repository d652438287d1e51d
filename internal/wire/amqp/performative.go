package amqp

import "math"

// The defaults of fields that Open, Begin and Attach have. A field that has its
// default is not written.
const (
	DefaultMaxFrameSize = math.MaxUint32
	DefaultChannelMax   = math.MaxUint16
	DefaultHandleMax    = math.MaxUint32
)

// Open begins a connection. (AMQP 2.7.1)
type Open struct {
	ContainerID  string
	HostName     string
	MaxFrameSize uint32 // bytes
	ChannelMax   uint16
	IdleTimeout  uint32 // milliseconds; 0 is none
	// The locales and capabilities are nil when they are absent.
	OutgoingLocales, IncomingLocales         []Symbol
	OfferedCapabilities, DesiredCapabilities []Symbol
	Properties                               Map
}

// Append appends the performative.
func (p *Open) Append(dst []byte) ([]byte, error) {
	l := beginList(dst, CodeOpen)
	l.mustString(p.ContainerID)
	l.string(p.HostName)
	l.uint32Unless(p.MaxFrameSize, DefaultMaxFrameSize)
	l.optUint16(Opt[uint16]{p.ChannelMax, p.ChannelMax != DefaultChannelMax})
	l.uint32Unless(p.IdleTimeout, 0)
	l.symbols(p.OutgoingLocales)
	l.symbols(p.IncomingLocales)
	l.symbols(p.OfferedCapabilities)
	l.symbols(p.DesiredCapabilities)
	l.mapping(p.Properties)
	return l.end()
}

// Decode decodes the body of a frame.
func (p *Open) Decode(body []byte) error {
	f, err := decodeBody(body, CodeOpen)
	if err != nil {
		return err
	}
	id := f.any()
	name, ok := id.(string)
	f.must(ok)
	*p = Open{
		ContainerID: name, HostName: f.string(),
		MaxFrameSize: f.uint32().Or(DefaultMaxFrameSize), ChannelMax: f.uint16().Or(DefaultChannelMax),
		IdleTimeout:     f.uint32().Or(0),
		OutgoingLocales: f.symbols(), IncomingLocales: f.symbols(),
		OfferedCapabilities: f.symbols(), DesiredCapabilities: f.symbols(),
		Properties: f.mapping(),
	}
	return f.end()
}

// decodeBody reads the one composite type that a body is.
func decodeBody(body []byte, want Code) (fields, error) {
	c := cursor{body}
	f, err := c.described(want, 0)
	if err == nil && len(c.b) != 0 {
		err = errTrailing
	}
	return f, err
}

// Begin begins a session. (AMQP 2.7.2)
type Begin struct {
	RemoteChannel                                  Opt[uint16] // in the answer only
	NextOutgoingID, IncomingWindow, OutgoingWindow uint32
	HandleMax                                      uint32
	OfferedCapabilities, DesiredCapabilities       []Symbol
	Properties                                     Map
}

// Append appends the performative.
func (p *Begin) Append(dst []byte) ([]byte, error) {
	l := beginList(dst, CodeBegin)
	l.optUint16(p.RemoteChannel)
	l.uint32(p.NextOutgoingID)
	l.uint32(p.IncomingWindow)
	l.uint32(p.OutgoingWindow)
	l.uint32Unless(p.HandleMax, DefaultHandleMax)
	l.symbols(p.OfferedCapabilities)
	l.symbols(p.DesiredCapabilities)
	l.mapping(p.Properties)
	return l.end()
}

// Decode decodes the body of a frame.
func (p *Begin) Decode(body []byte) error {
	f, err := decodeBody(body, CodeBegin)
	if err != nil {
		return err
	}
	p.RemoteChannel = f.uint16()
	next, in, out := f.uint32(), f.uint32(), f.uint32()
	f.must(next.OK && in.OK && out.OK)
	p.NextOutgoingID, p.IncomingWindow, p.OutgoingWindow = next.V, in.V, out.V
	p.HandleMax = f.uint32().Or(DefaultHandleMax)
	p.OfferedCapabilities, p.DesiredCapabilities = f.symbols(), f.symbols()
	p.Properties = f.mapping()
	return f.end()
}

// Role is the part that the sender of a performative has on a link. (AMQP 2.8.1)
type Role bool

// The roles.
const (
	RoleSender   Role = false
	RoleReceiver Role = true
)

// The settle modes of senders and receivers. (AMQP 2.8.2, 2.8.3)
const (
	SenderUnsettled uint8 = 0
	SenderSettled   uint8 = 1
	SenderMixed     uint8 = 2

	ReceiverFirst  uint8 = 0
	ReceiverSecond uint8 = 1
)

// Attach attaches a link. (AMQP 2.7.3)
type Attach struct {
	Name   string
	Handle uint32
	Role   Role
	// The settle modes; absent is SenderMixed and ReceiverFirst.
	SenderSettleMode, ReceiverSettleMode Opt[uint8]
	Source                               *Source
	Target                               *Target
	// Coordinator tells that the target is one for transactions.
	Coordinator                              bool
	Unsettled                                Map
	IncompleteUnsettled                      bool
	InitialDeliveryCount                     Opt[uint32] // of senders
	MaxMessageSize                           Opt[uint64]
	OfferedCapabilities, DesiredCapabilities []Symbol
	Properties                               Map
}

// Append appends the performative.
func (p *Attach) Append(dst []byte) ([]byte, error) {
	l := beginList(dst, CodeAttach)
	l.mustString(p.Name)
	l.uint32(p.Handle)
	l.bool(bool(p.Role))
	l.optUint8(p.SenderSettleMode)
	l.optUint8(p.ReceiverSettleMode)
	if p.Source == nil {
		l.null()
	} else {
		l.composite(p.Source.Append)
	}
	switch {
	case p.Coordinator:
		l.composite(appendCoordinator)
	case p.Target == nil:
		l.null()
	default:
		l.composite(p.Target.Append)
	}
	l.mapping(p.Unsettled)
	l.flag(p.IncompleteUnsettled)
	l.optUint32(p.InitialDeliveryCount)
	l.optUint64(p.MaxMessageSize)
	l.symbols(p.OfferedCapabilities)
	l.symbols(p.DesiredCapabilities)
	l.mapping(p.Properties)
	return l.end()
}

// Decode decodes the body of a frame.
func (p *Attach) Decode(body []byte) error {
	f, err := decodeBody(body, CodeAttach)
	if err != nil {
		return err
	}
	*p = Attach{}
	name, ok := f.any().(string)
	handle, role := f.uint32(), f.bool()
	f.must(ok && handle.OK && role.OK)
	p.Name, p.Handle, p.Role = name, handle.V, Role(role.V)
	p.SenderSettleMode, p.ReceiverSettleMode = f.uint8(), f.uint8()
	p.Source = f.source()
	p.Target, p.Coordinator = f.target()
	p.Unsettled = f.mapping()
	p.IncompleteUnsettled = f.bool().Or(false)
	p.InitialDeliveryCount = f.uint32()
	p.MaxMessageSize = f.uint64()
	p.OfferedCapabilities, p.DesiredCapabilities = f.symbols(), f.symbols()
	p.Properties = f.mapping()
	return f.end()
}

// Flow tells of windows and credit. (AMQP 2.7.4)
type Flow struct {
	NextIncomingID Opt[uint32]
	IncomingWindow uint32
	NextOutgoingID uint32
	OutgoingWindow uint32
	// What follows is about a link, if Handle is there.
	Handle        Opt[uint32]
	DeliveryCount Opt[uint32]
	LinkCredit    Opt[uint32]
	Available     Opt[uint32]
	Drain         bool
	Echo          bool
	Properties    Map
}

// Append appends the performative.
func (p *Flow) Append(dst []byte) ([]byte, error) {
	l := beginList(dst, CodeFlow)
	l.optUint32(p.NextIncomingID)
	l.uint32(p.IncomingWindow)
	l.uint32(p.NextOutgoingID)
	l.uint32(p.OutgoingWindow)
	l.optUint32(p.Handle)
	l.optUint32(p.DeliveryCount)
	l.optUint32(p.LinkCredit)
	l.optUint32(p.Available)
	l.flag(p.Drain)
	l.flag(p.Echo)
	l.mapping(p.Properties)
	return l.end()
}

// Decode decodes the body of a frame.
func (p *Flow) Decode(body []byte) error {
	f, err := decodeBody(body, CodeFlow)
	if err != nil {
		return err
	}
	p.NextIncomingID = f.uint32()
	in, next, out := f.uint32(), f.uint32(), f.uint32()
	f.must(in.OK && next.OK && out.OK)
	p.IncomingWindow, p.NextOutgoingID, p.OutgoingWindow = in.V, next.V, out.V
	p.Handle, p.DeliveryCount, p.LinkCredit, p.Available = f.uint32(), f.uint32(), f.uint32(), f.uint32()
	p.Drain, p.Echo = f.bool().Or(false), f.bool().Or(false)
	p.Properties = f.mapping()
	return f.end()
}

// MaxDeliveryTag is the length of the longest delivery tag. (AMQP 2.8.7)
const MaxDeliveryTag = 32

// Transfer carries a message or a part of one. (AMQP 2.7.5)
type Transfer struct {
	Handle        uint32
	DeliveryID    Opt[uint32] // these three are there in the first part
	DeliveryTag   []byte
	MessageFormat Opt[uint32]
	// Settled, absent in parts, is false unless one of them says otherwise.
	Settled            Opt[bool]
	More               bool
	ReceiverSettleMode Opt[uint8]
	State              State
	Resume             bool
	Aborted            bool
	Batchable          bool
	// Payload is what follows the performative in the frame. It aliases the frame.
	Payload []byte
}

// Append appends the performative and the payload.
func (p *Transfer) Append(dst []byte) ([]byte, error) {
	l := beginList(dst, CodeTransfer)
	l.uint32(p.Handle)
	l.optUint32(p.DeliveryID)
	l.binary(p.DeliveryTag)
	l.optUint32(p.MessageFormat)
	if p.Settled.OK {
		l.bool(p.Settled.V)
	} else {
		l.null()
	}
	l.flag(p.More)
	l.optUint8(p.ReceiverSettleMode)
	l.state(&p.State)
	l.flag(p.Resume)
	l.flag(p.Aborted)
	l.flag(p.Batchable)
	dst, err := l.end()
	if err != nil {
		return dst, err
	}
	return append(dst, p.Payload...), nil
}

// Decode decodes the body of a frame.
func (p *Transfer) Decode(body []byte) error {
	c := cursor{body}
	f, err := c.described(CodeTransfer, 0)
	if err != nil {
		return err
	}
	handle := f.uint32()
	f.must(handle.OK)
	p.Handle, p.DeliveryID, p.DeliveryTag, p.MessageFormat = handle.V, f.uint32(), f.binary(), f.uint32()
	if len(p.DeliveryTag) > MaxDeliveryTag {
		f.fail(errTag)
	}
	p.Settled, p.More, p.ReceiverSettleMode = f.bool(), f.bool().Or(false), f.uint8()
	f.state(&p.State)
	p.Resume, p.Aborted, p.Batchable = f.bool().Or(false), f.bool().Or(false), f.bool().Or(false)
	p.Payload = c.b
	return f.end()
}

// Disposition tells of the state of deliveries. (AMQP 2.7.6)
type Disposition struct {
	Role      Role
	First     uint32
	Last      Opt[uint32] // absent is First
	Settled   bool
	State     State
	Batchable bool
}

// Append appends the performative.
func (p *Disposition) Append(dst []byte) ([]byte, error) {
	l := beginList(dst, CodeDisposition)
	l.bool(bool(p.Role))
	l.uint32(p.First)
	l.optUint32(p.Last)
	l.flag(p.Settled)
	l.state(&p.State)
	l.flag(p.Batchable)
	return l.end()
}

// Decode decodes the body of a frame.
func (p *Disposition) Decode(body []byte) error {
	f, err := decodeBody(body, CodeDisposition)
	if err != nil {
		return err
	}
	role, first := f.bool(), f.uint32()
	f.must(role.OK && first.OK)
	p.Role, p.First, p.Last = Role(role.V), first.V, f.uint32()
	p.Settled = f.bool().Or(false)
	f.state(&p.State)
	p.Batchable = f.bool().Or(false)
	return f.end()
}

// Detach detaches a link, for good when Closed is set. (AMQP 2.7.7)
type Detach struct {
	Handle uint32
	Closed bool
	Error  *Error
}

// Append appends the performative.
func (p *Detach) Append(dst []byte) ([]byte, error) {
	l := beginList(dst, CodeDetach)
	l.uint32(p.Handle)
	l.flag(p.Closed)
	l.fault(p.Error)
	return l.end()
}

// Decode decodes the body of a frame.
func (p *Detach) Decode(body []byte) error {
	f, err := decodeBody(body, CodeDetach)
	if err != nil {
		return err
	}
	handle := f.uint32()
	f.must(handle.OK)
	*p = Detach{Handle: handle.V, Closed: f.bool().Or(false), Error: f.fault()}
	return f.end()
}

// End ends a session. (AMQP 2.7.8)
type End struct{ Error *Error }

// Append appends the performative.
func (p *End) Append(dst []byte) ([]byte, error) { return appendEnd(dst, CodeEnd, p.Error) }

// Decode decodes the body of a frame.
func (p *End) Decode(body []byte) (err error) {
	p.Error, err = decodeEnd(body, CodeEnd)
	return err
}

// Close ends a connection. (AMQP 2.7.9)
type Close struct{ Error *Error }

// Append appends the performative.
func (p *Close) Append(dst []byte) ([]byte, error) { return appendEnd(dst, CodeClose, p.Error) }

// Decode decodes the body of a frame.
func (p *Close) Decode(body []byte) (err error) {
	p.Error, err = decodeEnd(body, CodeClose)
	return err
}

func appendEnd(dst []byte, code Code, e *Error) ([]byte, error) {
	l := beginList(dst, code)
	l.fault(e)
	return l.end()
}

func decodeEnd(body []byte, code Code) (*Error, error) {
	f, err := decodeBody(body, code)
	if err != nil {
		return nil, err
	}
	e := f.fault()
	return e, f.end()
}
