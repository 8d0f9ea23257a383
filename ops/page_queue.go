package ops

import (
	"cmp"
	"fmt"
	"html/template"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/strunk-go/strunk/queue"
)

// queueShown is what the view of one queue shows.
type queueShown struct {
	queueRow
	// Span is hour or 2d, Last what the numbers of the plots are of.
	Span, Last string
	Plots      []plot
	Limits     Limits
	Workers    []Worker
	Errors     []ErrorGroup
	Holds      []Hold
	KeyLimits  []KeyLimits
	// Running are some of the tasks that run, and so have the slots that limits count.
	Running []ListedTask
	Actions []actionLink
}

// shownOfQueue is how many workers, errors, holds, customer keys and running tasks the view of a queue shows.
const shownOfQueue = 20

func queueView(c *call) (any, error) {
	name := c.query.Get("name")
	over, span, err := c.over()
	if err != nil {
		return nil, err
	}
	q, err := QueueStats(c.ctx, c.box, name)
	if err != nil {
		return nil, err
	}
	t, err := askTrends(c.ctx, c.box, span, name)
	if err != nil {
		return nil, err
	}
	v := queueShown{queueRow: newQueueRow(q, t.queue(), t.over(), c.s.cfg.Thresholds), Span: over, Last: span.last,
		Plots: t.plots()}
	if v.Limits, err = QueueLimits(c.ctx, c.box, name); err != nil {
		return nil, err
	}
	err = ask(c.ctx, c.box,
		many(&v.Workers, sqlWorkers, []any{name, int64(0), shownOfQueue, ListCountCap}, scanWorker),
		many(&v.Holds, sqlHolds, []any{name, "", "", shownOfQueue}, scanHold),
		many(&v.KeyLimits, sqlListKeyLimits, []any{name, "", shownOfQueue}, scanKeyLimits))
	if err != nil {
		return nil, wrap("queue", err)
	}
	of, err := c.s.groups.get(c.ctx, c.box, ErrorFilter{Name: name, Limit: shownOfQueue})
	if err != nil {
		return nil, err
	}
	v.Errors = of.groups
	running, err := Tasks(c.ctx, c.box, TaskFilter{Status: queue.StatusClaimed, Queue: name, Limit: shownOfQueue,
		Examine: MaxLimit})
	v.Running, v.Actions = running.Tasks, queueLinks(v)
	return v, err
}

// queueLinks are what can be done to a queue.
func queueLinks(v queueShown) (all []actionLink) {
	back := "queue?" + url.Values{"name": {v.Name}}.Encode()
	add := func(title, op string, danger bool, more url.Values) {
		of := url.Values{}
		if op != "resume_all_queues" { // which names none
			of.Set("queue", v.Name)
		}
		all = append(all, newActionLink(title, op, back, danger, of, more))
	}
	switch {
	case v.AllPaused:
		add("Resume all queues …", "resume_all_queues", false, nil)
	case v.PausedAt != nil:
		add("Resume …", "resume_queue", false, nil)
	default:
		add("Pause …", "pause_queue", false, nil)
	}
	if v.HeldUntil != nil {
		add("Lift the hold …", "lift_hold", false, nil)
	} else {
		add("Put on hold …", "hold_queue", false, nil)
	}
	add("Change the limits …", "set_limits", false, v.Limits.form())
	if !v.Limits.None() {
		add("Take the limits away …", "delete_limits", true, nil)
	}
	if v.Limits.Fair || v.Limits.RunningPerKey > 1 || v.Limits.RatePerKey != nil {
		add("Limits of one customer key …", "set_key_limits", false, nil)
	}
	return all
}

