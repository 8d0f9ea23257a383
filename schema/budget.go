package schema

// budget is the work that one validation may still do, counted in checks of about 50 ns, and what it was spent on.
type budget struct {
	left  int
	spent [len(workNames)]int
}

// work is what a budget is spent on.
type work int

const (
	workSchemas work = iota
	workProperties
	workPatterns
	workFormats
	workComparing
	workMultiples
	workLongValues
	workExplaining
)

// workNames say in an error what took most.
var workNames = [...]string{
	workSchemas:    "the schemas that its values must meet",
	workProperties: "the properties of its objects, those that are required and their dependencies",
	workPatterns:   "matching regular expressions",
	workFormats:    "formats of long texts",
	workComparing:  "comparing whole arrays and objects, for uniqueItems, enum and const",
	workMultiples:  "multipleOf of numbers with many digits",
	workLongValues: "long texts and numbers that meet many schemas",
	workExplaining: "explaining what is wrong",
}

// spend pays for checks; it is false once there is no work left, after which no answer counts.
func (b *budget) spend(checks int, on work) bool {
	b.left -= checks
	b.spent[on] += checks
	return b.left >= 0
}

func (b *budget) exhausted() bool { return b.left < 0 }

// most names what the budget was spent on for the greater part.
func (b *budget) most() string {
	most := 0
	for on, checks := range b.spent {
		if checks > b.spent[most] {
			most = on
		}
	}
	return workNames[most]
}
