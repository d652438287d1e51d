package topic

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// Limits of ParseUsername, in bytes.
const (
	MaxUsernameLen   = 8192 // the whole user name; an auth chain may be long
	MaxHostNameLen   = 255
	MaxIDLen         = 128 // device and module identifier
	MaxAPIVersionLen = 64
)

// ErrUsername is matched, through errors.Is, by every error of ParseUsername.
var ErrUsername = errors.New("topic: user name is not {hub}/{device}[/{module}]/?api-version=…")

type usernameError string

func (e usernameError) Error() string { return "topic: user name: " + string(e) }
func (e usernameError) Unwrap() error { return ErrUsername }

const (
	keyAPIVersion       = "api-version"
	keyDeviceClientType = "DeviceClientType"
	keyModelID          = "model-id"
	keyOldModelID       = "digital-twin-model-id"
	keyAuthChain        = "auth-chain"
)

// Username is the content of the user name of a CONNECT packet, unescaped.
type Username struct {
	HostName         string // of the hub, or of the gateway; not validated
	DeviceID         string
	ModuleID         string // "" for a device
	APIVersion       string
	DeviceClientType string // user agent of the client library, may be ""
	ModelID          string // DTMI that announces a Plug and Play model, may be ""
	AuthChain        string // "leaf;edge1;edge2" of a nested edge, may be ""
}

// ClientID returns the client identifier that must come with the user name:
// "{d}" or "{d}/{m}".
func (u *Username) ClientID() string {
	if u.ModuleID == "" {
		return u.DeviceID
	}
	return u.DeviceID + "/" + u.ModuleID
}

// AppendUsername appends u in the form
// "{hub}/{d}[/{m}]/?api-version=V&DeviceClientType=…[&model-id=…][&auth-chain=…]".
// Identifiers stand as they are, the values of the query are escaped, and
// empty ones other than api-version left out.
func AppendUsername(dst []byte, u *Username) []byte {
	dst = append(dst, u.HostName...)
	dst = append(dst, '/')
	dst = append(dst, u.DeviceID...)
	if u.ModuleID != "" {
		dst = append(dst, '/')
		dst = append(dst, u.ModuleID...)
	}
	dst = append(dst, "/?"+keyAPIVersion+"="...)
	dst = AppendEscaped(dst, u.APIVersion)
	for _, p := range [...]struct{ key, value string }{
		{keyDeviceClientType, u.DeviceClientType},
		{keyModelID, u.ModelID},
		{keyAuthChain, u.AuthChain},
	} {
		if p.value != "" {
			dst = append(dst, '&')
			dst = append(dst, p.key...)
			dst = append(dst, '=')
			dst = AppendEscaped(dst, p.value)
		}
	}
	return dst
}

// ParseUsername parses the user name of a CONNECT packet. It is as lenient as
// the service: besides the form AppendUsername makes it takes the legacy ones
// without '?' and those whose query contains raw slashes. api-version must be
// there and not blank, but its value is not judged. Unknown keys are ignored,
// of duplicate keys the first counts. A value with a broken escape is taken as
// it is.
//
// The result says who the client claims to be and nothing more.
func ParseUsername(s string) (Username, error) {
	if len(s) > MaxUsernameLen {
		return Username{}, usernameError("too long")
	}
	if !utf8.ValidString(s) {
		return Username{}, usernameError("not valid UTF-8")
	}
	path, query, legacy, ok := splitUsername(s)
	if !ok {
		return Username{}, usernameError("no query with api-version behind {hub}/{device} or {hub}/{device}/{module}")
	}
	var u Username
	if err := u.setPath(path); err != nil {
		return Username{}, err
	}
	u.setQuery(query, legacy)
	if strings.TrimSpace(u.APIVersion) == "" {
		return Username{}, usernameError("no api-version")
	}
	if len(u.APIVersion) > MaxAPIVersionLen {
		return Username{}, usernameError("api-version too long")
	}
	return u, nil
}

