package core

import "strings"

// UseTagConditions has a hub take conditions of the form "tags.name=value" only.
func UseTagConditions(h *Hub) {
	h.configs.parse = func(text string) (func(*Hub, identityKey) bool, error) {
		name, value, ok := strings.Cut(text, "=")
		tag, isTag := strings.CutPrefix(name, "tags.")
		if !ok || !isTag {
			return nil, NewError(CodeArgumentInvalid, "the condition is wrong")
		}
		return func(h *Hub, key identityKey) bool {
			gen, err := h.generationFor(key)
			if err != nil {
				return false
			}
			n := h.twins.get(key, gen).tags.root.member(tag)
			return n != nil && n.leaf == `"`+value+`"`
		}, nil
	}
}
