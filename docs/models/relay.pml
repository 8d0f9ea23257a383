/*
 * The relay: how events that commit late, or never, get their positions. README.md maps the steps to functions and files.
 *
 * Three publishers, of ENTITIES entities, commit or roll back. Two processes take turns as the relay; each may be
 * lost in the middle of a turn. A turn moves LIMIT events at most.
 *
 * Broken variants (-D): NO_MISSING, XMIN_AFTER_MOVE, SEQ_BEFORE_XID, SEQ_BEFORE_LOCK, LOCK_IN_SAME_STATEMENT,
 * FORGET_BEHIND_CUT.
 */
#define PUBLISHERS 3
#ifndef LIMIT
#define LIMIT      2
#endif
#define CRASHES    1

#ifndef ENTITIES
#define ENTITIES   2
#endif

#define BIT(n)      (1 << (n))
#define HAS(set, n) (((set) >> (n)) & 1)
#define UP_TO(n)    (BIT((n) + 1) - 1)
#define ENTITY(p)   ((p) % ENTITIES)

/* What is committed. Events are known by their seq, from 1 up; each is a bit of a set. */
byte pending;               /* events that wait */
byte moved;                 /* events that have a position */
byte head;                  /* strunk_feed: the last position */
byte high;                  /* the highest seq that was moved */
byte missing;               /* seqs below it that were not there */
byte fence, fenceHigh;      /* 0: none */
byte version[3];            /* strunk_snapshots */

byte nextXid = 1, nextSeq = 1;
short running;              /* transactions with an id that have not ended, a bit for each id */
bool entityLock[3];
bool relayLock;
byte ended, crashes;

/* Ghosts: what each event is, in which order positions were given, and what a reader has passed. */
byte versionOf[PUBLISHERS + 1];
byte entityOf[PUBLISHERS + 1];
byte lastVersion[3];

inline drawXid(x) { assert(nextXid < 15); x = nextXid; nextXid++; running = running | BIT(x) }
inline drawSeq() { s = nextSeq; nextSeq++ }

proctype Publisher(byte p) {
	byte xid, s;
#ifdef SEQ_BEFORE_LOCK
	atomic { drawXid(xid); drawSeq() };
#endif
#ifdef SEQ_BEFORE_XID
	atomic { !entityLock[ENTITY(p)]; entityLock[ENTITY(p)] = true; drawSeq() };
	atomic { drawXid(xid) };
#else
#ifndef SEQ_BEFORE_LOCK
	atomic { drawXid(xid) };
#endif
	atomic { !entityLock[ENTITY(p)]; entityLock[ENTITY(p)] = true
#ifndef SEQ_BEFORE_LOCK
		; drawSeq()
#endif
	};
#endif
	atomic {
		if
		:: version[ENTITY(p)]++; versionOf[s] = version[ENTITY(p)]; entityOf[s] = ENTITY(p); pending = pending | BIT(s)
		:: true /* rolled back */
		fi;
		running = running & ~BIT(xid); entityLock[ENTITY(p)] = false; ended++
	}
}

/* The oldest transaction that runs, as pg_snapshot_xmin says. */
inline readXmin() {
	xmin = 1;
	do
	:: xmin < nextXid && !HAS(running, xmin) -> xmin++
	:: else -> break
	od
}

inline readFeed() {
	v_head = head; v_high = high; v_missing = missing; v_fence = fence; v_fenceHigh = fenceHigh
}

/* Chooses the events to move: the missing ones that have come, then those above high, up to LIMIT. */
inline look() {
	take = 0; n = 0; more = false; last = 0; s = 1;
	do
	:: s > PUBLISHERS -> break
	:: s <= PUBLISHERS && HAS(pending, s) && (s > v_high || HAS(v_missing, s)) ->
		if
		:: n < LIMIT -> take = take | BIT(s); n++; last = s
		:: else -> more = true
		fi;
		s++
	:: else -> s++
	od;
	more = more || n == LIMIT
}

/* strunk_advance_feed. */
inline advance() {
	if
	:: last > v_high -> v_missing = (v_missing | (UP_TO(last) & ~UP_TO(v_high))) & ~take; v_high = last
	:: else -> v_missing = v_missing & ~take
	fi;
#ifdef NO_MISSING
	v_missing = 0;
#endif
	if
	:: v_missing != 0 && v_fence != 0 && xmin > v_fence ->
#ifdef FORGET_BEHIND_CUT
		v_missing = v_missing & ~UP_TO(v_fenceHigh);
#else
		v_missing = v_missing & ~UP_TO((more && last < v_fenceHigh -> last : v_fenceHigh));
#endif
		v_fence = 0
	:: else
	fi;
	if
	:: v_missing == 0 -> v_fence = 0; v_fenceHigh = 0
	:: v_missing != 0 && v_fence == 0 ->
		if :: xid == 0 -> drawXid(xid) :: else fi;
		v_fence = xid; v_fenceHigh = v_high
	:: else
	fi
}

/* Stores the turn: positions in the order of seq. */
inline store() {
	s = 1;
	do
	:: s > PUBLISHERS -> break
	:: s <= PUBLISHERS && HAS(take, s) ->
		assert(!HAS(moved, s));                              /* no event has two positions */
		assert(versionOf[s] == lastVersion[entityOf[s]] + 1); /* an entity's versions come in order, none is left out */
		lastVersion[entityOf[s]] = versionOf[s];
		v_head++; moved = moved | BIT(s); s++
	:: else -> s++
	od;
	assert(v_head == head + n); /* no position is given twice */
	pending = pending & ~take; head = v_head; high = v_high; missing = v_missing; fence = v_fence; fenceHigh = v_fenceHigh;
	assert((pending & UP_TO(high) & ~missing) == 0) /* nothing that waits is out of sight */
}

#define SOMETHING (pending != 0 || missing != 0)

/* A process whose relay takes turns. Reads of xmin and of the events are statements of their own. */
proctype Relay() {
	byte v_head, v_high, v_missing, v_fence, v_fenceHigh;
	byte xid, xmin, take, n, last, s; bool more;
	do
	:: ended == PUBLISHERS && !SOMETHING -> break
	:: SOMETHING ->
#ifdef LOCK_IN_SAME_STATEMENT
		atomic { readFeed() }; /* the statement's snapshot, before it has the lock */
		atomic { !relayLock; relayLock = true };
#else
		atomic { !relayLock; relayLock = true };
		atomic { readFeed() };
#endif
#ifndef XMIN_AFTER_MOVE
		atomic { readXmin() };
#endif
		atomic { look(); if :: take != 0 -> drawXid(xid) :: else fi };
		if
		:: atomic {
#ifdef XMIN_AFTER_MOVE
			readXmin();
#endif
			advance(); store();
			if :: xid != 0 -> running = running & ~BIT(xid) :: else fi }
		:: atomic { crashes < CRASHES -> crashes++; /* lost in the middle: rolled back */
			if :: xid != 0 -> running = running & ~BIT(xid) :: else fi }
		fi;
		atomic {
			relayLock = false;
			v_head = 0; v_high = 0; v_missing = 0; v_fence = 0; v_fenceHigh = 0;
			xid = 0; xmin = 0; take = 0; n = 0; last = 0; s = 0; more = false
		}
	od
}

init {
	atomic { run Publisher(0); run Publisher(1); run Publisher(2); run Relay(); run Relay() }
}

/* Every event that was committed gets its position, and what was rolled back is forgotten. */
ltl all_moved { <> (ended == PUBLISHERS && pending == 0 && missing == 0) }
