package tpm

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/iothub-go/iothub"
)

// session is one operation on an open TPM.
type session struct {
	ctx context.Context
	way transport.TPM
	o   *Options
}

// key is one that is in the TPM.
type key struct {
	handle  tpm2.TPMHandle
	name    tpm2.TPM2BName
	wrapped tpm2.TPM2BPublic
}

// with names the key in a command, with what authorizes its use.
func (k *key) with(auth tpm2.Session) tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: k.handle, Name: k.name, Auth: auth}
}

// noPassword authorizes keys that have none.
var noPassword = tpm2.PasswordAuth(nil)

func (s *session) owner() tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth([]byte(s.o.OwnerPassword))}
}

func (s *session) endorsement() tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth([]byte(s.o.EndorsementPassword))}
}

// command is what go-tpm's commands have in common.
type command[R any] interface {
	Execute(t transport.TPM, s ...tpm2.Session) (*R, error)
}

// do has the TPM carry out one command, unless the operation is to end.
func do[R any](s *session, c command[R]) (*R, error) {
	if err := s.ctx.Err(); err != nil {
		return nil, err
	}
	return c.Execute(s.way)
}

// flush removes what is temporary, whether the operation is to end or not. It cannot fail
// but with the connection to the TPM.
func (s *session) flush(h tpm2.TPMHandle) {
	_, _ = tpm2.FlushContext{FlushHandle: h}.Execute(s.way)
}

// find returns the key at a persistent handle, nil for none.
func (s *session) find(h tpm2.TPMHandle) (*key, error) {
	r, err := do(s, tpm2.ReadPublic{ObjectHandle: h})
	if errors.Is(err, tpm2.TPMRCHandle) || errors.Is(err, tpm2.TPMRCValue) {
		return nil, nil // there is nothing; which of the two a TPM says differs
	}
	if err != nil {
		return nil, err
	}
	return &key{h, r.Name, r.OutPublic}, nil
}

func (s *session) endorsementKey() (*key, error) {
	return s.primary(endorsementKeyHandle, s.endorsement(), &tpm2.RSAEKTemplate)
}

func (s *session) storageRootKey() (*key, error) {
	return s.primary(storageRootKeyHandle, s.owner(), &tpm2.RSASRKTemplate)
}

// primary returns the key of a hierarchy at a handle, made and kept there if need be.
func (s *session) primary(h tpm2.TPMHandle, hierarchy tpm2.AuthHandle, template *tpm2.TPMTPublic) (*key, error) {
	k, err := s.find(h)
	if k != nil || err != nil {
		return k, err
	}
	made, err := do(s, tpm2.CreatePrimary{PrimaryHandle: hierarchy, InPublic: tpm2.New2B(*template)})
	if err != nil {
		return nil, err
	}
	defer s.flush(made.ObjectHandle)
	k = &key{h, made.Name, made.OutPublic}
	return k, s.keep(&key{made.ObjectHandle, made.Name, made.OutPublic}, h)
}

// keep makes a key that is loaded stay at a handle.
func (s *session) keep(k *key, h tpm2.TPMHandle) error {
	_, err := do(s, tpm2.EvictControl{Auth: s.owner(), ObjectHandle: tpm2.NamedHandle{Handle: k.handle, Name: k.name}, PersistentHandle: h})
	return err
}

// activate opens a blob and keeps the key in it.
func (s *session) activate(b *blob) error {
	ek, err := s.endorsementKey()
	if err != nil {
		return err
	}
	srk, err := s.storageRootKey()
	if err != nil {
		return err
	}
	old, err := s.find(tpm2.TPMHandle(s.o.KeyHandle))
	if err != nil {
		return err
	}
	if old != nil {
		public, err := old.wrapped.Contents()
		if err != nil || !signsByHMAC(public) {
			return &iothub.Error{Op: opActivate, Kind: iothub.KindConflict,
				Err: fmt.Errorf("at the handle %#x there is something else than a key of a device: use another Options.KeyHandle", s.o.KeyHandle)}
		}
	}
	inner, err := s.open(ek, srk, b)
	if err != nil {
		return err
	}
	imported, err := do(s, tpm2.Import{
		ParentHandle: srk.with(noPassword), EncryptionKey: tpm2.TPM2BData{Buffer: inner}, ObjectPublic: b.public,
		Duplicate: tpm2.TPM2BPrivate{Buffer: b.duplicate}, InSymSeed: tpm2.TPM2BEncryptedSecret{Buffer: b.seed}, Symmetric: innerWrapper,
	})
	if err != nil {
		return err
	}
	loaded, err := do(s, tpm2.Load{ParentHandle: srk.with(noPassword), InPrivate: imported.OutPrivate, InPublic: b.public})
	if err != nil {
		return err
	}
	defer s.flush(loaded.ObjectHandle)
	if old != nil {
		if err := s.keep(old, old.handle); err != nil { // which removes it
			return err
		}
	}
	return s.keep(&key{handle: loaded.ObjectHandle, name: loaded.Name}, tpm2.TPMHandle(s.o.KeyHandle))
}

// open returns the inner key of a blob, which only the TPM can open that has both keys.
func (s *session) open(ek, srk *key, b *blob) ([]byte, error) {
	// The endorsement key is used by those who have the password of its hierarchy. (TCG EK
	// Credential Profile, B.3)
	if err := s.ctx.Err(); err != nil {
		return nil, err
	}
	policy, end, err := tpm2.PolicySession(s.way, tpm2.TPMAlgSHA256, 16)
	if err != nil {
		return nil, err
	}
	defer func() { _ = end() }() // cannot fail but with the connection
	if _, err := do(s, tpm2.PolicySecret{AuthHandle: s.endorsement(), PolicySession: policy.Handle(), NonceTPM: policy.NonceTPM()}); err != nil {
		return nil, err
	}
	r, err := do(s, tpm2.ActivateCredential{
		ActivateHandle: srk.with(noPassword), KeyHandle: ek.with(policy),
		CredentialBlob: tpm2.TPM2BIDObject{Buffer: b.credential}, Secret: tpm2.TPM2BEncryptedSecret{Buffer: b.secret},
	})
	if errors.Is(err, tpm2.TPMRCFailure) {
		// So some TPMs say that they cannot open it. One that has failed says it of
		// every command.
		if _, dead := s.find(storageRootKeyHandle); dead == nil {
			return nil, sealedElsewhere(err)
		}
	}
	if err != nil {
		return nil, err
	}
	if n := len(r.CertInfo.Buffer); n != innerKeySize {
		return nil, errBlob("the key in its credential has %d bytes, expected are %d", n, innerKeySize)
	}
	return r.CertInfo.Buffer, nil
}

// maxText is what a TPM signs in one command at least. A token has less.
const maxText = 1 << 10

func (s *session) sign(text []byte) ([]byte, error) {
	if len(text) > maxText {
		return nil, invalid("the text has %d bytes, a TPM signs at most %d", len(text), maxText)
	}
	k, err := s.find(tpm2.TPMHandle(s.o.KeyHandle))
	if err != nil {
		return nil, err
	}
	if k == nil {
		return nil, &iothub.Error{Op: opSign, Kind: iothub.KindUnauthorized,
			Err: fmt.Errorf("there is no key at the handle %#x: the device has to register first", s.o.KeyHandle)}
	}
	r, err := do(s, tpm2.Hmac{Handle: k.with(noPassword), Buffer: tpm2.TPM2BMaxBuffer{Buffer: text}, HashAlg: tpm2.TPMAlgSHA256})
	if err != nil {
		return nil, err
	}
	return r.OutHMAC.Buffer, nil
}
