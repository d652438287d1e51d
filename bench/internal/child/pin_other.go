//go:build !linux

package child

// pin does nothing where there is no portable way.
func pin() {}
