package ops

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/strunk-go/strunk/internal/core"
)

// action is what a person can do on the page. It is an operation of the API, asked for by a form: permission, limits,
// audit and errors are the operation's.
type action struct {
	// op is the operation's id, title what the action is called ("Pause the queue"). name is what a link calls it by;
	// empty means op.
	op, title, name string
	// fields are the operation's path and body, as a form has them.
	fields []field
	// says tells what will happen, and to how many; nil where the title says it all.
	says func(c *call, form url.Values) (said, error)
	// cli is the command that does the same, with its arguments; nil where there is none.
	cli func(form url.Values) []string
	// danger says that it cannot be undone: it looks so, and the count is to be typed where typed is set.
	danger, typed bool
	// then is where to go afterwards, by what was answered; nil means where the form says that it came from.
	then func(answer map[string]any) string
}

// said is what an action will do.
type said struct {
	// Text is what will happen, in a sentence or two.
	Text string
	// Count is how many tasks or events are meant; nil where that is no number.
	Count *Count
}

// fieldKind says how a field's text becomes JSON.
type fieldKind string

// The kinds of fields.
const (
	fieldText    fieldKind = "text"
	fieldNumber  fieldKind = "number"
	fieldIDs     fieldKind = "ids"      // may be given several times
	fieldSeconds fieldKind = "duration" // 10m, as a number of seconds
	fieldTime    fieldKind = "datetime" // of UTC
	fieldFlag    fieldKind = "flag"
	fieldJSON    fieldKind = "json"
)

// field is one field of an action. A name with a dot is of an object: rate.count.
type field struct {
	name, label string
	kind        fieldKind
	// ask says that the confirmation asks for it; others are hidden, as the link gave them.
	ask, required bool
	hint          string
	// fixed is what the field always is; empty where the form says it.
	fixed string
}

func fixed(name string, kind fieldKind, value string) field {
	return field{name: name, kind: kind, fixed: value}
}

func hidden(kind fieldKind, names ...string) (all []field) {
	for _, n := range names {
		all = append(all, field{name: n, kind: kind})
	}
	return all
}

func prompt(name, label string, kind fieldKind, hint string) field {
	return field{name: name, label: label, kind: kind, ask: true, hint: hint}
}

// needed is a field that must be filled in.
func needed(f field) field {
	f.required = true
	return f
}

// actions are all actions, by the views that they are for.
func actions() []action {
	return slices.Concat(queueActions(), taskActions(), jobActions(), subscriberActions(), scheduleActions())
}

func actionOf(op string) (action, error) {
	all := actions()
	i := slices.IndexFunc(all, func(a action) bool { return cmp.Or(a.name, a.op) == op })
	if i < 0 {
		return action{}, fmt.Errorf("op: %q is no action of the page: %w", op, ErrInvalid)
	}
	return all[i], nil
}

// confirmParameters are what any action may be asked for with.
func confirmParameters() []parameter {
	all := named("op", "back")
	for _, a := range actions() {
		for _, f := range a.fields {
			kind := "string"
			if f.kind == fieldIDs {
				kind = "ids"
			}
			all = append(all, parameter{name: f.name, kind: kind})
		}
	}
	return all
}

// confirmation is what the view of it shows.
type confirmation struct {
	Op, Title string
	Said      said
	// CLI is the command that does the same; empty where there is none.
	CLI    string
	Hidden []hiddenField
	Asked  []askedField
	Danger bool
	// Expect is what is to be typed; empty where nothing is.
	Expect string
	Back   string
}

type hiddenField struct{ Name, Value string }

type askedField struct {
	Name, Label, Hint, Value, Type string
	Required                       bool
}

// confirmView shows what an action will do before it does it.
func confirmView(c *call) (any, error) {
	a, err := actionOf(c.query.Get("op"))
	if err != nil {
		return nil, err
	}
	if _, err := c.s.cfg.Authorize(c.r, PermissionChange); err != nil {
		return nil, err
	}
	v := confirmation{Op: c.query.Get("op"), Title: a.title, Danger: a.danger, Back: safeBack(c.query.Get("back"))}
	if a.says != nil {
		if v.Said, err = a.says(c, c.query); err != nil {
			return nil, err
		}
	}
	if a.typed && v.Said.Count != nil {
		v.Expect = strconv.FormatInt(v.Said.Count.N, 10)
	}
	if a.cli != nil {
		v.CLI = command(a.cli(c.query))
	}
	v.Hidden, v.Asked = a.inputs(c.query)
	return v, nil
}

