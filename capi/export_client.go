//go:build cgo

package main

// #include "bridge.h"
import "C"

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unsafe"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/capi/internal/client"
	"github.com/iothub-go/iothub/capi/internal/handle"
	"github.com/iothub-go/iothub/ll"
)

// find returns the client behind a handle.
func find(function string, kind C.int, h C.uintptr_t) (*client.Client, bool) {
	c, ok := handle.Get[*client.Client](&handles, handle.Kind(kind), uintptr(h))
	if !ok {
		invalid(function, errStale)
	}
	return c, ok
}

func callback(f, context C.uintptr_t) client.Callback {
	return client.Callback{Func: uintptr(f), Context: uintptr(context)}
}

// bytesOf copies what C gave.
func bytesOf(p *C.uchar, size C.size_t) []byte {
	if p == nil || size == 0 {
		return nil
	}
	return append([]byte(nil), unsafe.Slice((*byte)(p), int(size))...)
}

// create gives C the client that made makes for a protocol.
func create(function string, kind, protocol C.int, made func(o client.Options) (*client.Client, error)) C.uintptr_t {
	o := client.Options{
		Threaded:  kind == C.CAPI_DEVICE || kind == C.CAPI_MODULE,
		WebSocket: protocol == C.CAPI_MQTT_WS,
		Logger:    logger,
	}
	switch protocol {
	case C.CAPI_MQTT, C.CAPI_MQTT_WS:
	case 0:
		invalid(function, errors.New("protocol is NULL, or not one of this library"))
		return 0
	default:
		invalid(function, fmt.Errorf("%w: use MQTT_Protocol or MQTT_WebSocket_Protocol", iothub.ErrNotSupported))
		return 0
	}
	c, err := made(o)
	if err != nil {
		invalid(function, err)
		return 0
	}
	return C.uintptr_t(handles.Add(handle.Kind(kind), c))
}

func createFrom(function string, kind C.int, connectionString string, cred *iothub.Credential, protocol C.int) C.uintptr_t {
	return create(function, kind, protocol, func(o client.Options) (*client.Client, error) {
		o.Credential = cred
		return client.New(connectionString, host{}, o)
	})
}

//export capiCreate
func capiCreate(kind C.int, connectionString *C.char, protocol C.int) C.uintptr_t {
	const function = "CreateFromConnectionString"
	if connectionString == nil {
		invalid(function, errNull)
		return 0
	}
	cs, cred, err := withSecurity(C.GoString(connectionString))
	if err != nil {
		invalid(function, err)
		return 0
	}
	return createFrom(function, kind, cs, cred, protocol)
}

//export capiCreateFromParts
func capiCreateFromParts(kind C.int, hub, suffix, device, key, sas, gateway *C.char, protocol C.int) C.uintptr_t {
	const function = "Create"
	if hub == nil || suffix == nil || device == nil {
		invalid(function, errNull)
		return 0
	}
	parts := []struct {
		name  string
		value *C.char
	}{{"DeviceId", device}, {"SharedAccessKey", key}, {"SharedAccessSignature", sas}, {"GatewayHostName", gateway}}
	cs := "HostName=" + C.GoString(hub) + "." + C.GoString(suffix)
	for _, p := range parts {
		if p.value == nil {
			continue
		}
		value := C.GoString(p.value)
		if value == "" || strings.Contains(value, ";") {
			invalid(function, fmt.Errorf("%s is empty, or has a semicolon", p.name))
			return 0
		}
		cs += ";" + p.name + "=" + value
	}
	switch {
	case key == nil && sas == nil:
		cs += ";x509=true"
	case key != nil && sas != nil:
		invalid(function, errors.New("there are both a key and a token"))
		return 0
	}
	return createFrom(function, kind, cs, nil, protocol)
}

//export capiDestroy
func capiDestroy(kind C.int, h C.uintptr_t) {
	if c, ok := handle.Take[*client.Client](&handles, handle.Kind(kind), uintptr(h)); ok {
		c.Destroy()
	}
}

//export capiDoWork
func capiDoWork(kind C.int, h C.uintptr_t) {
	if c, ok := handle.Get[*client.Client](&handles, handle.Kind(kind), uintptr(h)); ok {
		c.DoWork()
	}
}

//export capiSend
func capiSend(kind C.int, h, m C.uintptr_t, output *C.char, f, context C.uintptr_t) C.int {
	const function = "SendEventAsync"
	c, ok := find(function, kind, h)
	if !ok {
		return C.int(client.InvalidArg)
	}
	if f == 0 && context != 0 {
		return invalid(function, errors.New("there is a context, but no callback that could get it"))
	}
	msg, ok := handle.Get[*message](&handles, C.CAPI_MESSAGE, uintptr(m))
	if !ok {
		return invalid(function, errStale)
	}
	var out iothub.Message
	if err := msg.outgoing(&out, output); err != nil {
		logError(err)
		return C.int(client.Failed)
	}
	return C.int(c.Send(&out, callback(f, context)))
}

