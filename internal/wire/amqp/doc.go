// Package amqp is a codec for AMQP 1.0 (ISO/IEC 19464): the type system, the
// performatives, the SASL frames and the sections of messages, both directions of
// each, and nothing else: no I/O, no goroutines, no state.
//
// A reader hands the bytes that have arrived to [FrameLen], which knows the length
// of the first frame from its header and refuses an oversized one before it has
// arrived, passes exactly that frame to [DecodeFrame], and its body to the Decode
// method that belongs to [PeekCode]. A writer brackets the Append method of a
// performative with [BeginFrame] and [EndFrame], or calls [AppendFrame].
//
// Values of the type system are Go values:
//
//	null        nil                     timestamp  Timestamp (milliseconds)
//	boolean     bool                    uuid       UUID
//	ubyte…ulong uint8, 16, 32, 64       binary     []byte
//	byte…long   int8, 16, 32, 64        string     string
//	float       float32                 symbol     Symbol
//	double      float64                 list       List
//	decimal…    Decimal32, 64, 128      map        Map, in the order of the wire
//	char        Char                    array      Array
//	described   Described
//
// Decoding caps lengths, counts and nesting before anything is allocated, and
// never panics, whatever the input. Strings are copies; binaries, delivery tags
// and payloads alias the bytes they were decoded from. Flows, transfers and
// dispositions decode without allocation, and everything encodes without beyond
// the growth of the slice. Encoding is canonical: the shortest form of each
// value, and no null behind the last field of a list.
//
// All functions are safe for concurrent use on different values.
package amqp
