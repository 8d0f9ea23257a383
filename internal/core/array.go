package core

import (
	"database/sql/driver"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ArrayLiteral renders a Go slice as the text of a PostgreSQL array, for drivers that take no slices. Elements may be
// strings, integers, bools, times, or pointers to them (nil is NULL). A nil slice is a NULL array; other values are
// returned as they are.
func ArrayLiteral(v any) (driver.Value, error) {
	switch a := v.(type) {
	case []string:
		return literal(a, appendString)
	case []*string:
		return literal(a, optional(appendString))
	case []int64:
		return literal(a, appendInt64)
	case []*int64:
		return literal(a, optional(appendInt64))
	case []int16:
		return literal(a, func(b *strings.Builder, n int16) { appendInt64(b, int64(n)) })
	case []*int16:
		return literal(a, optional(func(b *strings.Builder, n int16) { appendInt64(b, int64(n)) }))
	case []*int32:
		return literal(a, optional(func(b *strings.Builder, n int32) { appendInt64(b, int64(n)) }))
	case []int32:
		return literal(a, func(b *strings.Builder, n int32) { appendInt64(b, int64(n)) })
	case []bool:
		return literal(a, func(b *strings.Builder, v bool) { b.WriteString(strconv.FormatBool(v)) })
	case []*time.Time:
		return literal(a, optional(appendTime))
	case []time.Time:
		return literal(a, appendTime)
	case nil, string, int, int16, int32, int64, bool, time.Time, *string, *int16, *int32, *int64, *time.Time:
		return a, nil
	}
	return nil, fmt.Errorf("strunk: internal: no array literal for %T", v)
}

func literal[T any](items []T, one func(*strings.Builder, T)) (driver.Value, error) {
	if items == nil {
		return nil, nil
	}
	var b strings.Builder
	b.WriteByte('{')
	for i, item := range items {
		if i > 0 {
			b.WriteByte(',')
		}
		one(&b, item)
	}
	b.WriteByte('}')
	return b.String(), nil
}

func optional[T any](one func(*strings.Builder, T)) func(*strings.Builder, *T) {
	return func(b *strings.Builder, p *T) {
		if p == nil {
			b.WriteString("NULL")
			return
		}
		one(b, *p)
	}
}

func appendInt64(b *strings.Builder, n int64) { b.WriteString(strconv.FormatInt(n, 10)) }

func appendTime(b *strings.Builder, t time.Time) {
	b.WriteByte('"')
	b.WriteString(t.UTC().Format("2006-01-02 15:04:05.999999Z07:00"))
	b.WriteByte('"')
}

func appendString(b *strings.Builder, s string) {
	b.WriteByte('"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	b.WriteByte('"')
}
