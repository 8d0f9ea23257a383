package jetstream_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/strunk-go/strunk/events/forward"
	strunkjs "github.com/strunk-go/strunk/events/jetstream"
	"github.com/strunk-go/strunk/events/jetstream/natstest"
	"github.com/strunk-go/strunk/inbox/receive"
	"github.com/strunk-go/strunk/internal/brokertest"
)

// The list that every forwarder must hold, against nats-server inside the test and the one of STRUNK_NATS_URL.
func TestConformance(t *testing.T) {
	t.Parallel()
	brokertest.Run(t, brokertest.Broker{Address: natstest.Start(t).URL(), Variable: natstest.Variable, Open: open,
		DropsRepeats: true})
}

// client implements brokertest.Client.
type client struct{ js jetstream.JetStream }

func open(address string, network *brokertest.Network) (brokertest.Client, error) {
	nc, err := nats.Connect(address, nats.SetCustomDialer(network), nats.MaxReconnects(-1),
		nats.ReconnectWait(20*time.Millisecond), nats.ReconnectJitter(0, 0))
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	return client{js}, err
}

func (c client) Close() { c.js.Conn().Close() }

func (c client) Forward(destination string, cfg brokertest.Config, opts ...forward.Option) *forward.Forwarder {
	to := strunkjs.Config{Stream: destination, SubjectPrefix: destination, Structured: cfg.Structured,
		AckTimeout: time.Second}
	if cfg.Create {
		to.Create = &jetstream.StreamConfig{Storage: jetstream.MemoryStorage, MaxMsgSize: brokertest.MaxBytes}
	}
	return strunkjs.Forward(brokertest.Stream, c.js, to, opts...)
}

func (c client) Read(ctx context.Context, destination string) (all []receive.Message, err error) {
	stream, err := c.js.Stream(ctx, destination)
	if err != nil {
		return nil, err
	}
	state := stream.CachedInfo().State
	for seq := state.FirstSeq; state.Msgs > 0 && seq <= state.LastSeq; seq++ {
		m, err := stream.GetMsg(ctx, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		headers := map[string]string{}
		for name := range m.Header {
			headers[strings.ToLower(name)] = m.Header.Get(name)
		}
		all = append(all, receive.NewMessage(fmt.Sprint(destination, "/", seq), m.Subject, headers, "ce-", m.Data))
	}
	return all, nil
}

func (c client) Purge(ctx context.Context, destination string) error {
	stream, err := c.js.Stream(ctx, destination)
	if err != nil {
		return err
	}
	return stream.Purge(ctx)
}

func (c client) Remove(ctx context.Context, destination string) error {
	return c.js.DeleteStream(ctx, destination)
}
