package schema

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Mode says who must be able to read whose documents when a contract changes.
type Mode string

// The modes. Each looks at the version before; the transitive ones look at all versions before. The empty mode is
// Backward.
const (
	// Backward: the new version accepts what the old one accepts. Who reads may move first.
	Backward           Mode = "backward"
	BackwardTransitive Mode = "backward-transitive"
	// Forward: the old version accepts what the new one accepts. Who writes may move first.
	Forward           Mode = "forward"
	ForwardTransitive Mode = "forward-transitive"
	// Full is both.
	Full           Mode = "full"
	FullTransitive Mode = "full-transitive"
	// None checks nothing.
	None Mode = "none"
)

// Modes lists all modes.
var Modes = []Mode{Backward, BackwardTransitive, Forward, ForwardTransitive, Full, FullTransitive, None}

func (m Mode) backward() bool   { return m.side() == Backward || m.side() == Full }
func (m Mode) forward() bool    { return m.side() == Forward || m.side() == Full }
func (m Mode) transitive() bool { return strings.HasSuffix(string(m), "-transitive") }
func (m Mode) side() Mode {
	return Mode(strings.TrimSuffix(string(cmp.Or(m, Backward)), "-transitive"))
}

func (m Mode) check() error {
	if m == "" || slices.Contains(Modes, m) {
		return nil
	}
	return fmt.Errorf("%w: compatibility mode %s: there is no such mode: use one of %v", ErrInvalid,
		quoteClipped(string(m)), Modes)
}

// Revision is one version of a contract.
type Revision struct {
	Version  string
	Document []byte
}

// CheckOption changes what [Check], [CheckHistory] and [CheckDir] ask for.
type CheckOption interface{ applyCheck(*checker) }

// Strictness is an option of comparisons and of registrations.
type Strictness interface {
	CheckOption
	RegisterOption
}

type strictness bool

func (s strictness) applyCheck(c *checker)  { c.lenient = !bool(s) }
func (s strictness) applyRegister(r *rules) { r.strict = bool(s) }

// Strict takes open objects at their word: where additional properties are allowed, anything may be there, so that a
// new optional property with a type is incompatible. Without it a property that the writing version doesn't declare
// is taken to be absent, so that adding an optional property passes, and a schema with properties or required and no
// type is taken to mean objects, so that type may be added.
func Strict() Strictness { return strictness(true) }

// Lenient is the opposite of [Strict], and the default: it undoes a Strict that the registry has kept with a subject.
func Lenient() Strictness { return strictness(false) }

// Check compares two versions of a contract. Whatever the mode, except None, two changes fail:
//
//   - a property that the old version requires must stay required;
//   - a type that the old version accepts must stay accepted. Integer may become number.
//
// What else passes is the mode's matter: documents of one version must pass the other. With [Strict] that is exact:
// when Check says that a version is backward compatible, every document that passes the old one passes the new one.
// It may refuse a change that does no harm, when it can't be sure within its budget, but it never lets one through.
//
// The error is a [*CompatibilityError] with every problem found, a [*SchemaError], or an [ErrInvalidVersion].
func Check(old, new Revision, mode Mode, options ...CheckOption) error {
	return CheckHistory([]Revision{old}, new, mode, options...)
}

// CheckHistory compares the next version of a contract with the newest version of its history, or with all of them
// where the mode is transitive. The order of the history doesn't matter; next must come after all of it, or be one of
// it, with an equal document.
func CheckHistory(history []Revision, next Revision, mode Mode, options ...CheckOption) error {
	return safely(ErrIncompatible, func() error {
		c := &checker{mode: mode, lenient: true}
		for _, option := range options {
			option.applyCheck(c)
		}
		return c.history(history, next)
	})
}

// checker compares revisions.
type checker struct {
	mode    Mode
	lenient bool
}

func (c *checker) history(history []Revision, next Revision) error {
	if err := c.mode.check(); err != nil {
		return err
	}
	earlier, known, err := before(history, next)
	if err != nil || known {
		return err
	}
	if !c.mode.transitive() && len(earlier) > 1 {
		earlier = earlier[len(earlier)-1:]
	}
	is, err := c.compile(next)
	if err != nil || c.mode == None {
		return err
	}
	found := &CompatibilityError{Version: next.Version, Mode: cmp.Or(c.mode, Backward)}
	if err := c.compare(found, earlier, next, is); err != nil {
		return err
	}
	if len(found.Problems) > 0 {
		return found
	}
	return nil
}

