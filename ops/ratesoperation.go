package ops

import "errors"

var rateParameters = []parameter{
	{"queue", "string", "of this queue alone"}, {"subscriber", "string", "of this subscriber alone"},
	{"window_seconds", "integer", "how far back, two days at most; an hour where it is missing"},
	{"step_seconds", "integer", "how much time is taken together, whole minutes; a minute where it is missing"},
	after, upTo,
}

func readRates(c *call) (r RatesReport, err error) {
	f := RatesFilter{Queue: c.query.Get("queue"), Subscriber: c.query.Get("subscriber"), After: c.query.Get("after")}
	var errs [3]error
	f.Window, errs[0] = c.seconds("window_seconds")
	f.Step, errs[1] = c.seconds("step_seconds")
	f.Limit, errs[2] = c.limit()
	if err = errors.Join(errs[:]...); err == nil {
		r, err = Rates(c.ctx, c.box, f)
	}
	return r, err
}
