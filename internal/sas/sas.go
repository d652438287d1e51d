// Package sas reads, verifies and makes the shared access signature tokens with
// which devices and services prove themselves to an IoT Hub.
//
// Reading and proving are two steps: [Parse] says what a token claims,
// [Token.Verify] whether a key stands behind it, [Token.Covers] whether the
// claim reaches a resource, and [Token.ExpiredFor] whether it still holds. A
// token counts only when all of them agree.
package sas

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// ClockSkew is how long after its expiry a token is still taken, because the
	// clocks of devices are not exact.
	ClockSkew = 5 * time.Minute
	// MaxLength is the longest token that is read, in bytes. A token for ids of
	// 128 escaped characters stays below half of it.
	MaxLength = 4096

	scheme = "SharedAccessSignature"
	// maxExpiry is the last second of the year 9999: later ones, which clients
	// use for "never", overflow time.Time's usual forms.
	maxExpiry = 253402300799
)

// What can be wrong with the form of a token. The texts never quote the token.
var (
	ErrTooLong   = errors.New("sas: the token is longer than 4096 bytes")
	ErrScheme    = errors.New(`sas: the token does not have the form "SharedAccessSignature sr=…&sig=…&se=…"`)
	ErrMissing   = errors.New("sas: the token lacks sr, sig or se")
	ErrDuplicate = errors.New("sas: the token holds a field twice")
	ErrResource  = errors.New("sas: the resource (sr) of the token is malformed")
	ErrSignature = errors.New("sas: the signature (sig) of the token is not base64 of 32 bytes; is it percent-encoded?")
	ErrExpiry    = errors.New("sas: the expiry (se) of the token is not a number of seconds")
	ErrPolicy    = errors.New("sas: the policy name (skn) of the token is malformed")
)

// Token is what a token claims. It is not to be trusted before Verify.
type Token struct {
	// Resource is the decoded sr and RawResource the same as it stood in the token.
	Resource    string
	RawResource string
	// Signature is the decoded sig, 32 bytes.
	Signature []byte
	// Expiry is se; the token holds until [ClockSkew] after it.
	Expiry time.Time
	// Policy is skn: the name of the shared access policy whose key has signed,
	// empty when it was the key of a device or module.
	Policy string

	rawExpiry string
	host      string
	path      []string
}

// String hides the signature, so that a token does not reach a log by accident.
func (t Token) String() string {
	return scheme + " sr=" + t.RawResource + "&sig=REDACTED&se=" + t.rawExpiry
}

// GoString hides the signature.
func (t Token) GoString() string { return "sas.Token{" + t.String() + "}" }

// Parse reads a token. Fields are known by name, in any order and case; unknown
// ones are ignored, as the signature does not cover them.
func Parse(token string) (Token, error) {
	if len(token) > MaxLength {
		return Token{}, ErrTooLong
	}
	fields, ok := strings.CutPrefix(token, scheme+" ")
	if !ok || strings.ContainsAny(fields, " \t\r\n") {
		return Token{}, ErrScheme
	}
	var sr, sig, se, skn string
	for pair := range strings.SplitSeq(fields, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		var field *string
		switch strings.ToLower(name) {
		case "sr":
			field = &sr
		case "sig":
			field = &sig
		case "se":
			field = &se
		case "skn":
			field = &skn
		default:
			continue
		}
		// Which of two a verifier takes is a matter of taste, hence an attack.
		if *field != "" {
			return Token{}, ErrDuplicate
		}
		*field = value
	}
	if sr == "" || sig == "" || se == "" {
		return Token{}, ErrMissing
	}
	return build(sr, sig, se, skn)
}

func build(sr, sig, se, skn string) (Token, error) {
	t := Token{RawResource: sr, rawExpiry: se}
	var err error
	// PathUnescape and not QueryUnescape: a plus is a plus, ids may hold it and
	// base64 does.
	if t.Resource, err = url.PathUnescape(sr); err != nil {
		return Token{}, ErrResource
	}
	if t.host, t.path, err = splitResource(t.Resource); err != nil {
		return Token{}, err
	}
	text, err := url.PathUnescape(sig)
	if err != nil {
		return Token{}, ErrSignature
	}
	t.Signature, err = base64.StdEncoding.DecodeString(text)
	if err != nil || len(t.Signature) != sha256.Size {
		return Token{}, ErrSignature
	}
	seconds, err := parseExpiry(se)
	if err != nil {
		return Token{}, err
	}
	t.Expiry = time.Unix(seconds, 0).UTC()
	if t.Policy, err = url.PathUnescape(skn); err != nil {
		return Token{}, ErrPolicy
	}
	return t, nil
}

// parseExpiry reads whole seconds and, as the reference does, a decimal number.
func parseExpiry(se string) (int64, error) {
	if n, err := strconv.ParseInt(se, 10, 64); err == nil {
		if n < 0 {
			return 0, ErrExpiry
		}
		return min(n, maxExpiry), nil
	}
	f, err := strconv.ParseFloat(se, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) || f < 0 {
		return 0, ErrExpiry
	}
	return int64(math.Min(f, maxExpiry)), nil
}

