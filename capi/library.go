//go:build cgo

package main

// #cgo CFLAGS: -I${SRCDIR}/include -std=c11 -Wall -Wextra
// #include "bridge.h"
import "C"

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"unsafe"

	"github.com/iothub-go/iothub/capi/internal/client"
	"github.com/iothub-go/iothub/capi/internal/handle"
)

// handles are all objects that C knows. The C functions have no argument that
// could say whose they are.
var handles handle.Table

var (
	errStale = errors.New("the handle is null, destroyed or not one of this kind")
	errNull  = errors.New("an argument is NULL")
)

// host is what package client calls.
type host struct{}

// Thread implements client.Host.
func (host) Thread() uintptr { return uintptr(C.capi_thread()) }

// Log implements client.Host.
func (host) Log(err error) { logError(err) }

func logError(err error) { logLine(0, strings.TrimPrefix(err.Error(), "iothub: ")) }

func logLine(category C.int, line string) {
	s := C.CString(line)
	defer C.free(unsafe.Pointer(s))
	C.capi_log(category, s)
}

// invalid logs why a call of a client is refused and returns its result.
func invalid(function string, err error) C.int {
	logError(fmt.Errorf("%s: %w", function, err))
	return C.int(client.InvalidArg)
}

//export capiLogNull
func capiLogNull(what *C.char) { logLine(0, C.GoString(what)+" is NULL") }

// logger writes what clients log, when the option logtrace is on, to the
// program's log.
var logger = slog.New(slog.NewTextHandler(logWriter{}, &slog.HandlerOptions{ReplaceAttr: withoutTime}))

type logWriter struct{}

// Write implements io.Writer.
func (logWriter) Write(p []byte) (int, error) {
	logLine(1, strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}
