/*
 * Admission and quotas: the slot of a key, the order within a key, and the limit of a queue. README.md maps the steps to
 * functions and files.
 *
 * Three tasks, the first two of one key, run in two processes. Each key runs one task at a time, in order (FIFO). Without
 * QUOTAS, tasks are enqueued while others run, process 0 may be killed, and a rescue gives its tasks back. With -DQUOTAS the
 * three are admitted from the start, and the queue's limit falls from 2 to 1 while they run.
 *
 * Broken variants (-D): NO_ADMISSION_LOCK, RETURNED_GOES_LAST, NO_SWEEP; with -DQUOTAS: NO_QUOTA_LOCK with
 * NO_EXCEED_CHECK (one net alone is enough), CLAIM_IGNORES_LIMITS, LOST_QUOTA_IS_FREE, VERSION_READ_LATE.
 */
#define TASKS     3
#define PROCESSES 2

#define HAS(set, n) (((set) >> (n)) & 1)
#define KEY(t)      ((t) / 2) /* tasks 0 and 1: key 0; task 2: key 1 */

mtype = { absent, waiting, admitted, claimed, delivered };

/* What is committed. */
mtype task[TASKS] = absent;
byte order[TASKS];           /* within a key: 0 with a backlog_seq (it has been admitted before), or 1 + its seq */
byte holder[TASKS];          /* the process that has claimed it */
byte version = 1;            /* of the limits */
byte limit = 2;              /* Limits.Running of the queue */
byte dealt[PROCESSES];       /* strunk_workers */
bool row[PROCESSES] = true;
bool dead;

bool exclusive;              /* the admission lock */
byte shared;
bool quotaLock;

#define RUNNING(t)    (task[t] == claimed)
#define SLOT(t)       (task[t] == admitted || task[t] == claimed)
#ifdef QUOTAS
#define KEY_FREE(t)   true
#define NEXT(t)       (task[t] == waiting)
#else
#define KEY_FREE(t)   (KEY(t) == 1 -> !SLOT(2) : (!SLOT(0) && !SLOT(1)))
#define NEXT(t)       (task[t] == waiting && (t == 2 || task[1 - t] != waiting || order[t] < order[1 - t]))
#endif
#define ALL_DELIVERED (task[0] == delivered && task[1] == delivered && task[2] == delivered)
#define HELD(o)       ((RUNNING(0) && holder[0] == o) + (RUNNING(1) && holder[1] == o) + (RUNNING(2) && holder[2] == o))

/* What a process knows. */
typedef Process { byte version; byte quota; bool over; byte dirty };
Process proc[PROCESSES];

byte losses, failures;
byte begun;                  /* a bit for each task that has begun once: it goes before its successors until it ends */
bool limitSet;

#define DIRTY(t)      proc[0].dirty = proc[0].dirty | (1 << KEY(t)); proc[1].dirty = proc[1].dirty | (1 << KEY(t))

/* A task that was claimed waits again, in its place. */
inline giveBack(t) {
	task[t] = waiting; holder[t] = 0;
#ifdef RETURNED_GOES_LAST
	order[t] = 4;
#endif
	DIRTY(t)
}

/* One admission: what is free and next in a snapshot, then the change. Rows that are no longer waiting are skipped. */
inline admit(o) {
#ifndef NO_ADMISSION_LOCK
	atomic { !exclusive && shared == 0 -> exclusive = true };
#endif
	atomic {
		chosen = 0;
		if
		:: version == proc[o].version ->
			t = 0;
			do
			:: t < TASKS && HAS(proc[o].dirty, KEY(t)) && KEY_FREE(t) && NEXT(t) -> chosen = chosen | (1 << t); t++
			:: t < TASKS && !(HAS(proc[o].dirty, KEY(t)) && KEY_FREE(t) && NEXT(t)) -> t++
			:: t == TASKS -> break
			od;
			proc[o].dirty = 0
		:: else
		fi
	};
	atomic {
		t = 0;
		do
		:: t < TASKS && HAS(chosen, t) && task[t] == waiting -> task[t] = admitted; order[t] = 0; t++
		:: t < TASKS && !(HAS(chosen, t) && task[t] == waiting) -> t++
		:: t == TASKS -> break
		od;
		chosen = 0; t = 0; exclusive = false
	}
}

/* strunk_take_quota, and what its process makes of the answer. */
inline takeQuota(o, wants) {
	using = HELD(o);
#ifndef NO_QUOTA_LOCK
	atomic { !quotaLock -> quotaLock = true };
#endif
	atomic { others = dealt[1 - o]; most = limit };
	atomic {
		new = (most > others -> most - others : 0);
		new = (wants < new -> wants : new);
		new = (using > new -> using : new);
		if :: row[o] -> dealt[o] = new :: else -> new = 0 fi;
		quotaLock = false;
		if
		:: proc[o].quota = new
#ifndef NO_EXCEED_CHECK
			; proc[o].over = (dealt[0] + dealt[1] > limit)
#endif
		:: losses < 1 -> losses++;
#ifndef LOST_QUOTA_IS_FREE
			proc[o].quota = (proc[o].quota < using -> proc[o].quota : using)
#endif
		fi;
		others = 0; most = 0; new = 0; using = 0
	}
}

