// Package crash holds the test that kills a hub under load, again and again:
// see crash_test.go.
package crash
