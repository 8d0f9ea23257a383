package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/schema"
)

// payloadsDoc is what `schema check` without arguments found, as --json prints it.
type (
	payloadsDoc struct {
		Checked   int         `json:"checked"`
		Complete  bool        `json:"complete"`
		Encrypted int         `json:"encrypted"`
		Refused   int         `json:"refused"`
		Payloads  []poisonDoc `json:"payloads"`
	}
	poisonDoc struct {
		Kind   string `json:"kind"`
		ID     int64  `json:"id"`
		Name   string `json:"name"`
		Status string `json:"status"`
		Error  string `json:"error"`
	}
)

// payloadFlags say which stored payloads are checked against what.
func payloadFlags() []ucli.Flag {
	return []ucli.Flag{
		&ucli.BoolFlag{Name: "newest",
			Usage: "stored payloads against the newest version, whatever version they carry"},
		&ucli.IntFlag{Name: "limit", Value: outbox.DefaultPayloadLimit,
			Usage: "how many stored payloads of each name and place at the most"},
		&ucli.StringSliceFlag{Name: "queue", Usage: "QUEUE=SUBJECT: the contract of a queue that is not its name's; " +
			"QUEUE= leaves it out"},
		&ucli.StringSliceFlag{Name: "entity-type", Usage: "TYPE=SUBJECT: the contract of an entity type that is not " +
			"its name's; TYPE= leaves it out"},
	}
}

// checkPayloads holds what is stored to the contracts of the registry.
func (p *program) checkPayloads(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
	registry := schema.NewRegistry(box)
	subjects, err := registry.List(ctx)
	if err != nil {
		return err
	}
	names := make([]string, len(subjects))
	for i, s := range subjects {
		names[i] = s.Name
	}
	queues, err := subjectsByName(c, "queue", names)
	if err != nil {
		return err
	}
	types, err := subjectsByName(c, "entity-type", names)
	if err != nil {
		return err
	}
	contracts := &contractCheck{ctx: ctx, registry: registry, newest: c.Bool("newest")}
	report, err := outbox.CheckPayloads(ctx, box, c.Int("limit"), contracts.payloads(queues, types)...)
	if err := errors.Join(err, contracts.failure); err != nil {
		return err
	}
	return p.showPayloads(c, report, contracts.encrypted)
}

// needsPayloadFlags refuses flags that say nothing about stored payloads, before the database is asked.
func needsPayloadFlags(c *ucli.Context) error {
	switch {
	case c.Int("limit") < 1:
		return usagef("check: --limit: give a number above 0, not %d", c.Int("limit"))
	case c.IsSet("mode") || c.Bool("strict") || c.Bool("lenient"):
		return usagef("check: --mode, --strict and --lenient compare versions: give a directory, or a subject, a " +
			"version and a file")
	}
	return nil
}

// refusesPayloadFlags refuses flags that say nothing about versions.
func refusesPayloadFlags(c *ucli.Context) error {
	for _, f := range payloadFlags() {
		if name := f.Names()[0]; c.IsSet(name) {
			return usagef("check: --%s is about stored payloads: give no arguments with it", name)
		}
	}
	return nil
}

// subjectsByName returns the subject of each name: its own, unless a flag NAME=SUBJECT says another.
func subjectsByName(c *ucli.Context, flag string, subjects []string) (map[string]string, error) {
	byName := make(map[string]string, len(subjects))
	for _, s := range subjects {
		byName[s] = s
	}
	for _, given := range c.StringSlice(flag) {
		name, subject, ok := strings.Cut(given, "=")
		switch {
		case !ok || name == "":
			return nil, usagef("check: --%s: give NAME=SUBJECT, not %q", flag, given)
		case subject == "":
			delete(byName, name)
		case !slices.Contains(subjects, subject):
			return nil, fmt.Errorf("check: --%s: there is no subject %q: `strunk schema list` shows them", flag,
				subject)
		default:
			byName[name] = subject
		}
	}
	return byName, nil
}

// contractCheck validates stored payloads against the registry.
type contractCheck struct {
	ctx       context.Context
	registry  *schema.Registry
	newest    bool
	encrypted int
	failure   error // why a payload could not be checked
}

// payloads returns the queues and the entity types, in the order of their names.
func (v *contractCheck) payloads(queues, types map[string]string) (all []outbox.Payloads) {
	for _, name := range sortedNames(queues) {
		subject := queues[name]
		all = append(all, queue.Define[json.RawMessage](name, queue.Config{}).Decoding(
			func(t queue.Task[json.RawMessage]) error {
				return v.check(subject, t.Metadata[queue.MetadataSchemaVersion], t.Payload)
			}))
	}
	for _, name := range sortedNames(types) {
		subject := types[name]
		all = append(all, events.Define(name, noID, events.Config{}).Decoding(
			func(e events.Event[json.RawMessage]) error {
				if e.Deleted {
					return nil
				}
				return v.check(subject, e.SchemaVersion, e.State)
			}))
	}
	return all
}

func noID(json.RawMessage) string { return "" }

func sortedNames(m map[string]string) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// check returns why a payload does not fit its contract.
func (v *contractCheck) check(subject, version string, payload []byte) error {
	var sealed struct {
		Encrypted json.RawMessage `json:"strunk_encrypted"`
	}
	if json.Unmarshal(payload, &sealed) == nil && sealed.Encrypted != nil {
		v.encrypted++
		return nil
	}
	if v.newest {
		version = ""
	}
	_, err := v.registry.Validate(v.ctx, subject, version, payload)
	var unchecked *core.NotChecked
	if errors.As(err, &unchecked) {
		v.failure = err
		return nil
	}
	return err
}

func (p *program) showPayloads(c *ucli.Context, report outbox.PayloadReport, encrypted int) error {
	doc := payloadsDoc{Checked: report.Checked - encrypted, Complete: report.Complete, Encrypted: encrypted,
		Refused: report.Poisoned, Payloads: []poisonDoc{}}
	t := &table{header: []string{"ID#", "KIND", "NAME", "STATUS", "ERROR"}}
	for _, poison := range report.Poison {
		text := core.ErrorText(poison.Err)
		doc.Payloads = append(doc.Payloads, poisonDoc{poison.Kind, poison.ID, poison.Name, poison.Status, text})
		t.add(poison.ID, poison.Kind, poison.Name, poison.Status, clip(text, 200))
	}
	if report.Poisoned == 0 {
		return p.say(c, doc, "%s", doc.summary())
	}
	if err := p.show(c, doc, t); err != nil {
		return err
	}
	return errors.New("check: " + doc.summary())
}

// summary is one sentence for people.
func (d payloadsDoc) summary() string {
	text := plural(d.Checked, "stored payload") + " checked, " + fmt.Sprint(d.Refused) + " refused"
	if d.Encrypted > 0 {
		text += fmt.Sprintf("; %d encrypted ones were left out", d.Encrypted)
	}
	if !d.Complete {
		text += "; there are more than --limit"
	}
	return text
}