// form is what the form of set_limits begins with: the limits in force.
func (l LimitValues) form() url.Values {
	f := url.Values{}
	set := func(name string, n int) {
		if n != 0 {
			f.Set(name, strconv.Itoa(n))
		}
	}
	if l.Running != nil {
		set("running", *l.Running)
	}
	set("running_per_key", l.RunningPerKey)
	maps.Copy(f, l.Rate.form("rate"))
	maps.Copy(f, l.RatePerKey.form("rate_per_key"))
	for name, on := range map[string]bool{"fair": l.Fair, "fifo": l.FIFO, "hold_dead": l.HoldDead} {
		if on {
			f.Set(name, "true")
		}
	}
	return f
}

// form is what the fields of a rate begin with.
func (r *Rate) form(name string) url.Values {
	if r == nil {
		return nil
	}
	return url.Values{name + ".count": {strconv.Itoa(r.Count)}, name + ".seconds": {r.Per.String()},
		name + ".burst": {strconv.Itoa(r.Burst)}}
}

// Form is the rate as parameters of the link to its form.
func (r *Rate) Form() template.URL { return template.URL(r.form("rate").Encode()) }

// String says a rate: 100 in 1m0s, of which 20 at once.
func (r *Rate) String() string {
	if r == nil {
		return "–"
	}
	text := fmt.Sprintf("%d in %s", r.Count, age(r.Per))
	if r.Burst > 1 {
		text += fmt.Sprintf(", of which %d at once", r.Burst)
	}
	return text
}

// queueActions are what can be done to queues.
func queueActions() []action {
	queue := field{name: "queue", kind: fieldText}
	key := field{name: "customer_key", kind: fieldText}
	reason := prompt("reason", "Reason", fieldText, "for those who find it so")
	onQueue := func(args []string, pairs ...string) func(url.Values) []string {
		return func(f url.Values) []string {
			of := []string{}
			if f.Get("queue") != "" {
				of = append(of, f.Get("queue"))
			}
			return slices.Concat(args, of, flags(f, pairs...))
		}
	}
	return []action{
		{op: "pause_queue", title: "Pause the queue", fields: []field{queue, reason}, says: saysQueue(
			"No more tasks of %s will be begun, by any process; those that run go on."),
			cli: onQueue([]string{"pause"}, "reason", "reason")},
		{op: "resume_queue", title: "Resume the queue", fields: []field{queue},
			says: saysQueue("The tasks of %s are begun again."), cli: onQueue([]string{"resume"})},
		{op: "pause_all_queues", title: "Pause all queues", danger: true, fields: []field{reason},
			says: saysText("No more tasks of any queue will be begun, also of queues that appear later."),
			cli:  onQueue([]string{"pause", "--all"}, "reason", "reason")},
		{op: "resume_all_queues", title: "Resume all queues", cli: onQueue([]string{"resume", "--all"}),
			says: saysText("The tasks of all queues are begun again, but for queues that are paused by themselves.")},
		{op: "hold_queue", title: "Put on hold", says: saysQueue("No more tasks of %s will be begun for a while."),
			fields: []field{queue, needed(prompt("for_seconds", "For", fieldSeconds, "such as 10m, or a number of "+
				"seconds")), prompt("customer_key", "Customer key", fieldText, "empty: the whole queue"), reason},
			cli: func(f url.Values) []string {
				return slices.Concat([]string{"holds", "set", f.Get("queue")},
					neededFlag(f, "for_seconds", "for", "DURATION"),
					flags(f, "customer_key", "key", "reason", "reason"))
			}},
		{op: "lift_hold", title: "Lift the hold", fields: []field{queue, key},
			says: saysQueue("The tasks of %s that the hold is of are begun again."),
			cli:  onQueue([]string{"holds", "lift"}, "customer_key", "key")},
		{op: "set_limits", title: "Change the limits", fields: append([]field{queue}, limitFields()...),
			says: saysQueue(
				"These are all limits of %s from now on, for all processes: what is empty is not limited."),
			cli: limitsCommand},
		{op: "delete_limits", title: "Take the limits away", danger: true, fields: []field{queue},
			says: saysQueue("Nothing limits %s any more."), cli: onQueue([]string{"limits", "--none"})},
		{op: "set_key_limits", title: "Limits of one customer key", says: saysQueue("These are the limits of the " +
			"customer key in %s from now on, for all processes: what is empty is as for all keys."),
			fields: append([]field{queue, needed(prompt("customer_key", "Customer key", fieldText, "")),
				prompt("weight", "Weight", fieldNumber, "how many turns it gets for each turn of another key"),
				prompt("running", "Running at once", fieldNumber, "")}, rateFields("rate", "Rate")...),
			cli: keyLimitsCommand},
		{op: "delete_key_limits", title: "Take the limits of the customer key away", danger: true,
			fields: []field{queue, key},
			says:   saysQueue("The customer key is as all others of %s."),
			cli:    func(f url.Values) []string { return ofKey(f, "--none") }},
	}
}

