package core

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"unicode/utf8"
)

// CheckStrings finds strings of v that encoding/json has silently changed in its document: invalid UTF-8 becomes
// U+FFFD, and a consumer would be given another value than was stored. The document tells whether a search is needed
// at all.
func CheckStrings(v any, doc []byte) error {
	if !bytes.Contains(doc, []byte(`\ufffd`)) && !bytes.Contains(doc, []byte("\uFFFD")) {
		return nil
	}
	if raw, ok := v.(json.RawMessage); ok {
		v = string(raw)
	}
	if !validStrings(reflect.ValueOf(v), 0) {
		return errors.New("a string is not valid UTF-8; encode binary data, for example as []byte")
	}
	return nil
}

// deepest ends the walk of a cyclic value, which json.Marshal has refused before.
const deepest = 1000

func validStrings(v reflect.Value, depth int) bool {
	if depth > deepest {
		return true
	}
	switch v.Kind() {
	case reflect.String:
		return utf8.ValidString(v.String())
	case reflect.Pointer, reflect.Interface:
		return v.IsNil() || validStrings(v.Elem(), depth+1)
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return true
		}
		for i := range v.Len() {
			if !validStrings(v.Index(i), depth+1) {
				return false
			}
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if !validStrings(it.Key(), depth+1) || !validStrings(it.Value(), depth+1) {
				return false
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if !validStrings(v.Field(i), depth+1) {
				return false
			}
		}
	}
	return true
}