// splitResource cuts a decoded resource into its host, without scheme and port
// and in lower case, and the segments of its path.
func splitResource(resource string) (string, []string, error) {
	for _, s := range []string{"sb://", "amqps://", "amqp://", "https://"} {
		if len(resource) >= len(s) && strings.EqualFold(resource[:len(s)], s) {
			resource = resource[len(s):]
			break
		}
	}
	authority, rest, _ := strings.Cut(resource, "/")
	host := NormalizeHost(authority)
	if host == "" {
		return "", nil, ErrResource
	}
	rest = strings.TrimSuffix(rest, "/")
	if rest == "" {
		return host, nil, nil
	}
	path := strings.Split(rest, "/")
	for _, segment := range path {
		// An empty segment in the middle would shift what follows.
		if segment == "" {
			return "", nil, ErrResource
		}
	}
	return host, path, nil
}

// NormalizeHost gives the form in which host names are compared: lower case,
// without a port, an IPv6 address without its brackets.
func NormalizeHost(authority string) string {
	host := authority
	if inner, ok := strings.CutPrefix(authority, "["); ok {
		host, _, _ = strings.Cut(inner, "]")
	} else if strings.Count(authority, ":") == 1 {
		host, _, _ = strings.Cut(authority, ":")
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// Verify reports whether one of the keys (decoded, not base64) has made the
// signature. How long it takes says nothing about which, or how nearly. An empty
// key never verifies: everybody could sign with it.
func (t *Token) Verify(keys ...[]byte) bool {
	found := 0
	for _, key := range keys {
		sum := mac([]byte(t.RawResource+"\n"+t.rawExpiry), key)
		found |= subtle.ConstantTimeCompare(sum, t.Signature) & min(len(key), 1)
	}
	return found == 1
}

// ExpiredFor returns how long ago the token ended, skew included, and whether it
// has ended at all.
func (t *Token) ExpiredFor(now time.Time) (time.Duration, bool) {
	end := t.Expiry.Add(ClockSkew)
	if now.After(end) {
		return now.Sub(t.Expiry), true
	}
	return 0, false
}

// Host is the host that the token is for, in the form of [NormalizeHost].
func (t *Token) Host() string { return t.host }

// Covers reports whether the resource of the token reaches the device, or, when
// moduleID is not empty, the module, on the hub of that name. Reach goes by
// whole segments: a token for the hub or for the device reaches its modules, a
// token for a module not its device.
func (t *Token) Covers(resourceHost, deviceID, moduleID string) bool {
	if moduleID == "" {
		return t.CoversPath(resourceHost, "devices", deviceID)
	}
	return t.CoversPath(resourceHost, "devices", deviceID, "modules", moduleID)
}

// CoversPath reports whether the resource of the token is the given path (not
// escaped) on the host or leads to it by whole segments. Ids are compared with
// regard to case, the fixed words of the first and third place without.
func (t *Token) CoversPath(resourceHost string, path ...string) bool {
	if t.host != NormalizeHost(resourceHost) || len(t.path) > len(path) {
		return false
	}
	for i, segment := range t.path {
		if i%2 == 0 {
			if !strings.EqualFold(segment, path[i]) {
				return false
			}
			continue
		}
		// Builders escape an id before they escape the whole resource, so one
		// more decoding is due here. Those that forget it sign with the key of
		// the id itself; a policy key could be widened by the two readings.
		id, err := url.PathUnescape(segment)
		if (err != nil || id != path[i]) && (segment != path[i] || (t.Policy != "" && err == nil)) {
			return false
		}
	}
	return true
}

// Sign makes a token for a resource (not escaped as a whole, though ids in it
// are), for example "hub.example/devices/dev1", that ends at expiry. The policy
// is left out when it is empty. The key is the decoded one.
func Sign(resource string, key []byte, expiry time.Time, policy string) string {
	token, _ := SignWith(resource, expiry, policy, func(text []byte) ([]byte, error) { return mac(text, key), nil })
	return token
}

// SignWith is Sign where somebody else holds the key: hmac returns the
// HMAC-SHA256 of a text, or the error that SignWith then returns.
func SignWith(resource string, expiry time.Time, policy string, hmac func(text []byte) ([]byte, error)) (string, error) {
	sr := escape(resource)
	se := strconv.FormatInt(expiry.Unix(), 10)
	sig, err := hmac([]byte(sr + "\n" + se))
	if err != nil {
		return "", err
	}
	token := scheme + " sr=" + sr + "&sig=" + escape(base64.StdEncoding.EncodeToString(sig)) + "&se=" + se
	if policy != "" {
		token += "&skn=" + escape(policy)
	}
	return token, nil
}

// Resource gives the resource of a device or module for [Sign].
func Resource(host, deviceID, moduleID string) string {
	r := host + "/devices/" + escape(deviceID)
	if moduleID != "" {
		r += "/modules/" + escape(moduleID)
	}
	return r
}

func mac(text, key []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(text)
	return h.Sum(nil)
}

// escape is percent-encoding of everything but RFC 3986's unreserved characters.
func escape(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}
