package iothub

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"time"
)

// DefaultTokenLifetime is how long a generated token is valid unless a client
// option says otherwise.
const DefaultTokenLifetime = time.Hour

const redacted = "[redacted]"

// SharedAccessKey is the symmetric key of a device, a module or a policy. It
// never prints itself: String, GoString and LogValue are redacted.
type SharedAccessKey struct {
	// A function, because fmt calls no methods of what it finds in
	// unexported fields and would print the bytes; this it cannot look into.
	key func() []byte
}

// ParseSharedAccessKey decodes a base64 key of 16 to 64 bytes, as they stand
// in connection strings. The error does not repeat the key.
func ParseSharedAccessKey(s string) (SharedAccessKey, error) {
	key, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return SharedAccessKey{}, invalid("SharedAccessKey is not base64")
	}
	// IoT Hub takes 16 to 64 bytes; older identities have shorter ones, and
	// a client must not refuse what the hub would take.
	if len(key) == 0 || len(key) > 256 {
		return SharedAccessKey{}, invalid("SharedAccessKey is %d bytes long, IoT Hub keys have 16 to 64", len(key))
	}
	return SharedAccessKey{func() []byte { return key }}, nil
}

// IsZero reports whether k is the zero key, which cannot sign.
func (k SharedAccessKey) IsZero() bool { return k.key == nil }

// String returns a redaction.
func (k SharedAccessKey) String() string { return redacted }

// GoString returns a redaction, for %#v.
func (k SharedAccessKey) GoString() string { return redacted }

// LogValue returns a redaction, for log/slog.
func (k SharedAccessKey) LogValue() slog.Value { return slog.StringValue(redacted) }

// Sign returns a token for resource, valid until expires (whole seconds).
// policy is empty for the key of a device or a module and otherwise the name
// of the shared access policy the key belongs to (IoT Hub SAS guide).
func (k SharedAccessKey) Sign(resource string, expires time.Time, policy string) Token {
	sr := escape(resource)
	se := strconv.FormatInt(expires.Unix(), 10)
	var key []byte
	if k.key != nil {
		key = k.key()
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(sr + "\n" + se))
	sig := escape(base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	v := "SharedAccessSignature sr=" + sr + "&sig=" + sig + "&se=" + se
	if policy != "" {
		v += "&skn=" + escape(policy)
	}
	return Token{Value: v, Expires: time.Unix(expires.Unix(), 0)}
}

// Token is a shared access signature with its expiry. It never prints its
// value.
type Token struct {
	// Value is the whole text, beginning with "SharedAccessSignature ".
	Value string
	// Expires is when the hub stops taking it; the zero time means unknown.
	Expires time.Time
}

// String returns a redaction.
func (t Token) String() string { return redacted }

// GoString returns a redaction, for %#v.
func (t Token) GoString() string { return redacted }

// LogValue returns a redaction, for log/slog.
func (t Token) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns a redaction, for encoding/json and what uses it.
func (t Token) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// ParseToken checks the form of a ready-made shared access signature and
// reads its expiry. The error does not repeat the token.
func ParseToken(s string) (Token, error) {
	fields, ok := strings.CutPrefix(s, "SharedAccessSignature ")
	if !ok {
		return Token{}, invalid(`SharedAccessSignature does not begin with "SharedAccessSignature "`)
	}
	seen := map[string]string{}
	for pair := range strings.SplitSeq(fields, "&") {
		k, v, _ := strings.Cut(pair, "=")
		seen[strings.ToLower(k)] = v
	}
	for _, k := range []string{"sr", "sig", "se"} {
		if seen[k] == "" {
			return Token{}, invalid("SharedAccessSignature has no field %s", k)
		}
	}
	se, err := strconv.ParseInt(seen["se"], 10, 64)
	if err != nil || se < 0 || se > 1<<40 {
		return Token{}, invalid("SharedAccessSignature field se is not a time in seconds")
	}
	return Token{Value: s, Expires: time.Unix(se, 0)}, nil
}

// TokenSource makes tokens for a client whose key this process does not hold:
// a TPM, an IoT Edge workload API, a vault. Token is called before every
// connect, never concurrently for one client, and must return when ctx ends.
type TokenSource interface {
	// Token returns a token for resource that is valid for about lifetime. An
	// error that is an *Error is reported as it is, others as KindUnauthorized.
	Token(ctx context.Context, resource string, lifetime time.Duration) (Token, error)
}

// Credential proves an identity to the hub. It is immutable, safe for
// concurrent use and prints nothing secret.
type Credential struct {
	key    SharedAccessKey
	policy string
	fixed  func() Token // a function for the reason that SharedAccessKey has
	source TokenSource
	cert   *tls.Certificate
}

// NewKeyCredential signs a fresh token for each connect with the symmetric
// key of the identity, or with the key of the shared access policy named
// policy when that is not empty.
func NewKeyCredential(key SharedAccessKey, policy string) *Credential {
	return &Credential{key: key, policy: policy}
}

// NewTokenCredential presents one ready-made token until it expires. Nothing
// can renew it; a client that is refused because of it says so.
func NewTokenCredential(t Token) *Credential { return &Credential{fixed: func() Token { return t }} }

// NewTokenSourceCredential asks src for a token before each connect.
func NewTokenSourceCredential(src TokenSource) *Credential { return &Credential{source: src} }

// NewCertificateCredential presents an X.509 client certificate in the TLS
// handshake. The private key may be any crypto.Signer, so it may stay in
// hardware.
func NewCertificateCredential(cert tls.Certificate) *Credential { return &Credential{cert: &cert} }

// Certificate returns the client certificate, nil for the other kinds.
func (c *Credential) Certificate() *tls.Certificate { return c.cert }

// Token returns the token to present for resource, valid for about lifetime
// from now; the zero Token for an X.509 credential. It blocks only in the
// TokenSource of NewTokenSourceCredential.
func (c *Credential) Token(ctx context.Context, resource string, now time.Time, lifetime time.Duration) (Token, error) {
	switch {
	case c.cert != nil:
		return Token{}, nil
	case c.source != nil:
		t, err := c.source.Token(ctx, resource, lifetime)
		if _, ok := errors.AsType[*Error](err); ok {
			return Token{}, err
		}
		if err != nil {
			return Token{}, &Error{Op: "token", Kind: KindUnauthorized, Retryable: true, Err: err}
		}
		return t, nil
	case c.fixed != nil:
		return c.fixed(), nil
	case c.key.IsZero():
		return Token{}, invalid("the credential has no key, token or certificate: use one of the New…Credential functions")
	}
	return c.key.Sign(resource, now.Add(lifetime), c.policy), nil
}

// Renewable reports whether a new token can be had before the old one expires.
func (c *Credential) Renewable() bool { return c.cert == nil && c.fixed == nil }

// String names the kind of credential, "none" for an empty one, never its
// secret.
func (c *Credential) String() string {
	switch {
	case c == nil:
		return "none"
	case c.cert != nil:
		return "x509"
	case c.source != nil:
		return "token source"
	case c.fixed != nil:
		return "token"
	case c.key.IsZero():
		return "none"
	case c.policy != "":
		return "policy key"
	}
	return "key"
}

// GoString is String, for %#v.
func (c *Credential) GoString() string { return c.String() }

// escape percent-encodes all but RFC 3986 unreserved characters, upper-case.
func escape(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9',
			c == '-', c == '.', c == '_', c == '~':
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}
