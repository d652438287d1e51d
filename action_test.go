package iothub_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/iothub-go/iothub"
)

// Every kind but the unknown one has advice, every action is used and says
// something of its own.
func TestActions(t *testing.T) {
	used := map[iothub.RecommendedAction]bool{iothub.ActionNone: true}
	for k := iothub.KindUnknown; k <= iothub.KindProxy; k++ {
		a := (&iothub.Error{Kind: k}).Action()
		if (a == iothub.ActionNone) != (k == iothub.KindUnknown) {
			t.Errorf("%v: %v", k, a)
		}
		used[a] = true
	}
	used[(&iothub.Error{Op: "connect", Kind: iothub.KindProtocol, Code: 1}).Action()] = true
	words := map[string]bool{}
	for a := iothub.ActionNone; a <= iothub.ActionUpgrade; a++ {
		if !used[a] {
			t.Errorf("nothing recommends %v", a)
		}
		if s := a.String(); s == "" || words[s] || s[0] == 'R' {
			t.Errorf("action %d is %q", a, s)
		}
		words[a.String()] = true
	}
	if s := (iothub.ActionUpgrade + 1).String(); s != "RecommendedAction(17)" {
		t.Error(s)
	}
	if a := (&iothub.Error{Kind: iothub.KindProxy + 1}).Action(); a != iothub.ActionNone {
		t.Error(a)
	}
}

func TestActionOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want iothub.RecommendedAction
	}{
		{nil, iothub.ActionNone},
		{errors.New("x"), iothub.ActionNone},
		{fmt.Errorf("x: %w", &iothub.Error{Kind: iothub.KindTokenExpired}), iothub.ActionCheckClock},
		{iothub.MarkNotSent(&iothub.Error{Kind: iothub.KindDuplicateIdentity}), iothub.ActionCloseDuplicate},
		{iothub.ErrQueueFull, iothub.ActionWait},
		{iothub.ErrMessageTimeout, iothub.ActionRetry},
		{iothub.ErrNotSupported, iothub.ActionFixCall},
		{iothub.ErrConcurrentUse, iothub.ActionFixCall},
		{iothub.ErrClosed, iothub.ActionNone},
		{&iothub.Error{Op: "connect", Kind: iothub.KindUnavailable, Code: 3}, iothub.ActionWait},
	} {
		if got := iothub.ActionOf(c.err); got != c.want {
			t.Errorf("%v: %v, want %v", c.err, got, c.want)
		}
	}
}
