// Locks of threads, in tasks: mutexes and rwlocks.
//
// To the C library all tasks of a thread are one. What a task has locked, the next one finds locked by its
// own thread: a mutex would wait for itself, a recursive one would let it in. So each scheduler has a table
// of what its tasks have locked. The locks are as ever, and so is what other threads see of them.
//
// # What a lock is to a task that wants it
//
// - *Free*: the real function for trying gets it, and the table is told.
// - *The task's own*, by the table: it gets what the real function gives at once, which is one more level of
//   a recursive mutex, or EDEADLK from those that check. Else it waits, after an ERROR line.
// - *Another task's*, by the table: it waits. A mutex says itself which thread has it, and the table is
//   believed as long as they agree; then a recursive one is not tried, which would succeed.
// - *Free, but others wait*: it waits behind them. Readers do not where readers have the lock.
// - *The thread's, but nobody's in the table*: code outside tasks has locked it, or a call that is not
//   hooked. A recursive mutex has one more level; for all others it waits, and looks again soon.
// - *Another thread's*: none of these. It blocks the thread, which is counted as pinned.
//
// The `look` functions find out which it is, and every task that wakes looks anew. An entry of the table may
// be out of date, as nobody is told of what is unlocked after the run, by another thread, or with these calls
// not hooked; and the memory of a lock may be another's by now. What a try gets is got, and puts it right.
//
// # How a task waits
//
// In a list of the lock's entry, first come, first served: whoever unlocks wakes the first, and who comes
// meanwhile waits behind it, as the first would never get its turn otherwise. It wakes by itself, too, at
// times, since an unlock may have been seen by nobody. Neither a cancellation nor a deadline of the task ends
// the wait, since callers do not expect that a lock fails: `wait_regardless` of the core.
//
// # Whose the memory is
//
// The table is its scheduler's: it is there from the first lock of a task until the scheduler is destroyed,
// whichever threads have run it. The nodes of waiting tasks are on their stacks; they end with the scheduler,
// and so with the table. It is made of mapped pages: malloc() may itself be what has called. Entries move, so
// nobody keeps their addresses over a suspension. Without memory a lock is not known.
//
// A signal handler may come at any moment: it finds `changing` set in the middle of a change, and then leaves
// the table alone. A child of fork() has no scheduler, so its calls are the real ones.
#ifndef MAJJEN_HOOK_LOCKS_H
#define MAJJEN_HOOK_LOCKS_H

#include "hook.h"

// A task that waits, on its stack.
struct waiter {
  struct waiter *next, *before;
  uint64_t task;
  bool is_reader;
  bool is_suspended;  // In its wait, and nowhere else: only then it is woken.
};

// Of a lock (`task` is 0), or of a task that has an rwlock for reading.
struct entry {
  const void *lock;  // NULL: nothing is here.
  uint64_t task;
  uint64_t owner;  // The id of the task that has the lock alone; 0 if none has.
  struct waiter *first, *last;
  uint32_t depth;    // How often the owner, or the reader, has locked it.
  uint32_t readers;  // How often it is locked for reading.
  int thread;        // The owner's, as mutexes have it.
};

struct locks {
  struct locks *next;
  const void *scheduler;
  struct entry *entries;  // Open addressing: 1 << bits, of which `used` are taken.
  uint32_t bits, used;
  bool changing;
};

// ---- lock_table.c

// The scheduler's that runs on this thread, made if there is none. NULL without memory, and in a change.
struct locks *usable_locks(void);
// NULL if there is none.
struct locks *find_locks(const void *scheduler);
void forget_locks(const void *scheduler);
void unlock_tables_in_child(void);

struct entry *find_entry(const struct locks *locks, const void *lock, uint64_t task);
// The same, made if there is none; NULL without memory.
struct entry *make_entry(struct locks *locks, const void *lock, uint64_t task);
void remove_entry(struct locks *locks, struct entry *entry);

// Around changes.
static inline void begin_change(struct locks *locks) {
  locks->changing = true;
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static inline void end_change(struct locks *locks) {
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
  locks->changing = false;
}

// ---- lock_wait.c

// A call that wants a lock.
struct request {
  void *lock;
  const struct lock_kind *kind;
  struct locks *locks;
  const struct mj_hook_calls *calls;
  struct mj_scheduler *scheduler;
  uint64_t task;
  bool for_reading;
  const struct timespec *until;  // NULL: it waits as long as it takes.
  clockid_t clock;               // That `until` is of.
  const void *place;             // Where the caller goes on.
  struct waiter *waiter;         // Once it waits in the list.
};

// What it finds.
enum found {
  FOUND_ANSWER,        // It has the lock, or an error.
  FOUND_OTHER_TASK,    // Another task has it, or is before this one.
  FOUND_OWN,           // The task itself has it.
  FOUND_THIS_THREAD,   // The thread has it, but none of its tasks.
  FOUND_OTHER_THREAD,  // So another thread has it.
};

struct lock_kind {
  const char *name;
  // Tries. A lock that it gets is in the table afterwards. `answer` is the result of the call.
  enum found (*look)(const struct request *request, int *answer);
  // Makes the real call, which may block the thread.
  int (*block)(const struct request *request);
  // Puts a lock that has been got into the table, in a change.
  void (*note)(const struct request *request);
};

// A request of the running task. False if the call is to be made as without this library.
bool begin_request(struct request *request);

// Gets the lock, or finds that the call fails: its result.
int get_lock(struct request *request);

// `kind->note` as a change, and `kind->block` with it.
void note_lock(const struct request *request);
int block_for_lock(const struct request *request);

// Whether others wait, and this task is not the one whose turn it is.
bool is_behind(const struct request *request, const struct entry *entry);

// After an entry's lock has been left, in a change: the entry is removed if nobody has or wants the lock.
// Returns the task whose turn it is, to be woken after the change; 0 if there is none.
uint64_t whose_turn(struct locks *locks, struct entry *entry);
void wake_for_lock(uint64_t task);

// ---- lock_report.c

// A wait takes long. Once for each place.
void report_wait(const struct request *request, enum found found);
// A task waits for itself. Once for each place.
void report_own(const struct request *request);

// This thread, as mutexes have it.
int thread_number(void);

#endif
