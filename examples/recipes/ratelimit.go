package recipes

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/strunk-go/strunk/queue"
)

// Lookups stay below the provider's quota of 100 calls a minute, over all processes: no minute holds more
// than 91 + 10 - 1.
var Lookups = queue.Define[string]("lookups", queue.Config{
	Limits: queue.Limits{Rate: queue.Rate{Count: 91, Per: time.Minute, Burst: 10}},
})

// lookUp calls the provider; when it is told to wait, all processes do.
func lookUp(client *http.Client, provider string) queue.Handler[string] {
	return func(ctx context.Context, task queue.Task[string]) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, provider+task.Payload, http.NoBody)
		if err != nil {
			return err
		}
		request.Header.Set("Idempotency-Key", strconv.FormatInt(task.ID, 10))
		answer, err := client.Do(request)
		if err != nil {
			return err // tried again, with backoff
		}
		defer func() { _ = answer.Body.Close() }()
		switch {
		case answer.StatusCode == http.StatusTooManyRequests:
			seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After"))
			return queue.Hold(ctx, time.Now().Add(time.Duration(max(seconds, 1))*time.Second))
		case answer.StatusCode == http.StatusNotFound:
			return queue.Discard("the provider does not know it")
		case answer.StatusCode/100 != 2:
			return fmt.Errorf("the provider answers %s", answer.Status)
		}
		return nil
	}
}
