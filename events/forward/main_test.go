package forward_test

import (
	"testing"

	"github.com/strunk-go/strunk/internal/brokertest"
	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/internal/testkit"
)

func TestMain(m *testing.M) {
	faults.Main(brokertest.Roles(brokertest.OpenFake))
	testkit.Main(m)
}

// A forwarder to a broker that only keeps a log holds what those of the brokers' modules must.
func TestConformance(t *testing.T) {
	t.Parallel()
	brokertest.Run(t, brokertest.Broker{Address: brokertest.NewFake(t).Address(), Open: brokertest.OpenFake})
}
