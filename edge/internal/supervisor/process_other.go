//go:build !unix

package supervisor

import "os/exec"

func apart(*exec.Cmd) {}

// Without signals nobody can be asked.
func ask(cmd *exec.Cmd) { kill(cmd) }

func kill(cmd *exec.Cmd) {
	_ = cmd.Process.Kill() // it may have ended
}

func left(*exec.Cmd) bool { return false }
