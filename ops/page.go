package ops

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"
)

// pageFiles are the templates, the styles and the scripts of the page.
//
//go:embed page
var pageFiles embed.FS

// view is one view of the page. Its template is page/<template>.html, which shows what fill returns.
type view struct {
	// path is what follows the prefix, without a slash, so that relative links work under any prefix; empty is Now.
	path, title, template string
	// under is the path of the entry of the navigation that is marked.
	under string
	fill  func(c *call) (any, error)
	query []parameter
}

// views are all views: one line each.
func views() []view {
	return []view{
		{"", "Now", "now", "", nowView, named("over")},
		{"queues", "Queues", "queues", "queues", queuesView, named("q", "state", "sort", "from")},
		{"queue", "Queue", "queue", "queues", queueView, named("name", "over")},
		{"tasks", "Tasks", "tasks", "tasks", tasksView, taskParameters},
		{"task", "Task", "task", "tasks", taskView, named("id")},
		{"errors", "Errors", "errors", "errors", errorsView, named("of", "since_seconds", "new", "group")},
		{"jobs", "Bulk jobs", "jobs", "jobs", jobsView, named("state", "after")},
		{"job", "Bulk job", "job", "jobs", jobView, named("id")},
		{"events", "Events", "events", "events", eventsView, named("after")},
		{"subscriber", "Subscriber", "subscriber", "events", subscriberView, named("name", "after_type", "after_id",
			"dead_before")},
		{"entity", "Entity", "entity", "events", entityView, named("type", "id", "before")},
		{"schedules", "Schedules", "schedules", "schedules", schedulesView, named("after")},
		{"processes", "Processes", "processes", "processes", processesView, named("queue")},
		{"contracts", "Contracts", "contracts", "contracts", contractsView, named("after")},
		{"contract", "Contract", "contract", "contracts", contractView, named("subject", "from", "to")},
		{"database", "Database", "database", "database", databaseView, nil},
		{"audit", "Audit", "audit", "audit", auditView, named("actor", "action", "before")},
		{"search", "Search", "search", "search", searchView, named("q")},
		{"confirm", "Confirm", "confirm", "", confirmView, confirmParameters()},
	}
}

// navigation are the paths of the views that the navigation lists, with what it calls them.
var navigation = []navEntry{
	{Path: "", Title: "Now"},
	{Path: "queues", Title: "Queues"},
	{Path: "tasks", Title: "Tasks"},
	{Path: "errors", Title: "Errors"},
	{Path: "jobs", Title: "Bulk jobs"},
	{Path: "events", Title: "Events"},
	{Path: "schedules", Title: "Schedules"},
	{Path: "processes", Title: "Processes"},
	{Path: "contracts", Title: "Contracts"},
	{Path: "database", Title: "Database"},
	{Path: "audit", Title: "Audit"},
}

// named are parameters of a view.
func named(names ...string) (all []parameter) {
	for _, n := range names {
		all = append(all, parameter{name: n, kind: "string"})
	}
	return all
}

// templates parses the layout once for each view, and the view into it. They escape by context whatever the database
// holds.
func templates() map[string]*template.Template {
	layout := template.Must(template.New("layout.html").Funcs(pageFuncs).ParseFS(pageFiles, "page/layout.html"))
	all := map[string]*template.Template{}
	names, _ := fs.Glob(pageFiles, "page/*.html")
	for _, file := range names {
		if name := strings.TrimSuffix(path.Base(file), ".html"); name != "layout" {
			all[name] = template.Must(template.Must(layout.Clone()).ParseFS(pageFiles, file))
		}
	}
	return all
}

var pageTemplates = templates()

// page serves what people look at.
func (s *server) page(mux *http.ServeMux) {
	for _, v := range views() {
		pattern := "GET /" + v.path
		if v.path == "" {
			pattern = "GET /{$}"
		}
		mux.Handle(pattern, s.htmlProblems(s.permit(PermissionRead, "page", s.view(v))))
	}
	mux.Handle("GET /follow", s.permit(PermissionRead, "page", s.follow))
	mux.Handle("POST /do", s.htmlProblems(s.permit(PermissionChange, "page", s.do)))
	_ = fs.WalkDir(pageFiles, "page", func(file string, d fs.DirEntry, _ error) error {
		if kind := servedKinds[path.Ext(file)]; !d.IsDir() && kind != "" {
			mux.Handle("GET /"+strings.TrimPrefix(file, "page/"), s.permit(PermissionRead, "page", asset(file, kind)))
		}
		return nil
	})
}

// servedKinds are the content types of the assets, by the ends of their names. Other files are not served.
var servedKinds = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}

// asset serves a file of the page. A browser keeps it, and asks each time whether it is still that of this version.
func asset(file, kind string) http.HandlerFunc {
	doc, _ := pageFiles.ReadFile(file)
	tag := `"` + pageVersion + `"`
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Cache-Control", "private, no-cache")
		w.Header().Set("ETag", tag)
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write(doc)
	}
}

// view serves one view, under the same limits as an operation.
func (s *server) view(v view) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		o := operation{permission: PermissionRead, query: v.query}
		screen := s.screen(w, r, v)
		o.run = func(c *call) (any, error) {
			counted := s.counted(c.ctx)
			data, err := v.fill(c)
			if to, elsewhere := data.(redirect); err != nil || elsewhere {
				return to, err
			}
			screen.Data = data
			screen.count(counted, s.cfg.Thresholds)
			return screen.render()
		}
		o.serve(s)(w, r)
	}
}

// html is an answer that is not JSON.
type html struct{ doc []byte }

// htmlProblems shows as HTML what next answers as a Problem, to who is known.
func (s *server) htmlProblems(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := &kept{header: w.Header()}
		next.ServeHTTP(got, r)
		if p, failed := got.problem(); failed && got.status != http.StatusUnauthorized {
			got.body.Reset()
			screen := s.screen(w, r, view{title: http.StatusText(got.status), template: "problem"})
			screen.Data = problemView{p, got.status, backOf(r)}
			if out, err := screen.render(); err == nil {
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				_, _ = got.body.Write(out.doc)
			}
		}
		w.WriteHeader(got.status)
		_, _ = w.Write(got.body.Bytes())
	})
}

// problemView is what the view of a problem shows.
type problemView struct {
	Problem
	Status int
	// Back is where to go on.
	Back string
}

// kept is an answer that is kept in memory.
type kept struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (k *kept) Header() http.Header { return k.header }

// WriteHeader implements http.ResponseWriter.
func (k *kept) WriteHeader(status int) {
	if k.status == 0 {
		k.status = status
	}
}

// Write implements http.ResponseWriter.
func (k *kept) Write(doc []byte) (int, error) {
	k.WriteHeader(http.StatusOK)
	return k.body.Write(doc)
}

// problem returns the Problem that was answered, if one was.
func (k *kept) problem() (p Problem, failed bool) {
	k.WriteHeader(http.StatusOK)
	if k.status < http.StatusBadRequest {
		return p, false
	}
	if err := json.Unmarshal(k.body.Bytes(), &p); err != nil || p.Message == "" {
		p = Problem{Code: "internal", Message: "an internal error; the log has more"}
	}
	return p, true
}

// may reports whether who asks has a permission.
func (s *server) may(r *http.Request, need Permission) bool {
	_, err := s.cfg.Authorize(r, need)
	return err == nil
}

var errNoView = errors.New("there is no such view")

// viewOf returns the view of a path.
func viewOf(path string) (view, error) {
	all := views()
	i := slices.IndexFunc(all, func(v view) bool { return v.path == path })
	if i < 0 {
		return view{}, errNoView
	}
	return all[i], nil
}
