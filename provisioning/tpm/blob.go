package tpm

import (
	"crypto/aes"
	"encoding/binary"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"github.com/iothub-go/iothub"
)

const (
	// maxBlob bounds what the service seals; it makes about 800 bytes.
	maxBlob = 4 << 10
	// maxPart bounds each part: that of an RSA key of 4096 bits, with its frame.
	maxPart = 1 << 10
)

// blob is a key that the service has sealed to a TPM, as the official SDKs take it.
type blob struct {
	credential []byte // the inner key, as in TPM2B_ID_OBJECT
	secret     []byte // of the credential, as in TPM2B_ENCRYPTED_SECRET
	duplicate  []byte // the key, wrapped with the inner one, as in TPM2B_PRIVATE
	seed       []byte // of an outer wrapper, as in TPM2B_ENCRYPTED_SECRET; empty for none
	public     tpm2.TPM2BPublic
}

// parseBlob reads the parts, each behind its length in two bytes. What may follow is data
// that the official SDKs decrypt with the key, and the service no longer sends.
func parseBlob(data []byte) (*blob, error) {
	if len(data) > maxBlob {
		return nil, errBlob("it has %d bytes, expected are at most %d", len(data), maxBlob)
	}
	b := &blob{}
	var public []byte
	for _, part := range []struct {
		name  string
		to    *[]byte
		empty bool
	}{
		{"credential", &b.credential, false}, {"secret", &b.secret, false}, {"private part", &b.duplicate, false},
		{"outer secret", &b.seed, true}, {"public part", &public, false},
	} {
		if len(data) < 2 {
			return nil, errBlob("it ends before its %s", part.name)
		}
		n := int(binary.BigEndian.Uint16(data))
		if data = data[2:]; n > len(data) || n > maxPart || n == 0 && !part.empty {
			return nil, errBlob("its %s has %d bytes, with %d left", part.name, n, len(data))
		}
		*part.to, data = data[:n:n], data[n:]
	}
	object, err := tpm2.Unmarshal[tpm2.TPMTPublic](public)
	if err != nil {
		return nil, errBlob("its public part: %w", err)
	}
	if !signsByHMAC(object) {
		return nil, errBlob("it holds no key that signs by HMAC-SHA256")
	}
	b.public = tpm2.New2B(*object)
	return b, nil
}

// signsByHMAC reports whether a key is one that a device signs its tokens with.
func signsByHMAC(key *tpm2.TPMTPublic) bool {
	if key.Type != tpm2.TPMAlgKeyedHash || !key.ObjectAttributes.SignEncrypt {
		return false
	}
	parms, err := key.Parameters.KeyedHashDetail()
	if err != nil || parms.Scheme.Scheme != tpm2.TPMAlgHMAC {
		return false
	}
	scheme, err := parms.Scheme.Details.HMAC()
	return err == nil && scheme.HashAlg == tpm2.TPMAlgSHA256
}

// innerWrapper is how the key is wrapped with the inner one. (TPM 2.0 Part 1, 23.3.2.3)
var innerWrapper = tpm2.TPMTSymDef{
	Algorithm: tpm2.TPMAlgAES,
	KeyBits:   tpm2.NewTPMUSymKeyBits(tpm2.TPMAlgAES, tpm2.TPMKeyBits(8*innerKeySize)),
	Mode:      tpm2.NewTPMUSymMode(tpm2.TPMAlgAES, tpm2.TPMAlgCFB),
}

const innerKeySize = aes.BlockSize // AES-128

func errBlob(format string, args ...any) error {
	return &iothub.Error{Op: opActivate, Kind: iothub.KindProtocol, Err: fmt.Errorf("what the service sealed to the TPM is malformed: "+format, args...)}
}
