package routing

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/iothub-go/iothub/hub/internal/syntax"
)

// kind is what a token is.
type kind uint8

const (
	tokenEnd      kind = iota
	tokenName          // of an application property or a function
	tokenPath          // $name, without the dollar
	tokenNumber        //
	tokenString        //
	tokenOperator      // also brackets and commas
	tokenWord          // and, or, not, true, false, null, undefined
	tokenReserved      // select, from, where, into
)

// token is a piece of a condition.
type token struct {
	kind   kind
	text   string // as it stands, of a string its content, of a word in lower case
	number float64
	at     int // offset of its first byte
}

// operators from the longest on, so that the first that fits is the right one.
var operators = []string{"??", "||", "<=", ">=", "<>", "!=", "(", ")", "{", "}", ",", "=", "<", ">", "+", "-", "*", "/", "%"}

// lexer cuts a condition into tokens. Where several readings are possible the
// longest counts, and of two of the same length an operator, a number or a word
// before a name: so a-b is one name and a - b three tokens.
type lexer struct {
	text string
	pos  int
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// isNameByte reports whether c may be in the name of a property.
func isNameByte(c byte) bool {
	return !isSpace(c) && !strings.ContainsRune(`()<>@,;:\"/[]?={}`, rune(c))
}

func isPathByte(c byte) bool { return !isSpace(c) && !strings.ContainsRune(`()<>@,;:\"/?={}`, rune(c)) }

func (l *lexer) next() (token, *Error) {
	if err := l.skip(); err != nil {
		return token{}, err
	}
	t := token{at: l.pos}
	rest := l.text[l.pos:]
	if rest == "" {
		return t, nil
	}
	switch c := rest[0]; {
	case c == '\'' || c == '"':
		return l.quoted()
	case c == '$':
		n := syntax.Span(rest[1:], isPathByte)
		if n == 0 {
			return t, syntax.At(l.pos, "a name has to follow the $")
		}
		t.kind, t.text = tokenPath, rest[1:1+n]
		l.pos += 1 + n
		return t, nil
	}
	return l.longest(t, rest)
}

// longest decides between an operator, a number, a word and a name.
func (l *lexer) longest(t token, rest string) (token, *Error) {
	name := syntax.Span(rest, isNameByte)
	number := numberLength(rest)
	operator := ""
	for _, op := range operators {
		if strings.HasPrefix(rest, op) {
			operator = op
			break
		}
	}
	switch {
	case number > 0 && number >= name && number >= len(operator):
		v, err := parseNumber(rest[:number])
		if err != nil {
			return t, syntax.At(l.pos, "%s is no number", rest[:number])
		}
		t.kind, t.text, t.number = tokenNumber, rest[:number], v
		l.pos += number
	case operator != "" && len(operator) >= name:
		t.kind, t.text = tokenOperator, operator
		l.pos += len(operator)
	case name > 0:
		t.kind, t.text = tokenName, rest[:name]
		l.pos += name
		switch lower := strings.ToLower(t.text); lower {
		case "and", "or", "not":
			t.kind, t.text = tokenWord, lower
		case "select", "from", "where", "into":
			t.kind = tokenReserved
		}
		switch t.text {
		case "true", "false", "null", "undefined": // in lower case only
			t.kind = tokenWord
		}
	default:
		r, _ := utf8.DecodeRuneInString(rest)
		return t, syntax.At(l.pos, "%q cannot stand here", r)
	}
	return t, nil
}

// skip passes over spaces and comments.
func (l *lexer) skip() *Error {
	for l.pos < len(l.text) {
		switch {
		case isSpace(l.text[l.pos]):
			l.pos++
		case strings.HasPrefix(l.text[l.pos:], "/*"):
			end := strings.Index(l.text[l.pos+2:], "*/")
			if end < 0 {
				return syntax.At(l.pos, "the comment does not end")
			}
			l.pos += end + 4
		default:
			return nil
		}
	}
	return nil
}

// quoted reads a string in either kind of quotes.
func (l *lexer) quoted() (token, *Error) {
	t := token{kind: tokenString, at: l.pos}
	quote := l.text[l.pos]
	var b strings.Builder
	for i := l.pos + 1; i < len(l.text); i++ {
		c := l.text[i]
		switch {
		case c == quote:
			t.text = b.String()
			l.pos = i + 1
			return t, nil
		case c != '\\':
			b.WriteByte(c)
			continue
		}
		i++
		if i >= len(l.text) {
			break
		}
		switch c = l.text[i]; c {
		case '\'', '"', '\\':
			b.WriteByte(c)
		case 'u':
			if i+4 >= len(l.text) {
				return t, syntax.At(i-1, `\u has to be followed by four hexadecimal digits`)
			}
			v, err := strconv.ParseUint(l.text[i+1:i+5], 16, 16)
			if err != nil {
				return t, syntax.At(i-1, `\u has to be followed by four hexadecimal digits`)
			}
			b.WriteRune(rune(v))
			i += 4
		default:
			return t, syntax.At(i-1, `\%c is no escape; there are \' \" \\ and \u`, c)
		}
	}
	return t, syntax.At(l.pos, "the string does not end")
}

// numberLength is how many bytes of s are a number; a sign may be one of them.
func numberLength(s string) int {
	digit := func(c byte) bool { return c >= '0' && c <= '9' }
	i := 0
	if s[0] == '-' {
		i = 1
	}
	if strings.HasPrefix(s[i:], "0x") || strings.HasPrefix(s[i:], "0X") {
		n := syntax.Span(s[i+2:], func(c byte) bool {
			return digit(c) || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
		})
		if n > 0 {
			return i + 2 + n
		}
	}
	whole := syntax.Span(s[i:], digit)
	i += whole
	if i < len(s) && s[i] == '.' {
		if fraction := syntax.Span(s[i+1:], digit); fraction > 0 {
			i += 1 + fraction
			whole += fraction
		}
	}
	if whole == 0 {
		return 0
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		j := i + 1
		if j < len(s) && (s[j] == '+' || s[j] == '-') {
			j++
		}
		if n := syntax.Span(s[j:], digit); n > 0 {
			i = j + n
		}
	}
	return i
}

// parseNumber reads a number; one that is too large is infinite.
func parseNumber(s string) (float64, error) {
	digits, negative := strings.CutPrefix(s, "-")
	if strings.HasPrefix(digits, "0x") || strings.HasPrefix(digits, "0X") {
		n, err := strconv.ParseUint(digits[2:], 16, 64)
		if negative {
			return -float64(n), err
		}
		return float64(n), err
	}
	v, err := strconv.ParseFloat(s, 64)
	if e, ok := err.(*strconv.NumError); ok && e.Err == strconv.ErrRange {
		return v, nil
	}
	return v, err
}
