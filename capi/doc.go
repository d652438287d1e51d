// Command capi is the C library: libiothub_client, the functions of the Azure
// IoT SDK for C with their documented signatures and behaviour, so that a
// program written for that SDK compiles against the headers in include, links
// with this and runs unchanged. It is built by
//
//	capi/build.sh OUTDIR
//
// which is go build -buildmode=c-shared, and c-archive, with headers, a
// pkg-config file and a CMake package. docs/c-compatibility.md says what is
// there, and where the library and that SDK differ.
//
// A call goes from the C function (api_*.c, which knows the public headers)
// through one exported Go function (export_*.go, which checks handles and
// copies what C gave) to package client, which does the work without knowing of
// C. Functions of the program are called the other way, from dispatch.go
// through bridge.c.
package main

// main is never called: the package is built as a library.
func main() {}
