// Package mqtt is a codec for MQTT 3.1.1 control packets, both directions of
// every packet, and nothing else: no I/O, no goroutines, no state.
//
// A reader hands the bytes that have arrived to [Frame], which finds the first
// whole packet and refuses an illegal or oversized one from its header alone,
// then passes exactly that packet to the Decode function of its [PacketType].
// A writer calls the Append functions, which append one packet to a slice and
// return the extended slice; on error they return the slice they were given.
//
// The codec is strict: what the specification calls malformed is an error that
// matches [ErrMalformed] and names the violated statement. Decode functions
// never panic, whatever the input, and allocate no more than what they return.
// Publishes and acknowledgements are encoded and decoded without allocation.
//
// All functions are safe for concurrent use on different slices. Results that
// alias the frame say so; everything else is a copy.
package mqtt
