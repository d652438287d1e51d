package tpm

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/iothub-go/iothub"
)

// session is one operation's way to the TPM, on which nothing is sent after its context
// has ended, but what leaves the TPM in order.
type session struct {
	ctx context.Context
	way transport.TPM
	o   *Options
}

// Send implements transport.TPM.
func (s *session) Send(command []byte) ([]byte, error) {
	if err := s.ctx.Err(); err != nil {
		return nil, err
	}
	return s.way.Send(command)
}

// flush frees a temporary handle. One that fails is not reported: the TPM that does not
// do even this was lost, and what was asked of it has an error of its own.
func (s *session) flush(h tpm2.TPMHandle) {
	_, _ = tpm2.FlushContext{FlushHandle: h}.Execute(s.way)
}

// key is one of the persistent keys.
type key struct {
	handle  tpm2.TPMHandle
	name    tpm2.TPM2BName
	wrapped tpm2.TPM2BPublic
	public  *tpm2.TPMTPublic
}

// find returns the key at a persistent handle, or nil.
func (s *session) find(h tpm2.TPMHandle) (*key, error) {
	rsp, err := tpm2.ReadPublic{ObjectHandle: h}.Execute(s)
	if errors.Is(err, tpm2.TPMRCHandle) || errors.Is(err, tpm2.TPMRCReferenceH0) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the key at %#x: %w", uint32(h), err)
	}
	public, err := rsp.OutPublic.Contents()
	if err != nil {
		return nil, fmt.Errorf("reading the key at %#x: %w", uint32(h), err)
	}
	return &key{handle: h, name: rsp.Name, wrapped: rsp.OutPublic, public: public}, nil
}

func (s *session) endorsementKey() (*key, error) {
	return s.storageKey(endorsementKeyHandle, tpm2.TPMRHEndorsement, s.o.EndorsementPassword, tpm2.RSAEKTemplate)
}

func (s *session) storageRootKey() (*key, error) {
	return s.storageKey(storageRootKeyHandle, tpm2.TPMRHOwner, s.o.OwnerPassword, tpm2.RSASRKTemplate)
}

// storageKey returns the key at a persistent handle, and makes it where there is none.
func (s *session) storageKey(h, hierarchy tpm2.TPMHandle, password Password, template tpm2.TPMTPublic) (*key, error) {
	k, err := s.find(h)
	if err != nil {
		return nil, err
	}
	if k == nil {
		if err := s.makePrimary(h, hierarchy, password, template); err != nil {
			return nil, err
		}
		if k, err = s.find(h); err == nil && k == nil {
			err = fmt.Errorf("the key at %#x is not kept", uint32(h))
		}
		if err != nil {
			return nil, err
		}
	}
	if a := k.public.ObjectAttributes; !a.Restricted || !a.Decrypt {
		return nil, occupied(h, "that protects no others; where nothing else needs it, remove it with tpm2_evictcontrol, and it is made anew")
	}
	return k, nil
}

func (s *session) makePrimary(h, hierarchy tpm2.TPMHandle, password Password, template tpm2.TPMTPublic) error {
	made, err := tpm2.CreatePrimary{
		PrimaryHandle: authorized(hierarchy, password),
		InPublic:      tpm2.New2B(template),
	}.Execute(s)
	if err != nil {
		return fmt.Errorf("making the key at %#x: %w", uint32(h), err)
	}
	defer s.flush(made.ObjectHandle)
	return s.keep(s, made.ObjectHandle, made.Name, h)
}

// keep makes an object persistent at a free handle.
func (s *session) keep(way transport.TPM, object tpm2.TPMHandle, name tpm2.TPM2BName, h tpm2.TPMHandle) error {
	_, err := tpm2.EvictControl{
		Auth:             authorized(tpm2.TPMRHOwner, s.o.OwnerPassword),
		ObjectHandle:     tpm2.NamedHandle{Handle: object, Name: name},
		PersistentHandle: h,
	}.Execute(way)
	if err != nil {
		return fmt.Errorf("keeping the key at %#x: %w", uint32(h), err)
	}
	return nil
}

// replace makes an object persistent in place of a key of a device. Once the one before is
// removed this goes on to its end, whatever the context says.
func (s *session) replace(before *key, object tpm2.TPMHandle, name tpm2.TPM2BName, h tpm2.TPMHandle) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	if before != nil {
		_, err := tpm2.EvictControl{
			Auth:             authorized(tpm2.TPMRHOwner, s.o.OwnerPassword),
			ObjectHandle:     tpm2.NamedHandle{Handle: before.handle, Name: before.name},
			PersistentHandle: before.handle,
		}.Execute(s.way)
		if err != nil {
			return fmt.Errorf("removing the key at %#x: %w", uint32(h), err)
		}
	}
	return s.keep(s.way, object, name, h)
}

func (s *session) activate(b *blob) error {
	ek, err := s.endorsementKey()
	if err != nil {
		return err
	}
	srk, err := s.storageRootKey()
	if err != nil {
		return err
	}
	h := tpm2.TPMHandle(s.o.KeyHandle)
	before, err := s.find(h)
	if err != nil {
		return err
	}
	if before != nil && !signsByHMAC(before.public) {
		return occupied(h, "that is no key of a device: choose another handle with Options.KeyHandle")
	}
	private, err := s.unwrap(b, ek, srk)
	if err != nil {
		return err
	}
	loaded, err := tpm2.Load{ParentHandle: srk.authorized(), InPrivate: *private, InPublic: b.public}.Execute(s)
	if err != nil {
		return fmt.Errorf("loading the key: %w", err)
	}
	defer s.flush(loaded.ObjectHandle)
	return s.replace(before, loaded.ObjectHandle, loaded.Name, h)
}

