package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"

	"github.com/iothub-go/iothub/bench/internal/selfcert"
)

// mosquittoConfig takes everybody, keeps nothing and bounds nothing.
const mosquittoConfig = `listener %d 127.0.0.1
certfile %s
keyfile %s
user %s
allow_anonymous true
persistence false
max_inflight_messages 0
max_queued_messages 0
set_tcp_nodelay true
log_type error
log_type warning
log_dest stderr
`

func startMosquitto(c config) (*server, error) {
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		// Debian puts it where only root looks.
		if path, err = exec.LookPath("/usr/sbin/mosquitto"); err != nil {
			return nil, fmt.Errorf("mosquitto is %w", errNotInstalled)
		}
	}
	dir, err := os.MkdirTemp(c.dir, "ingest-mosquitto-")
	if err != nil {
		return nil, err
	}
	s := &server{title: "mosquitto", dir: dir}
	if err := s.startMosquitto(c, path); err != nil {
		_ = s.close()
		return nil, err
	}
	return s, nil
}

func (s *server) startMosquitto(c config, path string) error {
	cert, err := selfcert.New()
	if err != nil {
		return err
	}
	if s.roots, err = selfcert.Pool(cert.CertPEM); err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	me, err := user.Current()
	if err != nil {
		return err
	}
	file := func(name string) string { return filepath.Join(s.dir, name) }
	text := fmt.Sprintf(mosquittoConfig, port, file("cert.pem"), file("key.pem"), me.Username)
	for name, data := range map[string][]byte{
		"cert.pem": cert.CertPEM, "key.pem": cert.KeyPEM, "mosquitto.conf": []byte(text),
	} {
		if err := os.WriteFile(file(name), data, 0o600); err != nil {
			return err
		}
	}
	s.cmd = exec.Command(path, "-c", file("mosquitto.conf"))
	var said bytes.Buffer // warnings that matter only if it does not start
	s.cmd.Stderr = &said
	if err := s.cmd.Start(); err != nil {
		return err
	}
	if err := waitPort(port); err != nil {
		s.kill()
		return fmt.Errorf("%w: %s", err, said.Bytes())
	}
	key := base64.StdEncoding.EncodeToString(make([]byte, 32)) // nobody asks for it
	for i := range slices.Max(c.devices) {
		s.devices = append(s.devices, fmt.Sprintf("HostName=127.0.0.1:%d;DeviceId=bench-%04d;SharedAccessKey=%s", port, i, key))
	}
	return nil
}