//export capiSendStatus
func capiSendStatus(kind C.int, h C.uintptr_t, status *C.int) C.int {
	const function = "GetSendStatus"
	c, ok := find(function, kind, h)
	if !ok {
		return C.int(client.InvalidArg)
	}
	if status == nil {
		return invalid(function, errNull)
	}
	busy, r := c.Busy()
	*status = 0
	if busy {
		*status = 1
	}
	return C.int(r)
}

//export capiLastReceived
func capiLastReceived(kind C.int, h C.uintptr_t, seconds *C.int64_t) C.int {
	const function = "GetLastMessageReceiveTime"
	c, ok := find(function, kind, h)
	if !ok {
		return C.int(client.InvalidArg)
	}
	if seconds == nil {
		return invalid(function, errNull)
	}
	at, r := c.LastReceived()
	if r == client.OK {
		*seconds = C.int64_t(at.Unix())
	}
	return C.int(r)
}

//export capiSetRetryPolicy
func capiSetRetryPolicy(kind C.int, h C.uintptr_t, policy C.int, limit C.size_t) C.int {
	c, ok := find("SetRetryPolicy", kind, h)
	if !ok {
		return C.int(client.InvalidArg)
	}
	seconds := min(uint64(limit), 1<<32)
	return C.int(c.SetRetryPolicy(int(policy), time.Duration(seconds)*time.Second))
}

//export capiGetRetryPolicy
func capiGetRetryPolicy(kind C.int, h C.uintptr_t, policy *C.int, limit *C.size_t) C.int {
	const function = "GetRetryPolicy"
	c, ok := find(function, kind, h)
	if !ok {
		return C.int(client.InvalidArg)
	}
	if policy == nil || limit == nil {
		return invalid(function, errNull)
	}
	p, l, r := c.RetryPolicy()
	if r == client.OK {
		*policy, *limit = C.int(p), C.size_t(l/time.Second)
	}
	return C.int(r)
}

//export capiSetStatusCallback
func capiSetStatusCallback(kind C.int, h, f, context C.uintptr_t) C.int {
	c, ok := find("SetConnectionStatusCallback", kind, h)
	if !ok {
		return C.int(client.InvalidArg)
	}
	return C.int(c.SetStatusCallback(callback(f, context)))
}

//export capiSetMessageCallback
func capiSetMessageCallback(kind C.int, h, f, context C.uintptr_t) C.int {
	c, ok := find("SetMessageCallback", kind, h)
	if !ok {
		return C.int(client.InvalidArg)
	}
	return C.int(c.SetMessageCallback(callback(f, context)))
}

//export capiSetInputCallback
func capiSetInputCallback(kind C.int, h C.uintptr_t, input *C.char, f, context C.uintptr_t) C.int {
	c, ok := find("SetInputMessageCallback", kind, h)
	if !ok {
		return C.int(client.InvalidArg)
	}
	return C.int(c.SetInputCallback(C.GoString(input), callback(f, context)))
}

//export capiDispose
func capiDispose(kind C.int, h, m C.uintptr_t, disposition C.int) C.int {
	const function = "SendMessageDisposition"
	c, ok := find(function, kind, h)
	if !ok {
		return C.int(client.InvalidArg)
	}
	if disposition < 0 || disposition > C.int(iothub.DispositionAbandoned) {
		return invalid(function, errors.New("a message is accepted, rejected or abandoned"))
	}
	msg, ok := handle.Take[*message](&handles, C.CAPI_MESSAGE, uintptr(m))
	if !ok {
		return invalid(function, errStale)
	}
	defer msg.free()
	if msg.received == nil {
		logError(errors.New("SendMessageDisposition: the message did not come from a hub"))
		return C.int(client.Failed)
	}
	return C.int(c.Settle(msg.received, iothub.Disposition(disposition)))
}

//export capiFollowTwin
func capiFollowTwin(kind C.int, h C.uintptr_t, properties C.bool, f, context C.uintptr_t) C.int {
	c, ok := find("SetTwinCallback", kind, h)
	if !ok {
		return C.int(client.InvalidArg)
	}
	return C.int(c.FollowTwin(twinRecord(properties), callback(f, context)))
}

//export capiGetTwin
func capiGetTwin(kind C.int, h C.uintptr_t, properties C.bool, f, context C.uintptr_t) C.int {
	c, ok := find("GetTwinAsync", kind, h)
	if !ok {
		return C.int(client.InvalidArg)
	}
	return C.int(c.GetTwin(twinRecord(properties), callback(f, context)))
}

