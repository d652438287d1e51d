// Package receiver is the receiving half of every client, above the engine: it
// holds the user's handlers, runs them, and gives their decisions back. The
// managed and the poll-driven clients call Handle where their callbacks run.
package receiver

import (
	"encoding/json"
	"fmt"
	"sync"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/engine"
)

// Session is what a receiver asks of its client, which guards the engine. The
// calls do not block.
type Session interface {
	Settle(engine.Delivery, iothub.Disposition) error
	Respond(engine.Call, int, []byte) error
}

// maxPulled bounds the messages that wait for Receive; a hub has at most 50
// under way to a device.
const maxPulled = 64

// Receiver holds the handlers of one client. It is safe for concurrent use;
// handlers are called without locks held.
type Receiver struct {
	s Session

	mu       sync.Mutex
	messages iothub.MessageHandler
	inputs   map[string]iothub.MessageHandler // "" is the default
	methods  map[string]iothub.MethodHandler  // "" is the default
	desired  iothub.DesiredHandler
	store    *stateFile
	pulled   chan *iothub.ReceivedMessage // made by the first Receive
}

// New returns a receiver without handlers.
func New(s Session) *Receiver { return &Receiver{s: s} }

// SetMessages sets the handler of cloud-to-device messages and returns what to
// subscribe to; nil removes it.
func (r *Receiver) SetMessages(h iothub.MessageHandler) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages = h
}

// Pulled returns the channel of messages for Receive, which from now on get
// those that no handler takes.
func (r *Receiver) Pulled() <-chan *iothub.ReceivedMessage {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pulled == nil {
		r.pulled = make(chan *iothub.ReceivedMessage, maxPulled)
	}
	return r.pulled
}

// SetInput sets the handler of a module input, "" for those without their own;
// nil removes it. It reports whether any is left.
func (r *Receiver) SetInput(name string, h iothub.MessageHandler) (any bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return set(&r.inputs, name, h, h == nil)
}

// SetMethod sets the handler of a method, "" for those without their own; nil
// removes it. It reports whether any is left.
func (r *Receiver) SetMethod(name string, h iothub.MethodHandler) (any bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return set(&r.methods, name, h, h == nil)
}

func set[H any](m *map[string]H, name string, h H, remove bool) bool {
	if remove {
		delete(*m, name)
	} else {
		if *m == nil {
			*m = map[string]H{}
		}
		(*m)[name] = h
	}
	return len(*m) > 0
}

// SetDesired sets the handler of desired properties and returns the state to
// follow from: what the state file, "" for none, remembers. A nil handler
// removes it.
func (r *Receiver) SetDesired(h iothub.DesiredHandler, file string) (engine.TwinState, error) {
	var store *stateFile
	var state engine.TwinState
	if h != nil && file != "" {
		var err error
		if store, state, err = openState(file); err != nil {
			return state, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.desired, r.store = h, store
	return state, nil
}

// Handle runs the handler for in.
func (r *Receiver) Handle(in *engine.Inbound) {
	switch in.Kind {
	case engine.InboundMessage, engine.InboundInput:
		r.message(in)
	case engine.InboundMethod:
		r.method(in)
	case engine.InboundDesired:
		r.change(in.Change)
	}
}

func (r *Receiver) message(in *engine.Inbound) {
	m := iothub.NewReceivedMessage(in.Message, func(d iothub.Disposition) error { return r.s.Settle(in.Delivery, d) })
	r.mu.Lock()
	h, pulled := r.messages, r.pulled
	if in.Kind == engine.InboundInput {
		if h = r.inputs[in.Message.InputName]; h == nil {
			h = r.inputs[""]
		}
	}
	r.mu.Unlock()
	if h == nil {
		if pulled != nil && in.Kind == engine.InboundMessage {
			select {
			case pulled <- m:
			default: // stays with the hub until the next connection
			}
		}
		return
	}
	if d := h(m); d != iothub.DispositionLater {
		m.Settle(d)
	}
}

func (r *Receiver) method(in *engine.Inbound) {
	payload := in.Payload
	if len(payload) == 0 {
		payload = nil
	}
	req := iothub.NewMethodRequest(in.Method, payload, func(status int, payload []byte) error {
		return r.s.Respond(in.Call, status, payload)
	})
	r.mu.Lock()
	h := r.methods[in.Method]
	if h == nil {
		h = r.methods[""]
	}
	r.mu.Unlock()
	if h == nil {
		req.Respond(404, problem("there is no handler for method %q", in.Method))
		return
	}
	answer(h, req)
}

// answer runs h; a panic, or an answer that cannot be sent, becomes a 500, and
// the client lives on.
func answer(h iothub.MethodHandler, req *iothub.MethodRequest) {
	defer func() {
		if v := recover(); v != nil {
			req.Respond(500, problem("the handler of method %q failed: %v", req.Name, v))
		}
	}()
	resp := h(req)
	if resp == nil {
		return
	}
	if err := req.Respond(resp.Status, resp.Payload); iothub.KindOf(err) == iothub.KindInvalidArgument {
		req.Respond(500, problem("%v", err))
	}
}

func problem(format string, args ...any) []byte {
	b, _ := json.Marshal(map[string]string{"message": fmt.Sprintf(format, args...)}) // strings always marshal
	return b
}

func (r *Receiver) change(c *iothub.DesiredChange) {
	r.mu.Lock()
	h, store := r.desired, r.store
	r.mu.Unlock()
	if h == nil {
		return
	}
	h(c)
	if store != nil {
		// After the handler: a crash in between delivers the change again
		// rather than never.
		store.save(c)
	}
}
