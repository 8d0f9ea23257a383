package schema

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// parser turns a document into nodes and collects everything that is wrong with it.
type parser struct {
	nodes    map[string]*node // by path
	order    []*node
	value    any // the document, decoded
	problems []SchemaProblem
	omitted  int // problems past MaxViolations

	expressions expressions
}

// parse reads a document. Its error is a *SchemaError with all problems.
func parse(document []byte) (*parser, error) {
	p := &parser{nodes: map[string]*node{}}
	value, err := decode(document, MaxDocumentBytes, MaxDocumentDepth)
	if err != nil {
		limit := err.(*limitError)
		p.fault(limit.path, "", limit.why)
		return nil, p.err()
	}
	if key, ok := duplicateKey(document); ok {
		p.fault("", "", fmt.Sprintf("an object has the key %s twice: keep one of them", quoteClipped(key)))
	}
	p.value = value
	p.schema("", value)
	p.link()
	if p.err() == nil {
		p.checkCycles()
	}
	return p, p.err()
}

func (p *parser) err() error {
	if len(p.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(p.problems, func(a, b SchemaProblem) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.Keyword, b.Keyword))
	})
	return &SchemaError{p.problems, p.omitted}
}

func (p *parser) fault(path, keyword, why string) {
	if len(p.problems) == MaxViolations {
		p.omitted++
		return
	}
	p.problems = append(p.problems, newSchemaProblem(path, keyword, why))
}

func (p *parser) root() *node { return p.nodes[""] }

// schema reads the schema at a path and everything below it.
func (p *parser) schema(path string, value any) *node {
	n := &node{path: path}
	p.nodes[path] = n
	p.order = append(p.order, n)
	switch v := value.(type) {
	case bool:
		n.always = &v
		n.key = canonical(v)
	case map[string]any:
		p.object(n, v)
	default:
		p.fault(path, "", "a schema is an object, true or false")
	}
	return n
}

func (p *parser) object(n *node, keywords map[string]any) {
	_, hasRef := keywords["$ref"]
	for _, name := range sortedKeys(keywords) {
		switch read, known := readers[name]; {
		case known && hasRef && !besideRef[name]:
			p.fault(n.path, name, "stands beside $ref, where it is ignored: put both into allOf")
		case known:
			read(p, n, keywords[name])
		case !strings.HasPrefix(name, "x-"):
			p.fault(n.path, name, "would not be enforced: "+mendKeyword(name))
		}
	}
	p.checkTogether(n, keywords)
	n.hasLogic = len(n.allOf)+len(n.anyOf)+len(n.oneOf) > 0 || n.not != nil || n.condition != nil
	n.key = meaning(keywords)
}

// checkTogether finds keywords that do nothing without another, or that contradict each other.
func (p *parser) checkTogether(n *node, keywords map[string]any) {
	for name, needed := range needs {
		if _, has := keywords[name]; has && keywords[needed] == nil {
			p.fault(n.path, name, "does nothing without "+needed+": add it, or remove this one")
		}
	}
	if n.items != nil && n.additionalItems != nil {
		p.fault(n.path, "additionalItems", "does nothing unless items is a list of schemas: remove it")
	}
	p.checkRange(n, "Length", n.minLength, n.maxLength)
	p.checkRange(n, "Items", n.minItems, n.maxItems)
	p.checkRange(n, "Properties", n.minProperties, n.maxProperties)
}

var needs = map[string]string{"then": "if", "else": "if", "additionalItems": "items"}

func (p *parser) checkRange(n *node, what string, low, high *int) {
	if low != nil && high != nil && *low > *high {
		p.fault(n.path, "min"+what, "is above max"+what+", so that nothing fits: change one of them")
	}
}

// meaning returns the key of a schema without references: its keywords, the notes left out.
func meaning(keywords map[string]any) string {
	text := canonical(withoutNotes(keywords))
	if strings.Contains(text, `"$ref":`) {
		return ""
	}
	return text
}

func withoutNotes(keywords map[string]any) map[string]any {
	kept := map[string]any{}
	for name, value := range keywords {
		if !notes[name] && !strings.HasPrefix(name, "x-") {
			kept[name] = value
		}
	}
	return kept
}

// link resolves the references, all of them within the document.
func (p *parser) link() {
	for _, n := range p.order {
		if n.refTo == "" {
			continue
		}
		n.ref = p.resolve(n)
	}
}

func (p *parser) resolve(n *node) *node {
	fragment, local := strings.CutPrefix(n.refTo, "#")
	if !local {
		p.fault(n.path, "$ref", fmt.Sprintf("%s leaves the document, and nothing is ever fetched: "+
			"copy that schema under definitions and refer to it as #/definitions/…", quoteClipped(n.refTo)))
		return nil
	}
	path, err := url.PathUnescape(fragment)
	target := p.nodes[path]
	if err != nil || target == nil {
		p.fault(n.path, "$ref", fmt.Sprintf("%s leads to no schema of this document: write #/definitions/NAME",
			quoteClipped(n.refTo)))
		return nil
	}
	return target
}
