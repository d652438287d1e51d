//go:build unix

package supervisor

import (
	"os/exec"
	"syscall"
)

// apart puts the program into a process group of its own: an interrupt at the
// terminal is for this process, which ends the modules in order, and what a module
// starts ends with it.
func apart(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	endWithParent(cmd.SysProcAttr)
}

func ask(cmd *exec.Cmd) { signalGroup(cmd, syscall.SIGTERM) }

func kill(cmd *exec.Cmd) { signalGroup(cmd, syscall.SIGKILL) }

// left reports whether something of the program is left that runs.
func left(cmd *exec.Cmd) bool {
	group := cmd.Process.Pid
	return syscall.Kill(-group, 0) == nil && runs(group)
}

func signalGroup(cmd *exec.Cmd, s syscall.Signal) {
	_ = syscall.Kill(-cmd.Process.Pid, s) // it may be empty already
}
