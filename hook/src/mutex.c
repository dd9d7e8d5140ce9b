// Mutexes, of pthreads and of C11, which are the same in the C library: locks.h.
#include <limits.h>

#include "handler.h"
#include "locks.h"

static int kind_of(const pthread_mutex_t *mutex) {
  return __atomic_load_n(&mutex->__data.__kind, __ATOMIC_RELAXED);
}

static int type_of(const pthread_mutex_t *mutex) { return kind_of(mutex) & 3; }

// The thread that has it, as it says itself; 0 if none has.
static int thread_of(const pthread_mutex_t *mutex) {
  return __atomic_load_n(&mutex->__data.__owner, __ATOMIC_RELAXED);
}

// What a robust mutex says instead, of a thread that has it after the death of another one.
enum { INCONSISTENT = INT_MAX };

// The task that has it, if that is still so.
static uint64_t owner_of(const pthread_mutex_t *mutex, const struct entry *entry) {
  if (entry == NULL || entry->owner == 0) return 0;
  int thread = thread_of(mutex);
  return thread == entry->thread || thread == INCONSISTENT ? entry->owner : 0;
}

static void note(const struct request *request) {
  const pthread_mutex_t *mutex = request->lock;
  struct entry *entry = make_entry(request->locks, mutex, 0);
  if (entry == NULL) return;
  int thread = thread_of(mutex);
  bool again = entry->owner == request->task && mutex->__data.__count > 1;
  entry->owner = request->task;
  entry->depth = again ? entry->depth + 1 : 1;
  entry->readers = 0;
  entry->thread = thread == INCONSISTENT ? thread_number() : thread;
}

static int block(const struct request *request) {
  if (request->until == NULL) return REAL(pthread_mutex_lock)(request->lock);
  return REAL(pthread_mutex_clocklock)(request->lock, request->clock, request->until);
}

static enum found look(const struct request *request, int *answer) {
  pthread_mutex_t *mutex = request->lock;
  const struct entry *entry = find_entry(request->locks, mutex, 0);
  uint64_t owner = owner_of(mutex, entry);
  int type = type_of(mutex);
  bool tells = type == PTHREAD_MUTEX_ERRORCHECK;
  if (owner == request->task) {
    if (type != PTHREAD_MUTEX_RECURSIVE && !tells) return FOUND_OWN;
  } else if (owner != 0 || is_behind(request, entry)) {
    return FOUND_OTHER_TASK;
  }
  *answer = REAL(pthread_mutex_trylock)(mutex);
  if (*answer == 0 || *answer == EOWNERDEAD) note_lock(request);
  if (*answer != EBUSY) return FOUND_ANSWER;
  if (owner == request->task) { // The scheduler may have been run by another thread meanwhile.
    *answer = EDEADLK;
    return tells ? FOUND_ANSWER : FOUND_OWN;
  }
  int thread = thread_of(mutex);
  if (thread == 0 || thread != thread_number()) return FOUND_OTHER_THREAD;
  if (!tells) return FOUND_THIS_THREAD;
  *answer = block(request); // At once.
  return FOUND_ANSWER;
}

static const struct lock_kind KIND = {"mutex", look, block, note};

// ---- in tasks

__attribute__((noinline)) static int lock_in_task(pthread_mutex_t *mutex, clockid_t clock,
                                                  const struct timespec *until, const void *place) {
  struct request request = {.lock = mutex, .kind = &KIND, .until = until, .clock = clock, .place = place};
  return begin_request(&request) ? get_lock(&request) : block(&request);
}

__attribute__((noinline)) static int try_in_task(pthread_mutex_t *mutex) {
  struct request request = {.lock = mutex, .kind = &KIND};
  if (!begin_request(&request)) return REAL(pthread_mutex_trylock)(mutex);
  uint64_t owner = owner_of(mutex, find_entry(request.locks, mutex, 0));
  if (owner != 0 && owner != request.task) {
    completed(); // Who tries again and again lets the owner go on.
    return EBUSY;
  }
  int answer = REAL(pthread_mutex_trylock)(mutex);
  if (answer == 0 || answer == EOWNERDEAD) note_lock(&request);
  return answer;
}

// Those that only their owner can unlock: recursive ones, those that check, robust ones and those that
// inherit priorities. To the C library the owner is the thread.
static bool is_of_another_task(const pthread_mutex_t *mutex, const struct locks *locks) {
  enum { ROBUST = 16, INHERITS = 32 };
  const struct mj_task *task = hooked(MJ_HOOK_LOCKS);
  int type = type_of(mutex);
  bool checks = type == PTHREAD_MUTEX_RECURSIVE || type == PTHREAD_MUTEX_ERRORCHECK ||
                (kind_of(mutex) & (ROBUST | INHERITS)) != 0;
  if (task == NULL || !checks) return false;
  uint64_t owner = owner_of(mutex, find_entry(locks, mutex, 0));
  return owner != 0 && owner != calls()->task_get_id(task);
}

