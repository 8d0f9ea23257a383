package orms_test

import (
	"testing"

	"github.com/strunk-go/strunk/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }
