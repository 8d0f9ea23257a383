package schema_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/schema"
)

func TestRegistryHoldsTheSpecificationsOrder(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r, _ := newRegistry(t)
	register(t, r, "order", "1.0", order10)
	register(t, r, "order", "1.1", order11)

	err := r.Register(ctx, "order", "2.0", []byte(order20))
	wantError(t, err, schema.ErrIncompatible, `register "order" "2.0"`, "total", "/properties/id type", "1.1")
	if err := r.Check(ctx, "order", "2.0", []byte(order20)); !errors.Is(err, schema.ErrIncompatible) {
		t.Errorf("Check says %v", err)
	}
	if err := r.Check(ctx, "order", "1.2", []byte(order11)); err != nil {
		t.Errorf("Check refuses what Register would accept: %v", err)
	}

	versions, err := r.Versions(ctx, "order")
	if err != nil || len(versions) != 2 {
		t.Fatalf("%d versions, %v; want 2", len(versions), err)
	}
	if got := versions[0]; got.Version != "1.0" || string(got.Document) != order10 || got.Subject != "order" ||
		got.RegisteredAt.IsZero() {
		t.Errorf("1.0 is kept as %+v", got)
	}
}

func TestRegistryNeverChangesAVersion(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r, _ := newRegistry(t)
	register(t, r, "order", "1.0", order10)
	register(t, r, "order", "1.1", order11)
	for _, tt := range []struct {
		name, reason, version string
		document              any
		want                  error
	}{
		{"same", "the same document again changes nothing", "1.1", []byte(order11), nil},
		{"older", "nor does that of an older version", "1.0", []byte(order10), nil},
		{"spelt otherwise", "1 is 1.0", "1", []byte(order10), nil},
		{"written otherwise", "white space says nothing", "1.0",
			json.RawMessage(strings.Join(strings.Fields(order10), " ")), nil},
		{"another document", "versions are never changed", "1.0", []byte(order11), schema.ErrInvalidVersion},
		{"between", "a new version comes after all others", "1.0.5", []byte(order10), schema.ErrInvalidVersion},
		{"no version", "versions are numbers", "v2", []byte(order11), schema.ErrInvalidVersion},
		{"no schema", "what would not be enforced is refused", "1.2", map[string]any{"prefixItems": []any{}},
			schema.ErrInvalidSchema},
		{"a string", "that is text as well", "1.1", order11, nil},
		{"no JSON", "a channel has none", "1.2", make(chan int), schema.ErrInvalidSchema},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := r.Register(ctx, "order", tt.version, tt.document); !errors.Is(err, tt.want) {
				t.Errorf("%v; want %v: %s", err, tt.want, tt.reason)
			}
		})
	}
	got, err := r.Versions(ctx, "order")
	if err != nil || len(got) != 2 || string(got[0].Document) != order10 || string(got[1].Document) != order11 {
		t.Errorf("the versions are %v, %v", got, err)
	}
}

func TestRegistryOrdersVersionsAsNumbers(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r, _ := newRegistry(t)
	for _, version := range []string{"1.2", "1.9", "1.10", "2"} {
		register(t, r, "a", version, `{}`)
	}
	register(t, r, "b", "1", `true`)
	subjects, err := r.List(ctx)
	if err != nil || len(subjects) != 2 || subjects[0].Name != "a" || subjects[0].Mode != schema.Backward ||
		subjects[0].Strict ||
		!slices.Equal(subjects[0].Versions, []string{"1.2", "1.9", "1.10", "2"}) {
		t.Errorf("%+v, %v", subjects, err)
	}
	latest, err := r.Latest(ctx, "a")
	if err != nil || latest.Version != "2" {
		t.Errorf("the newest is %+v, %v", latest, err)
	}
	got, err := r.Get(ctx, "a", "2.0.0")
	if err != nil || got.Version != "2" {
		t.Errorf("2.0.0 is %+v, %v", got, err)
	}
	_, err = r.Get(ctx, "a", "3")
	wantError(t, err, schema.ErrNotRegistered, `"3"`)
	_, err = r.Get(ctx, "a", "x")
	wantError(t, err, schema.ErrInvalidVersion)
	_, err = r.Latest(ctx, "c")
	wantError(t, err, schema.ErrNotRegistered)
	_, err = r.Versions(ctx, "c")
	wantError(t, err, schema.ErrNotRegistered)
}

