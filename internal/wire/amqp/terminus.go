package amqp

// Source is where the messages of a link come from. (AMQP 3.5.3)
type Source struct {
	Address               string // empty when it is null
	Durable               uint32
	ExpiryPolicy          Symbol // empty is the default, session-end
	Timeout               uint32 // seconds
	Dynamic               bool
	DynamicNodeProperties Map
	DistributionMode      Symbol
	Filter                Map
	DefaultOutcome        State
	Outcomes              []Symbol
	Capabilities          []Symbol
}

// Append appends the source.
func (s *Source) Append(dst []byte) ([]byte, error) {
	l := beginList(dst, CodeSource)
	l.string(s.Address)
	l.uint32Unless(s.Durable, 0)
	l.symbol(s.ExpiryPolicy)
	l.uint32Unless(s.Timeout, 0)
	l.flag(s.Dynamic)
	l.mapping(s.DynamicNodeProperties)
	l.symbol(s.DistributionMode)
	l.mapping(s.Filter)
	l.state(&s.DefaultOutcome)
	l.symbols(s.Outcomes)
	l.symbols(s.Capabilities)
	return l.end()
}

func (f *fields) source() *Source {
	code, in, ok := f.composite()
	if !ok {
		return nil
	}
	if code != CodeSource {
		f.fail(errDescriptor)
		return nil
	}
	s := &Source{
		Address: in.string(), Durable: in.uint32().Or(0), ExpiryPolicy: in.symbol(),
		Timeout: in.uint32().Or(0), Dynamic: in.bool().Or(false), DynamicNodeProperties: in.mapping(),
		DistributionMode: in.symbol(), Filter: in.mapping(),
	}
	in.state(&s.DefaultOutcome)
	s.Outcomes, s.Capabilities = in.symbols(), in.symbols()
	if err := in.end(); err != nil {
		f.fail(err)
	}
	return s
}

// Target is where the messages of a link go to. (AMQP 3.5.4)
type Target struct {
	Address               string // empty when it is null
	Durable               uint32
	ExpiryPolicy          Symbol // empty is the default, session-end
	Timeout               uint32 // seconds
	Dynamic               bool
	DynamicNodeProperties Map
	Capabilities          []Symbol
}

// Append appends the target.
func (t *Target) Append(dst []byte) ([]byte, error) {
	l := beginList(dst, CodeTarget)
	l.string(t.Address)
	l.uint32Unless(t.Durable, 0)
	l.symbol(t.ExpiryPolicy)
	l.uint32Unless(t.Timeout, 0)
	l.flag(t.Dynamic)
	l.mapping(t.DynamicNodeProperties)
	l.symbols(t.Capabilities)
	return l.end()
}

// target reads a target, or that it is one for transactions. (AMQP 4.5.1)
func (f *fields) target() (t *Target, coordinator bool) {
	code, in, ok := f.composite()
	switch {
	case !ok:
		return nil, false
	case code == CodeCoordinator:
		in.symbols()
	case code == CodeTarget:
		t = &Target{
			Address: in.string(), Durable: in.uint32().Or(0), ExpiryPolicy: in.symbol(),
			Timeout: in.uint32().Or(0), Dynamic: in.bool().Or(false), DynamicNodeProperties: in.mapping(),
			Capabilities: in.symbols(),
		}
	default:
		f.fail(errDescriptor)
		return nil, false
	}
	if err := in.end(); err != nil {
		f.fail(err)
	}
	return t, code == CodeCoordinator
}

func appendCoordinator(dst []byte) ([]byte, error) {
	return append(appendDescriptor(dst, CodeCoordinator), codeList0), nil
}
