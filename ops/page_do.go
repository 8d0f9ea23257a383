package ops

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

var (
	errToken = errors.New("the form's token is missing or old; go back, load the view again, and send it once more")
	errTyped = errors.New("the number that was typed is not the number that this is for; nothing was done")
)

// do runs the operation that a form asks for, through the API: the page has no other way to act.
func (s *server) do(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		fail(w, http.StatusBadRequest, "invalid", "the form cannot be read")
		return
	}
	if err := checkForm(r); err != nil {
		fail(w, http.StatusForbidden, "form", err.Error())
		return
	}
	a, err := actionOf(r.PostForm.Get("op"))
	var inner *http.Request
	if err == nil {
		inner, err = s.operationRequest(r, a)
	}
	if err != nil {
		s.problem(w, err)
		return
	}
	got := &kept{header: http.Header{}}
	s.api.ServeHTTP(got, inner)
	if p, failed := got.problem(); failed || got.status != http.StatusOK {
		for _, name := range []string{"Retry-After", "WWW-Authenticate"} {
			if v := got.header.Get(name); v != "" {
				w.Header().Set(name, v)
			}
		}
		fail(w, max(got.status, http.StatusBadRequest), p.Code, p.Message)
		return
	}
	s.state.forget()
	a.answered(w, r, got.body.Bytes())
}

// checkForm refuses a form that another site could have sent, and one whose count was typed wrongly.
func checkForm(r *http.Request) error {
	c, err := r.Cookie(tokenCookie)
	token := r.PostForm.Get("token")
	if err != nil || len(c.Value) < minSecretBytes || subtle.ConstantTimeCompare([]byte(c.Value), []byte(token)) != 1 {
		return errToken
	}
	noDigit := func(r rune) bool { return r < '0' || r > '9' }
	typed := strings.Join(strings.FieldsFunc(r.PostForm.Get("typed"), noDigit), "")
	if expect := r.PostForm.Get("expect"); expect != typed {
		return errTyped
	}
	return nil
}

// operationRequest is the request of an action's operation, in the name of who sent the form.
func (s *server) operationRequest(r *http.Request, a action) (*http.Request, error) {
	all := s.operations()
	i := slices.IndexFunc(all, func(o operation) bool { return o.id == a.op })
	if i < 0 {
		return nil, fmt.Errorf("op: %q is no operation: %w", a.op, ErrInvalid)
	}
	path := all[i].path
	for _, f := range a.fields {
		path = strings.ReplaceAll(path, "{"+f.name+"}", url.PathEscape(r.PostForm.Get(f.name)))
	}
	body, err := a.body(all[i], r.PostForm)
	if err != nil {
		return nil, err
	}
	inner := r.Clone(r.Context())
	if inner.URL, err = url.Parse(path); err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrInvalid)
	}
	inner.Form, inner.PostForm, inner.Pattern = nil, nil, ""
	inner.Body, inner.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	inner.Header.Set("Content-Type", "application/json")
	return inner, nil
}

// answered leaves a notice, and goes to where the form came from.
func (a action) answered(w http.ResponseWriter, r *http.Request, doc []byte) {
	var answer map[string]any
	_ = json.Unmarshal(doc, &answer)
	back := backOf(r)
	if a.then != nil {
		back = a.then(answer)
	}
	leaveNotice(w, r, a.title+": "+outcome(answer))
	w.Header().Set("Location", back)
	w.WriteHeader(http.StatusSeeOther)
}

// outcome says what an operation has answered.
func outcome(answer map[string]any) string {
	state, _ := answer["state"].(string)
	if _, job := answer["act"]; job {
		return "the job is " + state
	}
	switch changed := answer["changed"].(type) {
	case []any:
		text := plural(int64(len(changed)), "task") + " changed"
		if left, _ := answer["unchanged"].([]any); len(left) > 0 {
			text += fmt.Sprintf(", %s not: begun, ended or gone by now", grouped(len(left)))
		}
		return text
	case float64:
		if state != "" {
			return state
		}
		if changed != 1 {
			return grouped(int64(changed)) + " changed"
		}
	}
	return "done"
}
