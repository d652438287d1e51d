package query

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/iothub-go/iothub/hub/internal/syntax"
)

type kind uint8

const (
	tokenEnd kind = iota
	tokenName
	tokenBracketed // [[name]]
	tokenNumber
	tokenString
	tokenOperator
)

type token struct {
	kind   kind
	text   string
	number float64
	at     int
}

// is reports whether the token is that keyword, in any case.
func (t token) is(word string) bool { return t.kind == tokenName && strings.EqualFold(t.text, word) }

func (t token) op(text string) bool { return t.kind == tokenOperator && t.text == text }

// operators from the longest on.
var operators = []string{"<=", ">=", "<>", "!=", "=", "<", ">", "(", ")", "[", "]", ",", ".", "*", "+", "-", "/", "%"}

type lexer struct {
	text string
	pos  int
}

func nameByte(c byte) bool {
	return c == '_' || c == '$' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= utf8.RuneSelf
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

func (l *lexer) next() (token, *Error) {
	l.pos += syntax.Span(l.text[l.pos:], func(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' })
	t := token{at: l.pos}
	rest := l.text[l.pos:]
	if rest == "" {
		return t, nil
	}
	switch c := rest[0]; {
	case c == '\'' || c == '"':
		return l.quoted()
	case strings.HasPrefix(rest, "[["):
		end := strings.Index(rest, "]]")
		if end < 3 {
			return t, syntax.At(l.pos, "[[ needs a name and ]] behind it")
		}
		t.kind, t.text = tokenBracketed, rest[2:end]
		l.pos += end + 2
		return t, nil
	case digit(c) || c == '.' && len(rest) > 1 && digit(rest[1]):
		return l.numeric()
	case nameByte(c):
		n := syntax.Span(rest, nameByte)
		t.kind, t.text = tokenName, rest[:n]
		l.pos += n
		return t, nil
	}
	for _, op := range operators {
		if strings.HasPrefix(rest, op) {
			t.kind, t.text = tokenOperator, op
			l.pos += len(op)
			return t, nil
		}
	}
	r, _ := utf8.DecodeRuneInString(rest)
	return t, syntax.At(l.pos, "%q cannot stand here", r)
}

func (l *lexer) numeric() (token, *Error) {
	t := token{kind: tokenNumber, at: l.pos}
	rest := l.text[l.pos:]
	n := 0
	var err error
	if strings.HasPrefix(rest, "0x") || strings.HasPrefix(rest, "0X") {
		n = 2 + syntax.Span(rest[2:], func(c byte) bool { return digit(c) || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' })
		var v uint64
		v, err = strconv.ParseUint(rest[2:n], 16, 64)
		t.number = float64(v)
	} else {
		n = syntax.Span(rest, digit)
		if n < len(rest) && rest[n] == '.' {
			n += 1 + syntax.Span(rest[n+1:], digit)
		}
		if n < len(rest) && (rest[n] == 'e' || rest[n] == 'E') {
			m := n + 1
			if m < len(rest) && (rest[m] == '+' || rest[m] == '-') {
				m++
			}
			if d := syntax.Span(rest[m:], digit); d > 0 {
				n = m + d
			}
		}
		t.number, err = strconv.ParseFloat(rest[:n], 64)
	}
	if err != nil || n < len(rest) && nameByte(rest[n]) {
		return t, syntax.At(l.pos, "%s is no number", rest[:n+syntax.Span(rest[n:], nameByte)])
	}
	t.text = rest[:n]
	l.pos += n
	return t, nil
}

// quoted reads a string. A quote is escaped by a backslash or by another quote.
func (l *lexer) quoted() (token, *Error) {
	t := token{kind: tokenString, at: l.pos}
	quote := l.text[l.pos]
	var b strings.Builder
	for i := l.pos + 1; i < len(l.text); i++ {
		switch c := l.text[i]; {
		case c == quote && i+1 < len(l.text) && l.text[i+1] == quote:
			b.WriteByte(quote)
			i++
		case c == quote:
			t.text = b.String()
			l.pos = i + 1
			return t, nil
		case c == '\\' && i+1 < len(l.text):
			n, ok := escape(&b, l.text[i+1:])
			if !ok {
				return t, syntax.At(i, `there are the escapes \' \" \\ and \u with four hexadecimal digits`)
			}
			i += n
		default:
			b.WriteByte(c)
		}
	}
	return t, syntax.At(t.at, "the string does not end")
}

// escape decodes what follows a backslash and says how long it is.
func escape(b *strings.Builder, s string) (n int, ok bool) {
	switch s[0] {
	case '\'', '"', '\\', '/':
		b.WriteByte(s[0])
		return 1, true
	case 'n':
		b.WriteByte('\n')
		return 1, true
	case 't':
		b.WriteByte('\t')
		return 1, true
	case 'u':
		if len(s) >= 5 {
			if v, err := strconv.ParseUint(s[1:5], 16, 16); err == nil {
				b.WriteRune(rune(v))
				return 5, true
			}
		}
	}
	return 0, false
}
