package main

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/strunk-go/strunk/events"
)

func (s *story) orderIsIndexed(ctx context.Context) error {
	s.title("The search index has followed the order's states, in order")
	found, err := s.awaitIndexed(ctx, s.order.OrderID, "shipped")
	if err != nil {
		return err
	}
	s.print("order %d in the index: %s, version %d", s.order.OrderID, found.order.Status, found.version)
	return errors.Join(
		expect(found.version == 3, "the index is at version 3, not %d", found.version),
		expect(slices.Equal(found.trail, []string{"placed", "paid", "shipped"}),
			"each state came once, in order, not as %q", found.trail),
	)
}

func (s *story) readSnapshot(ctx context.Context) error {
	s.title("Read the order's snapshot: the latest state, without a subscriber")
	snapshot, err := Orders.Snapshot(ctx, s.box, strconv.FormatInt(s.order.OrderID, 10))
	if err != nil {
		return err
	}
	s.print("order %s at version %d: %+v", snapshot.EntityID, snapshot.Version, snapshot.State)
	status, err := s.orderStatus(ctx, s.order.OrderID)
	if err != nil {
		return err
	}
	_, missing := Orders.Snapshot(ctx, s.box, "none")
	return errors.Join(
		expect(snapshot.State.Status == status, "the snapshot has the order's status %q, not %q", status,
			snapshot.State.Status),
		expect(snapshot.Version == 3, "it is at version 3, not %d", snapshot.Version),
		expect(errors.Is(missing, events.ErrNotFound), "there is no snapshot of what was never published: %v", missing),
	)
}

func (s *story) replay(ctx context.Context) error {
	s.title("The search index is lost: replay the subscriber from the beginning, while it runs")
	if _, err := s.awaitIndexed(ctx, s.refused.OrderID, "paid"); err != nil {
		return err
	}
	s.index.lose()
	if err := events.Replay(ctx, s.box, "search-indexer", 0); err != nil {
		return err
	}
	found, err := s.awaitIndexed(ctx, s.order.OrderID, "shipped")
	if err != nil {
		return err
	}
	refused, err := s.awaitIndexed(ctx, s.refused.OrderID, "paid")
	if err != nil {
		return err
	}
	unknown := events.Replay(ctx, s.box, "nobody", 0)
	return errors.Join(
		expect(found.version == 3, "order %d is back at version 3, not %d", s.order.OrderID, found.version),
		expect(refused.version == 2, "order %d is back at version 2, not %d", s.refused.OrderID, refused.version),
		expect(errors.Is(unknown, events.ErrUnknownSubscriber), "an unknown subscriber cannot be replayed: %v",
			unknown),
	)
}

// awaitIndexed waits until an order's status is in the index.
func (s *story) awaitIndexed(ctx context.Context, orderID int64, status string) (entry, error) {
	for {
		found := s.index.find(strconv.FormatInt(orderID, 10))
		if found.order.Status == status {
			return found, nil
		}
		if ctx.Err() != nil {
			return found, expect(false, "order %d becomes %s in the index; it is %q", orderID, status,
				found.order.Status)
		}
		pause(ctx)
	}
}