// On a thread whose scheduler's tasks have locked something. The mutex may be gone once it is unlocked.
__attribute__((noinline)) static int unlock_known(pthread_mutex_t *mutex) {
  struct locks *locks = here()->locks;
  if (!locks->changing && is_of_another_task(mutex, locks)) return EPERM;
  int answer = REAL(pthread_mutex_unlock)(mutex);
  if (answer != 0 || locks->changing) return answer;
  uint64_t next = 0;
  begin_change(locks);
  struct entry *entry = find_entry(locks, mutex, 0);
  if (entry != NULL && entry->owner != 0 && entry->depth > 1) {
    entry->depth--;
  } else if (entry != NULL) {
    entry->owner = 0;
    next = whose_turn(locks, entry);
  }
  end_change(locks);
  wake_for_lock(next);
  return answer;
}

// ---- pthreads

#define PLACE __builtin_return_address(0)

static inline int lock_outside_tasks(pthread_mutex_t *mutex) {
#ifdef MAJJEN_HOOK_WRAP
  if (this_thread.unwinds) note_lock_of_unwinder(mutex);
#endif
  return REAL(pthread_mutex_lock)(mutex);
}

EXPORT int HOOK(pthread_mutex_lock)(pthread_mutex_t *mutex) {
  if (hooked(MJ_HOOK_LOCKS) == NULL) return lock_outside_tasks(mutex);
  return lock_in_task(mutex, 0, NULL, PLACE);
}
ALSO(__pthread_mutex_lock, pthread_mutex_lock);

EXPORT int HOOK(pthread_mutex_trylock)(pthread_mutex_t *mutex) {
  if (hooked(MJ_HOOK_LOCKS) == NULL) return REAL(pthread_mutex_trylock)(mutex);
  return try_in_task(mutex);
}
ALSO(__pthread_mutex_trylock, pthread_mutex_trylock);

EXPORT int HOOK(pthread_mutex_timedlock)(pthread_mutex_t *mutex, const struct timespec *until) {
  if (hooked(MJ_HOOK_LOCKS) == NULL) return REAL(pthread_mutex_timedlock)(mutex, until);
  return lock_in_task(mutex, CLOCK_REALTIME, until, PLACE);
}

EXPORT int HOOK(pthread_mutex_clocklock)(pthread_mutex_t *mutex, clockid_t clock,
                                         const struct timespec *until) {
  if (hooked(MJ_HOOK_LOCKS) == NULL || (clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC))
    return REAL(pthread_mutex_clocklock)(mutex, clock, until);
  return lock_in_task(mutex, clock, until, PLACE);
}

EXPORT int HOOK(pthread_mutex_unlock)(pthread_mutex_t *mutex) {
  if (__builtin_expect(this_thread.locks == NULL, 1)) return REAL(pthread_mutex_unlock)(mutex);
  return unlock_known(mutex);
}
ALSO(__pthread_mutex_unlock, pthread_mutex_unlock);

// ---- C11

static int result_of(int answer) {
  switch (answer) {
    case 0:
      return thrd_success;
    case EBUSY:
      return thrd_busy;
    case ETIMEDOUT:
      return thrd_timedout;
    case ENOMEM:
      return thrd_nomem;
    default:
      return thrd_error;
  }
}

_Static_assert(sizeof(mtx_t) == sizeof(pthread_mutex_t), "one is the other");

EXPORT int HOOK(mtx_lock)(mtx_t *mutex) {
  if (hooked(MJ_HOOK_LOCKS) == NULL) return REAL(mtx_lock)(mutex);
  return result_of(lock_in_task((pthread_mutex_t *)mutex, 0, NULL, PLACE));
}

EXPORT int HOOK(mtx_trylock)(mtx_t *mutex) {
  if (hooked(MJ_HOOK_LOCKS) == NULL) return REAL(mtx_trylock)(mutex);
  return result_of(try_in_task((pthread_mutex_t *)mutex));
}

EXPORT int HOOK(mtx_timedlock)(mtx_t *restrict mutex, const struct timespec *restrict until) {
  if (hooked(MJ_HOOK_LOCKS) == NULL) return REAL(mtx_timedlock)(mutex, until);
  return result_of(lock_in_task((pthread_mutex_t *)mutex, CLOCK_REALTIME, until, PLACE));
}

EXPORT int HOOK(mtx_unlock)(mtx_t *mutex) {
  if (__builtin_expect(this_thread.locks == NULL, 1)) return REAL(mtx_unlock)(mutex);
  return result_of(unlock_known((pthread_mutex_t *)mutex));
}
