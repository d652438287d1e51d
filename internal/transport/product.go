package transport

import (
	"fmt"
	"runtime"
	"strings"
)

// Version is the version of this library.
const Version = "0.1.0"

// ProductInfo is what a client says of itself, behind the product of the program.
func ProductInfo(product string) string {
	own := fmt.Sprintf("iothub-go/%s (%s; %s; %s)", Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return strings.TrimSpace(product + " " + own)
}
