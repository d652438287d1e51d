package topic

import (
	"errors"
	"strings"
	"testing"
)

var usernames = []struct {
	in   string
	want Username
}{
	{
		"hub1.azure-devices.net/dev1/?api-version=2021-04-12&DeviceClientType=azure-iot-device%2F1.18.3%20(node%20v18.0.0%3B%20Ubuntu%2022.04%3B%20x64)",
		Username{
			HostName: "hub1.azure-devices.net", DeviceID: "dev1", APIVersion: "2021-04-12",
			DeviceClientType: "azure-iot-device/1.18.3 (node v18.0.0; Ubuntu 22.04; x64)",
		},
	},
	{
		"hub1.azure-devices.net/dev1/mod1/?api-version=2020-09-30&DeviceClientType=.NET%2F1.42.3&model-id=dtmi%3Acom%3Aexample%3AThermostat%3B1",
		Username{
			HostName: "hub1.azure-devices.net", DeviceID: "dev1", ModuleID: "mod1", APIVersion: "2020-09-30",
			DeviceClientType: ".NET/1.42.3", ModelID: "dtmi:com:example:Thermostat;1",
		},
	},
	// Legacy, no '?'.
	{
		"hub1.azure-devices.net/dev1/api-version=2018-06-30",
		Username{HostName: "hub1.azure-devices.net", DeviceID: "dev1", APIVersion: "2018-06-30"},
	},
	{
		"hub/dev1/mod1/api-version=2018-06-30&DeviceClientType=x",
		Username{HostName: "hub", DeviceID: "dev1", ModuleID: "mod1", APIVersion: "2018-06-30", DeviceClientType: "x"},
	},
	{
		"hub/dev1/DeviceClientType=x&api-version=2018-06-30",
		Username{HostName: "hub", DeviceID: "dev1", APIVersion: "2018-06-30", DeviceClientType: "x"},
	},
	// Legacy, a slash for the '&'.
	{
		"hub/dev1/api-version=2018-06-30/DeviceClientType=x",
		Username{HostName: "hub", DeviceID: "dev1", APIVersion: "2018-06-30", DeviceClientType: "x"},
	},
	{
		"hub/dev1/mod1/api-version=2017-06-30/DeviceClientType=Microsoft.Azure.Devices.Client/1.5.1-preview-003",
		Username{
			HostName: "hub", DeviceID: "dev1", ModuleID: "mod1", APIVersion: "2017-06-30",
			DeviceClientType: "Microsoft.Azure.Devices.Client/1.5.1-preview-003",
		},
	},
	{
		"hub/dev1/api-version=2017-06-30/DeviceClientType=a/b/c&model-id=dtmi:x/y;1",
		Username{HostName: "hub", DeviceID: "dev1", APIVersion: "2017-06-30", DeviceClientType: "a/b/c", ModelID: "dtmi:x/y;1"},
	},
	// Slashes that nobody escaped.
	{
		"hub/dev1/?api-version=2020-09-30&DeviceClientType=py/1.2",
		Username{HostName: "hub", DeviceID: "dev1", APIVersion: "2020-09-30", DeviceClientType: "py/1.2"},
	},
	{
		"hub/dev1/mod1/?api-version=2020-09-30&DeviceClientType=py/1.2/x=y",
		Username{HostName: "hub", DeviceID: "dev1", ModuleID: "mod1", APIVersion: "2020-09-30", DeviceClientType: "py/1.2/x=y"},
	},
	// '?' and '=' in identifiers: the last segment is the query.
	{
		"hub/?dev/?api-version=1",
		Username{HostName: "hub", DeviceID: "?dev", APIVersion: "1"},
	},
	{
		"hub/d?e=v/?mod/?api-version=1",
		Username{HostName: "hub", DeviceID: "d?e=v", ModuleID: "?mod", APIVersion: "1"},
	},
	{
		"hub/api-version=7/?api-version=1",
		Username{HostName: "hub", DeviceID: "api-version=7", APIVersion: "1"},
	},
	// Identifiers are trimmed and never unescaped; the host may be anything.
	{
		" hub / dev1 / mod%201 /?api-version=1",
		Username{HostName: "hub", DeviceID: "dev1", ModuleID: "mod%201", APIVersion: "1"},
	},
	{"/dev1/?api-version=1", Username{DeviceID: "dev1", APIVersion: "1"}},
	// Query: first duplicate wins, unknown ignored, order free, '+' is a plus.
	{
		"hub/dev1/?x=1&api-version=1&api-version=2&&y&DeviceClientType=a+b%2B",
		Username{HostName: "hub", DeviceID: "dev1", APIVersion: "1", DeviceClientType: "a+b+"},
	},
	{
		"hub/dev1/?api-version=1&DeviceClientType=100%&model-id=%FFx",
		Username{HostName: "hub", DeviceID: "dev1", APIVersion: "1", DeviceClientType: "100%", ModelID: "\ufffdx"},
	},
	{
		"hub/dev1/?api-version=1&digital-twin-model-id=dtmi%3Aold%3B1",
		Username{HostName: "hub", DeviceID: "dev1", APIVersion: "1", ModelID: "dtmi:old;1"},
	},
	{
		"hub/dev1/?digital-twin-model-id=old&model-id=new&api-version=1",
		Username{HostName: "hub", DeviceID: "dev1", APIVersion: "1", ModelID: "new"},
	},
	{
		"hub/edge1/$edgeHub/?api-version=1&auth-chain=leaf1%3Bedge1%3Bedge2",
		Username{HostName: "hub", DeviceID: "edge1", ModuleID: "$edgeHub", APIVersion: "1", AuthChain: "leaf1;edge1;edge2"},
	},
	{
		"hub/" + strings.Repeat("d", MaxIDLen) + "/?api-version=" + strings.Repeat("v", MaxAPIVersionLen),
		Username{HostName: "hub", DeviceID: strings.Repeat("d", MaxIDLen), APIVersion: strings.Repeat("v", MaxAPIVersionLen)},
	},
}