// before sorts the history and checks that next comes after it; known reports that next is already in it.
func before(history []Revision, next Revision) (sorted []Revision, known bool, err error) {
	newest, err := ParseVersion(next.Version)
	if err != nil {
		return nil, false, err
	}
	sorted, err = sortRevisions(history)
	if err != nil || len(sorted) == 0 {
		return sorted, false, err
	}
	for _, r := range sorted {
		if version, _ := ParseVersion(r.Version); version.Compare(newest) == 0 {
			return nil, true, same(r, next)
		}
	}
	last := sorted[len(sorted)-1]
	if version, _ := ParseVersion(last.Version); version.Compare(newest) > 0 {
		return nil, false, fmt.Errorf("%w: %q comes before %q, which there is already: give it a later number",
			ErrInvalidVersion, next.Version, last.Version)
	}
	return sorted, false, nil
}

func same(old, next Revision) error {
	if sameMeaning(old.Document, next.Document) {
		return nil
	}
	return fmt.Errorf("%w: %q has another document already: give the changed one a later number", ErrInvalidVersion,
		next.Version)
}

func sortRevisions(history []Revision) ([]Revision, error) {
	for _, r := range history {
		if _, err := ParseVersion(r.Version); err != nil {
			return nil, err
		}
	}
	sorted := slices.Clone(history)
	slices.SortStableFunc(sorted, func(a, b Revision) int {
		x, _ := ParseVersion(a.Version)
		y, _ := ParseVersion(b.Version)
		return x.Compare(y)
	})
	return sorted, nil
}

// compile reads the next version, which must be as Compile asks for.
func (c *checker) compile(next Revision) (*node, error) {
	schema, err := compile(next.Document, nil)
	if err != nil {
		return nil, fmt.Errorf("version %s: %w", next.Version, err)
	}
	return schema.root, nil
}

// compare finds the problems between the earlier versions and the next one. Those that mean the same have none.
func (c *checker) compare(found *CompatibilityError, earlier []Revision, next Revision, is *node) error {
	differ := map[string]*node{}
	for _, old := range earlier {
		was, err := parse(old.Document)
		if err != nil {
			return fmt.Errorf("version %s: %w", old.Version, err)
		}
		if !(meanings{}).same(was.root(), is) {
			differ[old.Version] = was.root()
		}
	}
	c.readAsMeant(is)
	for _, old := range earlier {
		if was := differ[old.Version]; was != nil {
			c.readAsMeant(was)
			found.add(c.pair(old, next, was, is))
		}
	}
	return nil
}

// pair compares two revisions in the directions that the mode asks for.
func (c *checker) pair(old, next Revision, was, is *node) *reporter {
	r := &reporter{old: old.Version, new: next.Version, lenient: c.lenient, reported: map[string]bool{}}
	r.keepAll(was, is)
	if c.mode.backward() {
		r.direction(was, is, true)
	}
	if c.mode.forward() {
		r.direction(is, was, false)
	}
	return r
}

func (c *checker) readAsMeant(root *node) {
	if c.lenient {
		meantAsObjects(root, map[*node]bool{})
	}
}

// meantAsObjects gives the type object to schemas that describe properties and leave the type out, where they describe
// a value and are not part of a condition.
func meantAsObjects(n *node, seen map[*node]bool) {
	if seen[n] {
		return
	}
	seen[n] = true
	if n.types == 0 && n.enum == nil && n.konst == nil && n.ref == nil && n.describesObjects() {
		n.types = typeObject
		n.key = ""
	}
	next := append([]*node{n.items, n.additionalItems, n.additional, n.ref}, n.tuple...)
	for _, schema := range n.properties {
		next = append(next, schema)
	}
	for _, p := range n.patterns {
		next = append(next, p.schema)
	}
	for _, schema := range present(next) {
		meantAsObjects(schema, seen)
	}
}

func (n *node) describesObjects() bool {
	return n.properties != nil || n.required != nil || n.patterns != nil || n.additional != nil ||
		n.propertyNames != nil ||
		n.minProperties != nil || n.maxProperties != nil || n.dependencies != nil ||
		slices.ContainsFunc(n.allOf, (*node).describesObjects)
}
