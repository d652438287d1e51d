package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/testkit"
)

const testGroupKey = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

func TestDeriveKeyVerb(t *testing.T) {
	const dev1 = "jgNHkpsSyy5knqEYC62lGiPQlRRClkZht9bpLre3fa0="
	if code, out, errs := once(t, "dps", "derive-key", "dev1", "--group-key", testGroupKey); code != exitOK || out != dev1+"\n" {
		t.Errorf("%d %q %s", code, out, errs)
	}
	t.Setenv(groupKeyVariable, testGroupKey)
	if code, out, errs := once(t, "dps", "derive-key", "dev1", "dev2"); code != exitOK || !strings.HasPrefix(out, "dev1  "+dev1+"\ndev2  ") {
		t.Errorf("%d %q %s", code, out, errs)
	}
	_, out, _ := once(t, "dps", "derive-key", "dev1", "-o", "json")
	var keys []derivedKey
	if err := json.Unmarshal([]byte(out), &keys); err != nil || len(keys) != 1 || keys[0] != (derivedKey{"dev1", dev1}) {
		t.Errorf("%s, %v", out, err)
	}
	for _, args := range [][]string{{}, {"a b"}, {"dev1", "--group-key", "secret!"}, {"dev1", "-o", "xml"}} {
		if code, out, errs := once(t, append([]string{"dps", "derive-key"}, args...)...); code != exitUsage || out != "" || strings.Contains(errs, "secret!") {
			t.Errorf("%q: %d %q %s", args, code, out, errs)
		}
	}
	t.Setenv(groupKeyVariable, "")
	if code, _, errs := once(t, "dps", "derive-key", "dev1"); code != exitUsage || !strings.Contains(errs, groupKeyVariable) {
		t.Errorf("%d %s", code, errs)
	}
}

// A device registers from the command line, with each kind of secret that it may have.
func TestRegisterVerb(t *testing.T) {
	_, r := beginHub(t, t.TempDir())
	v := &verbs{t, []string{"--connection-string", r.ProvisioningConnectionString, "--ca", r.CAFile}}
	device := &verbs{t, []string{"--ca", r.CAFile, "--id-scope", r.IDScope}}
	addresses := map[hub.Protocol]string{}
	for _, l := range r.Listeners {
		addresses[l.Protocol] = l.Address
	}
	mqtt, https := addresses[hub.MQTT], addresses[hub.HTTPS]

	v.ok("dps", "group", "create", "line-1", "--primary-key", testGroupKey, "--secondary-key", testGroupKey)
	t.Setenv(groupKeyVariable, testGroupKey)
	out := device.ok("dps", "register", "sensor-1", "--endpoint", mqtt)
	if device.field(out, "device") != "sensor-1" || device.field(out, "group") != "line-1" || device.field(out, "hub") != mqtt || strings.Contains(out, "Key") {
		t.Error(out)
	}
	out = device.ok("dps", "register", "sensor-1", "--endpoint", https, "--transport", "https", "--connection-string", "-o", "json")
	var shown struct{ DeviceID, HubHostName, ConnectionString string }
	if err := json.Unmarshal([]byte(out), &shown); err != nil || shown.DeviceID != "sensor-1" || !strings.HasPrefix(shown.ConnectionString, "HostName="+mqtt+";DeviceId=sensor-1;SharedAccessKey=") ||
		strings.Contains(shown.ConnectionString, testGroupKey) {
		t.Errorf("%s, %v", out, err)
	}
	device.fails(exitRefused, "is enrolled", "dps", "register", "sensor-2", "--endpoint", mqtt, "--key", testGroupKey)

	cert := testkit.Leaf(t, "sensor-x", nil)
	file := fileOf(t, cert)
	keyFile := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(keyFile, cert.KeyPEM(t), 0o600); err != nil {
		t.Fatal(err)
	}
	v.ok("dps", "enrollment", "create", cert.Subject.CommonName, "--certificate", file)
	out = device.ok("dps", "register", "--endpoint", https, "--transport", "mqtt-ws", "--certificate", file, "--private-key", keyFile, "--connection-string")
	if device.field(out, "registration") != "sensor-x" || !strings.HasSuffix(device.field(out, "connection string"), ";x509=true") {
		t.Error(out)
	}
	for _, args := range [][]string{
		{"sensor-1", "--transport", "amqp"}, {"sensor 1"}, {}, {"sensor-1", "--payload", "{"}, {"sensor-1", "--certificate", "nowhere.pem"},
		{"sensor-1", "-o", "xml"},
	} {
		if code, _, errs := device.run(append([]string{"dps", "register"}, args...)...); code != exitUsage {
			t.Errorf("%q: %d %s", args, code, errs)
		}
	}
	device.fails(exitFailure, "group-key", "dps", "register", "sensor-1", "--key", "x", "--group-key", "y")
	t.Setenv(groupKeyVariable, "")
	device.fails(exitUsage, deviceKeyVariable, "dps", "register", "sensor-1")
	device.fails(exitFailure, "last attempt", "dps", "register", "sensor-1", "--key", testGroupKey, "--endpoint", "127.0.0.1:1", "--timeout", "100ms")
}
