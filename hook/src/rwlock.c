// Rwlocks of pthreads: locks.h. How often one is locked for reading is in its entry; how often by a task is
// in one of the task's own.
#include "locks.h"

// ---- the table

// In an entry of a lock that is read, `depth` is how many entries of readers there are.
static void remove_readers(struct locks *locks, const void *lock) {
  size_t at = 0;
  while (at < (size_t)1 << locks->bits) {
    struct entry *entry = &locks->entries[at];
    // Another one may move into its place.
    if (entry->lock == lock && entry->task != 0) remove_entry(locks, entry);
    else at++;
  }
}

static void note_reader(const struct request *request) {
  struct locks *locks = request->locks;
  if (make_entry(locks, request->lock, 0) == NULL) return;
  struct entry *own = make_entry(locks, request->lock, request->task); // That may move the other one.
  struct entry *entry = find_entry(locks, request->lock, 0);
  if (entry->owner != 0) entry->depth = 0;
  entry->owner = 0;
  entry->readers++;
  if (own != NULL && own->depth++ == 0) entry->depth++;
}

static void note_writer(const struct request *request) {
  struct locks *locks = request->locks;
  struct entry *entry = make_entry(locks, request->lock, 0);
  if (entry == NULL) return;
  if (entry->readers > 0) { // Out of date.
    remove_readers(locks, request->lock);
    entry = find_entry(locks, request->lock, 0);
  }
  entry->owner = request->task;
  entry->depth = entry->readers = 0;
}

static void note(const struct request *request) {
  if (request->for_reading) note_reader(request);
  else note_writer(request);
}

// It has been unlocked once. Returns whose turn it is.
static uint64_t note_unlock(struct locks *locks, const void *lock, uint64_t task) {
  struct entry *entry = find_entry(locks, lock, 0);
  if (entry == NULL) return 0;
  if (entry->owner == 0 && entry->readers > 0) {
    struct entry *own = task == 0 ? NULL : find_entry(locks, lock, task);
    entry->readers--;
    if (own != NULL && --own->depth == 0) {
      entry->depth--;
      remove_entry(locks, own);
    }
    entry = find_entry(locks, lock, 0);
    if (entry->readers > 0) return 0;
    if (entry->depth > 0) remove_readers(locks, lock); // Others have unlocked for them.
    entry = find_entry(locks, lock, 0);
  }
  entry->owner = 0;
  entry->depth = 0;
  return whose_turn(locks, entry);
}

// ---- one that is wanted

static int block(const struct request *request) {
  pthread_rwlock_t *lock = request->lock;
  if (request->for_reading) {
    if (request->until == NULL) return REAL(pthread_rwlock_rdlock)(lock);
    return REAL(pthread_rwlock_clockrdlock)(lock, request->clock, request->until);
  }
  if (request->until == NULL) return REAL(pthread_rwlock_wrlock)(lock);
  return REAL(pthread_rwlock_clockwrlock)(lock, request->clock, request->until);
}

static int try_once(pthread_rwlock_t *lock, bool for_reading) {
  return for_reading ? REAL(pthread_rwlock_tryrdlock)(lock) : REAL(pthread_rwlock_trywrlock)(lock);
}

static bool prefers_writers(const pthread_rwlock_t *lock) {
  return lock->__data.__flags == PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP;
}

static enum found look(const struct request *request, int *answer) {
  pthread_rwlock_t *lock = request->lock;
  const struct entry *entry = find_entry(request->locks, lock, 0), *own = NULL;
  uint64_t owner = entry == NULL ? 0 : entry->owner;
  uint32_t readers = entry == NULL ? 0 : entry->readers;
  if (readers > 0) own = find_entry(request->locks, lock, request->task);
  // Readers join others; and one that has the lock already must not wait for a writer that waits for it.
  bool joins = request->for_reading && readers > 0 && (own != NULL || !prefers_writers(lock));
  if (owner != request->task && !joins && is_behind(request, entry)) return FOUND_OTHER_TASK;
  uint32_t own_depth = own == NULL ? 0 : own->depth;
  *answer = try_once(lock, request->for_reading);
  if (*answer == 0) note_lock(request);
  if (*answer != EBUSY) return FOUND_ANSWER;
  if (owner == request->task) {
    *answer = EDEADLK; // As the system, but that knows it by the thread, which may be another one now.
    return FOUND_ANSWER;
  }
  if (owner != 0) return FOUND_OTHER_TASK;
  if (readers > 0)
    return readers == own_depth && !request->for_reading ? FOUND_OWN : FOUND_OTHER_TASK;
  return lock->__data.__cur_writer == thread_number() ? FOUND_THIS_THREAD : FOUND_OTHER_THREAD;
}

static const struct lock_kind KIND = {"rwlock", look, block, note};

// ---- in tasks

__attribute__((noinline)) static int lock_in_task(pthread_rwlock_t *lock, bool for_reading, clockid_t clock,
                                                  const struct timespec *until, const void *place) {
  struct request request = {.lock = lock,
                            .kind = &KIND,
                            .for_reading = for_reading,
                            .until = until,
                            .clock = clock,
                            .place = place};
  return begin_request(&request) ? get_lock(&request) : block(&request);
}

