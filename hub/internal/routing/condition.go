// Package routing is the language of routing conditions: which messages a route
// takes. It is not the language of twin queries.
//
// It is IoT Hub's as the routing engine of IoT Edge has it (wire-service C2): a
// condition is typed when it is compiled, properties are strings, and what a
// message lacks is undefined, which is neither true nor false.
package routing

import (
	"unicode/utf8"

	"github.com/iothub-go/iothub/hub/internal/syntax"
)

const (
	// MaxLength is the longest condition, in bytes.
	MaxLength = 8192
	// maxDepth bounds how deep expressions may be nested.
	maxDepth = 100
)

// Error says what is wrong with a condition, and where.
type Error = syntax.Error

// Message is what a condition is asked about.
type Message interface {
	// Property returns an application property, found whatever its case.
	Property(name string) (value string, ok bool)
	// System returns a system property by its name in conditions, without the $.
	System(name string) (value string, ok bool)
	// Body returns the body as [encoding/json] decodes it; ok is false when it is
	// not JSON in a known encoding. It is asked for at most once per condition and
	// message only where a condition needs it.
	Body() (value any, ok bool)
	// Twin returns the value at a path of the twin of the sender, such as
	// tags.room, in the same form.
	Twin(path []string) (value any, ok bool)
}

// Options say what a condition may use.
type Options struct {
	// TwinChanges allows twin_change_includes, which only means something for
	// changes of twins.
	TwinChanges bool
}

// Condition is a compiled condition. It is safe for use by many goroutines.
type Condition struct {
	root expr
	text string
	body bool
}

// Compile compiles a condition. The empty one takes every message. Errors are
// *Error.
func Compile(text string, o *Options) (*Condition, error) {
	var opts Options
	if o != nil {
		opts = *o
	}
	c := &Condition{text: text}
	if len(text) > MaxLength {
		return nil, syntax.At(0, "it has %d bytes, the limit is %d", len(text), MaxLength).In("condition", "")
	}
	if !utf8.ValidString(text) {
		return nil, syntax.At(0, "it is not valid UTF-8").In("condition", "")
	}
	p := &parser{lex: lexer{text: text}, opts: opts}
	root, err := p.condition()
	if err != nil {
		return nil, err.In("condition", text)
	}
	c.root, c.body = root, p.body
	return c, nil
}

// String is the text of the condition.
func (c *Condition) String() string { return c.text }

// NeedsBody reports whether the condition looks into bodies.
func (c *Condition) NeedsBody() bool { return c.body }

// Matches reports whether the condition is true for a message. Undefined and null
// are not true, and neither is a bare string or number.
func (c *Condition) Matches(m Message) bool {
	if c.root == nil {
		return true
	}
	v := c.root.eval(m)
	return v.kind == boolValue && v.truth
}
