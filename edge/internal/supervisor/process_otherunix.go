//go:build unix && !linux

package supervisor

import "syscall"

func endWithParent(*syscall.SysProcAttr) {}
