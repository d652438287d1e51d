// Package iothub is the shared vocabulary of the Azure IoT Hub clients and of
// the local hub: messages, confirmations, identities, connection strings,
// credentials, connection states and errors.
//
// It performs no I/O and starts no goroutines. The clients live beside it:
//
//   - package device and package module: managed clients that connect,
//     reconnect, queue and renew tokens by themselves and may be used from
//     many goroutines;
//   - package ll: poll-driven clients for programs that own their loop,
//     nothing happens and no callback runs except inside DoWork;
//   - package hub: IoT Hub itself, to embed or to run with the iothub command.
//
// A [Message] is a plain struct; sending copies it, so it may be changed or
// reused as soon as the sending call has returned. Values of the other types
// are immutable once built and safe for concurrent use, unless their
// documentation says otherwise.
package iothub
