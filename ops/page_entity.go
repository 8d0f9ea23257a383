package ops

import (
	"encoding/json"
	"fmt"
	"strings"
)

// entityShown is what the view of an entity shows.
type entityShown struct {
	Entity
	// Asked says that an entity was asked for; otherwise there is a form alone.
	Asked bool
	// Shown says that its states may be.
	Shown    bool
	Versions []versionShown
	Handling []progressShown
	// Before goes on further back; zero where there is no more.
	Before int64
}

// versionShown is a version with how it differs from the one before.
type versionShown struct {
	EntityVersion
	// Note says why there are no changes to show; empty where there are.
	Note    string
	Changes []changeRow
	// More is how many changes are not shown.
	More int
	// Handled says by how many of the subscribers it is handled, and by whom not.
	Handled string
}

// progressShown is how far a subscriber is, in words.
type progressShown struct {
	EntityProgress
	State, Class string
}

const (
	// versionsShown is how many versions a page has, changesShown how many changes of one.
	versionsShown = 20
	changesShown  = 50
)

func entityView(c *call) (any, error) {
	f := EntityFilter{Type: c.query.Get("type"), ID: c.query.Get("id"), Limit: versionsShown + 1}
	if f.Type == "" && f.ID == "" {
		return entityShown{}, nil
	}
	var err error
	if f.Before, err = parseID(c.query.Get("before")); err != nil {
		return nil, err
	}
	e, err := ReadEntity(c.ctx, c.box, f)
	if err != nil {
		return nil, err
	}
	shown := c.s.may(c.r, PermissionPayloads)
	c.s.hideStates(c, &e, shown)
	return showEntity(e, shown), nil
}

// hideStates leaves the states out, or hands them to the redaction.
func (s *server) hideStates(c *call, e *Entity, shown bool) {
	show := func(doc json.RawMessage) json.RawMessage {
		switch {
		case !shown:
			return nil
		case s.cfg.Redact == nil || doc == nil:
			return doc
		}
		return redacted(s.cfg.Redact(c.ctx, TaskDetails{Kind: KindDelivery, EntityType: e.Type, EntityID: e.ID}, doc))
	}
	e.State = show(e.State)
	for i := range e.Versions {
		e.Versions[i].State = show(e.Versions[i].State)
	}
}

// showEntity compares each version with the one before it, which the last of the page may lack.
func showEntity(e Entity, shown bool) entityShown {
	v := entityShown{Entity: e, Asked: true, Shown: shown}
	all := e.Versions
	if e.Older {
		v.Before = e.From
	}
	if len(all) > versionsShown {
		v.Before = all[versionsShown-1].Position
	}
	for i := range all[:min(len(all), versionsShown)] {
		var before *EntityVersion
		if i+1 < len(all) {
			before = &all[i+1]
		}
		row := compareVersions(all[i], before, shown)
		row.Handled = handledBy(all[i], e.Subscribers)
		v.Versions = append(v.Versions, row)
	}
	for _, p := range e.Subscribers {
		v.Handling = append(v.Handling, p.shown(all))
	}
	return v
}

func compareVersions(v EntityVersion, before *EntityVersion, shown bool) versionShown {
	row := versionShown{EntityVersion: v}
	switch {
	case v.Deleted:
		row.Note = "the entity was deleted"
	case v.Version == 1:
		row.Note = "the first version"
	case before == nil || before.Version != v.Version-1:
		row.Note = "the version before it is not among the events that were looked at"
	case before.Deleted:
		row.Note = "published again after it had been deleted"
	case v.TooLarge || before.TooLarge:
		row.Note = "too large to be compared here"
	case !shown:
		row.Note = "what has changed is hidden from you: your role has no payloads"
	default:
		changes, err := documentChanges(before.State, v.State)
		switch {
		case err != nil:
			row.Note = "cannot be compared: a redaction has left no JSON"
		case len(changes) == 0:
			row.Note = "the same state was published again"
		}
		row.Changes = changeRows(changes)
		row.More = len(changes) - len(row.Changes)
	}
	return row
}

// handledBy says by how many of the subscribers a version is handled.
func handledBy(v EntityVersion, subscribers []EntityProgress) string {
	var not []string
	for _, p := range subscribers {
		if !p.Has(v) {
			not = append(not, p.Subscriber)
		}
	}
	switch n := len(subscribers); {
	case n == 0:
		return "there are no subscribers"
	case len(not) == 0:
		return fmt.Sprintf("all %d", n)
	default:
		return fmt.Sprintf("%d of %d, not %s", n-len(not), n, firstNames(not))
	}
}

// shown says how far a subscriber is, compared with the versions that were found, newest first.
func (p EntityProgress) shown(versions []EntityVersion) progressShown {
	s := progressShown{EntityProgress: p}
	var has []string
	for _, v := range versions {
		if p.Has(v) {
			has = append(has, fmt.Sprint(v.Version))
		}
	}
	switch {
	case p.Bootstrapping:
		s.State = "is given the snapshots: its cursor does not tell"
	case p.Failing != 0:
		s.State, s.Class = fmt.Sprintf("version %d fails; later ones wait behind it", p.Failing), "bad"
	case p.Dead != 0:
		s.State, s.Class = fmt.Sprintf("version %d is a dead letter", p.Dead), "warn"
	case len(versions) == 0:
		s.State = fmt.Sprintf("its cursor is at %d", p.Cursor)
	case len(has) == len(versions):
		s.State = "has handled all of them"
	case len(has) == 0:
		s.State = "has handled none of them"
	default:
		s.State = "has handled up to version " + strings.Join(has[:1], "")
	}
	return s
}

// changeRow is a place where two documents differ, with its values cut to what a table shows.
type changeRow struct{ Path, Change, Old, New string }

// valueShown is how much of a value a table shows, in characters.
const valueShown = 300

// changeRows are the first changesShown changes as a table shows them.
func changeRows(changes []SchemaChange) (all []changeRow) {
	cut := func(doc json.RawMessage) string {
		if r := []rune(string(doc)); len(r) > valueShown {
			return string(r[:valueShown]) + "…"
		}
		return string(doc)
	}
	for _, c := range changes[:min(len(changes), changesShown)] {
		all = append(all, changeRow{Path: c.Path, Change: c.Change, Old: cut(c.Old), New: cut(c.New)})
	}
	return all
}
