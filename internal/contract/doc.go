// Package contract states the contract of the send, in tests that run against
// every client of every layer alike: see contract_test.go.
package contract
