/*
 * A subscriber: who owns it, how its cursor moves, what a replay does, and what happens when the database goes back in
 * time. README.md maps the steps to functions and files.
 *
 * Two processes deliver to one subscriber. Process 0 may be killed, and is taken for dead TAKEOVERS times while it lives.
 * Meanwhile events of the subscriber's type and of others enter the feed, an operator replays, and once a copy of the
 * database that was behind takes the server's place. LATE moves of the cursor arrive after their owner has given them up.
 *
 * Broken variants (-D): NO_EPOCH, IN_MEMORY, NO_SERVER_CHECK, EPOCH_REPEATS, CURSOR_AHEAD.
 */
#define EVENTS    2 /* in the feed at most; one more is published where a failover has taken one away */
#ifndef TAKEOVERS
#define TAKEOVERS 1
#endif
#ifndef REPLAYS
#define REPLAYS 1
#endif
#ifndef LATE
#define LATE 1
#endif

#define BIT(n)      (1 << (n))
#define HAS(set, n) (((set) >> (n)) & 1)
#define ME          (o + 1)

/* What is committed. Position p of the feed holds the event id[p]. */
byte head, cursor, epoch;
byte owner;            /* 0: none */
byte id[EVENTS + 1];
byte epochServer;      /* server_started: the server that gave the epoch */
byte server = 1;       /* the server that answers */

/* A copy of all that, taken at some moment. */
bool copied;
byte copyHead, copyCursor, copyEpoch, copyOwner, copyServer;
byte copyId[EVENTS + 1];

byte published, ours;  /* ids that were given out; those that are of the subscriber's type */
byte epochs;           /* epochs that were ever given out */
byte takeovers, late;
bool dead, worldEnded;

/* Ghosts: the events that were handled since they were last to be, and the replays. */
byte handled, replays;

inline nextEpoch() {
#ifdef EPOCH_REPEATS
	epoch = epoch + 1
#else
	epochs++; epoch = epochs
#endif
}

#define UNHANDLED(p)   (HAS(ours, id[p]) && !HAS(handled, id[p]))
#define BEHIND(p)      (cursor >= (p))
#define NOTHING_PASSED (!(BEHIND(1) && UNHANDLED(1)) && !(BEHIND(2) && UNHANDLED(2)))
#define ALL_DONE       (worldEnded && cursor == head)

#if defined(IN_MEMORY) || defined(NO_SERVER_CHECK)
#define SAME_SERVER true
#else
#define SAME_SERVER (epochServer == server)
#endif
#ifdef NO_EPOCH
#define EPOCH_HOLDS(e) true
#else
#define EPOCH_HOLDS(e) (epoch == (e) && SAME_SERVER)
#endif
#ifdef IN_MEMORY
#define SAME_PAST true
#else
#define SAME_PAST (head >= readTo && cursor >= saved && (last == 0 || id[last] == lastId))
#endif
#define GOES_ON (owner == ME && SAME_SERVER && epoch == e && SAME_PAST)

/* strunk_move_cursor */
inline moveCursor(e, s, to, ok) {
	if
	:: EPOCH_HOLDS(e) && cursor < to && cursor >= s ->
		cursor = to; ok = true;
		assert(NOTHING_PASSED) /* nothing at or below the cursor is unhandled */
	:: else -> ok = (EPOCH_HOLDS(e) && cursor >= s && cursor >= to)
	fi
}

/* A move that arrives late, or never. */
chan lateMove = [1] of { byte, byte, byte };
proctype Network() {
	byte e, s, to; bool ok;
endnetwork:
	do
	:: atomic { lateMove ? e, s, to -> moveCursor(e, s, to, ok); e = 0; s = 0; to = 0; ok = false }
	:: atomic { lateMove ? e, s, to -> e = 0; s = 0; to = 0 }
	od
}

inline forget() { e = 0; saved = 0; readTo = 0; last = 0; lastId = 0; busy = 0; begun = 0; ok = false; to = 0 }