func twinRecord(properties C.bool) client.RecordKind {
	if properties {
		return client.RecordProperties
	}
	return client.RecordTwin
}

//export capiReport
func capiReport(kind C.int, h C.uintptr_t, state *C.uchar, size C.size_t, f, context C.uintptr_t) C.int {
	c, ok := find("SendReportedState", kind, h)
	if !ok {
		return C.int(client.InvalidArg)
	}
	return C.int(c.Report(bytesOf(state, size), callback(f, context)))
}

//export capiSetMethodCallback
func capiSetMethodCallback(kind C.int, h C.uintptr_t, style C.int, f, context C.uintptr_t) C.int {
	c, ok := find("SetMethodCallback", kind, h)
	if !ok {
		return C.int(client.InvalidArg)
	}
	return C.int(c.SetMethodCallback(client.MethodStyle(style), callback(f, context)))
}

//export capiRespond
func capiRespond(kind C.int, h, method C.uintptr_t, response *C.uchar, size C.size_t, status C.int) C.int {
	const function = "DeviceMethodResponse"
	c, ok := find(function, kind, h)
	if !ok {
		return C.int(client.InvalidArg)
	}
	request, ok := handle.Take[*iothub.MethodRequest](&handles, C.CAPI_METHOD, uintptr(method))
	if !ok {
		return invalid(function, errStale)
	}
	return C.int(c.Respond(request, int(status), bytesOf(response, size)))
}

//export capiInvoke
func capiInvoke(kind C.int, h C.uintptr_t, device, module, method, payload *C.char, timeout C.uint, status *C.int, response **C.uchar, size *C.size_t) C.int {
	const function = "MethodInvoke"
	c, ok := find(function, kind, h)
	if !ok {
		return C.int(client.InvalidArg)
	}
	if device == nil || module == nil || method == nil || payload == nil || status == nil || response == nil || size == nil {
		return invalid(function, errNull)
	}
	answer, r := c.InvokeAndWait(C.GoString(device), C.GoString(module), C.GoString(method), []byte(C.GoString(payload)), time.Duration(timeout)*time.Second)
	if r == client.OK {
		*status = C.int(answer.Status)
		*response, *size = (*C.uchar)(C.CBytes(answer.Payload)), C.size_t(len(answer.Payload))
	}
	return C.int(r)
}

//export capiInvokeAsync
func capiInvokeAsync(kind C.int, h C.uintptr_t, device, module, method, payload *C.char, timeout C.uint, f, context C.uintptr_t) C.int {
	const function = "MethodInvokeAsync"
	c, ok := find(function, kind, h)
	if !ok {
		return C.int(client.InvalidArg)
	}
	if device == nil || module == nil || method == nil || payload == nil {
		return invalid(function, errNull)
	}
	return C.int(c.Invoke(C.GoString(device), C.GoString(module), C.GoString(method), []byte(C.GoString(payload)), time.Duration(timeout)*time.Second, callback(f, context)))
}

// proxyOptions is HTTP_PROXY_OPTIONS.
type proxyOptions struct {
	host     *C.char
	port     C.int
	username *C.char
	password *C.char
}

//export capiSetOption
func capiSetOption(kind C.int, h C.uintptr_t, name *C.char, value unsafe.Pointer) C.int {
	const function = "SetOption"
	c, ok := find(function, kind, h)
	if !ok {
		return C.int(client.InvalidArg)
	}
	if name == nil || value == nil {
		return invalid(function, errNull)
	}
	option := C.GoString(name)
	t, ok := client.OptionType(option)
	if !ok {
		return invalid(function, fmt.Errorf("there is no option %q for MQTT", option))
	}
	return C.int(c.SetOption(option, optionValue(t, value)))
}

func optionValue(t client.ValueType, p unsafe.Pointer) any {
	switch t {
	case client.ValueString:
		return C.GoString((*C.char)(p))
	case client.ValueBool:
		return bool(*(*C.bool)(p))
	case client.ValueInt:
		return int64(*(*C.int)(p))
	case client.ValueUint:
		return uint64(*(*C.uint)(p))
	case client.ValueSize:
		return uint64(*(*C.size_t)(p))
	case client.ValueMillis:
		return uint64(*(*C.uint64_t)(p))
	case client.ValueProxy:
		o := (*proxyOptions)(p)
		return &ll.HTTPProxyOptions{HostAddress: C.GoString(o.host), Port: int(o.port), Username: C.GoString(o.username), Password: C.GoString(o.password)}
	}
	return nil
}