func rateFields(name, label string) []field {
	return []field{prompt(name+".count", label, fieldNumber, "tasks that begin"),
		prompt(name+".seconds", label+": in", fieldSeconds, "such as 1m"),
		prompt(name+".burst", label+": at once", fieldNumber,
			"how many of them may begin at once; 1 where it is empty")}
}

func limitFields() []field {
	return slices.Concat([]field{prompt("running", "Running at once", fieldNumber, ""),
		prompt("running_per_key", "Running at once, of one customer key", fieldNumber, "")},
		rateFields("rate", "Rate"), rateFields("rate_per_key", "Rate of one customer key"),
		[]field{prompt("fair", "Customer keys take turns", fieldFlag, ""),
			prompt("fifo", "One task of a customer key after the other (FIFO)", fieldFlag, ""),
			prompt("hold_dead", "A dead letter holds back its customer key", fieldFlag, "")})
}

func limitsCommand(f url.Values) []string {
	args := slices.Concat([]string{"limits", f.Get("queue")}, flags(f, "running", "running", "running_per_key",
		"running-per-key"), rateFlag(f, "rate", "--rate"), rateFlag(f, "rate_per_key", "--rate-per-key"))
	for _, flag := range [][2]string{{"fair", "--fair"}, {"fifo", "--fifo"}, {"hold_dead", "--hold-dead"}} {
		if f.Get(flag[0]) == "true" {
			args = append(args, flag[1])
		}
	}
	if len(args) == 2 { // alone it would show the limits
		args = append(args, neededFlag(f, "running", "running", "RUNNING")...)
	}
	return args
}

// rateFlag is a rate of a form as the command has it: nothing where there is none.
func rateFlag(f url.Values, name, flag string) []string {
	count := f.Get(name + ".count")
	if count == "" {
		return nil
	}
	rate := count + "/" + f.Get(name+".seconds")
	if burst := f.Get(name + ".burst"); burst != "" {
		rate += "/" + burst
	}
	return []string{flag, rate}
}

func keyLimitsCommand(f url.Values) []string {
	set := append(flags(f, "weight", "weight", "running", "running"), rateFlag(f, "rate", "--rate")...)
	if len(set) == 0 {
		set = neededFlag(f, "weight", "weight", "WEIGHT")
	}
	return ofKey(f, set...)
}

// ofKey is the command that changes the limits of one key; "--" keeps a key such as -x from being read as a flag.
func ofKey(f url.Values, set ...string) []string {
	key := cmp.Or(f.Get("customer_key"), "KEY")
	if strings.HasPrefix(key, "-") {
		set = append(set, "--")
		return slices.Concat([]string{"key-limits", f.Get("queue")}, set, []string{key})
	}
	return slices.Concat([]string{"key-limits", f.Get("queue"), key}, set)
}

// saysQueue tells what will happen to a queue, and how many tasks wait in it.
func saysQueue(format string) func(*call, url.Values) (said, error) {
	return func(c *call, form url.Values) (said, error) {
		q, err := QueueStats(c.ctx, c.box, form.Get("queue"))
		text := fmt.Sprintf(format, q.Name)
		return said{Text: fmt.Sprintf("%s %s of its tasks wait, %s run.", text, q.Pending, q.Claimed)}, err
	}
}
