package dps

import (
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub/internal/testkit"
)

func TestSignedBy(t *testing.T) {
	now := time.Now()
	root := testkit.Authority(t, "root", nil)
	middle := testkit.Authority(t, "middle", root)
	leaf := testkit.Leaf(t, "leaf", middle)
	old := testkit.NewCertificate(t, "old", root, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) })
	below := testkit.Leaf(t, "below", leaf) // the leaf is no authority
	list := func(s ...*testkit.Certificate) (certs []*x509.Certificate) {
		for _, one := range s {
			certs = append(certs, one.Certificate)
		}
		return certs
	}
	for _, test := range []struct {
		name           string
		shown, signers []*x509.Certificate
		want           *testkit.Certificate
		depth          int
	}{
		{"whole chain", list(leaf, middle), list(root), root, 3},
		{"the nearest", list(leaf, middle), list(root, middle), middle, 2},
		{"chain with a hole", list(leaf), list(root), nil, 0},
		{"by whom nobody knows", list(leaf, middle), list(testkit.Authority(t, "root", nil)), nil, 0},
		{"expired", list(old), list(root), nil, 0},
		{"itself", list(root), list(root), nil, 0},
		{"by a leaf", list(below, leaf, middle), list(root), nil, 0},
		{"no signers", list(leaf, middle), nil, nil, 0},
	} {
		got, depth := SignedBy(now, test.shown, test.signers)
		if depth != test.depth || (got == nil) != (test.want == nil) || got != nil && !got.Equal(test.want.Certificate) {
			t.Errorf("%s: %v at %d", test.name, got, depth)
		}
	}
}

func TestParseAuthorities(t *testing.T) {
	block := func(kind string, c *testkit.Certificate) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: c.Raw}))
	}
	root, leaf := testkit.Authority(t, "root", nil), testkit.Leaf(t, "leaf", nil)
	for _, test := range []struct {
		name, text string
		n          int
		want       string // in the error
	}{
		{"none", "", 0, ""},
		{"two", "# the first\n" + block("CERTIFICATE", root) + block("CERTIFICATE", root), 2, ""},
		{"not an authority", block("CERTIFICATE", leaf), 0, "CN=leaf"},
		{"a key", block("CERTIFICATE", root) + block("PRIVATE KEY", root), 0, "PRIVATE KEY"},
		{"no PEM", "root", 0, "PEM"},
		{"garbage", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})), 0, "x509"},
	} {
		list, err := ParseAuthorities([]byte(test.text))
		if len(list) != test.n || (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %d, %v", test.name, len(list), err)
		}
	}
}
