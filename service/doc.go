// Package service is the back end's side of an IoT Hub: the registry of devices
// and modules, twins, queries, direct methods, jobs, configurations, messages to
// devices and their feedback, notices of uploaded files, and the events that
// devices send.
//
//	client, err := service.NewClientFromConnectionString(connectionString, nil)
//	…
//	device, err := client.CreateDevice(ctx, &service.Device{DeviceID: "dev1"})
//	for twin, err := range client.QueryTwins(ctx, "SELECT * FROM devices", nil) { … }
//
// One [Client] serves a whole program: it is safe for use by many goroutines and
// keeps its connections. Every call takes a context, which bounds the call with
// all its attempts.
//
// Errors are [iothub.Error]: Kind says what a program can decide on, Code is IoT
// Hub's six-digit code, RetryAfter what the hub asked for. A request that is
// throttled, or that certainly did not reach the hub, is sent again with growing
// waits; one that may have reached it only when twice is as good as once.
// [iothub.NotSent] says of an error whether nothing can have happened.
package service
