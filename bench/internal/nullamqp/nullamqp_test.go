package nullamqp

import (
	"crypto/tls"
	"os"
	"testing"

	"github.com/Azure/go-amqp"
)

func TestMain(m *testing.M) {
	Main()
	os.Exit(m.Run())
}

// A client gets the message as often as it gives credit, however much that is,
// and no more.
func TestPoursAsMuchAsThereIsCredit(t *testing.T) {
	message, err := amqp.NewMessage([]byte("hello")).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	s, err := Start(map[string][]byte{"here": message})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := t.Context()
	c, err := amqp.Dial(ctx, "amqps://"+s.Addr, &amqp.ConnOptions{TLSConfig: &tls.Config{RootCAs: s.Roots}, SASLType: amqp.SASLTypePlain("a", "b")})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	session, err := c.NewSession(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := session.NewReceiver(ctx, "here", &amqp.ReceiverOptions{Credit: -1})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := r.IssueCredit(4000); err != nil {
			t.Fatal(err)
		}
		for i := range 4000 {
			m, err := r.Receive(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			if string(m.GetData()) != "hello" {
				t.Fatalf("message %d is %q", i, m.GetData())
			}
		}
		if m := r.Prefetched(); m != nil {
			t.Fatal("more messages than credit")
		}
	}
	if err := r.Close(ctx); err != nil {
		t.Error(err)
	}
}
