package ops

import (
	"bytes"
	_ "embed" // for the pages
	"fmt"
	"html/template"
	"net/http"
	"time"

	"github.com/strunk-go/strunk/outbox"
)

//go:embed pages.html
var pagesText string

//go:embed pages.css
var pagesCSS []byte

// pageTemplates escape by context whatever the database holds. The pages have no script, and the
// policy that is sent with them allows none.
var pageTemplates = template.Must(template.New("pages").Funcs(template.FuncMap{
	"age": func(d Duration) string { return short(d.Duration).String() },
	"mb":  func(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) },
	"at": func(t any) string {
		switch v := t.(type) {
		case time.Time:
			return v.UTC().Format(time.DateTime)
		case *time.Time:
			if v != nil {
				return v.UTC().Format(time.DateTime)
			}
		}
		return "–"
	},
	"text": func(doc any) string { return fmt.Sprintf("%s", doc) },
}).Parse(pagesText))

// pages serves what people look at. Links are relative, so that any prefix will do.
func (s *server) pages(mux *http.ServeMux) {
	mux.Handle("GET /{$}", s.permit(PermissionRead, "page",
		s.page("overview", func(c *call) (any, error) { return s.shared.get(c.ctx) })))
	mux.Handle("GET /dead-letters", s.permit(PermissionRead, "page",
		s.page("dead", func(c *call) (any, error) { return deadPage(c) },
			parameter{name: "queue"}, parameter{name: "subscriber"}, parameter{name: "status"},
			parameter{name: "from"})))
	mux.Handle("GET /task", s.permit(PermissionRead, "page",
		s.page("task", func(c *call) (any, error) { return taskPage(c) }, parameter{name: "id"})))
	mux.Handle("GET /pages.css", s.permit(PermissionRead, "page", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		_, _ = w.Write(pagesCSS)
	}))
}

// page serves a template with what run returns, under the same limits as an operation.
func (s *server) page(name string, run func(c *call) (any, error), query ...parameter) http.HandlerFunc {
	o := operation{permission: PermissionRead, query: query}
	return func(w http.ResponseWriter, r *http.Request) {
		var html bytes.Buffer
		o.run = func(c *call) (any, error) {
			data, err := run(c)
			if err == nil {
				err = pageTemplates.ExecuteTemplate(&html, name, data)
			}
			return page{&html}, err
		}
		o.serve(s)(w, r)
	}
}

// page is an answer that is not JSON.
type page struct{ html *bytes.Buffer }

type deadLetters struct {
	outbox.DeadFilter
	Letters []DeadLetter
	Next    int64
}

func deadPage(c *call) (p deadLetters, err error) {
	if p.DeadFilter, err = c.deadFilter(); err != nil {
		return p, err
	}
	p.Newest = true
	p.Letters, err = DeadLetters(c.ctx, c.box, p.DeadFilter)
	if n := len(p.Letters); n > 0 && n == p.Limit {
		p.Next = p.Letters[n-1].ID
	}
	return p, err
}

type taskShown struct {
	TaskDetails
	// Shown says that the payload may be.
	Shown bool
}

func taskPage(c *call) (p taskShown, err error) {
	id, err := parseID(c.query.Get("id"))
	if err != nil {
		return p, err
	}
	_, refused := c.s.cfg.Authorize(c.r, PermissionPayloads)
	p.Shown = refused == nil
	if p.TaskDetails, err = Task(c.ctx, c.box, id); err == nil {
		p.TaskDetails = c.s.show(c, p.TaskDetails, p.Shown)
	}
	return p, err
}