// splitUsername separates the identity from the query. '?' and '=' are legal in
// identifiers, so the last segment decides first, as in the reference; only
// when that fails does the query begin at the earliest segment that looks like
// one, and may then contain slashes: unescaped ones of a value, or, in the
// oldest form, one in place of every '&' (legacySlashes).
func splitUsername(s string) (path, query string, legacySlashes, ok bool) {
	slashes := strings.Count(s, "/")
	last := strings.LastIndexByte(s, '/')
	if slashes == 2 || slashes == 3 {
		path, query = s[:last], s[last+1:]
		if q, found := strings.CutPrefix(query, "?"); found {
			return path, q, false, true
		}
		if strings.Contains(query, keyAPIVersion+"=") {
			return path, query, false, true
		}
	}
	at := 0 // start of the current segment
	for segment := 0; segment < 4; segment++ {
		rest := s[at:]
		if segment >= 2 {
			if q, found := strings.CutPrefix(rest, "?"); found {
				return s[:at-1], q, false, true
			}
			if strings.HasPrefix(rest, keyAPIVersion+"=") {
				return s[:at-1], rest, true, true
			}
		}
		i := strings.IndexByte(rest, '/')
		if i < 0 {
			break
		}
		at += i + 1
	}
	return "", "", false, false
}

// setPath reads "{hub}/{d}" or "{hub}/{d}/{m}".
func (u *Username) setPath(path string) error {
	host, ids, _ := strings.Cut(path, "/")
	device, module, isModule := strings.Cut(ids, "/")
	u.HostName = strings.TrimSpace(host)
	u.DeviceID = strings.TrimSpace(device)
	u.ModuleID = strings.TrimSpace(module)
	switch {
	case len(u.HostName) > MaxHostNameLen:
		return usernameError("host name too long")
	case u.DeviceID == "":
		return usernameError("no device id")
	case isModule && u.ModuleID == "":
		return usernameError("no module id")
	case len(u.DeviceID) > MaxIDLen:
		return usernameError("device id too long")
	case len(u.ModuleID) > MaxIDLen:
		return usernameError("module id too long")
	}
	return nil
}

// setQuery reads the pairs of the query into u.
func (u *Username) setQuery(query string, legacySlashes bool) {
	var seen [5]bool
	var oldModelID string
	for query != "" {
		var pair string
		pair, query = cutPair(query, legacySlashes)
		key, value, _ := strings.Cut(pair, "=")
		var field *string
		var index int
		switch key {
		case keyAPIVersion:
			index, field = 0, &u.APIVersion
		case keyDeviceClientType:
			index, field = 1, &u.DeviceClientType
		case keyModelID:
			index, field = 2, &u.ModelID
		case keyOldModelID:
			index, field = 3, &oldModelID
		case keyAuthChain:
			index, field = 4, &u.AuthChain
		default:
			continue
		}
		if !seen[index] {
			seen[index] = true
			*field = unescapeLenient(value)
		}
	}
	if u.ModelID == "" {
		u.ModelID = oldModelID // what a preview of one client library called it
	}
}

// cutPair cuts the first pair off a query. With legacySlashes a slash separates
// pairs too, provided a key and an equals sign follow it; other slashes belong
// to the value.
func cutPair(query string, legacySlashes bool) (pair, rest string) {
	pair, rest, _ = strings.Cut(query, "&")
	if !legacySlashes {
		return pair, rest
	}
	for i := 0; i < len(pair); i++ {
		if pair[i] != '/' {
			continue
		}
		next, _, _ := strings.Cut(pair[i+1:], "/")
		if strings.Contains(next, "=") {
			return query[:i], query[i+1:]
		}
	}
	return pair, rest
}

// unescapeLenient resolves the escapes of s, or returns it as it is when one is
// broken. What is not UTF-8 afterwards becomes U+FFFD: these values go into logs
// and answers.
func unescapeLenient(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	b, err := AppendUnescaped(make([]byte, 0, len(s)), []byte(s))
	if err != nil {
		return s
	}
	return strings.ToValidUTF8(string(b), "\uFFFD")
}
