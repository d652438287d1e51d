// Package core holds what an IoT Hub does, every rule once: identities, shared
// access policies, authentication, one live connection per identity, telemetry
// from its acceptance to its reading back, twins, and what goes to devices and
// modules: cloud-to-device messages, routed inputs and direct methods.
//
// Protocol heads translate bytes into the calls of this package and back; they
// decide nothing. Storage is behind [Storage], so the same rules run on an
// embedded JetStream and, in tests, on plain memory under virtual time.
//
// A [Hub] is safe for use by many goroutines. No lock of this package is held
// across a call to the storage or to a callback, so callbacks may call back.
package core
