//go:build !windows

package tpm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxtpm"
)

// devices are those of Linux; the first one can be shared.
var devices = [...]string{"/dev/tpmrm0", "/dev/tpm0"}

func openDevice(path string) (transport.TPMCloser, error) {
	if path == "" {
		first, err := linuxtpm.Open(devices[0])
		if !errors.Is(err, fs.ErrNotExist) { // a kernel before 4.12 has only the second
			return first, err
		}
		return linuxtpm.Open(devices[1])
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode()&os.ModeSocket != 0 {
		return openSocket(path)
	}
	return linuxtpm.Open(path)
}

// openSocket connects to a simulator, which serves one connection at a time and has no
// place for many that wait.
func openSocket(path string) (transport.TPMCloser, error) {
	const patience, pause = time.Second, 10 * time.Millisecond
	for begun := time.Now(); ; <-time.After(pause) {
		nc, err := net.Dial("unix", path)
		if err == nil {
			return stream{nc}, nil
		}
		if !errors.Is(err, syscall.EAGAIN) || time.Since(begun) > patience {
			return nil, err
		}
	}
}

// stream is the way to a simulator that takes commands one after the other.
type stream struct{ net.Conn }

// maxResponse bounds an answer; a TPM's is at most 4096 bytes.
const maxResponse = 64 << 10

// Send implements transport.TPM. (TPM 2.0 Part 1, 18: tag, length of all, code)
func (s stream) Send(command []byte) ([]byte, error) {
	if _, err := s.Write(command); err != nil {
		return nil, err
	}
	header := make([]byte, 10)
	if _, err := io.ReadFull(s, header); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(header[2:])
	if n < uint32(len(header)) || n > maxResponse {
		return nil, fmt.Errorf("an answer of %d bytes", n)
	}
	answer := append(make([]byte, 0, n), header...)[:n]
	_, err := io.ReadFull(s, answer[len(header):])
	return answer, err
}