__attribute__((noinline)) static int try_in_task(pthread_rwlock_t *lock, bool for_reading) {
  struct request request = {.lock = lock, .kind = &KIND, .for_reading = for_reading};
  bool is_known = begin_request(&request);
  int answer = try_once(lock, for_reading);
  if (answer == 0 && is_known) note_lock(&request);
  if (answer == EBUSY && is_known && find_entry(request.locks, lock, 0) != NULL) completed();
  return answer;
}

// On a thread whose scheduler's tasks have locked something. The lock may be gone once it is unlocked.
__attribute__((noinline)) static int unlock_known(pthread_rwlock_t *lock) {
  struct locks *locks = here()->locks;
  int answer = REAL(pthread_rwlock_unlock)(lock);
  if (answer != 0 || locks->changing) return answer;
  const struct mj_hook_run *run = here()->known;
  const struct mj_task *task = *run->current_task;
  uint64_t id = task == NULL ? 0 : run->calls->task_get_id(task);
  begin_change(locks);
  uint64_t next = note_unlock(locks, lock, id);
  end_change(locks);
  wake_for_lock(next);
  return answer;
}

// ---- the functions

#define PLACE __builtin_return_address(0)

// A time or a clock that is none is refused by the system, whatever the lock is.
static bool is_refused(clockid_t clock, const struct timespec *until) {
  return (clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC) || until->tv_nsec < 0 ||
         until->tv_nsec >= NS_PER_S;
}

EXPORT int HOOK(pthread_rwlock_rdlock)(pthread_rwlock_t *lock) {
  if (hooked(MJ_HOOK_LOCKS) == NULL) return REAL(pthread_rwlock_rdlock)(lock);
  return lock_in_task(lock, true, 0, NULL, PLACE);
}
ALSO(__pthread_rwlock_rdlock, pthread_rwlock_rdlock);

EXPORT int HOOK(pthread_rwlock_wrlock)(pthread_rwlock_t *lock) {
  if (hooked(MJ_HOOK_LOCKS) == NULL) return REAL(pthread_rwlock_wrlock)(lock);
  return lock_in_task(lock, false, 0, NULL, PLACE);
}
ALSO(__pthread_rwlock_wrlock, pthread_rwlock_wrlock);

EXPORT int HOOK(pthread_rwlock_tryrdlock)(pthread_rwlock_t *lock) {
  if (hooked(MJ_HOOK_LOCKS) == NULL) return REAL(pthread_rwlock_tryrdlock)(lock);
  return try_in_task(lock, true);
}
ALSO(__pthread_rwlock_tryrdlock, pthread_rwlock_tryrdlock);

EXPORT int HOOK(pthread_rwlock_trywrlock)(pthread_rwlock_t *lock) {
  if (hooked(MJ_HOOK_LOCKS) == NULL) return REAL(pthread_rwlock_trywrlock)(lock);
  return try_in_task(lock, false);
}
ALSO(__pthread_rwlock_trywrlock, pthread_rwlock_trywrlock);

EXPORT int HOOK(pthread_rwlock_clockrdlock)(pthread_rwlock_t *restrict lock, clockid_t clock,
                                            const struct timespec *restrict until) {
  if (hooked(MJ_HOOK_LOCKS) == NULL || is_refused(clock, until))
    return REAL(pthread_rwlock_clockrdlock)(lock, clock, until);
  return lock_in_task(lock, true, clock, until, PLACE);
}

EXPORT int HOOK(pthread_rwlock_clockwrlock)(pthread_rwlock_t *restrict lock, clockid_t clock,
                                            const struct timespec *restrict until) {
  if (hooked(MJ_HOOK_LOCKS) == NULL || is_refused(clock, until))
    return REAL(pthread_rwlock_clockwrlock)(lock, clock, until);
  return lock_in_task(lock, false, clock, until, PLACE);
}

EXPORT int HOOK(pthread_rwlock_timedrdlock)(pthread_rwlock_t *restrict lock,
                                            const struct timespec *restrict until) {
  if (hooked(MJ_HOOK_LOCKS) == NULL || is_refused(CLOCK_REALTIME, until))
    return REAL(pthread_rwlock_timedrdlock)(lock, until);
  return lock_in_task(lock, true, CLOCK_REALTIME, until, PLACE);
}

EXPORT int HOOK(pthread_rwlock_timedwrlock)(pthread_rwlock_t *restrict lock,
                                            const struct timespec *restrict until) {
  if (hooked(MJ_HOOK_LOCKS) == NULL || is_refused(CLOCK_REALTIME, until))
    return REAL(pthread_rwlock_timedwrlock)(lock, until);
  return lock_in_task(lock, false, CLOCK_REALTIME, until, PLACE);
}

EXPORT int HOOK(pthread_rwlock_unlock)(pthread_rwlock_t *lock) {
  if (__builtin_expect(this_thread.locks == NULL, 1)) return REAL(pthread_rwlock_unlock)(lock);
  return unlock_known(lock);
}
ALSO(__pthread_rwlock_unlock, pthread_rwlock_unlock);
