package ops

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
)

// A query is refused as invalid, or chooses the same tasks in a listing and in a bulk job.
func FuzzTaskFilter(f *testing.F) {
	for _, query := range []string{"", "queue=emails&status=dead", "fingerprint=no+route&dedup_key=x"} {
		f.Add(query)
	}
	s := &server{cfg: Config{Authorize: func(*http.Request, Permission) (string, error) { return "ann", nil }}}
	f.Fuzz(func(t *testing.T, text string) {
		query, err := url.ParseQuery(text)
		if err != nil {
			return
		}
		c := &call{s: s, r: httptest.NewRequest(http.MethodGet, "/", nil), query: query}
		filter, err := c.taskFilter()
		if err == nil {
			err = filter.check()
		}
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("%q is refused with %v", text, err)
			}
			return
		}
		doc, err := NewJob{Act: ActCancel, Filter: filter}.filter()
		if err != nil {
			t.Fatalf("%q chooses tasks to list, and none for a job: %v", text, err)
		}
		var job jobFilter
		if err := json.Unmarshal([]byte(doc), &job); err != nil {
			t.Fatalf("%q became %s: %v", text, doc, err)
		}
		if job.Queue != filter.Queue || job.Error != filter.Error || job.OlderThan != seconds(filter.OlderThan) {
			t.Fatalf("%q chooses %+v, and for a job %s", text, filter, doc)
		}
	})
}
