//go:build cgo

package main

// #include "bridge.h"
import "C"

import (
	"unsafe"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/capi/internal/client"
	"github.com/iothub-go/iothub/capi/internal/handle"
)

// maxBatch bounds the confirmations of one crossing.
const maxBatch = 256

// Dispatch implements client.Host. Confirmations, of which there may be
// hundreds of thousands in a second, cross to C many at a time.
func (host) Dispatch(c *client.Client, records []client.Record) {
	var batch []C.capi_confirmation
	flush := func() {
		if len(batch) > 0 {
			C.capi_call_confirmations(&batch[0], C.size_t(len(batch)))
			batch = batch[:0]
		}
	}
	for i := range records {
		r := &records[i]
		if r.Kind == client.RecordConfirm {
			if batch == nil {
				batch = make([]C.capi_confirmation, 0, min(maxBatch, len(records)-i))
			}
			if batch = append(batch, C.capi_confirmation{
				callback: C.uintptr_t(r.Func), context: C.uintptr_t(r.Context), result: C.int32_t(r.Result),
			}); len(batch) == maxBatch {
				flush()
			}
			continue
		}
		flush()
		dispatch(c, r)
	}
	flush()
}

// answers reports whether the program is told even after Destroy.
func answers(r *client.Record) bool {
	switch r.Kind {
	case client.RecordReported, client.RecordInvoked, client.RecordUploaded, client.RecordBlock, client.RecordBlocksEnd:
		return true
	case client.RecordTwin, client.RecordProperties:
		return r.Asked()
	}
	return false
}

func dispatch(c *client.Client, r *client.Record) {
	if !answers(r) && c.Closed() {
		return
	}
	f, context := C.uintptr_t(r.Func), C.uintptr_t(r.Context)
	switch r.Kind {
	case client.RecordStatus:
		C.capi_call_status(f, context, C.int(r.Result), C.int(r.Reason))
	case client.RecordMessage:
		deliver(c, r)
	case client.RecordMethod:
		call(c, r)
	case client.RecordTwin, client.RecordProperties:
		if r.Payload == nil {
			C.capi_call_twin(f, context, C.int(r.Result), nil, 0)
			return
		}
		p, size := payloadFor(r.Payload)
		C.capi_call_twin(f, context, C.int(r.Result), p, size)
	case client.RecordReported:
		C.capi_call_reported(f, context, C.int(r.Result))
	case client.RecordInvoked:
		p, size := payloadFor(r.Payload)
		C.capi_call_invoked(f, context, C.int(r.Result), C.int(r.Reason), p, size)
	case client.RecordUploaded:
		C.capi_call_uploaded(f, context, C.int(r.Result))
	case client.RecordBlock:
		var block *C.uchar
		var size C.size_t
		abort := C.capi_call_block(f, context, C.bool(r.CanAbort()), &block, &size)
		r.Answer(bytesOf(block, size), bool(abort))
	case client.RecordBlocksEnd:
		C.capi_call_blocks_end(f, context, C.bool(r.CanAbort()), C.int(r.Result))
	}
}

// payloadFor returns bytes as C takes them during one call. A NUL that is not
// counted follows, for programs that forget that there need not be one.
func payloadFor(b []byte) (*C.uchar, C.size_t) {
	b = append(b, 0)
	return (*C.uchar)(&b[0]), C.size_t(len(b) - 1)
}

// textFor returns a string as C takes it during one call.
func textFor(s string) *C.char {
	return (*C.char)(unsafe.Pointer(unsafe.SliceData(append([]byte(s), 0))))
}

// deliver hands a message to the program and settles it as the program says.
func deliver(c *client.Client, r *client.Record) {
	m := incoming(r.Message)
	h := handles.Add(C.CAPI_MESSAGE, m)
	d := iothub.Disposition(C.capi_call_message(C.uintptr_t(r.Func), C.uintptr_t(r.Context), C.uintptr_t(h)))
	if d == iothub.DispositionLater {
		return // SendMessageDisposition settles it
	}
	if m, ok := handle.Take[*message](&handles, C.CAPI_MESSAGE, h); ok {
		m.free()
		c.Settle(r.Message, min(d, iothub.DispositionAbandoned))
	}
}

// call calls the program for a direct method.
func call(c *client.Client, r *client.Record) {
	f, context := C.uintptr_t(r.Func), C.uintptr_t(r.Context)
	payload := r.Method.Payload
	if len(payload) == 0 && c.Threaded() {
		payload = []byte("{}") // as the C SDK's clients with a thread do
	}
	p, size := payloadFor(payload)
	var response *C.uchar
	var responseSize C.size_t
	var status C.int
	switch r.Style {
	case client.MethodLater:
		h := handles.Add(C.CAPI_METHOD, r.Method)
		C.capi_call_inbound(f, context, textFor(r.Method.Name), p, size, C.uintptr_t(h))
		return
	case client.MethodCommand:
		component, command, ok := client.SplitCommand(r.Method.Name)
		var name *C.char
		if ok {
			name = textFor(component)
		}
		status = C.capi_call_command(f, context, name, textFor(command), p, size, &response, &responseSize)
	default:
		status = C.capi_call_method(f, context, textFor(r.Method.Name), p, size, &response, &responseSize)
	}
	answer := bytesOf(response, responseSize)
	C.free(unsafe.Pointer(response))
	c.Respond(r.Method, int(status), answer)
}
