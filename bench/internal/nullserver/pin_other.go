//go:build !linux

package nullserver

// pin does nothing where there is no portable way.
func pin() {}
