package ll_test

import (
	"log"
	"os"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/ll"
)

// A program that owns its loop: the client works, and calls back, only inside
// DoWork, and says when it wants to be called next.
func Example() {
	client, err := ll.NewModuleClientFromConnectionString(os.Getenv("IOTHUB_MODULE_CONNECTION_STRING"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Destroy()
	err = client.SendEventAsync(&iothub.Message{Payload: []byte("hello")}, func(c iothub.Confirmation) {
		log.Println("confirmed:", c.Result, c.Err)
	})
	if err != nil {
		log.Print(err)
		return
	}
	timer := time.NewTimer(0)
	for {
		next, err := client.DoWork()
		if err != nil {
			log.Print(err)
			return
		}
		if status, err := client.SendStatus(); err != nil || status == ll.SendIdle {
			return
		}
		timer.Reset(time.Until(next))
		select {
		case <-client.Wakeup():
		case <-timer.C:
		}
	}
}

// The loop of a program with work of its own, called every so often: DoWork is
// cheap and never blocks.
func ExampleModuleClient_DoWork() {
	var client *ll.ModuleClient // from NewModuleClientFromConnectionString
	for range time.Tick(10 * time.Millisecond) {
		// … the program's own work …
		if _, err := client.DoWork(); err != nil {
			log.Print(err)
			return
		}
	}
}
