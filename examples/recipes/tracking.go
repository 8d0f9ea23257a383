package recipes

import (
	"context"
	"errors"
	"strconv"

	"github.com/strunk-go/strunk/queue"
)

// tracked tells an error tracker of failed attempts and of dead letters. Snoozes and discards are no failures.
func tracked(capture func(err error, tags map[string]string)) queue.Middleware {
	return queue.Middleware{
		Work: func(ctx context.Context, task *queue.Incoming, next func(context.Context) error) error {
			err := next(ctx)
			if err != nil && !errors.Is(err, queue.ErrSnoozed) && !errors.Is(err, queue.ErrDiscarded) {
				capture(err, map[string]string{"queue": task.Queue(), "task": strconv.FormatInt(task.ID(), 10),
					"attempt": strconv.Itoa(task.Attempt())})
			}
			return err
		},
		Dead: func(ctx context.Context, letter queue.DeadLetter) {
			capture(errors.New(letter.LastError), map[string]string{"queue": letter.Queue, "dead_letter": "true",
				"task": strconv.FormatInt(letter.ID, 10)})
		},
	}
}
