/*
 * Claims: leases, rescue, fencing, and answers that are lost on the way. README.md maps the steps to functions and files.
 *
 * Each lease belongs to a process with one worker. All but the last process may be killed, or taken for dead while they
 * live, at any moment. The last one goes on. Answers are lost LOSSES times at most, so that the search ends.
 *
 * Broken variants (-D): NO_KEY_SHARE, RESCUE_IN_ONE_STATEMENT, NO_CLAIM_FLOOR, TOKEN_IS_ATTEMPT, BEGIN_BEFORE_COMMIT,
 * NO_ENDED_LOOKUP.
 */
#ifndef TASKS
#define TASKS    2
#endif
#ifndef LOSSES
#define LOSSES   1
#endif
#ifndef OTHERS
#define OTHERS   2 /* claims that a process sends which does not go on */
#endif
#define LEASES   2
#define SURVIVOR 1

mtype = { pending, claimed, delivered };       /* of a task */
mtype = { idle, underway, answered, refused }; /* of a claim, as its process knows it */

/* What is committed. */
typedef Task { mtype status; byte lease; byte claim; byte attempts };
Task task[2];
typedef Lease { bool row; bool expired; byte floor; byte keyShare };
Lease lease[LEASES];
bool locked[2]; /* by a claim that is not committed */

/* What a process knows: the number of its last claim, its answer and its tasks, and the claims that it knows (open) or
 * whose answer it has lost (unknown), a bit for each number. */
typedef Process { bool dead; byte number; mtype answer; byte tasks; byte attempts[2]; byte open; byte unknown };
Process proc[LEASES];

byte losses;
byte generation[2];                      /* counts the claims of a task */
typedef Given { byte generation[2] };
Given given[LEASES];                         /* the claims that a process was given */

#define BIT(n)        (1 << (n))
#define HAS(set, n)   (((set) >> (n)) & 1)
#define HIGHEST(set)  (HAS(set, 5) -> 5 : (HAS(set, 4) -> 4 : (HAS(set, 3) -> 3 : (HAS(set, 2) -> 2 : 1))))
#define HELD(t, l)    (task[t].status == claimed && task[t].lease == (l))
#define ALL_DELIVERED (task[0].status == delivered && task[1].status == delivered)
#define FREE(t)       (task[t].status == pending && !locked[t])

inline commitClaim(t) {
	if
	:: HAS(set, t) ->
		task[t].status = claimed; task[t].lease = l; task[t].claim = n;
		generation[t]++; locked[t] = false;
#ifdef TOKEN_IS_ATTEMPT
		task[t].attempts++;
#endif
		assert(lease[l].row) /* no task is claimed without a lease */
	:: else
	fi
}

inline giveTo(t) {
	if
	:: HAS(set, t) -> given[l].generation[t] = generation[t]; proc[l].attempts[t] = task[t].attempts
	:: else
	fi
}

/* The answer to a claim, if its process still waits for it. */
inline deliver() {
	if
	:: HAS(proc[l].open, n) -> proc[l].answer = answered; proc[l].tasks = set; giveTo(0); giveTo(1)
	:: else
	fi
}

/* A connection, as the server sees it: one claim's transaction after the other. It goes on where its process has given
 * the claim up. */
chan sent[LEASES] = [0] of { byte };

proctype Connection(byte l) {
	byte n, set;
endidle:
	do
	:: sent[l] ? n;
		if
		:: atomic { HAS(proc[l].unknown, n) -> goto next } /* the message is lost: its process will see no answer */
		:: atomic {
			lease[l].row && !lease[l].expired && lease[l].floor < n;
#ifndef NO_KEY_SHARE
			lease[l].keyShare++
#endif
			}
		:: atomic {
			!(lease[l].row && !lease[l].expired && lease[l].floor < n);
			if :: HAS(proc[l].open, n) -> proc[l].answer = refused :: else fi;
			goto next }
		fi;
		atomic { /* FOR UPDATE SKIP LOCKED, up to a limit */
			if :: FREE(0) -> locked[0] = true; set = BIT(0) :: !FREE(0) || FREE(1) fi;
			if :: FREE(1) -> locked[1] = true; set = set | BIT(1) :: set != 0 || !FREE(1) fi
#ifdef BEGIN_BEFORE_COMMIT
			; deliver()
#endif
		};
		atomic { /* COMMIT */
			commitClaim(0); commitClaim(1);
#ifndef NO_KEY_SHARE
			lease[l].keyShare--
#endif
		};
#ifndef BEGIN_BEFORE_COMMIT
		atomic { deliver() };
#endif
next:	atomic { set = 0; n = 0 }
	od
}

#ifdef TOKEN_IS_ATTEMPT
#define FENCE(t) (task[t].status == claimed && task[t].attempts == proc[l].attempts[t])
#else
#define FENCE(t) (HELD(t, l) && task[t].claim == proc[l].number)
#endif