/* The claim. room was reckoned with the quota that belongs to version v. */
inline claim(o, v) {
#ifdef CLAIM_IGNORES_LIMITS
	atomic { refused = false };
#else
	atomic { !exclusive -> shared++; refused = (version != v) };
#endif
	atomic {
		t = 0;
		do
		:: t < TASKS && !refused && room > 0 && task[t] == admitted ->
			task[t] = claimed; holder[t] = o; begun = begun | (1 << t); room--;
			assert(HELD(0) + HELD(1) <= limit);         /* the limit of the queue */
#ifndef QUOTAS
			assert(!(RUNNING(0) && RUNNING(1)));        /* the limit of a key */
			assert(t == 2 || !HAS(begun, 1 - t) || task[1 - t] == delivered); /* who has begun goes first */
#endif
			t++
		:: t < TASKS && !(!refused && room > 0 && task[t] == admitted) -> t++
		:: t == TASKS -> break
		od;
		t = 0; room = 0;
#ifndef CLAIM_IGNORES_LIMITS
		shared--
#endif
	}
}

/* A process: the control messages give it the limits in force at any moment, beside its claims. */
proctype Controller(byte o) {
	do
	:: ALL_DELIVERED -> break
	:: atomic { proc[o].version != version -> proc[o].version = version }
	od
}

proctype Worker(byte o) {
	byte t, chosen, using, others, most, new, room, obeyed; bool refused;
	do
	:: ALL_DELIVERED -> break
#ifndef QUOTAS
	:: atomic { o == 0 -> dead = true; break }
#endif
	:: proc[o].dirty != 0 && proc[o].version == version -> admit(o)
	:: (task[0] == admitted || task[1] == admitted || task[2] == admitted) ->
#ifdef QUOTAS
		atomic { obeyed = proc[o].version };
		takeQuota(o, 2);
		atomic { room = (proc[o].over || proc[o].quota <= HELD(o) -> 0 : proc[o].quota - HELD(o)) };
#else
		atomic { obeyed = version; room = 1 };
#endif
		if
		:: room > 0 ->
#ifdef VERSION_READ_LATE
			atomic { obeyed = proc[o].version };
#endif
			claim(o, obeyed)
		:: else
		fi
	:: atomic { RUNNING(0) && holder[0] == o -> task[0] = delivered; proc[o].dirty = proc[o].dirty | 1 }
	:: atomic { RUNNING(1) && holder[1] == o -> task[1] = delivered; proc[o].dirty = proc[o].dirty | 1 }
	:: atomic { RUNNING(2) && holder[2] == o -> task[2] = delivered; proc[o].dirty = proc[o].dirty | 2 }
#ifndef QUOTAS
	:: atomic { RUNNING(0) && holder[0] == o && failures < 1 -> failures++; giveBack(0) } /* another attempt */
#endif
	od
}

/* A process that was lost: its tasks are given back, then its row goes. */
proctype Rescue() {
	dead || ALL_DELIVERED;
	do
	:: atomic { RUNNING(0) && holder[0] == 0 && dead -> giveBack(0) }
	:: atomic { RUNNING(1) && holder[1] == 0 && dead -> giveBack(1) }
	:: atomic { RUNNING(2) && holder[2] == 0 && dead -> giveBack(2) }
	:: atomic { HELD(0) == 0 || !dead -> row[0] = false; dealt[0] = 0; break }
	od
}

/* The limit becomes 1: what was admitted and not claimed waits again, and quotas are what is claimed (strunk_recount). */
proctype SetLimits() {
	atomic { !exclusive && shared == 0 -> exclusive = true };
	atomic { !quotaLock -> quotaLock = true };
	atomic {
		version++; limit = 1;
		if :: task[0] == admitted -> task[0] = waiting; DIRTY(0) :: else fi;
		if :: task[1] == admitted -> task[1] = waiting; DIRTY(1) :: else fi;
		if :: task[2] == admitted -> task[2] = waiting; DIRTY(2) :: else fi;
		if :: row[0] -> dealt[0] = HELD(0) :: else fi;
		dealt[1] = HELD(1);
		quotaLock = false; exclusive = false
	}
}

/* Tasks are committed in any order: a later one may be there first. */
proctype Enqueue(byte t) { atomic { order[t] = 1 + t; task[t] = waiting; DIRTY(t) } }

/* Admits what nobody was told of: the sweep of the backlog. */
proctype Sweep() {
	do
	:: ALL_DELIVERED -> break
#ifndef NO_SWEEP
	:: atomic { dead && proc[1].dirty == 0 && ((NEXT(0) && KEY_FREE(0)) || (NEXT(1) && KEY_FREE(1))) -> proc[1].dirty = 1 }
#endif
	od
}

init {
	atomic {
		proc[0].version = version; proc[1].version = version;
		run Worker(0); run Worker(1);
#ifdef QUOTAS
		task[0] = admitted; task[1] = admitted; task[2] = admitted;
		run Controller(0); run Controller(1); run SetLimits()
#else
		run Enqueue(0); run Enqueue(1); run Enqueue(2); run Rescue(); run Sweep()
#endif
	}
}

ltl delivered_in_the_end { <> ALL_DELIVERED }
