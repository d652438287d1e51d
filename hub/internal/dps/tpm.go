package dps

import (
	"context"
	"crypto/aes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// A device with a TPM proves that it has it by a token that is signed with a key
// which only this TPM could open: TPM2_MakeCredential, done in software, seals an
// inner key to the endorsement key and to the name of the storage root key; the
// signing key is wrapped with the inner key, to be imported below the storage root
// key. The TPM that activates the credential never shows either. (TPM 2.0 Part 1,
// 23.3 Duplication, 24 Credential Protection; wire-device F.4)

// maxTPMKey bounds the public part of a key; RSA of 2048 bits takes 316 bytes.
const maxTPMKey = 1 << 10

// parseTPMKey reads a TPM2B_PUBLIC. The answer can protect others: it is a storage
// key, as the endorsement key and the storage root key are.
func parseTPMKey(data []byte) (*tpmKey, error) {
	if len(data) == 0 || len(data) > maxTPMKey {
		return nil, fmt.Errorf("it has %d bytes, a key has 1 to %d", len(data), maxTPMKey)
	}
	wrapped, err := tpm2.Unmarshal[tpm2.TPM2BPublic](data)
	if err != nil {
		return nil, err
	}
	public, err := wrapped.Contents()
	if err != nil {
		return nil, err
	}
	k := &tpmKey{}
	if k.name, err = tpm2.ObjectName(public); err != nil {
		return nil, err
	}
	if k.seal, err = tpm2.ImportEncapsulationKey(public); err != nil {
		return nil, err
	}
	if p := k.seal.SymmetricParameters(); p == nil || p.Algorithm != tpm2.TPMAlgAES {
		return nil, errors.New("it is no storage key with AES")
	}
	return k, nil
}

type tpmKey struct {
	name *tpm2.TPM2BName
	seal tpm2.LabeledEncapsulationKey
}

// nonceKey is what a TPM proves itself with: as long as the enrollment is the same
// one it is the same key, so that nothing is to be remembered between a challenge and
// its answer.
func (s *Service) nonceKey(e *enrollmentDoc) []byte {
	return s.derive("nonce", e.Generation, string(e.ek))
}

// hubKey makes the key that a device with a TPM has in the hub, and wraps it.
func (s *Service) hubKey(e *enrollmentDoc, srk []byte) (key []byte, wrapped string, err error) {
	key = s.derive("hub", e.Generation, string(e.ek), string(srk))
	blob, err := wrapForTPM(e.ek, srk, key)
	if err != nil {
		return nil, "", badRequest("the keys of the TPM: %v", err)
	}
	return key, base64.StdEncoding.EncodeToString(blob), nil
}

// Challenge gives the signing key, sealed to a TPM. Who is not enrolled gets one,
// too, of a key that nothing accepts, so that nobody finds out who is.
func (s *Service) Challenge(_ context.Context, c TPMChallenge) ([]byte, error) {
	if c.IDScope != s.scope || validateID("registrationId", c.RegistrationID) != nil {
		return nil, s.refuse("", "a TPM asks for another id scope, or has no registration id")
	}
	key := randomBytes(sha256.Size)
	if e := s.enrollments.get(keyOf(c.RegistrationID)).doc; e != nil && len(e.ek) > 0 && string(e.ek) == string(c.EndorsementKey) {
		key = s.nonceKey(e)
	} else {
		s.log.Info("provisioning: a TPM that is not enrolled asks", "registration", c.RegistrationID)
	}
	blob, err := wrapForTPM(c.EndorsementKey, c.StorageRootKey, key)
	if err != nil {
		return nil, badRequest("the keys of the TPM: %v", err)
	}
	return blob, nil
}

// wrapForTPM makes what the official SDKs take as an activation blob: the
// credential, its secret, the wrapped key, an outer secret, which there is none of,
// the public part of the key, and the length of further data, which there is none of
// either.
func wrapForTPM(ek, srk, key []byte) ([]byte, error) {
	endorsement, err := parseTPMKey(ek)
	if err != nil {
		return nil, fmt.Errorf("endorsement key: %w", err)
	}
	storage, err := parseTPMKey(srk)
	if err != nil {
		return nil, fmt.Errorf("storage root key: %w", err)
	}
	inner := randomBytes(aes.BlockSize) // AES-128
	credential, secret, err := tpm2.CreateCredential(rand.Reader, endorsement.seal, storage.name.Buffer, inner)
	if err != nil {
		return nil, fmt.Errorf("endorsement key: %w", err)
	}
	public, duplicate, err := wrapInner(key, inner)
	if err != nil {
		return nil, err
	}
	var blob []byte
	for _, part := range [][]byte{credential, secret, duplicate, nil, public} {
		blob = append(binary.BigEndian.AppendUint16(blob, uint16(len(part))), part...)
	}
	return binary.BigEndian.AppendUint16(blob, 0), nil
}

// wrapInner makes an object of a TPM that signs by HMAC-SHA256 with the key, and its
// private part in an inner duplication wrapper. (TPM 2.0 Part 1, 23.3.2.3)
func wrapInner(key, inner []byte) (public, duplicate []byte, err error) {
	seed := randomBytes(sha256.Size)
	unique := sha256.Sum256(append(append([]byte{}, seed...), key...))
	object := tpm2.TPMTPublic{
		Type: tpm2.TPMAlgKeyedHash, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{SignEncrypt: true, UserWithAuth: true, NoDA: true},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgKeyedHash, &tpm2.TPMSKeyedHashParms{
			Scheme: tpm2.TPMTKeyedHashScheme{Scheme: tpm2.TPMAlgHMAC, Details: tpm2.NewTPMUSchemeKeyedHash(
				tpm2.TPMAlgHMAC, &tpm2.TPMSSchemeHMAC{HashAlg: tpm2.TPMAlgSHA256})},
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgKeyedHash, &tpm2.TPM2BDigest{Buffer: unique[:]}),
	}
	name, err := tpm2.ObjectName(&object)
	if err != nil {
		return nil, nil, err
	}
	sensitive := tpm2.Marshal(tpm2.TPM2BDigest{Buffer: tpm2.Marshal(tpm2.TPMTSensitive{
		SensitiveType: tpm2.TPMAlgKeyedHash,
		SeedValue:     tpm2.TPM2BDigest{Buffer: seed},
		Sensitive:     tpm2.NewTPMUSensitiveComposite(tpm2.TPMAlgKeyedHash, &tpm2.TPM2BSensitiveData{Buffer: key}),
	})})
	integrity := sha256.Sum256(append(append([]byte{}, sensitive...), name.Buffer...))
	text := append(tpm2.Marshal(tpm2.TPM2BDigest{Buffer: integrity[:]}), sensitive...)
	if err := encryptCFB(inner, text); err != nil {
		return nil, nil, err
	}
	return tpm2.Marshal(object), text, nil
}

// encryptCFB encrypts in place by AES in cipher feedback mode with a zero vector, as
// a TPM does; the standard library discourages the mode for other uses.
func encryptCFB(key, text []byte) error {
	block, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	var pad [aes.BlockSize]byte
	for len(text) > 0 {
		block.Encrypt(pad[:], pad[:])
		n := min(len(text), len(pad))
		for i := range n {
			text[i] ^= pad[i]
		}
		copy(pad[:], text[:n])
		text = text[n:]
	}
	return nil
}

var _ Provisioning = (*Service)(nil)
