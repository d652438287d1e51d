package tpm_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/provisioning/tpm"
)

// gone is a TPM that answers nothing.
type gone struct{ asked bool }

func (g *gone) Send([]byte) ([]byte, error) {
	g.asked = true
	return nil, errors.New("gone")
}

// sealed makes a blob of parts.
func sealed(parts ...[]byte) (blob []byte) {
	for _, p := range parts {
		blob = append(binary.BigEndian.AppendUint16(blob, uint16(len(p))), p...)
	}
	return binary.BigEndian.AppendUint16(blob, 0)
}

func signer(alg tpm2.TPMAlgID) []byte {
	return tpm2.Marshal(tpm2.TPMTPublic{
		Type: tpm2.TPMAlgKeyedHash, NameAlg: tpm2.TPMAlgSHA256, ObjectAttributes: tpm2.TPMAObject{SignEncrypt: true, UserWithAuth: true},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgKeyedHash, &tpm2.TPMSKeyedHashParms{Scheme: tpm2.TPMTKeyedHashScheme{
			Scheme: tpm2.TPMAlgHMAC, Details: tpm2.NewTPMUSchemeKeyedHash(tpm2.TPMAlgHMAC, &tpm2.TPMSSchemeHMAC{HashAlg: alg})}}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgKeyedHash, &tpm2.TPM2BDigest{Buffer: make([]byte, 32)}),
	})
}

// What is malformed never reaches the TPM. That it opens what is whole is tested in
// hardware/, with a TPM.
func TestMalformed(t *testing.T) {
	part := make([]byte, 64)
	for _, test := range []struct {
		name, want string // in the error
		blob       []byte
	}{
		{"nothing", "ends before its credential", nil},
		{"no credential", "its credential", sealed(nil, part, part, nil, signer(tpm2.TPMAlgSHA256))},
		{"cut", "its secret", sealed(part, part)[:80]},
		{"a part too large", "1025 bytes", sealed(make([]byte, 1025), part, part, nil, signer(tpm2.TPMAlgSHA256))},
		{"too large", "at most", make([]byte, 5000)},
		{"another algorithm", "HMAC-SHA256", sealed(part, part, part, nil, signer(tpm2.TPMAlgSHA1))},
		{"no public part", "public part", sealed(part, part, part, nil, nil)},
		{"garbage", "public part", sealed(part, part, part, nil, part)},
	} {
		way := &gone{}
		chip, err := tpm.New(way, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := chip.Activate(t.Context(), test.blob); iothub.KindOf(err) != iothub.KindProtocol || !strings.Contains(err.Error(), test.want) || way.asked {
			t.Errorf("%s: %v, asked %v", test.name, err, way.asked)
		}
	}
	way := &gone{}
	chip, err := tpm.New(way, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := chip.Activate(t.Context(), sealed(part, part, part, nil, signer(tpm2.TPMAlgSHA256))); err == nil || !way.asked {
		t.Errorf("what is whole: %v, asked %v", err, way.asked)
	}
}

func TestOptions(t *testing.T) {
	for _, h := range []uint32{1, 0x80FFFFFF, 0x81800000, 0x81000001} {
		if _, err := tpm.New(&gone{}, &tpm.Options{KeyHandle: h}); iothub.KindOf(err) != iothub.KindInvalidArgument {
			t.Errorf("%#x: %v", h, err)
		}
	}
	if _, err := tpm.New(nil, nil); iothub.KindOf(err) != iothub.KindInvalidArgument {
		t.Errorf("no transport: %v", err)
	}
	o := tpm.Options{OwnerPassword: "secret"}
	if s := fmt.Sprintf("%v %+v %#v", o, o, o); strings.Contains(s, "secret") {
		t.Error(s)
	}
	chip, err := tpm.New(&gone{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ended, stop := context.WithCancel(t.Context())
	stop()
	if _, err := chip.EndorsementKey(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
	if err := errors.Join(chip.Close(), chip.Close()); err != nil {
		t.Error(err)
	}
	if _, err := chip.Sign(t.Context(), nil); !errors.Is(err, iothub.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// Whatever the service sends is refused in words, or offered to the TPM.
func FuzzActivate(f *testing.F) {
	part := make([]byte, 64)
	f.Add(sealed(part, part, part, nil, signer(tpm2.TPMAlgSHA256)))
	f.Add(sealed(part, part, part, part, signer(tpm2.TPMAlgSHA1)))
	f.Add([]byte{0, 1, 2})
	f.Fuzz(func(t *testing.T, blob []byte) {
		way := &gone{}
		chip, err := tpm.New(way, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := chip.Activate(t.Context(), blob); (iothub.KindOf(err) == iothub.KindProtocol) == way.asked {
			t.Fatalf("%v, asked %v", err, way.asked)
		}
	})
}
