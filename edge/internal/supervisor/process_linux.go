package supervisor

import "syscall"

// endWithParent has the kernel end the program when this process is killed.
func endWithParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGTERM }
