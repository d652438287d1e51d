// Package simulation holds the simulated-network test of the clients: random
// programs, networks and hubs, one for each seed, in virtual time, against
// which every promise of the send contract is checked.
//
//	go test ./internal/simulation                                  the default number of seeds
//	go test ./internal/simulation -seeds=100000                    more of them
//	go test ./internal/simulation -seed=12345 -layer=module -v     one of them, with a trace
//
// A seed fixes the scenario: what is sent when, every fault of every
// connection, what the hub does. It does not fix how the goroutines of one
// virtual instant interleave, so a race may need a few runs (-count) to show
// again.
package simulation
