package topic

import "errors"

// ErrEscape is returned for a '%' that two hexadecimal digits do not follow.
var ErrEscape = errors.New("topic: invalid percent escape")

// unreserved marks the characters that RFC 3986, section 2.3, leaves as they
// are. Everything else is escaped, '/' above all: a bag is one topic level.
var unreserved = func() (t [256]bool) {
	for c := range t {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			c == '-', c == '.', c == '_', c == '~':
			t[c] = true
		}
	}
	return t
}()

const hexDigits = "0123456789ABCDEF"

// EscapedLen returns the length of s once escaped.
func EscapedLen(s string) int {
	n := len(s)
	for i := 0; i < len(s); i++ {
		if !unreserved[s[i]] {
			n += 2
		}
	}
	return n
}

// AppendEscaped appends s with every byte that is not unreserved in RFC 3986
// as %XX, in upper case.
func AppendEscaped(dst []byte, s string) []byte {
	for {
		n := 0 // copy runs of unreserved characters at once
		for n < len(s) && unreserved[s[n]] {
			n++
		}
		dst = append(dst, s[:n]...)
		if n == len(s) {
			return dst
		}
		dst = append(dst, '%', hexDigits[s[n]>>4], hexDigits[s[n]&15])
		s = s[n+1:]
	}
}

// AppendUnescaped appends src with its escapes resolved, once. A '+' is a plus
// sign, never a space. On error, always ErrEscape, it returns dst as it was.
// The result is whatever the sender escaped, so not necessarily valid UTF-8.
func AppendUnescaped(dst []byte, src []byte) ([]byte, error) {
	start := len(dst)
	for i := 0; i < len(src); i++ {
		if src[i] != '%' {
			dst = append(dst, src[i])
			continue
		}
		c, ok := unescapeAt(src, i)
		if !ok {
			return dst[:start], ErrEscape
		}
		dst = append(dst, c)
		i += 2
	}
	return dst, nil
}

// unescapeAt resolves the escape whose '%' is s[i].
func unescapeAt[T string | []byte](s T, i int) (c byte, ok bool) {
	if len(s)-i < 3 {
		return 0, false
	}
	hi, lo := unhex[s[i+1]], unhex[s[i+2]]
	return hi<<4 | lo, hi < 16 && lo < 16
}

// unhex maps hexadecimal digits of either case to their value, the rest to 0xff.
var unhex = func() (t [256]byte) {
	for c := range t {
		switch {
		case '0' <= c && c <= '9':
			t[c] = byte(c - '0')
		case 'a' <= c && c <= 'f':
			t[c] = byte(c - 'a' + 10)
		case 'A' <= c && c <= 'F':
			t[c] = byte(c - 'A' + 10)
		default:
			t[c] = 0xff
		}
	}
	return t
}()
