package queue

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"slices"
	"strconv"
	"strings"
)

// payloadDigest hashes names of fields, to so many hexadecimal digits.
func payloadDigest(fields []string, digits int) string {
	h := canonicalHash{sha256.New()}
	h.token('f', strconv.Itoa(len(fields)))
	for _, name := range fields {
		h.token('s', name)
	}
	return h.digits(digits)
}

// digestOfPayload hashes a JSON document, or the members of it that are named. What it returns for a
// document must never change: it is in dedup keys that programs of other releases have made.
func digestOfPayload(doc []byte, fields []string) (string, error) {
	decoder := json.NewDecoder(bytes.NewReader(doc))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		return "", fmt.Errorf("the payload is no JSON: %w", err)
	}
	if len(fields) > 0 {
		object, ok := v.(map[string]any)
		if !ok {
			return "", fmt.Errorf("the payload is no JSON object and has no fields to name")
		}
		chosen := map[string]any{}
		for _, name := range fields {
			if member := object[name]; member != nil {
				chosen[name] = member
			}
		}
		if len(chosen) == 0 {
			return "", fmt.Errorf("the payload has none of the fields %s, or they are null: all such tasks would be "+
				"duplicates of each other; give the task a DedupKey of its own", strings.Join(fields, ", "))
		}
		v = chosen
	}
	h := canonicalHash{sha256.New()}
	h.value(v)
	return h.digits(32), nil
}

// canonicalHash hashes JSON values such that equal values have equal hashes, however they are written.
type canonicalHash struct{ hash.Hash }

func (h canonicalHash) digits(n int) string { return hex.EncodeToString(h.Sum(nil))[:n] }

// token adds text with its kind and its length, so that no two sequences of tokens read the same.
func (h canonicalHash) token(kind byte, text string) {
	_, _ = fmt.Fprintf(h, "%c%d:%s", kind, len(text), text)
}

func (h canonicalHash) value(v any) {
	switch v := v.(type) {
	case nil:
		h.token('n', "")
	case bool:
		h.token('b', strconv.FormatBool(v))
	case json.Number:
		h.token('#', canonicalNumber(string(v)))
	case string:
		h.token('s', v)
	case []any:
		h.token('[', strconv.Itoa(len(v)))
		for _, element := range v {
			h.value(element)
		}
	case map[string]any:
		h.object(v)
	}
}

// object leaves out members that are null: a field that a later release of the type adds and leaves
// empty changes nothing.
func (h canonicalHash) object(members map[string]any) {
	names := make([]string, 0, len(members))
	for name, v := range members {
		if v != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	h.token('{', strconv.Itoa(len(names)))
	for _, name := range names {
		h.token('s', name)
		h.value(members[name])
	}
}

// canonicalNumber writes a JSON number as its digits without zeros at their ends, and an exponent.
// It is exact: no number goes through a float.
func canonicalNumber(text string) string {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(text), "e")
	sign := ""
	if mantissa, _ = strings.CutPrefix(mantissa, "-"); strings.HasPrefix(text, "-") {
		sign = "-"
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return "0"
	}
	power := int64(0)
	if exponent != "" {
		var err error
		if power, err = strconv.ParseInt(exponent, 10, 32); err != nil {
			return text // no type holds such a number
		}
	}
	short := strings.TrimRight(digits, "0")
	power += int64(len(digits)-len(short)) - int64(len(fraction))
	return sign + short + "e" + strconv.FormatInt(power, 10)
}