/* A completion changes a task that its token holds, or misses it. */
inline complete(t) {
	if
	:: FENCE(t) ->
		assert(generation[t] == given[l].generation[t]); /* no stale token changes anything */
		task[t].status = delivered; task[t].lease = l; task[t].claim = proc[l].number; missed = false
	:: else -> missed = true
	fi
}

/* Stores the outcome of a task; where the answer is lost, it asks again and then looks among the ended tasks. */
inline settle(t) {
	if
	:: HAS(proc[l].tasks, t) ->
		atomic {
			complete(t);
			if :: !missed && losses < LOSSES -> losses++; again = true :: true fi
		};
		atomic {
			if
			:: again ->
				again = false; complete(t);
#ifndef NO_ENDED_LOOKUP
				if
				:: missed && task[t].status == delivered && task[t].lease == l && task[t].claim == proc[l].number ->
					missed = false
				:: else
				fi;
#endif
				assert(!missed) /* ErrLeaseLost is not said of an outcome that was stored */
			:: else
			fi
		}
	:: else
	fi
}

/* A worker: it claims, its handlers run, their outcomes are stored. */
proctype Worker(byte l) {
	bool missed = false, again = false;
	do
	:: ALL_DELIVERED -> break
	:: atomic { l != SURVIVOR -> proc[l].dead = true; break } /* killed */
	:: atomic {
		(FREE(0) || FREE(1)) && (l == SURVIVOR || proc[l].number < OTHERS) ->
		proc[l].number++; proc[l].answer = underway; proc[l].open = proc[l].open | BIT(proc[l].number) };
		sent[l] ! proc[l].number;
		if
		:: proc[l].answer == refused -> break /* the lease is lost */
		:: proc[l].answer == answered ->
			settle(0); settle(1);
			atomic {
				proc[l].open = proc[l].open & ~BIT(proc[l].number);
				/* A claim that brought nothing leaves nothing: its number may serve again here. */
				if :: proc[l].tasks == 0 -> proc[l].number-- :: else fi;
				proc[l].tasks = 0; proc[l].answer = idle; given[l].generation[0] = 0; given[l].generation[1] = 0 }
		:: atomic {
			proc[l].answer == underway && losses < LOSSES -> /* time is up: the answer is lost */
			losses++; proc[l].answer = idle;
			proc[l].open = proc[l].open & ~BIT(proc[l].number);
			proc[l].unknown = proc[l].unknown | BIT(proc[l].number) }
		fi
	od
}

#define UNKNOWN(t) (HELD(t, l) && HAS(proc[l].unknown, task[t].claim) && !HAS(proc[l].open, task[t].claim))

inline giveBack(t) {
	task[t].status = pending
#ifdef TOKEN_IS_ATTEMPT
	; task[t].attempts--
#endif
}

/* Gives back, unspent, what claims took whose answer was lost. Only the last process needs it here: the others' tasks
 * may as well be rescued. */
proctype Compare(byte l) {
	byte voided;
	do
	:: ALL_DELIVERED -> break
	:: proc[l].unknown != 0 ->
		atomic { /* strunk_void_claims: FOR UPDATE waits for a claim that is being committed */
			lease[l].keyShare == 0;
			voided = proc[l].unknown;
#ifndef NO_CLAIM_FLOOR
			lease[l].floor = HIGHEST(voided)
#endif
		};
		atomic { /* strunk_open_claims, strunk_return_claims, and the numbers are forgotten */
			if :: UNKNOWN(0) -> giveBack(0) :: else fi;
			if :: UNKNOWN(1) -> giveBack(1) :: else fi;
			proc[l].unknown = proc[l].unknown & ~voided
		}
	od
}

/* Expires a lease and gives its tasks back. It is right where the process is dead; here it may also be wrong. */
proctype Rescue(byte l) {
#ifdef RESCUE_IN_ONE_STATEMENT
	bool saw[2];
	atomic { saw[0] = HELD(0, l); saw[1] = HELD(1, l) }; /* its snapshot, before it waits for the lock */
	atomic {
		lease[l].keyShare == 0;
		if :: saw[0] && HELD(0, l) -> task[0].status = pending :: else fi;
		if :: saw[1] && HELD(1, l) -> task[1].status = pending :: else fi;
		lease[l].row = false;
		assert(!HELD(0, l) && !HELD(1, l))
	}
#else
	atomic { lease[l].keyShare == 0; lease[l].expired = true }; /* FOR UPDATE */
	do
	:: atomic { HELD(0, l) -> task[0].status = pending }
	:: atomic { HELD(1, l) -> task[1].status = pending }
	:: atomic { !HELD(0, l) && !HELD(1, l) -> lease[l].row = false; break }
	od
#endif
}

init {
	atomic {
		task[0].status = pending; task[1].status = (TASKS == 2 -> pending : delivered);
		lease[0].row = true; lease[1].row = true;
		proc[0].answer = idle; proc[1].answer = idle;
		run Connection(0); run Connection(0); run Connection(SURVIVOR); run Connection(SURVIVOR);
		run Worker(0); run Rescue(0); run Worker(SURVIVOR); run Compare(SURVIVOR)
	}
}

ltl delivered_in_the_end { <> ALL_DELIVERED }
