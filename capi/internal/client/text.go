package client

import (
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/iothub-go/iothub"
)

// Unless auto_url_encode_decode is on, the C SDK puts properties on the wire
// and takes them from it as they are, percent signs and all, and programs
// encode and decode by themselves. The clients here always do; so what a
// program has encoded is decoded first, and what it will decode is encoded.
// What then goes over the wire means the same, and a character that would have
// broken the topic does not.

// decode undoes percent-encoding, where it is one.
func decode(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	if d, err := url.PathUnescape(s); err == nil {
		return d
	}
	return s
}

// encode escapes as hubs do in a topic.
func encode(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; plain(rune(c)) {
			b.WriteByte(c)
		} else {
			const hex = "0123456789ABCDEF"
			b.WriteString("%" + hex[c>>4:c>>4+1] + hex[c&15:c&15+1])
		}
	}
	return b.String()
}

func plain(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r < 0x80 && strings.ContainsRune("-._~!*()'", r)
}

// texts are the system properties that travel in a topic.
func texts(m *iothub.Message) [8]*string {
	return [...]*string{&m.MessageID, &m.CorrelationID, &m.ContentType, &m.ContentEncoding, &m.OutputName, &m.Component, &m.UserID, &m.DiagnosticID}
}

func decodeMessage(m *iothub.Message) { recode(m, decode) }
func encodeMessage(m *iothub.Message) { recode(m, encode) }

// recode changes m but not what its map of properties was.
func recode(m *iothub.Message, code func(string) string) {
	for _, s := range texts(m) {
		*s = code(*s)
	}
	changed := false
	for k, v := range m.Properties {
		if code(k) != k || code(v) != v {
			changed = true
			break
		}
	}
	if !changed {
		return
	}
	properties := make(map[string]string, len(m.Properties))
	for k, v := range m.Properties {
		properties[code(k)] = code(v)
	}
	m.Properties = properties
}

// sampling marks a share of the messages for distributed tracing, spread
// evenly: the option diag_sampling_percentage.
type sampling struct {
	percent uint64
	n       uint64
}

func (s *sampling) mark(m *iothub.Message) {
	if s.percent == 0 || m.DiagnosticID != "" {
		return
	}
	s.n++
	// The first is marked, and then each that completes another whole.
	if s.n > 1 && (s.n-2)*s.percent/100 == (s.n-1)*s.percent/100 {
		return
	}
	const digits = "0123456789abcdefghijklmnopqrstuvwxyz"
	var id [8]byte
	for i := range id {
		id[i] = digits[rand.IntN(len(digits))]
	}
	m.DiagnosticID = string(id[:])
	m.DiagnosticContext = "creationtimeutc=" + strconv.FormatInt(time.Now().Unix(), 10)
}
