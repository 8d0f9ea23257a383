package ops

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/strunk-go/strunk/internal/core"
)

// navEntry is an entry of the navigation.
type navEntry struct {
	Path, Title string
	Current     bool
	// Count is shown beside it where it is not zero, of what Of says; Class is how bad it is: bad, warn or empty.
	Count     Count
	Of, Class string
}

// screen is what the layout shows, and what is around the Data of a view.
type screen struct {
	Title, Installation string
	Nav                 []navEntry
	// Actor is who looks; May are their permissions.
	Actor                  string
	MayChange, MayPayloads bool
	// Notice is what the last change has done, or empty.
	Notice string
	At     time.Time
	// Self is this view as a relative link: where to come back to.
	Self string
	// Token is what a form must bring.
	Token string
	// Live says that the script keeps the view up to date.
	Live bool
	// Search is what was searched for last.
	Search string
	Data   any

	template string
}

// screen prepares a view for a request.
func (s *server) screen(w http.ResponseWriter, r *http.Request, v view) *screen {
	actor, _ := s.cfg.Authorize(r, PermissionRead)
	page := &screen{Title: v.title, Installation: s.installation(), Actor: actor, At: time.Now().UTC(),
		MayChange: s.may(r, PermissionChange), MayPayloads: s.may(r, PermissionPayloads), Self: self(r),
		Token: formToken(w, r), Notice: takeNotice(w, r), template: v.template}
	if v.template == "search" {
		page.Search = r.URL.Query().Get("q")
	}
	page.Live = v.template != "confirm" && v.template != "problem"
	for _, e := range navigation {
		e.Current = e.Path == v.under && page.Live
		page.Nav = append(page.Nav, e)
	}
	return page
}

// navPatience is how long a view that is ready waits for the counts of the navigation, which the next one has then.
const navPatience = 250 * time.Millisecond

// counted is the state of the whole, for the navigation; nothing where it cannot be asked: the view does without.
func (s *server) counted(ctx context.Context) <-chan state {
	asked := make(chan state, 1)
	go func() {
		defer close(asked)
		if st, err := s.state.get(ctx); err == nil {
			asked <- st
		}
	}()
	return asked
}

// count puts into the navigation what is wrong, dead letters, and what has failed at subscribers.
func (p *screen) count(asked <-chan state, t Thresholds) {
	var st state
	select {
	case of, ok := <-asked:
		if !ok {
			return
		}
		st = of
	case <-time.After(navPatience):
		return
	}
	wrong, class := st.wrong(t)
	for i := range p.Nav {
		switch e := &p.Nav[i]; e.Path {
		case "":
			e.Count, e.Of, e.Class = Count{N: wrong, Precision: Exact}, "what is wrong", class
		case "errors":
			e.Count, e.Of = st.overall.Dead, "dead letters"
		case "events":
			e.Count, e.Of = st.overall.Deliveries, "deliveries that failed, or wait behind one"
		}
	}
}

// installation names what is shown.
func (s *server) installation() string {
	host := core.BoxHost(s.box)
	if s.cfg.Title != "" {
		return s.cfg.Title
	}
	return host.Pool().Config().ConnConfig.Database + " · " + host.Schema()
}

func (p *screen) render() (html, error) {
	var doc bytes.Buffer
	err := pageTemplates[p.template].ExecuteTemplate(&doc, "layout", p)
	return html{doc.Bytes()}, err
}

// self is the request as a link that is relative to the page.
func self(r *http.Request) string {
	path := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	if path == "" {
		path = "./"
	}
	if r.URL.RawQuery == "" {
		return path
	}
	return path + "?" + r.URL.RawQuery
}

// backOf is where a form or a link says that it came from: a view of this page, or Now.
func backOf(r *http.Request) string { return safeBack(r.FormValue("back")) }

func safeBack(back string) string {
	u, err := url.Parse(back)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || strings.ContainsAny(back, "\\\r\n") {
		return "./"
	}
	if _, err := viewOf(u.Path); err != nil || u.Path == "" {
		return "./" + queryOf(u)
	}
	return u.Path + queryOf(u)
}

func queryOf(u *url.URL) string {
	if u.RawQuery == "" {
		return ""
	}
	return "?" + u.RawQuery
}

const (
	tokenCookie  = "strunk_form"
	noticeCookie = "strunk_notice"
	// noticeSeconds is how long a notice waits for the view that shows it.
	noticeSeconds = 60
)

// formToken returns what a form must bring, which a cookie says too: a page of another site can read neither. It
// holds over replicas and restarts, which keep nothing.
func formToken(w http.ResponseWriter, r *http.Request) string {
	if c, err := r.Cookie(tokenCookie); err == nil && len(c.Value) >= minSecretBytes {
		return c.Value
	}
	token := rand.Text()
	setCookie(w, r, tokenCookie, token, 0)
	return token
}

func setCookie(w http.ResponseWriter, r *http.Request, name, value string, seconds int) {
	http.SetCookie(w, &http.Cookie{Name: name, Value: value, MaxAge: seconds, HttpOnly: true, Secure: r.TLS != nil,
		SameSite: http.SameSiteStrictMode})
}

// leaveNotice has the next view say what was done.
func leaveNotice(w http.ResponseWriter, r *http.Request, text string) {
	setCookie(w, r, noticeCookie, base64.RawURLEncoding.EncodeToString([]byte(text)), noticeSeconds)
}

// takeNotice returns what was left, once.
func takeNotice(w http.ResponseWriter, r *http.Request) string {
	c, err := r.Cookie(noticeCookie)
	if err != nil {
		return ""
	}
	text, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil {
		return ""
	}
	setCookie(w, r, noticeCookie, "", -1)
	return string(text)
}