/* What is handled and may be stored. */
#ifdef CURSOR_AHEAD
#define LOW readTo
#else
#define LOW (busy != 0 -> busy - 1 : readTo)
#endif

proctype Owner(byte o) {
	byte e, saved, readTo, last, lastId; /* of its tenure */
	byte busy, begun;                    /* the position that its handler has, and the replays before it began */
	byte to; bool ok;
	do
	:: ALL_DONE -> break
	:: atomic { o == 0 -> dead = true; forget(); break }
	:: atomic { /* strunk_own */
		e == 0 && (owner == 0 || owner == ME || (owner == 1 && dead) || (owner == 1 && takeovers < TAKEOVERS)) ->
		if :: owner == 1 && o == 1 && !dead -> takeovers++ :: else fi;
		owner = ME; nextEpoch(); epochServer = server;
		e = epoch; saved = cursor; readTo = cursor }
	:: atomic { e != 0 && !GOES_ON -> forget() }
	:: atomic { /* one read: the place, then the next event of the subscriber's type, in one message */
		e != 0 && GOES_ON && busy == 0 && readTo < head ->
		do
		:: readTo < head && HAS(ours, id[readTo + 1]) -> readTo++; busy = readTo; last = readTo; lastId = id[readTo];
			begun = replays; break
		:: readTo < head && !HAS(ours, id[readTo + 1]) -> readTo++
		:: readTo >= head -> break
		od }
	:: atomic { busy != 0 -> /* the handler returns */
		if :: begun == replays -> handled = handled | BIT(lastId) :: else fi;
		busy = 0; begun = 0 }
	:: atomic { e != 0 && LOW > saved -> to = LOW }
		if
		:: atomic { moveCursor(e, saved, to, ok);
			if :: ok -> saved = to; to = 0; ok = false :: else -> forget() fi }
		:: atomic { late < LATE -> late++; lateMove ! e, saved, to; to = 0 } /* time is up */
		fi
	od
}

inline publish() {
	published++; head++; id[head] = published;
	if :: ours = ours | BIT(published) :: true fi
}

inline copy() {
	copied = true; copyHead = head; copyCursor = cursor; copyEpoch = epoch; copyOwner = owner; copyServer = epochServer;
	copyId[1] = id[1]; copyId[2] = id[2]
}

inline keepHandled(p) {
	if :: cursor >= p && HAS(ours, id[p]) -> handled = handled | BIT(id[p]) :: else fi
}

/* The copy takes the server's place. A replay that the copy has not seen is lost with the rest. */
inline failover() {
	head = copyHead; cursor = copyCursor; epoch = copyEpoch; owner = copyOwner; epochServer = copyServer; server++;
	id[1] = copyId[1]; id[2] = copyId[2];
	keepHandled(1); keepHandled(2);
	copyHead = 0; copyCursor = 0; copyEpoch = 0; copyOwner = 0; copyServer = 0; copyId[1] = 0; copyId[2] = 0
}

/* Events from a position on are to be delivered again. */
inline replay(from) {
	replays++; cursor = from - 1; nextEpoch();
	if :: from <= 1 -> handled = handled & ~BIT(id[1]) :: else fi;
	if :: from <= 2 -> handled = handled & ~BIT(id[2]) :: else fi
}

proctype World() {
	bool failed;
	do
	:: atomic { published <= EVENTS && head < EVENTS -> publish() }
	:: atomic { !copied -> copy() }
	:: atomic { copied && !failed -> failed = true; failover() }
	:: atomic { replays < REPLAYS && cursor >= 1 -> replay(1) }
	:: atomic { replays < REPLAYS && cursor >= 2 -> replay(2) }
	:: atomic { worldEnded = true; break }
	od
}

init { atomic { run Network(); run Owner(0); run Owner(1); run World() } }

ltl reaches_the_head { <> ALL_DONE }
