package core

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

const (
	maxIDLength     = 128
	maxReasonLength = 128
	minKeyBytes     = 16
	maxKeyBytes     = 64
)

// validateID checks a device or module id: 1 to 128 ASCII letters, digits and
// some punctuation, never '/' or a space, so that "device/module" stays unambiguous.
func validateID(what, id string) error {
	if id == "" {
		return NewError(CodeArgumentNull, "%s is missing", what)
	}
	if len(id) > maxIDLength {
		return NewError(CodeArgumentInvalid, "%s has %d characters, the limit is %d", what, len(id), maxIDLength)
	}
	for i := range len(id) {
		c := id[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && strings.IndexByte("-:.+%_#*?!(),=@$';", c) < 0 {
			return NewError(CodeArgumentInvalid,
				"%s %q holds %q; allowed are letters, digits and - : . + %% _ # * ? ! ( ) , = @ $ ' ;", what, id, c)
		}
	}
	return nil
}

func statusOr(status, fallback string) (string, error) {
	switch {
	case status == "":
		return fallback, nil
	case strings.EqualFold(status, StatusEnabled):
		return StatusEnabled, nil
	case strings.EqualFold(status, StatusDisabled):
		return StatusDisabled, nil
	}
	return "", NewError(CodeArgumentInvalid, "status is %q, allowed are enabled and disabled", status)
}

func validateReason(reason *string) error {
	if reason != nil && utf8.RuneCountInString(*reason) > maxReasonLength {
		return NewError(CodeArgumentInvalid, "statusReason is longer than %d characters", maxReasonLength)
	}
	return nil
}

func generatedKeys() Authentication {
	return Authentication{
		Type: AuthSAS, SymmetricKey: SymmetricKey{PrimaryKey: NullString(newKey()), SecondaryKey: NullString(newKey())},
	}
}

// newAuthentication completes and checks what a new identity is to prove itself with.
func newAuthentication(a Authentication) (Authentication, error) {
	return updatedAuthentication(Authentication{}, a)
}

// updatedAuthentication is what comes of old when a client sends a. Only what
// belongs to the type is kept, so that a key that no longer counts is not shown.
func updatedAuthentication(old, a Authentication) (Authentication, error) {
	switch kind := authType(old, a); kind {
	case AuthSAS:
		return updatedKeys(old, a)
	case AuthSelfSigned:
		return updatedThumbprints(old, a)
	case AuthCertificateAuthority, AuthNone:
		return Authentication{Type: kind}, nil
	}
	return Authentication{}, NewError(CodeArgumentInvalid,
		"authentication.type is %q, allowed are sas, selfSigned, certificateAuthority and none", a.Type)
}

// authType finds the type, which older clients leave to be told from the content.
func authType(old, a Authentication) string {
	if a.Type != "" {
		for _, known := range []string{AuthSAS, AuthSelfSigned, AuthCertificateAuthority, AuthNone} {
			if strings.EqualFold(a.Type, known) {
				return known
			}
		}
		return a.Type
	}
	switch {
	case a.X509Thumbprint != (X509Thumbprint{}):
		return AuthSelfSigned
	case a.SymmetricKey != (SymmetricKey{}) || old.Type == "":
		return AuthSAS
	}
	return old.Type
}

func updatedKeys(old, a Authentication) (Authentication, error) {
	keys := a.SymmetricKey
	for _, k := range []struct {
		name  string
		value *NullString
		old   NullString
	}{
		{"primaryKey", &keys.PrimaryKey, old.SymmetricKey.PrimaryKey},
		{"secondaryKey", &keys.SecondaryKey, old.SymmetricKey.SecondaryKey},
	} {
		switch {
		case *k.value != "":
			raw, err := base64.StdEncoding.DecodeString(string(*k.value))
			if err != nil || len(raw) < minKeyBytes || len(raw) > maxKeyBytes {
				return Authentication{}, NewError(CodeArgumentInvalid,
					"authentication.symmetricKey.%s is not base64 of %d to %d bytes", k.name, minKeyBytes, maxKeyBytes)
			}
		case k.old != "":
			*k.value = k.old
		default:
			*k.value = NullString(newKey())
		}
	}
	return Authentication{Type: AuthSAS, SymmetricKey: keys}, nil
}

func updatedThumbprints(old, a Authentication) (Authentication, error) {
	prints := a.X509Thumbprint
	if prints == (X509Thumbprint{}) {
		prints = old.X509Thumbprint
	}
	for _, p := range []*NullString{&prints.PrimaryThumbprint, &prints.SecondaryThumbprint} {
		if *p == "" {
			continue
		}
		// Tools show thumbprints with colons or spaces between the bytes.
		text := strings.ToUpper(strings.NewReplacer(":", "", " ", "").Replace(string(*p)))
		raw, err := hex.DecodeString(text)
		if err != nil || (len(raw) != 20 && len(raw) != 32) {
			return Authentication{}, NewError(CodeArgumentInvalid,
				"a thumbprint is not 40 (SHA-1) or 64 (SHA-256) hexadecimal digits")
		}
		*p = NullString(text)
	}
	if prints.PrimaryThumbprint == "" && prints.SecondaryThumbprint == "" {
		return Authentication{}, NewError(CodeArgumentInvalid, "authentication type selfSigned needs a primaryThumbprint")
	}
	return Authentication{Type: AuthSelfSigned, X509Thumbprint: prints}, nil
}
