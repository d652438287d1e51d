// Package syntax is what the languages of the hub, of queries and of routing
// conditions, have in common.
package syntax

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Error says what is wrong with a text, and where.
type Error struct {
	// Column is where, in characters from 1.
	Column int
	// Message says what is wrong.
	Message string

	at         int
	what, text string
}

// At returns an error for the byte at an offset; it needs In.
func At(at int, format string, args ...any) *Error {
	return &Error{at: at, Message: fmt.Sprintf(format, args...)}
}

// In says what the text is that the error is about, and gives it the column.
func (e *Error) In(what, text string) *Error {
	e.what, e.text = what, text
	e.Column = utf8.RuneCountInString(text[:min(e.at, len(text))]) + 1
	return e
}

// Error gives the message, the place, and the text with a mark under it.
func (e *Error) Error() string {
	line := strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == '\t' {
			return ' '
		}
		return r
	}, e.text)
	return fmt.Sprintf("the %s is not valid at column %d: %s\n  %s\n  %s^", e.what, e.Column, e.Message, line, strings.Repeat(" ", e.Column-1))
}

// Span is how many bytes at the beginning of s are of a kind.
func Span(s string, is func(byte) bool) int {
	n := 0
	for n < len(s) && is(s[n]) {
		n++
	}
	return n
}
