// Package topic is the grammar IoT Hub lays over MQTT: the topics a device or
// module publishes to, the property bags at their end, and the user names of
// CONNECT packets.
//
// Like package mqtt beside it, it is pure and symmetric: bytes in, values out,
// for clients and hub alike. Nothing panics, whatever the input, and the paths
// that a message takes do not allocate.
package topic
