package core

// Poison is the type of the sentinels which say that a payload cannot be decoded, now or later:
// more attempts do not help. An error of another package is all of them by an Is method that asks
// for the target's type.
type Poison string

func (p *Poison) Error() string { return string(*p) }

// NewPoison makes a sentinel.
func NewPoison(text string) error { return (*Poison)(&text) }
