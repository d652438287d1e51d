package dps_test

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/iothub-go/iothub/hub/internal/dps"
	"github.com/iothub-go/iothub/internal/sas"
)

// softTPM does with keys in memory what a TPM does with an activation blob.
type softTPM struct {
	t           *testing.T
	key         *rsa.PrivateKey
	ek, srk     []byte // TPM2B_PUBLIC
	storageName []byte
}

func newTPM(t *testing.T) *softTPM {
	t.Helper()
	m := &softTPM{t: t}
	public := func(template tpm2.TPMTPublic) (*rsa.PrivateKey, tpm2.TPMTPublic) {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		template.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: key.N.Bytes()})
		return key, template
	}
	var ek, srk tpm2.TPMTPublic
	m.key, ek = public(tpm2.RSAEKTemplate)
	_, srk = public(tpm2.RSASRKTemplate)
	m.ek, m.srk = tpm2.Marshal(tpm2.New2B(ek)), tpm2.Marshal(tpm2.New2B(srk))
	name, err := tpm2.ObjectName(&srk)
	if err != nil {
		t.Fatal(err)
	}
	m.storageName = name.Buffer
	return m
}

func base64Of(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// request is what a device with the TPM sends.
func (m *softTPM) request() string {
	return `{"tpm":{"endorsementKey":"` + base64Of(m.ek) + `","storageRootKey":"` + base64Of(m.srk) + `"}}`
}

// decryptCFB is AES in cipher feedback mode with a zero vector.
func decryptCFB(t *testing.T, key, text []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	plain, pad := make([]byte, len(text)), make([]byte, aes.BlockSize)
	for i := 0; i < len(text); i += aes.BlockSize {
		block.Encrypt(pad, pad)
		n := copy(plain[i:], text[i:min(i+aes.BlockSize, len(text))])
		for j := range n {
			plain[i+j] ^= pad[j]
		}
		copy(pad, text[i:i+n])
	}
	return plain
}

// sized cuts a sized part off the front.
func sized(t *testing.T, b *[]byte) []byte {
	t.Helper()
	if len(*b) < 2 || len(*b)-2 < int(binary.BigEndian.Uint16(*b)) {
		t.Fatal("the blob is too short")
	}
	n := int(binary.BigEndian.Uint16(*b))
	part := (*b)[2 : 2+n]
	*b = (*b)[2+n:]
	return part
}

// open gives the signing key that a blob holds for this TPM; nil when it is for
// another one. (TPM 2.0 Part 1, 23.3 and 24)
func (m *softTPM) open(blob []byte) []byte {
	t := m.t
	t.Helper()
	credential, secret, duplicate := sized(t, &blob), sized(t, &blob), sized(t, &blob)
	if outer := sized(t, &blob); len(outer) != 0 {
		t.Fatal("there is an outer wrapper, which the test knows nothing of")
	}
	public, err := tpm2.Unmarshal[tpm2.TPMTPublic](sized(t, &blob))
	if err != nil || len(sized(t, &blob)) != 0 || len(blob) != 0 {
		t.Fatalf("the end of the blob: %v", err)
	}
	seed, err := rsa.DecryptOAEP(sha256.New(), nil, m.key, secret, []byte("IDENTITY\x00"))
	if err != nil {
		return nil
	}
	integrity := sized(t, &credential)
	mac := hmac.New(sha256.New, tpm2.KDFa(crypto.SHA256, seed, "INTEGRITY", nil, nil, 256))
	mac.Write(credential)
	mac.Write(m.storageName)
	if !hmac.Equal(mac.Sum(nil), integrity) {
		return nil
	}
	inner := decryptCFB(t, tpm2.KDFa(crypto.SHA256, seed, "STORAGE", m.storageName, nil, 128), credential)
	inner = sized(t, &inner)

	plain := decryptCFB(t, inner, duplicate)
	integrity = sized(t, &plain)
	name, err := tpm2.ObjectName(public)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(append(bytes.Clone(plain), name.Buffer...)); !bytes.Equal(sum[:], integrity) {
		t.Fatal("the inner wrapper is broken")
	}
	sensitive, err := tpm2.Unmarshal[tpm2.TPMTSensitive](sized(t, &plain))
	if err != nil {
		t.Fatal(err)
	}
	key, err := sensitive.Sensitive.Bits()
	if err != nil {
		t.Fatal(err)
	}
	unique, err := public.Unique.KeyedHash()
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(append(bytes.Clone(sensitive.SeedValue.Buffer), key.Buffer...)); !bytes.Equal(sum[:], unique.Buffer) {
		t.Fatal("the public part does not belong to the key")
	}
	return key.Buffer
}

// challenge asks for the nonce, opens it, and signs a token.
func (m *softTPM) challenge(e *env, id string) string {
	m.t.Helper()
	blob, err := e.Challenge(m.t.Context(), dps.TPMChallenge{IDScope: scope, RegistrationID: id, EndorsementKey: m.ek, StorageRootKey: m.srk})
	if err != nil {
		m.t.Fatal(err)
	}
	key := m.open(blob)
	if key == nil {
		m.t.Fatal("the TPM cannot open its own challenge")
	}
	return sas.Sign(scope+"/registrations/"+id, key, time.Now().Add(time.Hour), "registration")
}

// A device proves its TPM by what only that can open, and gets the key for the hub in
// the same way.
func TestTPM(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, 1)
		mine, other := newTPM(t), newTPM(t)
		enrollment := `{"attestation":{"type":"tpm","tpm":{"endorsementKey":"` + base64Of(mine.ek) + `"}}}`
		e.put("dev", false, enrollment)

		token := mine.challenge(e, "dev")
		state := e.register(dps.Credential{RegistrationID: "dev", Token: token}, mine.request())
		if state.Status != "assigned" || state.TPM == nil {
			t.Fatalf("%+v", state)
		}
		blob, err := base64.StdEncoding.DecodeString(state.TPM.AuthenticationKey)
		if err != nil {
			t.Fatal(err)
		}
		if key := mine.open(blob); !connects(e.cores[0], "dev", base64Of(key)) {
			t.Error("the device cannot connect with the key that its TPM has opened")
		}
		if other.open(blob) != nil {
			t.Error("another TPM can open the key")
		}
		// Where the protocol has no place for the keys, those of the challenge count.
		state = e.register(dps.Credential{RegistrationID: "dev", Token: token, StorageRootKey: mine.srk}, "")
		if again, _ := base64.StdEncoding.DecodeString(state.TPM.AuthenticationKey); !bytes.Equal(mine.open(again), mine.open(blob)) {
			t.Error("the key for the hub is another one")
		}
		if seen, err := e.Registration("dev"); err != nil || seen.TPM != nil {
			t.Errorf("what back ends see: %+v, %v", seen, err)
		}

		// A TPM that is not the one enrolled, or for a registration that there is none
		// of, gets a challenge like any other, which proves nothing.
		for what, c := range map[string]struct {
			tpm *softTPM
			id  string
		}{"another TPM": {other, "dev"}, "nobody": {mine, "nobody"}} {
			_, err := e.SignUp(time.Now(), dps.Credential{IDScope: scope, RegistrationID: c.id, Token: c.tpm.challenge(e, c.id)})
			wantCode(t, what, err, dps.CodeUnauthorized)
		}
		r := e.signUp(dps.Credential{RegistrationID: "dev", Token: token})
		_, err = r.Register(t.Context(), []byte(other.request()))
		wantCode(t, "the keys of another TPM", err, dps.CodeUnauthorized)
		_, err = r.Register(t.Context(), nil)
		wantCode(t, "no storage root key", err, dps.CodeBadRequest)

		// An enrollment that is made again does not know the tokens of the one before.
		if err := e.Delete(t.Context(), "dev", false, ""); err != nil {
			t.Fatal(err)
		}
		e.put("dev", false, enrollment)
		_, err = e.SignUp(time.Now(), dps.Credential{IDScope: scope, RegistrationID: "dev", Token: token})
		wantCode(t, "the token of the enrollment before", err, dps.CodeUnauthorized)

		for what, c := range map[string]dps.TPMChallenge{
			"another scope": {IDScope: "0ne2", RegistrationID: "dev", EndorsementKey: mine.ek, StorageRootKey: mine.srk},
			"no keys":       {IDScope: scope, RegistrationID: "dev"},
			"no storage":    {IDScope: scope, RegistrationID: "dev", EndorsementKey: mine.ek, StorageRootKey: []byte("x")},
		} {
			if _, err := e.Challenge(t.Context(), c); err == nil {
				t.Errorf("%s: a challenge", what)
			}
		}
	})
}
