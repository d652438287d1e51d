package tpm

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/provisioning"
)

// The persistent handles, those of the C SDK.
const (
	endorsementKeyHandle = tpm2.TPMHandle(0x81010001)
	storageRootKeyHandle = tpm2.TPMHandle(0x81000001)
	// DefaultKeyHandle is where the key of the device is.
	DefaultKeyHandle = 0x81000100
)

// Handles that belong to the owner of a TPM. (TCG Registry of Reserved TPM 2.0 Handles)
const firstOwnerHandle, lastOwnerHandle uint32 = 0x81000000, 0x817FFFFF

// Password is the authorization of a hierarchy of a TPM. It prints as a redaction.
type Password string

// String returns a redaction, or "" for no password.
func (p Password) String() string {
	if p == "" {
		return ""
	}
	return "[redacted]"
}

// GoString is String, for %#v.
func (p Password) GoString() string { return strconv.Quote(p.String()) }

// LogValue is String, for log/slog.
func (p Password) LogValue() slog.Value { return slog.StringValue(p.String()) }

// Options are how the TPM is used; nil, or the zero value, is right for a TPM that nobody
// has given passwords.
type Options struct {
	// OwnerPassword and EndorsementPassword are those of the two hierarchies. The owner's
	// is needed to keep keys, that of the endorsement hierarchy to make and to use the
	// endorsement key.
	OwnerPassword, EndorsementPassword Password
	// KeyHandle is the persistent handle for the key of the device, from 0x81000000 to
	// 0x817FFFFF; 0 is DefaultKeyHandle. Devices that share a TPM have one each.
	KeyHandle uint32
}

// TPM is a Trusted Platform Module as a provisioning.TPM. It is safe for concurrent use
// and does one thing at a time. When a context ends, the command that the TPM is at is
// waited for and no other one begun; a command takes up to a second, and the one that
// makes the endorsement key up to a minute.
//
// No operation leaves a temporary handle or session behind, also not one that fails,
// unless the connection to the TPM is lost.
type TPM struct {
	name   string
	open   func() (transport.TPMCloser, error) // for one operation
	o      Options
	busy   chan struct{} // holds one element while an operation is under way, and guards closed
	closed bool
}

// Open returns the TPM of this machine, at path: the device, as /dev/tpmrm0 or /dev/tpm0,
// which are tried in this order where path is "", or the Unix socket of a simulator that
// takes plain commands, as swtpm does. On Windows path is "", and the TPM that of the
// system.
//
// The TPM is opened for each operation anew, so that others can use /dev/tpm0 in between,
// and a simulator may be started again. Errors are *iothub.Error: KindNotFound where there
// is no TPM, KindForbidden where this user may not use it, KindUnavailable where somebody
// else uses it.
func Open(path string, o *Options) (*TPM, error) {
	t, err := newTPM(path, func() (transport.TPMCloser, error) { return openDevice(path) }, o)
	if err != nil {
		return nil, err
	}
	probe, err := t.open()
	if err != nil {
		return nil, explain("open", err)
	}
	_ = probe.Close() // nothing was sent
	return t, nil
}

// New returns a TPM that is reached by way, which stays open when the TPM is closed. An
// error is of kind KindInvalidArgument.
func New(way transport.TPM, o *Options) (*TPM, error) {
	if way == nil {
		return nil, invalid("the transport is nil")
	}
	return newTPM(fmt.Sprintf("%T", way), func() (transport.TPMCloser, error) { return keptOpen{way}, nil }, o)
}

type keptOpen struct{ transport.TPM }

func (keptOpen) Close() error { return nil }

func newTPM(name string, open func() (transport.TPMCloser, error), o *Options) (*TPM, error) {
	t := &TPM{name: name, open: open, busy: make(chan struct{}, 1)}
	if o != nil {
		t.o = *o
	}
	switch h := &t.o.KeyHandle; {
	case *h == 0:
		*h = DefaultKeyHandle
	case *h < firstOwnerHandle || *h > lastOwnerHandle || *h == uint32(storageRootKeyHandle):
		return nil, invalid("KeyHandle is %#x, it has to be from %#x to %#x and not %#x", *h, firstOwnerHandle, lastOwnerHandle, uint32(storageRootKeyHandle))
	}
	return t, nil
}

// String names the TPM.
func (t *TPM) String() string {
	if t.name == "" {
		return "TPM"
	}
	return "TPM " + t.name
}

// GoString is String, for %#v.
func (t *TPM) GoString() string { return t.String() }

// Close waits for the operation that is under way; all later ones return
// iothub.ErrClosed. The keys stay in the TPM. Closing again does nothing.
func (t *TPM) Close() error {
	t.busy <- struct{}{}
	t.closed = true
	<-t.busy
	return nil
}

// EndorsementKey returns the public part of the endorsement key, as TPM2B_PUBLIC. Its
// base64 is what the device is enrolled with. Where the TPM has none at its handle, the
// key is made and kept there; it is the same one as long as the TPM has its endorsement
// seed, which clearing the TPM does not change.
func (t *TPM) EndorsementKey(ctx context.Context) ([]byte, error) {
	return t.public(ctx, "endorsement key", (*session).endorsementKey)
}

// StorageRootKey returns the public part of the storage root key, as TPM2B_PUBLIC. Where
// the TPM has none at its handle, it is made and kept; after the TPM
// was cleared it is another one.
func (t *TPM) StorageRootKey(ctx context.Context) ([]byte, error) {
	return t.public(ctx, "storage root key", (*session).storageRootKey)
}

func (t *TPM) public(ctx context.Context, op string, find func(*session) (*key, error)) (public []byte, err error) {
	err = t.use(ctx, op, func(s *session) error {
		k, err := find(s)
		if err == nil {
			public = tpm2.Marshal(k.wrapped)
		}
		return err
	})
	return public, err
}

const opActivate, opSign = "activate", "sign"

// Activate opens a key that the service has sealed to this TPM and makes it the one that
// Sign uses, also after a restart; the key before is gone. An error of kind
// KindUnauthorized says that it was sealed to another TPM, KindProtocol that it is
// malformed, KindConflict that something else than a key of a device is in its place.
// When it fails, or ctx ends, the key before is still there, unless the TPM failed between
// removing that and keeping this.
func (t *TPM) Activate(ctx context.Context, sealed []byte) error {
	b, err := parseBlob(sealed)
	if err != nil {
		return err
	}
	return t.use(ctx, opActivate, func(s *session) error { return s.activate(b) })
}

// Sign returns the HMAC-SHA256 of text with the key that was activated last. An error of
// kind KindUnauthorized says that there is none.
func (t *TPM) Sign(ctx context.Context, text []byte) (mac []byte, err error) {
	err = t.use(ctx, opSign, func(s *session) error {
		mac, err = s.sign(text)
		return err
	})
	return mac, err
}

// use runs an operation when the one before is over.
func (t *TPM) use(ctx context.Context, op string, f func(*session) error) error {
	select {
	case t.busy <- struct{}{}:
		defer func() { <-t.busy }()
	case <-ctx.Done():
		return explain(op, ctx.Err())
	}
	if t.closed {
		return iothub.ErrClosed
	}
	way, err := t.open()
	if err != nil {
		return explain(op, err)
	}
	defer way.Close()
	return explain(op, f(&session{ctx: ctx, way: way, o: &t.o}))
}

var _ provisioning.TPM = (*TPM)(nil)
