package supervisor

import (
	"bufio"
	"os/exec"
	"testing"
)

// A process that has ended and that nobody has asked for is not left: what waits for
// it would wait for ever where the first process asks for nobody.
func TestEndedIsNotLeft(t *testing.T) {
	cmd := exec.Command("sh", "-c", "echo up; read x")
	apart(cmd)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if lines.Scan(); !left(cmd) {
		t.Error("it runs")
	}
	in.Close()
	for lines.Scan() { // until it has ended, or nearly
	}
	for n := 0; left(cmd); n++ {
		if n == 10_000 {
			t.Fatal("it has ended")
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Log(err)
	}
}