func TestRegistryKeepsTheModeOfASubject(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r, _ := newRegistry(t)
	const closed, open = `{"type":"object","additionalProperties":false}`, `{"type":"object"}`
	register(t, r, "s", "1.0", closed, schema.Forward)
	wantError(t, r.Register(ctx, "s", "1.1", []byte(open)), schema.ErrIncompatible)
	register(t, r, "s", "1.1", open, schema.Backward, schema.Strict())
	const notes = `{"type":"object","properties":{"notes":{"type":"string"}}}`
	wantError(t, r.Register(ctx, "s", "1.2", []byte(notes)), schema.ErrIncompatible)
	register(t, r, "s", "1.2", notes, schema.Lenient())
	register(t, r, "s", "1.2", notes, schema.FullTransitive) // the document stays, the mode changes
	subjects, err := r.List(ctx)
	if err != nil || subjects[0].Mode != schema.FullTransitive || subjects[0].Strict {
		t.Errorf("%+v, %v", subjects, err)
	}
	if err := r.Register(ctx, "s", "1.3", []byte(open), schema.Mode("sideways")); err == nil ||
		!strings.Contains(err.Error(), "sideways") {
		t.Errorf("a mode that there is not: %v", err)
	}
}

// Two processes register versions that exclude each other. Both are held until both have asked for the subject's lock.
func TestRegistryLetsProcessesTakeTurns(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := outboxtest.New(t)
	r := schema.NewRegistry(openBox(t, pool))
	register(t, r, "order", "1.0", order10)
	holder, err := pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Rollback(ctx) }()
	if _, err := holder.Exec(ctx, `SELECT public.strunk_schema_lock('order')`); err != nil {
		t.Fatal(err)
	}
	answers := []func() string{
		child(t, pool, "1.1", order11),
		child(t, pool, "1.2", strings.Replace(order11, `"notes": {"type": "string"}`, `"notes": {"type": "integer"}`,
			1)),
	}
	testkit.Eventually(t, "both processes wait for the lock", func() bool {
		var n int
		err := pool.QueryRow(ctx, `SELECT count(*) FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND NOT granted
			AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())`).Scan(&n)
		return err == nil && n == 2
	})
	if err := holder.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	got := []string{answers[0](), answers[1]()}
	slices.Sort(got)
	if !slices.Equal(got, []string{"refused", "registered"}) {
		t.Errorf("the processes say %q; want one registered and one refused", got)
	}
	if versions, err := r.Versions(ctx, "order"); err != nil || len(versions) != 2 {
		t.Errorf("%d versions, %v; want 2", len(versions), err)
	}
}

// The comparison, which may take a while, is done before the subject's lock is asked for: while somebody else holds the
// lock, a version that is incompatible is refused all the same.
func TestRegistryComparesOutsideTheLock(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	pool := outboxtest.New(t)
	r := schema.NewRegistry(openBox(t, pool))
	register(t, r, "order", "1.0", order10)
	holder, err := pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Rollback(context.WithoutCancel(ctx)) }()
	if _, err := holder.Exec(ctx, `SELECT public.strunk_schema_lock('order')`); err != nil {
		t.Fatal(err)
	}
	wantError(t, r.Register(ctx, "order", "1.1", []byte(`{"type":"string"}`)), schema.ErrIncompatible)
}

func TestRegistryExportsWhatCheckDirReads(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r, _ := newRegistry(t)
	register(t, r, "order", "1.0", order10)
	register(t, r, "order", "1.1", order11)
	register(t, r, "a/b", "1", `{"type":"string"}`)
	dir := t.TempDir()
	for range 2 { // again over what is there
		if n, err := r.Export(ctx, dir); err != nil || n != 3 {
			t.Fatalf("%d files, %v; want 3", n, err)
		}
	}
	if err := schema.CheckDir(os.DirFS(dir), schema.BackwardTransitive); err != nil {
		t.Error(err)
	}
	found, err := schema.ReadDir(os.DirFS(dir))
	if err != nil || len(found) != 2 || len(found["order"]) != 2 {
		t.Fatalf("%v, %v", found, err)
	}
	for subject, revisions := range found {
		for _, v := range revisions { // what was exported is what was registered
			register(t, r, subject, v.Version, string(v.Document))
		}
	}
	blocked := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Export(ctx, blocked); err == nil || !strings.Contains(err.Error(), "strunk/schema: export") {
		t.Errorf("an export over a file: %v", err)
	}
}

func TestRegistryWithoutABox(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for name, r := range map[string]*schema.Registry{"nil": nil, "zero": {}, "of nil": schema.NewRegistry(nil)} {
		_, listErr := r.List(ctx)
		_, getErr := r.Get(ctx, "a", "1")
		_, validateErr := r.Validate(ctx, "a", "1", []byte(`1`))
		for _, err := range []error{r.Register(ctx, "a", "1", []byte(`{}`)), r.Check(ctx, "a", "1", []byte(`{}`)),
			listErr, getErr, validateErr} {
			if err == nil || !strings.Contains(fmt.Sprint(err), "NewRegistry") {
				t.Errorf("%s: %v; want it to say what to do", name, err)
			}
		}
	}
	if _, err := (schema.Validator{}).Validate(ctx, "a", "", nil); err == nil {
		t.Error("a validator without a box says that all is well")
	}
}
