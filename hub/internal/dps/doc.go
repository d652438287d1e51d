// Package dps is what the Device Provisioning Service does, once, whatever the
// protocol: it keeps enrollments, lets devices prove that they are meant by one,
// makes their identity in one of the hubs it knows, and tells them which.
// (wire-device F, wire-service G)
//
// It stands beside package core and stores through the same interfaces. The
// protocol heads call it; it calls hubs through [Hub].
//
// Who shows a credential that does not hold gets the same answer whatever the
// cause, so that nobody finds out which enrollments there are; the cause is in the
// log.
package dps
