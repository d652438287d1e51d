package workloadapi

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"net/http"
)

// What a module encrypts is sealed by AES-256-GCM with a key of its own, made of the
// daemon's secret. The initialization vector of the caller is authenticated, but the
// nonce is a random one: callers use the same vector again and again, which GCM does
// not bear. So the ciphertext is nonce and seal, and the module decrypts it with the
// vector that it was encrypted with.

type sealed struct {
	Plaintext            []byte
	Ciphertext           []byte
	InitializationVector []byte
}

func (h *handler) aead() (cipher.AEAD, error) {
	mac := hmac.New(sha256.New, h.Secret)
	mac.Write([]byte("encrypt\x00" + h.Name + "\x00" + h.GenerationID))
	block, err := aes.NewCipher(mac.Sum(nil))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func (h *handler) encrypt(r *http.Request) (int, any, error) {
	var b sealed
	if err := decode(r, &b); err != nil {
		return 0, nil, err
	}
	a, err := h.aead()
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, map[string]any{"ciphertext": a.Seal(nil, nil, b.Plaintext, b.InitializationVector)}, nil
}

func (h *handler) decrypt(r *http.Request) (int, any, error) {
	var b sealed
	if err := decode(r, &b); err != nil {
		return 0, nil, err
	}
	a, err := h.aead()
	if err != nil {
		return 0, nil, err
	}
	plaintext, err := a.Open(nil, nil, b.Ciphertext, b.InitializationVector)
	if err != nil {
		return 0, nil, fail(http.StatusBadRequest, "the ciphertext was not made by this module with this initialization vector, or was changed")
	}
	if plaintext == nil {
		plaintext = []byte{} // "" and not null
	}
	return http.StatusOK, map[string]any{"plaintext": plaintext}, nil
}
