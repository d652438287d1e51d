package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// maxShown is how much of a body is printed, in characters, and maxShownHex
	// in bytes where it is no text.
	maxShown    = 160
	maxShownHex = 32
)

// formatEvent makes the one line for people: what a device has sent never gets
// to the terminal unescaped.
func formatEvent(e *watchedEvent) []byte {
	var b strings.Builder
	b.WriteString(e.EnqueuedTime.UTC().Format("2006-01-02T15:04:05.000Z"))
	b.WriteString("  " + printable(e.DeviceID))
	if e.ModuleID != "" {
		b.WriteString("/" + printable(e.ModuleID))
	}
	fmt.Fprintf(&b, "  %d:%s", e.Partition, e.Offset)
	separator := "  "
	for _, properties := range []map[string]string{e.SystemProperties, e.Properties} {
		for _, name := range slices.Sorted(maps.Keys(properties)) {
			b.WriteString(separator + quoted(name) + "=" + quoted(properties[name]))
			separator = " "
		}
	}
	b.WriteString("  " + body(e.Body) + "\n")
	return []byte(b.String())
}

// body shows the beginning of a body, and its size when that is not all.
func body(p []byte) string {
	if !utf8.Valid(p) || strings.ContainsRune(string(p), 0) {
		if len(p) > maxShownHex {
			return fmt.Sprintf("0x%x… (%d bytes)", p[:maxShownHex], len(p))
		}
		return fmt.Sprintf("0x%x", p)
	}
	shown := 0
	for i := range string(p) {
		if shown++; shown > maxShown {
			return fmt.Sprintf("%s… (%d bytes)", printable(string(p[:i])), len(p))
		}
	}
	return printable(string(p))
}

// quoted is a text that stands between separators.
func quoted(s string) string {
	if s == "" || strings.ContainsAny(s, " =\"") {
		return strconv.Quote(s)
	}
	return printable(s)
}

// printable escapes what would act on a terminal or break the line.
func printable(s string) string {
	for i, r := range s {
		if !strconv.IsPrint(r) || r == utf8.RuneError {
			q := strconv.Quote(s[i:])
			return s[:i] + strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
		}
	}
	return s
}
