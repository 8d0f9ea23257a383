package ops

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// pageVersion names the page's files: a script that hears another one loads the page again.
var pageVersion = sumOf(pageFiles)

func sumOf(files fs.FS) string {
	sum := sha256.New()
	_ = fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			doc, _ := fs.ReadFile(files, path)
			fmt.Fprintf(sum, "%s %d %s", path, len(doc), doc)
		}
		return err
	})
	return fmt.Sprintf("%x", sum.Sum(nil)[:8])
}

// follower sends one view to a page that is open, whenever it has changed.
type follower struct {
	s *server
	// request is the one that a browser would send for the view.
	request *http.Request
	last    [sha256.Size]byte
}

// viewMessage is what a follower sends.
type viewMessage struct {
	At time.Time `json:"at"`
	// Every is how many seconds are between two messages.
	Every float64 `json:"every"`
	// Version is the page's.
	Version string `json:"version"`
	// HTML is the document, or empty where the view is as it was.
	HTML string `json:"html,omitempty"`
}

// follow sends a view as server-sent events: view each Config.Refresh, with the document where it has changed, and
// problem where the view cannot be shown.
func (s *server) follow(w http.ResponseWriter, r *http.Request) {
	if !parameters(w, r, named("view")...) {
		return
	}
	f, err := newFollower(s, r)
	if err != nil {
		s.problem(w, err)
		return
	}
	s.sendEvents(w, r, f.event)
}

// newFollower checks that the parameter view is a view of this page: its path, and its query.
func newFollower(s *server, r *http.Request) (*follower, error) {
	u, err := url.Parse(r.URL.Query().Get("view"))
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil {
		return nil, fmt.Errorf("view: it is no view of this page: %w", ErrInvalid)
	}
	v, err := viewOf(strings.TrimPrefix(u.Path, "./"))
	if err != nil {
		return nil, fmt.Errorf("view: %w: %w", err, ErrInvalid)
	}
	request := r.Clone(r.Context())
	request.URL = &url.URL{Path: "/" + v.path, RawQuery: u.RawQuery}
	request.Header.Del("Last-Event-Id")
	return &follower{s: s, request: request}, nil
}

// event asks for the view as its reader would, so that permissions and limits hold at each moment.
func (f *follower) event(ctx context.Context) (name string, doc []byte) {
	answer := &kept{header: http.Header{}}
	f.s.api.ServeHTTP(answer, f.request.WithContext(ctx))
	answer.WriteHeader(http.StatusOK)
	if answer.status != http.StatusOK {
		doc, _ = json.Marshal(Problem{Code: "view", Message: problemText(answer.status)})
		return "problem", doc
	}
	message := viewMessage{At: time.Now().UTC(), Every: f.s.cfg.Refresh.Seconds(), Version: pageVersion}
	body, _, _ := bytes.Cut(answer.body.Bytes(), []byte("<footer>")) // it has the time of day
	if sum := sha256.Sum256(body); sum != f.last {
		f.last, message.HTML = sum, answer.body.String()
	}
	doc, _ = json.Marshal(message)
	return "view", doc
}

// problemText says to a person why a view is not kept up to date.
func problemText(status int) string {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return "You may not see this any more: load the page again."
	case http.StatusNotFound:
		return "This is no longer there."
	case http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return "The database does not answer in time."
	}
	return fmt.Sprintf("The view cannot be shown (%d %s).", status, http.StatusText(status))
}
