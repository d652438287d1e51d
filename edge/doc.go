// Package edge is a local IoT Edge runtime for development: modules that were written
// for IoT Edge run on a laptop, unmodified and without containers.
//
//	rt, err := edge.New(ctx, &edge.Options{
//		ConnectionString: "HostName=…;DeviceId=edge1;SharedAccessKey=…",
//		DataDir:          "edge-data",
//		Modules:          []edge.Module{{Name: "filter", Command: []string{"node", "filter.js"}}},
//	})
//	…
//	defer rt.Shutdown(ctx)
//
// A Runtime makes the modules at the hub upstream with the credential of the IoT Edge
// device, runs an edge hub that they and leaf devices connect to, starts the programs
// with the environment that IoT Edge gives them, signs for them by the workload API,
// starts them again when they end, and reports on them as $edgeAgent.
//
// Each module has a workload socket of its own, in a folder that only this user can
// enter, and which socket a request comes by decides whom it is signed for. Modules
// that run as one user are not protected from each other by that, as little as their
// files are.
package edge
