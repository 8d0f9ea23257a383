package schema

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

type (
	orderV1 struct{ Name string }
	orderV2 struct{ First, Last string }
	orderV3 struct {
		First, Last string
		Initials    string
	}
)

func upcaster() *Upcaster[orderV3] {
	return Upcast[orderV3]("3.0",
		From("2.0", func(o orderV2) (orderV3, error) {
			if o.First == "" {
				return orderV3{}, errors.New("no first name")
			}
			return orderV3{o.First, o.Last, o.First[:1] + o.Last[:1]}, nil
		}),
		From("1.0", func(o orderV1) (orderV2, error) {
			first, last, _ := strings.Cut(o.Name, " ")
			return orderV2{first, last}, nil
		}),
		From("", func(raw json.RawMessage) (orderV1, error) { return orderV1{strings.Trim(string(raw), `"`)}, nil }),
	)
}

func TestUpcast(t *testing.T) {
	want := orderV3{"Ada", "Lovelace", "AL"}
	for _, c := range []struct{ version, payload string }{
		{"3.0", `{"First":"Ada","Last":"Lovelace","Initials":"AL"}`},
		{"3.1", `{"First":"Ada","Last":"Lovelace","Initials":"AL","New":1}`},
		{"2.0", `{"First":"Ada","Last":"Lovelace"}`}, {"2.10", `{"First":"Ada","Last":"Lovelace"}`},
		{"1.0", `{"Name":"Ada Lovelace"}`},
		{"1.9", `{"Name":"Ada Lovelace"}`}, {"", `"Ada Lovelace"`}, {"0.5", `"Ada Lovelace"`},
	} {
		if got, err := upcaster().Decode(c.version, []byte(c.payload)); err != nil || got != want {
			t.Errorf("%q: %v, %v", c.version, got, err)
		}
	}
}

func TestUndecodable(t *testing.T) {
	short := Upcast[orderV3]("3.0", From("2.0", func(orderV2) (orderV3, error) { return orderV3{}, nil }))
	for _, c := range []struct {
		u                      *Upcaster[orderV3]
		version, payload, want string
	}{
		{upcaster(), "3.0", `{"First":1}`, "cannot unmarshal"}, {upcaster(), "1.0", `[`, "unexpected end"},
		{upcaster(), "2.0", `{}`, `from "2.0": no first name`},
		{upcaster(), "2.0", `{"First":"a"}`, "internal fault"}, {upcaster(), "two", `{}`, "invalid version"},
		{short, "1.0", `{}`, "no step begins"}, {short, "", `{}`, "no step begins"},
	} {
		_, err := c.u.Decode(c.version, []byte(c.payload))
		var undecodable *UndecodableError
		if !errors.Is(err, ErrUndecodable) || !errors.As(err, &undecodable) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: want %q, got %v", c.version, c.want, err)
		} else if string(undecodable.Raw) != c.payload || undecodable.Version != c.version {
			t.Errorf("the payload is lost: %+v", undecodable)
		}
	}
}

func TestUpcastRefusesABrokenChain(t *testing.T) {
	one := From("1.0", func(orderV1) (orderV2, error) { return orderV2{}, nil })
	two := From("2.0", func(orderV2) (orderV3, error) { return orderV3{}, nil })
	for name, u := range map[string]*Upcaster[orderV3]{
		"a gap": Upcast[orderV3]("3.0", one),
		"twice": Upcast[orderV3]("3.0", one, two, two),
		"same number": Upcast[orderV3]("3.0", two, From("2",
			func(orderV3) (orderV3, error) { return orderV3{}, nil })),
		"beyond newest": Upcast[orderV3]("1.5", one, two),
		"no version":    Upcast[orderV3]("newest", one, two),
		"a step's version": Upcast[orderV3]("3.0", one, From("v2",
			func(orderV2) (orderV3, error) { return orderV3{}, nil })),
	} {
		if _, err := u.Decode("3.0", []byte(`{}`)); !errors.Is(u.Err(), ErrInvalidUpcast) ||
			!errors.Is(err, ErrInvalidUpcast) {
			t.Errorf("%s: %v, %v", name, u.Err(), err)
		}
	}
	if err := upcaster().Err(); err != nil {
		t.Error(err)
	}
}
