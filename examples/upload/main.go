// Upload is a device that uploads a file: what is on its standard input, under the
// name log.txt. When it is interrupted, run it again: it sends what is missing.
//
//	go run ./examples/upload --connection-string "…" --ca ./hub-data/ca.pem < log.txt
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
	"github.com/iothub-go/iothub/examples/internal/args"
)

func main() { args.Run("upload", run) }

func run(ctx context.Context, connectionString string, o *iothub.ClientOptions) error {
	client, err := device.NewClientFromConnectionString(connectionString, o)
	if err != nil {
		return err
	}
	defer client.Close(context.Background())
	upload := &device.UploadOptions{
		ContentType: "text/plain",
		Progress:    func(n int64) { fmt.Println(n, "bytes are there") },
	}
	// Azure's port is 443; a local hub may have another one.
	if text := os.Getenv("IOTHUB_HTTPS_PORT"); text != "" {
		if upload.Port, err = strconv.Atoi(text); err != nil {
			return err
		}
	}
	if err := client.UploadFile(ctx, "log.txt", os.Stdin, upload); err != nil {
		return err
	}
	fmt.Println("uploaded")
	return nil
}
