package ops_test

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/strunk-go/strunk/ops"
)

// The document names every metric; dashboard and alerts use none that there is not.
func TestDocumentsKnowTheMetrics(t *testing.T) {
	t.Parallel()
	box, _ := open(t)
	descs := make(chan *prometheus.Desc, 100)
	ops.Collector(box, ops.MetricsConfig{}).Describe(descs)
	close(descs)
	known := map[string]bool{}
	for d := range descs {
		known[regexp.MustCompile(`fqName: "(\w+)"`).FindStringSubmatch(d.String())[1]] = true
	}
	read := func(path string) string {
		t.Helper()
		text, err := os.ReadFile("../docs/" + path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	doc := read("ops.md")
	for name := range known {
		if !strings.Contains(doc, "`"+name+"`") {
			t.Errorf("docs/ops.md does not name %s", name)
		}
	}
	dashboard, alerts := read("grafana-dashboard.json"), read("alerts.yml")
	if !json.Valid([]byte(dashboard)) {
		t.Error("the dashboard is no JSON")
	}
	exprs := regexp.MustCompile(`"?expr"?: (?:\|\n(?:          .*\n)+|.*)`).FindAllString(dashboard+alerts, -1)
	if len(exprs) < 20 {
		t.Errorf("%d expressions", len(exprs))
	}
	for _, expr := range exprs {
		for _, name := range regexp.MustCompile(`strunk_\w+`).FindAllString(expr, -1) {
			if !known[strings.TrimSuffix(name, "_bucket")] {
				t.Errorf("there is no metric %s", name)
			}
		}
	}
}
