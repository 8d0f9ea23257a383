package queue_test

import (
	"context"
	"fmt"
	"log"
	"sync/atomic"
	"time"

	"github.com/strunk-go/strunk/queue"
)

// Mails was "emails" before: its workers also work what older processes enqueue, or have enqueued, under that name.
var Mails = queue.Define[SendEmail]("mails", queue.Config{Aliases: []string{"emails"}})

func ExampleConfig_aliases() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	box := open(ctx)
	enqueue(ctx, box, Emails, SendEmail{To: "a@example.com", Template: "welcome"}) // by an older process
	enqueue(ctx, box, Mails, SendEmail{To: "a@example.com", Template: "shipped"})

	var sent atomic.Int64
	send := func(ctx context.Context, task queue.Task[SendEmail]) error {
		fmt.Println("sending", task.Payload.Template, "of", task.Queue)
		if sent.Add(1) == 2 {
			stop()
		}
		return nil
	}
	if err := box.Run(ctx, Mails.Worker(send)); err != nil {
		log.Fatal(err)
	}
	// Unordered output:
	// sending welcome of emails
	// sending shipped of mails
}
