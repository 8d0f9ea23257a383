//go:build unix && !race

package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// What the validation of 1 MiB may take. The CPU time is that of a machine that reads a JSON array of 1 MiB in readIn.
const (
	maxCPU       = 250 * time.Millisecond
	maxCompare   = 2 * time.Second
	maxAllocated = 64 << 20
	readIn       = 35 * time.Millisecond
)

// Every validation of up to 1 MiB ends within 250 ms of CPU and 64 MiB, by a verdict or by an honest refusal; every
// comparison within 2 s.
func TestHostileIsBounded(t *testing.T) {
	for _, c := range append(hostilePayloads(), issuePayloads()...) {
		t.Run(c.name, func(t *testing.T) {
			schema, err := Compile([]byte(c.document))
			if err != nil {
				t.Fatal(err)
			}
			allocated, err := takesAtMost(t, maxCPU, func() error { return schema.Validate([]byte(c.payload)) })
			if allocated > maxAllocated+maxAllocated/8 { // for the race detector, and other versions of Go
				t.Errorf("allocates %d MiB", allocated>>20)
			}
			var invalid *ValidationError
			if rule := ""; errors.As(err, &invalid) {
				if rule = invalid.Violations[0].Rule; rule != c.rule {
					t.Errorf("got %.300v", err)
				}
			} else if c.rule != "" || err != nil {
				t.Errorf("want %q, got %v", c.rule, err)
			}
			if len(fmt.Sprint(err)) > MaxViolations*(maxPath+maxWhy+200) {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
	}
}

// takesAtMost fails the test where some work takes more CPU time than it may, on a machine as fast as that of the
// limits. It reports the bytes that the work allocates, all of them, those that are collected included. This test is
// not parallel, so that nothing else of the process is measured.
func takesAtMost(t *testing.T, limit time.Duration, work func() error) (allocated uint64, err error) {
	t.Helper()
	const tries = 5 // other processes slow the processor down now and then
	for try := 1; ; try++ {
		var spent time.Duration
		spent, allocated, err = measured(work)
		t.Logf("%v of CPU, %d MiB", spent, allocated>>20)
		over := float64(spent) / float64(limit)
		if over > 1 {
			over /= slowness(try > 1)
		}
		switch {
		case over <= 1:
			return allocated, err
		case try == tries || try > 1 && over > 10: // which no noise explains
			t.Errorf("takes %v of CPU, %.1f times more than may be", spent, over)
			return allocated, err
		}
	}
}

func measured(work func() error) (spent time.Duration, allocated uint64, err error) {
	runtime.GC()
	before, began := allocatedBytes(), cpuTime()
	err = work()
	return cpuTime() - began, allocatedBytes() - before, err
}

// slower is what slowness has measured last.
var slower float64

// slowness says how much slower this machine is than that of the limits, the race detector included: measured again, or
// as it was before.
func slowness(again bool) float64 {
	if slower > 0 && !again {
		return slower
	}
	text := []byte(mebibyte("1"))
	spent, _, _ := measured(func() error {
		var value []any
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.UseNumber()
		return decoder.Decode(&value)
	})
	slower = max(1, float64(spent)/float64(readIn))
	return slower
}

func allocatedBytes() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.TotalAlloc
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// A comparison of large documents ends within 2 s, with the right answer.
func TestHostileComparisonIsBounded(t *testing.T) {
	for name, c := range map[string]struct {
		old, new []byte
		rule     string // of the first problem; empty where there is none
	}{
		"5,000 properties":              {manyProperties(5000, 0), manyProperties(5001, 0), ""},
		"5,000 required properties":     {manyProperties(5000, 5000), manyProperties(5001, 5000), ""},
		"one required property more":    {manyProperties(5001, 5000), manyProperties(5001, 5001), "required"},
		"an enum of 60,000":             {manyValues(60_000), manyValues(60_001), ""},
		"100 definitions, each to all":  {mutual(100, "integer"), mutual(100, "number"), ""},
		"100 definitions, all narrower": {mutual(100, "number"), mutual(100, "integer"), "type"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := takesAtMost(t, maxCompare, func() error {
				return Check(Revision{"1.0", c.old}, Revision{"1.1", c.new}, Backward)
			})
			rule := ""
			if incompatible := new(CompatibilityError); errors.As(err, &incompatible) {
				rule = incompatible.Problems[0].Rule
			} else if err != nil {
				t.Error(err)
			}
			if rule != c.rule {
				t.Errorf("want the rule %q, got %.300v", c.rule, err)
			}
		})
	}
}

func manyProperties(n, required int) []byte {
	properties := object{}
	for i := range n {
		properties[fmt.Sprint("p", i)] = object{"type": "string", "maxLength": 10}
	}
	return mustJSON(object{"type": "object", "properties": properties,
		"required": append([]any{}, many(required, func(i int) any { return fmt.Sprint("p", i) })...)})
}

func manyValues(n int) []byte {
	var values []any
	for i := range n {
		values = append(values, fmt.Sprint("v", i))
	}
	return mustJSON(object{"type": "string", "enum": values})
}

func mutual(n int, leaf string) []byte {
	definitions := object{}
	for i := range n {
		properties := object{"v": object{"type": leaf}}
		for j := range n {
			properties[fmt.Sprint("d", j)] = object{"$ref": fmt.Sprintf("#/definitions/d%d", j)}
		}
		definitions[fmt.Sprint("d", i)] = object{"type": "object", "properties": properties}
	}
	return mustJSON(object{"definitions": definitions, "type": "object",
		"properties": object{"d": object{"$ref": "#/definitions/d0"}}})
}
