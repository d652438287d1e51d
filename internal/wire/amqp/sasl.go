package amqp

// SASLMechanisms is what a server offers. (AMQP 5.3.3.1)
type SASLMechanisms struct{ Mechanisms []Symbol }

// Append appends the body of a SASL frame.
func (p *SASLMechanisms) Append(dst []byte) ([]byte, error) {
	l := beginList(dst, CodeSASLMechanisms)
	l.symbols(p.Mechanisms)
	return l.end()
}

// Decode decodes the body of a SASL frame.
func (p *SASLMechanisms) Decode(body []byte) error {
	f, err := decodeBody(body, CodeSASLMechanisms)
	if err != nil {
		return err
	}
	p.Mechanisms = f.symbols()
	f.must(p.Mechanisms != nil)
	return f.end()
}

// SASLInit is what a client begins with. (AMQP 5.3.3.2)
type SASLInit struct {
	Mechanism       Symbol
	InitialResponse []byte // nil when it is absent; aliases the body
	HostName        string
}

// Append appends the body of a SASL frame.
func (p *SASLInit) Append(dst []byte) ([]byte, error) {
	l := beginList(dst, CodeSASLInit)
	l.mustSymbol(p.Mechanism)
	l.binary(p.InitialResponse)
	l.string(p.HostName)
	return l.end()
}

// Decode decodes the body of a SASL frame.
func (p *SASLInit) Decode(body []byte) error {
	f, err := decodeBody(body, CodeSASLInit)
	if err != nil {
		return err
	}
	mechanism, ok := f.any().(Symbol)
	f.must(ok)
	*p = SASLInit{Mechanism: mechanism, InitialResponse: f.binary(), HostName: f.string()}
	return f.end()
}

// SASLChallenge is a question of a server. (AMQP 5.3.3.3)
type SASLChallenge struct{ Challenge []byte }

// Append appends the body of a SASL frame.
func (p *SASLChallenge) Append(dst []byte) ([]byte, error) {
	return appendSecret(dst, CodeSASLChallenge, p.Challenge)
}

// Decode decodes the body of a SASL frame, which the result aliases.
func (p *SASLChallenge) Decode(body []byte) (err error) {
	p.Challenge, err = decodeSecret(body, CodeSASLChallenge)
	return err
}

// SASLResponse is a client's answer to a challenge. (AMQP 5.3.3.4)
type SASLResponse struct{ Response []byte }

// Append appends the body of a SASL frame.
func (p *SASLResponse) Append(dst []byte) ([]byte, error) {
	return appendSecret(dst, CodeSASLResponse, p.Response)
}

// Decode decodes the body of a SASL frame, which the result aliases.
func (p *SASLResponse) Decode(body []byte) (err error) {
	p.Response, err = decodeSecret(body, CodeSASLResponse)
	return err
}

func appendSecret(dst []byte, code Code, b []byte) ([]byte, error) {
	l := beginList(dst, code)
	if b == nil {
		b = []byte{}
	}
	l.binary(b)
	return l.end()
}

func decodeSecret(body []byte, code Code) ([]byte, error) {
	f, err := decodeBody(body, code)
	if err != nil {
		return nil, err
	}
	b := f.binary()
	f.must(b != nil)
	return b, f.end()
}

// The codes of SASLOutcome. (AMQP 5.3.3.6)
const (
	SASLOK            uint8 = 0
	SASLAuth          uint8 = 1 // the credentials are wrong
	SASLSys           uint8 = 2
	SASLSysPermanent  uint8 = 3
	SASLSysTransitory uint8 = 4
)

// SASLOutcome ends the SASL layer. (AMQP 5.3.3.5)
type SASLOutcome struct {
	Code           uint8
	AdditionalData []byte // nil when it is absent; aliases the body
}

// Append appends the body of a SASL frame.
func (p *SASLOutcome) Append(dst []byte) ([]byte, error) {
	l := beginList(dst, CodeSASLOutcome)
	l.optUint8(Some(p.Code))
	l.binary(p.AdditionalData)
	return l.end()
}

// Decode decodes the body of a SASL frame.
func (p *SASLOutcome) Decode(body []byte) error {
	f, err := decodeBody(body, CodeSASLOutcome)
	if err != nil {
		return err
	}
	code := f.uint8()
	f.must(code.OK)
	*p = SASLOutcome{Code: code.V, AdditionalData: f.binary()}
	return f.end()
}
