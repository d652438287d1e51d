package httpfront

import (
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// operation says as what a route counts for the throttle, if it does at all.
func (r *route) operation() (op core.Operation, ok bool) {
	words := strings.Split(r.pattern, "/")
	last := words[len(words)-1]
	switch words[0] {
	case "devices":
		if last == "query" {
			return core.OpQuery, true
		}
		// What devices do under their path is none of the registry.
		return core.OpRegistry, len(words) < 3 || words[2] != "messages"
	case "twins", "digitaltwins":
		switch {
		case last == "methods", len(words) > 2 && words[len(words)-2] == "commands":
			return core.OpMethod, true
		case r.method == http.MethodGet:
			return core.OpTwinRead, true
		}
		return core.OpTwinUpdate, true
	case "statistics":
		return core.OpRegistry, true
	case "iothub":
		return core.OpSendToDevice, last == "messages"
	}
	return 0, false
}

// admitted asks the throttle for the request, and waits when it has to.
func (q *request) admitted(found *route) error {
	hub := q.front.hub
	if !hub.Throttled() {
		return nil
	}
	op, ok := found.operation()
	if !ok {
		return nil
	}
	return hub.Admit(q.r.Context(), op, int(min(max(q.r.ContentLength, 0), maxBody)))
}

// retryAfter is the header of that name: whole seconds, at least one.
func retryAfter(e *core.Error) string {
	return strconv.Itoa(max(1, int(math.Ceil(e.RetryAfter.Seconds()))))
}
