package schema

// split cuts a schema into atoms: schemas with one keyword each, which together mean the same. Atoms know their
// keyword and keep the path of what they were cut from. properties, patternProperties and additionalProperties are
// one atom, for the last depends on the others, and so are items and additionalItems.
func (n *node) split() []*node {
	if n.atoms == nil {
		n.atoms = append(append(n.splitValues(), n.splitContainers()...), n.splitLogic()...)
	}
	return n.atoms
}

type atomList struct {
	of    *node
	atoms []*node
}

func (l *atomList) add(is bool, keyword string, fill func(*node)) {
	if is {
		a := &node{path: l.of.path, atom: keyword}
		fill(a)
		a.hasLogic = len(a.anyOf)+len(a.oneOf) > 0 || a.not != nil || a.condition != nil
		l.atoms = append(l.atoms, a)
	}
}

func (n *node) splitValues() []*node {
	l := &atomList{of: n, atoms: []*node{}}
	l.add(n.isFalse(), "false", func(a *node) { a.always = n.always })
	l.add(n.types != 0 && n.types != anyType, "type", func(a *node) { a.types = n.types })
	l.add(n.enum != nil, "enum", func(a *node) { a.enum, a.enumSet = n.enum, n.enumSet })
	l.add(n.konst != nil, "const", func(a *node) { a.konst, a.constSet = n.konst, n.constSet })
	l.add(n.minimum != nil, "minimum", func(a *node) { a.minimum = n.minimum })
	l.add(n.maximum != nil, "maximum", func(a *node) { a.maximum = n.maximum })
	l.add(n.exclusiveMinimum != nil, "exclusiveMinimum", func(a *node) { a.exclusiveMinimum = n.exclusiveMinimum })
	l.add(n.exclusiveMaximum != nil, "exclusiveMaximum", func(a *node) { a.exclusiveMaximum = n.exclusiveMaximum })
	l.add(n.multipleOf != nil, "multipleOf", func(a *node) { a.multipleOf = n.multipleOf })
	l.add(atLeastOne(n.minLength), "minLength", func(a *node) { a.minLength = n.minLength })
	l.add(n.maxLength != nil, "maxLength", func(a *node) { a.maxLength = n.maxLength })
	l.add(n.regex != nil, "pattern", func(a *node) { a.pattern, a.regex = n.pattern, n.regex })
	l.add(n.format != "", "format", func(a *node) { a.format = n.format })
	return l.atoms
}

func atLeastOne(count *int) bool { return count != nil && *count > 0 }

func (n *node) splitContainers() []*node {
	l := &atomList{of: n}
	hasItems := n.items != nil && !n.items.isTrue() || n.tuple != nil
	l.add(hasItems, "items", func(a *node) {
		a.items, a.tuple, a.additionalItems = n.items, n.tuple,
			n.additionalItems
	})
	l.add(n.contains != nil, "contains", func(a *node) { a.contains = n.contains })
	l.add(atLeastOne(n.minItems), "minItems", func(a *node) { a.minItems = n.minItems })
	l.add(n.maxItems != nil, "maxItems", func(a *node) { a.maxItems = n.maxItems })
	l.add(n.unique, "uniqueItems", func(a *node) { a.unique = true })
	hasValues := len(n.properties) > 0 || len(n.patterns) > 0 || n.additional != nil
	l.add(hasValues, "properties", func(a *node) {
		a.properties, a.patterns, a.additional = n.properties, n.patterns, n.additional
	})
	for _, key := range n.required {
		l.add(true, "required", func(a *node) { a.required = []string{key} })
	}
	l.add(atLeastOne(n.minProperties), "minProperties", func(a *node) { a.minProperties = n.minProperties })
	l.add(n.maxProperties != nil, "maxProperties", func(a *node) { a.maxProperties = n.maxProperties })
	l.add(n.propertyNames != nil, "propertyNames", func(a *node) { a.propertyNames = n.propertyNames })
	return l.atoms
}

func (n *node) splitLogic() []*node {
	l := &atomList{of: n}
	if n.ref != nil {
		l.atoms = append(l.atoms, n.ref)
	}
	l.atoms = append(l.atoms, n.allOf...)
	l.add(len(n.anyOf) > 0, "anyOf", func(a *node) { a.anyOf = n.anyOf })
	l.add(len(n.oneOf) > 0, "oneOf", func(a *node) { a.oneOf, a.disjoint = n.oneOf, allDisjoint(n.oneOf) })
	l.add(n.not != nil, "not", func(a *node) { a.not = n.not })
	hasBranch := n.condition != nil && (n.then != nil || n.otherwise != nil)
	l.add(hasBranch, "if", func(a *node) { a.condition, a.then, a.otherwise = n.condition, n.then, n.otherwise })
	for _, d := range n.dependencies {
		has := &node{path: n.path, types: typeObject, required: []string{d.key}}
		then := d.schema
		if then == nil {
			then = &node{path: n.path, required: d.keys}
		}
		l.add(true, "dependencies", func(a *node) { a.condition, a.then = has, then })
	}
	return l.atoms
}

// about is the type that an atom speaks of; values of other types pass it. Zero: it speaks of all.
func (n *node) about() typeSet {
	switch n.atom {
	case "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf":
		return typeNumber
	case "minLength", "maxLength", "pattern", "format":
		return typeString
	case "items", "contains", "minItems", "maxItems", "uniqueItems":
		return typeArray
	case "properties", "required", "minProperties", "maxProperties", "propertyNames":
		return typeObject
	}
	return 0
}
