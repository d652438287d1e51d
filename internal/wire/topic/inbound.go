package topic

import (
	"bytes"
	"strconv"
)

// Filters that a device or module subscribes to, whoever it is.
const (
	MethodsFilter       = "$iothub/methods/POST/#"
	TwinResponsesFilter = "$iothub/twin/res/#"
	DesiredFilter       = "$iothub/twin/PATCH/properties/desired/#"
)

// MessagesFilter is the filter of a device's cloud-to-device messages.
func MessagesFilter(deviceID string) string {
	return "devices/" + deviceID + "/messages/devicebound/#"
}

// InputsFilter is the filter of a module's inputs.
func InputsFilter(deviceID, moduleID string) string {
	return "devices/" + deviceID + "/modules/" + moduleID + "/inputs/#"
}

// InboundKind is what a hub publishes to a device or module.
type InboundKind uint8

// The kinds of inbound topics.
const (
	InboundUnknown      InboundKind = iota
	InboundMessage                  // cloud-to-device
	InboundInput                    // module input; Name is the input's
	InboundMethod                   // Name is the method's, Query holds $rid
	InboundTwinResponse             // Status, Query holds $rid and perhaps $version
	InboundDesired                  // Query holds $version
)

// Inbound is a parsed topic of a PUBLISH from the hub. Its slices alias the
// topic.
type Inbound struct {
	Kind   InboundKind
	Name   []byte // still as it stands in the topic
	Bag    []byte // of InboundMessage and InboundInput
	Query  []byte // "?$rid=…", for RequestID and Version
	Status int
}

const (
	methodsPrefix      = "$iothub/methods/POST/"
	twinResponsePrefix = "$iothub/twin/res/"
	desiredPrefix      = "$iothub/twin/PATCH/properties/desired/"
)

// ParseInbound tells what a topic from the hub is for the given identity;
// moduleID is empty for a device. Anything else is InboundUnknown.
func ParseInbound(topic []byte, deviceID, moduleID string) Inbound {
	if rest, ok := cutPrefix(topic, methodsPrefix); ok {
		name, query, ok := bytes.Cut(rest, []byte("/"))
		if !ok || len(name) == 0 {
			return Inbound{}
		}
		return Inbound{Kind: InboundMethod, Name: name, Query: query}
	}
	if rest, ok := cutPrefix(topic, twinResponsePrefix); ok {
		code, query, ok := bytes.Cut(rest, []byte("/"))
		status, err := strconv.Atoi(string(code))
		if !ok || err != nil {
			return Inbound{}
		}
		return Inbound{Kind: InboundTwinResponse, Status: status, Query: query}
	}
	if rest, ok := cutPrefix(topic, desiredPrefix); ok {
		return Inbound{Kind: InboundDesired, Query: rest}
	}
	rest, ok := cutPrefix(topic, "devices/")
	if !ok {
		return Inbound{}
	}
	if rest, ok = cutPrefix(rest, deviceID); !ok {
		return Inbound{}
	}
	if bag, ok := cutPrefix(rest, "/messages/devicebound/"); ok && moduleID == "" {
		return Inbound{Kind: InboundMessage, Bag: bag}
	}
	if rest, ok = cutPrefix(rest, "/modules/"); !ok || moduleID == "" {
		return Inbound{}
	}
	if rest, ok = cutPrefix(rest, moduleID); !ok {
		return Inbound{}
	}
	if rest, ok = cutPrefix(rest, "/inputs/"); !ok {
		return Inbound{}
	}
	name, bag, _ := bytes.Cut(rest, []byte("/"))
	if len(name) == 0 {
		return Inbound{}
	}
	return Inbound{Kind: InboundInput, Name: name, Bag: bag}
}

// AppendTwinGet appends the topic that asks for the twin.
func AppendTwinGet(dst []byte, rid string) []byte {
	return append(append(dst, "$iothub/twin/GET/?$rid="...), rid...)
}

// AppendTwinReport appends the topic that patches the reported properties.
func AppendTwinReport(dst []byte, rid string) []byte {
	return append(append(dst, "$iothub/twin/PATCH/properties/reported/?$rid="...), rid...)
}

// AppendMethodResponse appends the topic that answers a method call; rid is
// echoed as it came.
func AppendMethodResponse(dst []byte, status int, rid string) []byte {
	dst = strconv.AppendInt(append(dst, "$iothub/methods/res/"...), int64(status), 10)
	return append(append(dst, "/?$rid="...), rid...)
}
