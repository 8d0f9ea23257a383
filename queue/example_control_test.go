package queue_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

func ExampleSnooze() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	box := open(ctx)
	Imports := queue.Define[string]("imports", queue.Config{})
	enqueue(ctx, box, Imports, "catalogue.csv")
	ready := false

	load := func(ctx context.Context, task queue.Task[string]) error {
		if task.Payload == "" {
			return queue.Discard("there is nothing to load") // given up at once; no dead letter
		}
		if !ready {
			ready = true
			fmt.Println("not there yet")
			return queue.Snooze(10 * time.Millisecond) // again later, no attempt spent
		}
		fmt.Println("loading in attempt", task.Attempt)
		stop()
		return nil
	}
	if err := box.Run(ctx, Imports.Worker(load)); err != nil {
		log.Fatal(err)
	}
	// Output:
	// not there yet
	// loading in attempt 1
}

func ExampleQueue_Cancel() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	box := open(ctx)
	Exports := queue.Define[string]("exports", queue.Config{})
	began, ended := make(chan bool, 1), make(chan bool, 1)

	export := func(ctx context.Context, task queue.Task[string]) error {
		began <- true
		<-ctx.Done() // whatever it does, it obeys its context
		fmt.Println(errors.Is(context.Cause(ctx), queue.ErrCancelled))
		ended <- true
		return ctx.Err()
	}
	running := background(box, ctx, Exports.Worker(export))
	id := enqueue(ctx, box, Exports, "everything")
	<-began

	state, err := Exports.Cancel(ctx, box, id, "the customer left the page")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(state)
	<-ended
	stop()
	running.Wait()
	task, err := Exports.Get(context.Background(), box, id)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(task.Status, "-", task.LastError)
	// Unordered output:
	// cancelling
	// true
	// cancelled - cancelled: the customer left the page
}

func ExampleQueue_Pause() {
	ctx := context.Background()
	box := open(ctx)

	if err := Emails.Pause(ctx, box, "the provider is down"); err != nil {
		log.Fatal(err)
	}
	paused, err := Emails.Paused(ctx, box)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("paused:", paused)
	if err := Emails.Resume(ctx, box); err != nil {
		log.Fatal(err)
	}
	// Output: paused: true
}

// Middleware of one's own: here it refuses to enqueue for one tenant, and times the handlers.
func ExampleMiddleware() {
	ctx := context.Background()
	box := open(ctx)

	guard := queue.Middleware{
		Enqueue: func(ctx context.Context, tasks []*queue.Outgoing, next func(context.Context) error) error {
			for _, task := range tasks {
				if task.Metadata("tenant") == "" {
					return errors.New("a task of no tenant")
				}
			}
			return next(ctx)
		},
		Work: func(ctx context.Context, task *queue.Incoming, next func(context.Context) error) error {
			began := time.Now()
			err := next(ctx)
			queue.Logger(ctx).Info("handled", "took", time.Since(began))
			return err
		},
	}
	Reports := queue.Define[string]("reports", queue.Config{
		Middleware: []queue.Middleware{queue.Logging(nil), queue.Recovery(), guard},
	})
	err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		_, err := Reports.Enqueue(ctx, tx, "daily")
		return err
	})
	fmt.Println(err)
	// Output: a task of no tenant
}

func ExampleDeadLetters() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	box := open(ctx)
	died := make(chan queue.DeadLetter, 1)
	alarm := queue.Middleware{Dead: func(ctx context.Context, letter queue.DeadLetter) {
		died <- letter
	}}
	bounce := func(ctx context.Context, task queue.Task[SendEmail]) error { return errors.New("no such user") }
	running := background(box, ctx, Emails.Worker(bounce, alarm))
	if err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		_, err := Emails.Enqueue(ctx, tx, SendEmail{To: "gone@example.com"}, queue.MaxAttempts(1))
		return err
	}); err != nil {
		log.Fatal(err)
	}
	<-died
	stop()
	running.Wait()
	ctx = context.Background()

	letters, err := queue.DeadLetters(ctx, box, outbox.DeadFilter{Queue: "emails", Error: "no such user",
		YoungerThan: 24 * time.Hour})
	if err != nil {
		log.Fatal(err)
	}
	for _, letter := range letters {
		fmt.Println(letter.Attempt, letter.LastError, string(letter.Payload))
	}
	retried, err := queue.RetryDead(ctx, box, outbox.DeadFilter{IDs: []int64{letters[0].ID}})
	if err != nil {
		log.Fatal(err)
	}
	purged, err := queue.PurgeDead(ctx, box, outbox.DeadFilter{OlderThan: 7 * 24 * time.Hour})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("retried:", retried, "purged:", purged)
	// Output:
	// 1 no such user {"to":"gone@example.com","template":""}
	// retried: 1 purged: 0
}

// A loop of one's own.
func ExampleQueue_Claim() {
	ctx := context.Background()
	box := open(ctx)
	enqueue(ctx, box, Emails, SendEmail{To: "a@example.com"})
	enqueue(ctx, box, Emails, SendEmail{To: "b@example.com"})

	claim, err := Emails.Claim(ctx, box, 10, queue.VisibilityTimeout(time.Minute))
	if err != nil {
		log.Fatal(err)
	}
	for _, task := range claim.Tasks {
		if err := claim.Heartbeat(ctx); err != nil { // at least once a minute
			log.Fatal(err)
		}
		if task.Payload.To == "b@example.com" {
			err = claim.Fail(ctx, task.ID, errors.New("mailbox full"))
		} else {
			err = claim.Complete(ctx, task.ID)
		}
		if err != nil {
			log.Fatal(err)
		}
	}
	if err := claim.Release(ctx); err != nil { // what is left goes back
		log.Fatal(err)
	}
	fmt.Println(len(claim.Tasks))
	// Output: 2
}

// Any language can enqueue: there is a function in SQL, and so in triggers.
func Example_sql() {
	ctx := context.Background()
	box := open(ctx)
	_, err := box.Pool().Exec(ctx, `
		CREATE FUNCTION order_shipped() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM strunk_enqueue('emails', json_build_object('to', 'a@example.com', 'template', NEW.status),
				priority => 5, delay => interval '1 minute', dedup_key => 'order-' || NEW.id);
			RETURN NEW;
		END $$;
		CREATE TRIGGER order_shipped AFTER UPDATE ON orders FOR EACH ROW
			WHEN (NEW.status = 'shipped') EXECUTE FUNCTION order_shipped();
		INSERT INTO orders VALUES (42, 'paid');
		UPDATE orders SET status = 'shipped' WHERE id = 42`)
	if err != nil {
		log.Fatal(err)
	}
	task, err := Emails.Get(ctx, box, 1)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(task.Status, task.Payload.Template, task.Priority, task.DedupKey)
	// Output: scheduled shipped 5 order-42
}

// Behind PgBouncer in transaction mode: no LISTEN, and no named statements.
func Example_pgBouncer() {
	ctx := context.Background()
	databaseURL := exampleDSN(ctx)

	cfg, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		log.Fatal(err)
	}
	cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	box, err := outbox.Open(ctx, pool, outbox.Config{PollOnly: true, PollInterval: 250 * time.Millisecond})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(enqueue(ctx, box, Emails, SendEmail{To: "a@example.com"}))
	// Output: 1
}

func exampleDSN(ctx context.Context) string {
	server, err := exampleServer()
	if err != nil {
		log.Fatal(err)
	}
	pool, err := pgxpool.New(ctx, server.DSN())
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	if err := outbox.Migrate(ctx, pool, outbox.MigrateConfig{}); err != nil {
		log.Fatal(err)
	}
	return server.DSN()
}