// unwrap opens the credential and imports the key below the storage root key. The inner
// key is encrypted on its way from and to the TPM, so that who listens on the bus between
// processor and TPM, and on the network, does not get the key of the device.
func (s *session) unwrap(b *blob, ek, srk *key) (*tpm2.TPM2BPrivate, error) {
	private, _, err := tpm2.HMACSession(s, tpm2.TPMAlgSHA256, 16,
		tpm2.Salted(srk.handle, *srk.public), tpm2.AESEncryption(128, tpm2.EncryptInOut))
	if err != nil {
		return nil, fmt.Errorf("beginning a session: %w", err)
	}
	defer s.flush(private.Handle())
	inner, err := s.activateCredential(b, ek, srk, private)
	if err != nil {
		return nil, err
	}
	if len(inner) != innerKeySize {
		return nil, errBlob("the inner key has %d bytes", len(inner))
	}
	imported, err := tpm2.Import{
		ParentHandle:  srk.authorized(),
		EncryptionKey: tpm2.TPM2BData{Buffer: inner},
		ObjectPublic:  b.public,
		Duplicate:     tpm2.TPM2BPrivate{Buffer: b.duplicate},
		InSymSeed:     tpm2.TPM2BEncryptedSecret{Buffer: b.seed},
		Symmetric:     innerWrapper,
	}.Execute(s, private)
	if err != nil {
		return nil, notForThis("importing the key", err)
	}
	return &imported.OutPrivate, nil
}

// activateCredential opens the credential, which takes the endorsement key by its policy,
// the secret of the endorsement hierarchy. (TCG EK Credential Profile, B.6.2 policy A)
func (s *session) activateCredential(b *blob, ek, srk *key, private tpm2.Session) ([]byte, error) {
	policy, _, err := tpm2.PolicySession(s, ek.public.NameAlg, 16)
	if err != nil {
		return nil, fmt.Errorf("beginning a session: %w", err)
	}
	defer s.flush(policy.Handle())
	_, err = tpm2.PolicySecret{
		AuthHandle:    authorized(tpm2.TPMRHEndorsement, s.o.EndorsementPassword),
		PolicySession: policy.Handle(),
		NonceTPM:      policy.NonceTPM(),
	}.Execute(s)
	if err != nil {
		return nil, fmt.Errorf("using the endorsement hierarchy: %w", err)
	}
	opened, err := tpm2.ActivateCredential{
		ActivateHandle: srk.authorized(),
		KeyHandle:      tpm2.AuthHandle{Handle: ek.handle, Name: ek.name, Auth: policy},
		CredentialBlob: tpm2.TPM2BIDObject{Buffer: b.credential},
		Secret:         tpm2.TPM2BEncryptedSecret{Buffer: b.secret},
	}.Execute(s, private)
	if err != nil {
		return nil, notForThis("opening the credential", err)
	}
	return opened.CertInfo.Buffer, nil
}

// maxBuffer is what every TPM takes in one command. (TCG PC Client Platform TPM Profile,
// TPM_PT_INPUT_BUFFER)
const maxBuffer = 1024

func (s *session) sign(text []byte) ([]byte, error) {
	k, err := s.find(tpm2.TPMHandle(s.o.KeyHandle))
	if err != nil {
		return nil, err
	}
	if k == nil {
		return nil, &iothub.Error{Op: opSign, Kind: iothub.KindUnauthorized,
			Err: fmt.Errorf("the TPM has no key at %#x: register with the provisioning service first", s.o.KeyHandle)}
	}
	if !signsByHMAC(k.public) {
		return nil, occupied(k.handle, "that is no key of a device: choose another handle with Options.KeyHandle, and register")
	}
	if len(text) > maxBuffer {
		return s.signLong(k, text)
	}
	rsp, err := tpm2.Hmac{Handle: k.authorized(), Buffer: tpm2.TPM2BMaxBuffer{Buffer: text}, HashAlg: tpm2.TPMAlgSHA256}.Execute(s)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return rsp.OutHMAC.Buffer, nil
}

func (s *session) signLong(k *key, text []byte) ([]byte, error) {
	begun, err := tpm2.HmacStart{Handle: k.authorized(), HashAlg: tpm2.TPMAlgSHA256}.Execute(s)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	sequence := tpm2.AuthHandle{Handle: begun.SequenceHandle, Auth: tpm2.PasswordAuth(nil)}
	for ; err == nil && len(text) > maxBuffer; text = text[maxBuffer:] {
		_, err = tpm2.SequenceUpdate{SequenceHandle: sequence, Buffer: tpm2.TPM2BMaxBuffer{Buffer: text[:maxBuffer]}}.Execute(s)
	}
	var rsp *tpm2.SequenceCompleteResponse
	if err == nil { // it ends the sequence
		rsp, err = tpm2.SequenceComplete{SequenceHandle: sequence, Buffer: tpm2.TPM2BMaxBuffer{Buffer: text}, Hierarchy: tpm2.TPMRHNull}.Execute(s)
	}
	if err != nil {
		s.flush(begun.SequenceHandle)
		return nil, fmt.Errorf("signing: %w", err)
	}
	return rsp.Result.Buffer, nil
}

// authorized is a key without a password, as all of them are.
func (k *key) authorized() tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: k.handle, Name: k.name, Auth: tpm2.PasswordAuth(nil)}
}

func authorized(hierarchy tpm2.TPMHandle, p Password) tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: hierarchy, Auth: tpm2.PasswordAuth([]byte(p))}
}