// inputs are the fields as the form has them.
func (a action) inputs(given url.Values) (hidden []hiddenField, asked []askedField) {
	for _, f := range a.fields {
		if f.fixed != "" {
			continue
		}
		if !f.ask {
			for _, v := range given[f.name] {
				hidden = append(hidden, hiddenField{f.name, v})
			}
			continue
		}
		kind := map[fieldKind]string{fieldNumber: "number", fieldTime: "datetime-local", fieldFlag: "checkbox"}[f.kind]
		if kind == "" {
			kind = "text"
		}
		asked = append(asked, askedField{Name: f.name, Label: f.label, Hint: f.hint, Value: given.Get(f.name),
			Type: kind, Required: f.required})
	}
	return hidden, asked
}

// body makes the operation's body of a form; nil where it has none.
func (a action) body(o operation, form url.Values) ([]byte, error) {
	if o.body == nil {
		return nil, nil
	}
	doc := map[string]any{}
	for _, f := range a.fields {
		given := slices.DeleteFunc(slices.Clone(form[f.name]), func(s string) bool { return s == "" })
		if f.fixed != "" {
			given = []string{f.fixed}
		}
		if len(given) == 0 || strings.Contains(o.path, "{"+f.name+"}") {
			continue
		}
		value, err := f.value(given)
		if err != nil {
			return nil, fmt.Errorf("%s: %w: %w", f.name, err, ErrInvalid)
		}
		in, name := doc, f.name
		if outer, inner, dotted := strings.Cut(f.name, "."); dotted {
			in, name = objectIn(doc, outer), inner
		}
		in[name] = value
	}
	return json.Marshal(doc)
}

func objectIn(doc map[string]any, name string) map[string]any {
	if _, there := doc[name]; !there {
		doc[name] = map[string]any{}
	}
	in, _ := doc[name].(map[string]any)
	return in
}

// value is a field's text as JSON has it.
func (f field) value(given []string) (any, error) {
	switch f.kind {
	case fieldIDs:
		ids := []int64{}
		for _, s := range given {
			id, err := parseID(s)
			if err != nil {
				return nil, err
			}
			ids = append(ids, id)
		}
		return ids, nil
	case fieldNumber:
		return strconv.ParseFloat(given[0], 64)
	case fieldSeconds:
		if n, err := strconv.ParseFloat(given[0], 64); err == nil {
			return n, nil
		}
		d, err := time.ParseDuration(given[0])
		return d.Seconds(), err
	case fieldTime:
		return formTime(given[0])
	case fieldFlag:
		return true, nil
	case fieldJSON:
		return json.RawMessage(given[0]), nil
	default:
		return given[0], nil
	}
}

// formTime is a time as a form has it, of UTC where it names no zone.
func formTime(text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", "2006-01-02T15:04:05", time.DateTime} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time such as 2026-01-31T15:04", text)
}

// saysText says the same whatever is asked for.
func saysText(text string) func(*call, url.Values) (said, error) {
	return func(*call, url.Values) (said, error) { return said{Text: text}, nil }
}

// actionLink leads to an action's confirmation.
type actionLink struct {
	Title, Link string
	Danger      bool
}

// newActionLink leads to the confirmation of op, and from there to back. The parts are what it is done to, and how.
func newActionLink(title, op, back string, danger bool, parts ...url.Values) actionLink {
	q := url.Values{"op": {op}, "back": {back}}
	for _, part := range parts {
		maps.Copy(q, part)
	}
	return actionLink{title, "confirm?" + q.Encode(), danger}
}

// command renders a command of the CLI, quoted for a shell.
func command(args []string) string {
	text := "strunk"
	for _, a := range args {
		text += " " + core.ShellWord(a)
	}
	return text
}

// flags are the flags of a command that a form gives, in the order of pairs of a field and a flag.
func flags(form url.Values, pairs ...string) (all []string) {
	for i := 0; i < len(pairs); i += 2 {
		if v := form.Get(pairs[i]); v != "" {
			all = append(all, "--"+pairs[i+1], v)
		}
	}
	return all
}

// neededFlag is a flag that a command cannot do without. Where the form does not have its value yet, a word in capitals
// stands for what is to be filled in.
func neededFlag(form url.Values, field, flag, word string) []string {
	return []string{"--" + flag, cmp.Or(form.Get(field), word)}
}

// dueFlag is the flag --at of a command that reschedules, as the program reads it.
func dueFlag(form url.Values) []string {
	if due, err := formTime(form.Get("due_at")); err == nil {
		return []string{"--at", due.UTC().Format(time.RFC3339)}
	}
	return []string{"--at", "TIME"}
}