func TestParseUsername(t *testing.T) {
	for _, tc := range usernames {
		got, err := ParseUsername(tc.in)
		if err != nil || got != tc.want {
			t.Errorf("%s\n got %+v, %v\nwant %+v", tc.in, got, err, tc.want)
		}
		again, err := ParseUsername(string(AppendUsername(nil, &tc.want)))
		if err != nil || again != tc.want {
			t.Errorf("%s, encoded again: %+v, %v", tc.in, again, err)
		}
	}
}

func TestParseUsernameErrors(t *testing.T) {
	for _, in := range []string{
		"",
		"hub",
		"hub/dev1",
		"hub/dev1/",
		"hub/dev1/mod1/",
		"hub/dev1/mod1/x/?api-version=1",
		"hub/?api-version=1",
		"api-version=1",
		"?api-version=1",
		"hub/dev1/?",
		"hub/dev1/?api-version",
		"hub/dev1/?api-version=",
		"hub/dev1/?api-version=%20&x=1",
		"hub/dev1/?api-version=&api-version=1",
		"hub/dev1/?API-VERSION=1",
		"hub/dev1/?DeviceClientType=x",
		"hub/dev1/xapi-version=1",
		"hub//?api-version=1",
		"hub/ /?api-version=1",
		"hub/dev1//?api-version=1",
		"hub/dev1/ /?api-version=1",
		"hub/dev1/DeviceClientType=x/y/api-version=1",
		"hub/dev\xff/?api-version=1",
		"hub/" + strings.Repeat("d", MaxIDLen+1) + "/?api-version=1",
		"hub/dev1/" + strings.Repeat("m", MaxIDLen+1) + "/?api-version=1",
		strings.Repeat("h", MaxHostNameLen+1) + "/dev1/?api-version=1",
		"hub/dev1/?api-version=" + strings.Repeat("v", MaxAPIVersionLen+1),
		"hub/dev1/?api-version=1&x=" + strings.Repeat("x", MaxUsernameLen),
	} {
		u, err := ParseUsername(in)
		if !errors.Is(err, ErrUsername) || u != (Username{}) {
			t.Errorf("%.80q: %+v, %v", in, u, err)
		} else if len(err.Error()) > 200 {
			t.Errorf("%.80q: long error %q", in, err)
		}
	}
}

func TestAppendUsername(t *testing.T) {
	for _, tc := range []struct {
		u    Username
		want string
	}{
		{
			Username{HostName: "hub1.azure-devices.net", DeviceID: "dev1", APIVersion: "2021-04-12"},
			"hub1.azure-devices.net/dev1/?api-version=2021-04-12",
		},
		{
			Username{
				HostName: "hub", DeviceID: "dev1", ModuleID: "mod1", APIVersion: "2020-09-30", DeviceClientType: ".NET/1.42.3",
				ModelID: "dtmi:com:example:Thermostat;1", AuthChain: "a;b",
			},
			"hub/dev1/mod1/?api-version=2020-09-30&DeviceClientType=.NET%2F1.42.3&model-id=dtmi%3Acom%3Aexample%3AThermostat%3B1&auth-chain=a%3Bb",
		},
		{
			Username{HostName: "hub", DeviceID: "d#(1)", APIVersion: "1"},
			"hub/d#(1)/?api-version=1",
		},
	} {
		if got := AppendUsername([]byte("x"), &tc.u); string(got) != "x"+tc.want {
			t.Errorf("%s, want %s", got, tc.want)
		}
	}
}

func TestClientID(t *testing.T) {
	u := Username{DeviceID: "dev1"}
	if got := u.ClientID(); got != "dev1" {
		t.Error(got)
	}
	u.ModuleID = "mod1"
	if got := u.ClientID(); got != "dev1/mod1" {
		t.Error(got)
	}
}

func BenchmarkParseUsername(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseUsername(usernames[0].in); err != nil {
			b.Fatal(err)
		}
	}
}
