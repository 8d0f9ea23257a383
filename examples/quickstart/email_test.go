package main

import (
	"context"
	"testing"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/queue/queuetest"
)

func TestEmailIsSent(t *testing.T) {
	box, err := outbox.Open(t.Context(), outboxtest.New(t), outbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	worker := Emails.Worker(func(context.Context, queue.Task[SendEmail]) error { return nil }) // your handler
	done := queuetest.Work(t, queuetest.RollBack(t, box), worker, SendEmail{"user@example.com", "welcome"})
	if done.Status != queue.StatusDelivered {
		t.Errorf("the task is %s: %v", done.Status, done.Err)
	}
}
