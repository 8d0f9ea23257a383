package core

import (
	"fmt"
	"log/slog"
	"strings"
	"unicode"
)

// MaxErrorBytes bounds what is kept of an error's text and of a stack.
const MaxErrorBytes = 16 << 10

// ErrorText calls the error's method, which is the user's code.
func ErrorText(err error) (text string) {
	defer func() {
		if r := recover(); r != nil {
			text = fmt.Sprintf("%T, whose Error method panicked: %v", err, r)
		}
	}()
	return err.Error()
}

// ErrorTexts is what is stored of a failure: its text, and its stack where stackOf finds one. Nil of a nil error.
func ErrorTexts(err error, stackOf func(error) (string, bool)) (text, stack *string) {
	if err == nil {
		return nil, nil
	}
	s := CleanText(ErrorText(err), MaxErrorBytes)
	if st, ok := stackOf(err); ok {
		st = CleanText(PlainStack(st), MaxErrorBytes)
		stack = &st
	}
	return &s, stack
}

// PlainText is a text in ASCII, which a database of any encoding can hold: other characters become question marks.
func PlainText(s string) string {
	return strings.Map(func(r rune) rune {
		if r > unicode.MaxASCII {
			return '?'
		}
		return r
	}, s)
}

// Why is a failure in a log, with the stack of a panic; nothing of a nil text.
func Why(text, stack *string) slog.Attr {
	switch {
	case text == nil:
		return slog.Attr{} // handlers leave it out
	case stack == nil:
		return slog.String("error", *text)
	}
	return slog.Group("", "error", *text, "stack", *stack)
}

// ASCIIText replaces what is not ASCII, for a database whose encoding cannot hold it. Nil stays nil.
func ASCIIText(text *string) *string {
	if text == nil {
		return nil
	}
	plain := strings.Map(func(r rune) rune {
		if r > unicode.MaxASCII {
			return '?'
		}
		return r
	}, *text)
	return &plain
}
