package events

// source is where a session's items come from: the feed, or the snapshots. Both number what they deliver: its order.
type source interface {
	// read returns the next items, up to limit.
	read(limit int) (batch, error)
	// filter leaves out what the subscriber has had already.
	filter(items []*item) ([]*item, error)
	// move returns the statement that stores that everything up to low is handled.
	move(low int64) move
	// stored is the order up to which that is known to be stored.
	stored() int64
}

// batch is what one read has brought.
type batch struct {
	items []*item
	// end is the order up to which everything has been returned; 0 says that nothing may be delivered now.
	end int64
	// more says that the read was cut off by its limit, or by the bytes of what it returned.
	more bool
	// bytes are those of the items' documents.
	bytes int64
}

// last is the order of the last item.
func (b *batch) last() int64 { return b.items[len(b.items)-1].order }

// move stores how far a source's items are handled; the statement answers whether the epoch holds.
type move struct {
	sql  string
	args []any
	// stored is called when the statement has been committed.
	stored func()
}

const (
	// maxRead bounds the events of one read.
	maxRead = 1000
	// maxReadBytes bounds the documents of one read: with a link of 0.6 MB/s it takes less than statementTimeout.
	maxReadBytes = 8 << 20
)
