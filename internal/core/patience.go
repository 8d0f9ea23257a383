package core

import "time"

// Patience multiplies the time that ops gives the database for a question. Tests, whose machine may be slow, set more
// than 1 before they begin.
var Patience time.Duration = 1
