package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// The main job, whole: a hub, a module, events, and all of them back.
func TestQuickstart(t *testing.T) {
	var out, progress bytes.Buffer
	if code := run(t.Context(), []string{"quickstart", "--events", "2000", "--size", "100", "--json"}, &out, &progress); code != exitOK {
		t.Fatalf("exit code %d: %s", code, progress.String())
	}
	var got map[string]float64
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	for key, want := range map[string]float64{"sent": 2000, "confirmed": 2000, "lost": 0, "duplicated": 0} {
		if v, ok := got[key]; !ok || v != want {
			t.Errorf("%s is %v, want %v", key, v, want)
		}
	}
	for _, key := range []string{"rate", "p50_us", "p99_us"} {
		if got[key] <= 0 {
			t.Errorf("%s is %v", key, got[key])
		}
	}
	if !strings.Contains(progress.String(), "2000 of 2000 confirmed") {
		t.Errorf("progress without a terminal: %q", progress.String())
	}
}

// A slow rate is kept, and plain output says what --json does.
func TestQuickstartRate(t *testing.T) {
	var out, progress bytes.Buffer
	if code := run(t.Context(), []string{"quickstart", "--events", "50", "--rate", "500"}, &out, &progress); code != exitOK {
		t.Fatalf("exit code %d: %s", code, progress.String())
	}
	for _, want := range []string{"sent        50", "confirmed   50", "lost        0", "duplicated  0", "rate", "p50", "p99"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, out.String())
		}
	}
}

func TestQuickstartMisuse(t *testing.T) {
	for _, args := range []string{"--events 0", "--size -1", "--size 300000", "--rate -1", "--ca x.pem", "--connection-string HostName=h"} {
		var out, said bytes.Buffer
		if code := run(t.Context(), append([]string{"quickstart"}, strings.Fields(args)...), &out, &said); code == exitOK {
			t.Errorf("quickstart %s succeeded", args)
		}
		if !strings.HasPrefix(said.String(), "iothub: ") || strings.Contains(said.String(), "iothub: iothub: ") {
			t.Errorf("quickstart %s says %q", args, said.String())
		}
	}
}
