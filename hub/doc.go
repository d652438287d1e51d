// Package hub is an IoT Hub to embed: devices and back-end programs that were
// written for Azure IoT Hub connect to it unmodified.
//
// A [Server] has no globals and as many of them as wanted run in one process:
//
//	srv, err := hub.New(&hub.Options{DataDir: "/var/lib/iothub"})
//	…
//	addr, err := srv.Listen(hub.MQTT, "127.0.0.1:8883")
//	…
//	defer srv.Shutdown(ctx)
//
// Without a data folder everything is kept in memory and is gone with the
// server, which is what tests want. TLS is always on: the server makes a private
// certificate authority of its own, and clients trust what [Server.CACertPEM]
// returns.
//
// An event is acknowledged to its device when it is durable, and not before.
//
// What goes wrong with identities and events is an *iothub.Error, whose kind and
// code are IoT Hub's.
package hub
