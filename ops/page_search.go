package ops

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// searchShown is what was found.
type searchShown struct {
	Q      string
	Groups []foundGroup
	// Further are lists that may hold more, and that have to be looked through.
	Further []found
}

// foundGroup is what was found of one kind.
type foundGroup struct {
	Title string
	Found []found
}

// found is something that was found.
type found struct{ Title, Link, Text string }

// redirect is an answer that leads to a view.
type redirect string

// foundAtMost is how many of one kind are listed.
const foundAtMost = 20

// sqlEntities reads the types of the entities with id $1 among the types of subscribers. It locks nothing.
const sqlEntities = `SELECT DISTINCT t.entity_type
FROM (SELECT DISTINCT s.entity_type FROM {schema}.strunk_subscribers s) t
JOIN {schema}.strunk_snapshots e ON e.entity_type = t.entity_type AND e.entity_id = $1::text
ORDER BY 1 LIMIT $2::integer`

// searchView finds an id, a queue, a subscriber, an entity or an error; where there is one exact answer, it goes there.
func searchView(c *call) (any, error) {
	v := searchShown{Q: strings.TrimSpace(c.query.Get("q"))}
	if v.Q == "" {
		return v, nil
	}
	if err := texts(v.Q); err != nil {
		return nil, err
	}
	st, err := c.s.state.get(c.ctx)
	if err != nil {
		return nil, err
	}
	tasks, err := c.findTask(v.Q)
	if err != nil {
		return nil, err
	}
	entities, err := c.findEntities(v.Q)
	if err != nil {
		return nil, err
	}
	of, err := c.s.groups.get(c.ctx, c.box, ErrorFilter{Limit: MaxLimit})
	if err != nil {
		return nil, err
	}
	queues, subscribers := st.findNames(v.Q)
	for _, g := range []foundGroup{{"Tasks", tasks}, {"Queues", queues}, {"Subscribers", subscribers},
		{"Entities", entities}, {"Errors", findErrors(of.groups, v.Q)}} {
		if len(g.Found) > 0 {
			v.Groups = append(v.Groups, g)
		}
	}
	if only := v.only(); only != "" {
		return redirect(only), nil
	}
	v.Further = further(v.Q)
	return v, nil
}

// only is where a search leads that has one answer of the very name; empty where it has not.
func (v searchShown) only() string {
	var exact []string
	for _, g := range v.Groups {
		for _, f := range g.Found {
			if f.Title == v.Q {
				exact = append(exact, f.Link)
			}
		}
	}
	if len(exact) != 1 {
		return ""
	}
	return exact[0]
}

// findTask finds a task, or a delivery, by its id.
func (c *call) findTask(q string) ([]found, error) {
	id, err := parseID(q)
	if err != nil || id == 0 {
		return nil, nil //nolint:nilerr // what is no id finds nothing
	}
	t, err := Task(c.ctx, c.box, id)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return []found{{fmt.Sprint(id), "task?id=" + fmt.Sprint(id), fmt.Sprintf("%s, %s%s", t.Status, t.Queue,
		t.Subscriber)}}, err
}

// findEntities finds entities by their ids.
func (c *call) findEntities(q string) (all []found, err error) {
	var types []string
	err = ask(c.ctx, c.box, many(&types, sqlEntities, []any{q, foundAtMost}, func(rows pgx.Rows) (name string,
		err error) {
		return name, rows.Scan(&name)
	}))
	for _, t := range types {
		all = append(all, found{q, "entity?" + url.Values{"type": {t}, "id": {q}}.Encode(),
			"an entity of the type " + t})
	}
	return all, wrap("search", err)
}

// findNames finds queues and subscribers by a part of their names.
func (st *state) findNames(q string) (queues, subscribers []found) {
	part := strings.ToLower(q)
	for _, of := range st.queues {
		if strings.Contains(strings.ToLower(of.Name), part) {
			queues = append(queues, found{of.Name, "queue?name=" + url.QueryEscape(of.Name), ""})
		}
	}
	for _, of := range st.subscribers {
		if strings.Contains(strings.ToLower(of.Name), part) {
			subscribers = append(subscribers, found{of.Name, "subscriber?name=" + url.QueryEscape(of.Name),
				"of " + of.EntityType})
		}
	}
	return firstFound(queues, q), firstFound(subscribers, q)
}

// firstFound cuts a list, and keeps what has the very name.
func firstFound(all []found, q string) []found {
	slices.SortStableFunc(all, func(a, b found) int {
		switch {
		case a.Title == q && b.Title != q:
			return -1
		case b.Title == q && a.Title != q:
			return 1
		}
		return 0
	})
	return all[:min(len(all), foundAtMost)]
}

func findErrors(groups []ErrorGroup, q string) (all []found) {
	part := strings.ToLower(q)
	for _, g := range groups {
		if strings.Contains(strings.ToLower(g.Fingerprint+"\n"+g.Example), part) && len(all) < foundAtMost {
			all = append(all, found{g.Example, "errors?" + url.Values{"group": {g.Fingerprint}}.Encode(),
				fmt.Sprintf("%s failures in a day", grouped(g.Failures))})
		}
	}
	return all
}

// further are lists of tasks that a text may choose from.
func further(q string) []found {
	list := func(title, name, status string) found {
		f := url.Values{name: {q}}
		if status != "" {
			f.Set("status", status)
		}
		return found{Title: title, Link: "tasks?" + f.Encode()}
	}
	return []found{list("Waiting tasks with this dedup key", "dedup_key", ""),
		list("Waiting tasks with this customer key", "customer_key", ""),
		list("Dead letters with this customer key", "customer_key", "dead"),
		list("Dead letters whose error contains this", "error", "dead")}
}
