package main

import (
	"slices"
	"testing"
)

func TestTicks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		log  bool
		fill func(*scale)
		want []float64
	}{
		{"even", false, func(s *scale) { s.evenTicks(94_700) }, []float64{0, 20_000, 40_000, 60_000, 80_000, 100_000}},
		{"even and exact", false, func(s *scale) { s.evenTicks(60) }, []float64{0, 10, 20, 30, 40, 50, 60}},
		{"powers of ten", true, func(s *scale) { s.logTicks(0.7, 240) }, []float64{0.1, 1, 10, 100, 1000}},
		{"one power", true, func(s *scale) { s.logTicks(1, 1) }, []float64{1, 10}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := scale{log: c.log}
			c.fill(&s)
			if !slices.Equal(s.ticks, c.want) {
				t.Errorf("%v, want %v", s.ticks, c.want)
			}
			if first, last := s.x(s.ticks[0]), s.x(s.last); first != plotLeft || last != plotRight {
				t.Errorf("the axis goes from %v to %v", first, last)
			}
		})
	}
}
