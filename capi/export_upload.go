//go:build cgo

package main

// #include "bridge.h"
import "C"

import (
	"bytes"
	"unsafe"

	"github.com/iothub-go/iothub/capi/internal/client"
	"github.com/iothub-go/iothub/capi/internal/handle"
)

//export capiUpload
func capiUpload(kind C.int, h C.uintptr_t, name *C.char, data *C.uchar, size C.size_t) C.int {
	const function = "UploadToBlob"
	c, ok := find(function, kind, h)
	if !ok {
		return C.int(client.InvalidArg)
	}
	if name == nil || (data == nil && size > 0) {
		return invalid(function, errNull)
	}
	var file []byte
	if size > 0 {
		// It is read before this returns, so there is no need for a copy.
		file = unsafe.Slice((*byte)(data), int(size))
	}
	return C.int(c.UploadAndWait(C.GoString(name), bytes.NewReader(file)))
}

//export capiUploadAsync
func capiUploadAsync(kind C.int, h C.uintptr_t, name *C.char, data *C.uchar, size C.size_t, f, context C.uintptr_t) C.int {
	const function = "UploadToBlobAsync"
	c, ok := find(function, kind, h)
	if !ok {
		return C.int(client.InvalidArg)
	}
	if name == nil || (data == nil && size > 0) {
		return invalid(function, errNull)
	}
	return C.int(c.Upload(C.GoString(name), bytesOf(data, size), callback(f, context)))
}

//export capiUploadBlocks
func capiUploadBlocks(kind C.int, h C.uintptr_t, name *C.char, canAbort C.bool, f, context C.uintptr_t) C.int {
	const function = "UploadMultipleBlocksToBlob"
	c, ok := find(function, kind, h)
	if !ok {
		return C.int(client.InvalidArg)
	}
	if name == nil || f == 0 {
		return invalid(function, errNull)
	}
	if c.Threaded() {
		return C.int(c.UploadBlocks(C.GoString(name), callback(f, context), bool(canAbort)))
	}
	return C.int(c.UploadBlocksAndWait(C.GoString(name), callback(f, context), bool(canAbort)))
}

//export capiUploadBegin
func capiUploadBegin(kind C.int, h C.uintptr_t, name *C.char, correlation, uri **C.char) C.int {
	const function = "AzureStorageInitializeBlobUpload"
	c, ok := find(function, kind, h)
	if !ok {
		return C.int(client.InvalidArg)
	}
	if name == nil || correlation == nil || uri == nil {
		return invalid(function, errNull)
	}
	t, r := c.BeginUpload(C.GoString(name))
	if r == client.OK {
		*correlation, *uri = C.CString(t.CorrelationID), C.CString(t.URL)
	}
	return C.int(r)
}

//export capiUploadEnd
func capiUploadEnd(kind C.int, h C.uintptr_t, correlation *C.char, success C.bool, status C.int, text *C.char) C.int {
	const function = "AzureStorageNotifyBlobUploadCompletion"
	c, ok := find(function, kind, h)
	if !ok {
		return C.int(client.InvalidArg)
	}
	if correlation == nil {
		return invalid(function, errNull)
	}
	return C.int(c.EndUpload(C.GoString(correlation), bool(success), int(status), C.GoString(text)))
}

//export capiBlobOpen
func capiBlobOpen(kind C.int, h C.uintptr_t, uri *C.char) C.uintptr_t {
	const function = "AzureStorageCreateClient"
	c, ok := find(function, kind, h)
	if !ok {
		return 0
	}
	if uri == nil {
		invalid(function, errNull)
		return 0
	}
	b, err := c.OpenBlob(C.GoString(uri))
	if err != nil {
		invalid(function, err)
		return 0
	}
	return C.uintptr_t(handles.Add(C.CAPI_BLOB, b))
}

//export capiBlobPut
func capiBlobPut(h C.uintptr_t, number C.uint32_t, data *C.uchar, size C.size_t) C.int {
	const function = "AzureStoragePutBlock"
	b, ok := handle.Get[*client.Blob](&handles, C.CAPI_BLOB, uintptr(h))
	if !ok {
		return invalid(function, errStale)
	}
	if data == nil || size == 0 {
		return invalid(function, errNull)
	}
	return C.int(b.Put(int(number), bytesOf(data, size)))
}

//export capiBlobCommit
func capiBlobCommit(h C.uintptr_t) C.int {
	b, ok := handle.Get[*client.Blob](&handles, C.CAPI_BLOB, uintptr(h))
	if !ok {
		return invalid("AzureStoragePutBlockList", errStale)
	}
	return C.int(b.Commit())
}

//export capiBlobClose
func capiBlobClose(h C.uintptr_t) {
	if b, ok := handle.Take[*client.Blob](&handles, C.CAPI_BLOB, uintptr(h)); ok {
		b.Close()
	}
}
