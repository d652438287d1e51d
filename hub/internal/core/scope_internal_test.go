package core

import (
	"strings"
	"testing"
)

// FuzzChain: a chain that is taken is one that says what its text says, and not too
// long.
func FuzzChain(f *testing.F) {
	for _, text := range []string{"leaf;edge", "leaf/m;leaf;edge2;edge1", "a", "", ";", "a;;b", "a/;b", "a;b/c", strings.Repeat("a;", 20)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		chain, err := parseChain(text)
		if err != nil {
			return
		}
		var parts []string
		for i, k := range chain {
			if k.device == "" || strings.Contains(k.device, "/") || i > 0 && k.module != "" {
				t.Errorf("%q became %v", text, chain)
			}
			parts = append(parts, k.String())
		}
		if got := strings.Join(parts, ";"); got != text || len(chain) > maxChain {
			t.Errorf("%q became %q", text, got)
		}
	})
}
