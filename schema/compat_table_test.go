package schema

import (
	"errors"
	"strings"
	"testing"
)

// compatCase is one change of a contract. Want has a letter for each check that passes: b backward, f forward, and B
// and F the same with Strict. Rule is that of the first problem of the first of them that fails.
type compatCase struct {
	name, old, new, want, rule, reason string
}

func runCompatTable(t *testing.T, cases []compatCase) {
	t.Helper()
	names := map[string]bool{}
	for _, c := range cases {
		if c.name == "" || c.reason == "" || names[c.name] {
			t.Errorf("case %q needs a name of its own and a reason", c.name)
		}
		names[c.name] = true
		t.Run(c.name, func(t *testing.T) { c.run(t) })
	}
}

func (c compatCase) run(t *testing.T) {
	old, next := Revision{"1.0", []byte(c.old)}, Revision{"1.1", []byte(c.new)}
	var failed error
	for _, check := range []struct {
		letter  string
		mode    Mode
		options []CheckOption
	}{{"b", Backward, nil}, {"f", Forward, nil}, {"B", Backward, []CheckOption{Strict()}},
		{"F", Forward, []CheckOption{Strict()}}} {
		err := Check(old, next, check.mode, check.options...)
		if strings.Contains(c.want, check.letter) != (err == nil) {
			t.Errorf("%s: want %q, but %s says %v\nbecause %s", c.name, c.want, check.letter, err, c.reason)
		}
		if failed == nil {
			failed = err
		}
	}
	var incompatible *CompatibilityError
	switch {
	case failed == nil && c.rule == "":
	case !errors.As(failed, &incompatible):
		t.Errorf("want the rule %q, got %v", c.rule, failed)
	case incompatible.Problems[0].Rule != c.rule:
		t.Errorf("want the rule %q, got %v", c.rule, failed)
	}
	if incompatible != nil {
		complete(t, incompatible)
	}
}

func complete(t *testing.T, err *CompatibilityError) {
	for _, p := range err.Problems {
		if p.Rule == "" || p.Old != "1.0" || p.New != "1.1" || p.Why == "" || p.Mend == "" {
			t.Errorf("incomplete: %+v", p)
		}
	}
}

// compatCases counts them all.
func compatCases() (all []compatCase) {
	for _, table := range [][]compatCase{objectCases, typeCases, numberCases, stringCases, valueCases, arrayCases,
		logicCases, recursionCases} {
		all = append(all, table...)
	}
	return all
}

func TestCompatibility(t *testing.T) {
	cases := compatCases()
	if len(cases) < 150 {
		t.Errorf("%d cases, 150 are promised", len(cases))
	}
	runCompatTable(t, cases)
}

// Whatever is compared: a schema is compatible with itself, also when it is written in another way.
func TestCompatibilityIsReflexive(t *testing.T) {
	for _, c := range compatCases() {
		for _, document := range []string{c.old, c.new} {
			other := `{"allOf":[` + document + `],"title":"the same"}`
			if strings.Contains(document, "$ref") {
				other = document
			}
			if err := Check(Revision{"1", []byte(document)}, Revision{"2", []byte(other)}, Full, Strict()); err != nil {
				t.Errorf("%s: %s: %v", c.name, document, err)
			}
		}
	}
}
