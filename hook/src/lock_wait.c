// How a task waits for a lock: locks.h.
#include "handler.h"
#include "locks.h"

bool begin_request(struct request *request) {
  request->locks = usable_locks();
  if (request->locks == NULL) return false;
  const struct mj_hook_run *run = here()->known;
  request->calls = run->calls;
  request->scheduler = run->scheduler;
  request->task = run->calls->task_get_id(*run->current_task);
  request->waiter = NULL;
  return true;
}

// ---- the list of an entry

bool is_behind(const struct request *request, const struct entry *entry) {
  return entry != NULL && entry->first != NULL && entry->first != request->waiter;
}

static void join(struct request *request, struct waiter *waiter) {
  begin_change(request->locks);
  struct entry *entry = make_entry(request->locks, request->lock, 0);
  if (entry != NULL) {
    waiter->before = entry->last;
    if (entry->last == NULL) entry->first = waiter;
    else entry->last->next = waiter;
    entry->last = waiter;
    request->waiter = waiter;
  }
  end_change(request->locks);
}

uint64_t whose_turn(struct locks *locks, struct entry *entry) {
  const struct waiter *first = entry->first;
  bool is_free = entry->owner == 0 && entry->readers == 0;
  if (first == NULL) {
    if (is_free) remove_entry(locks, entry);
    return 0;
  }
  bool can_have_it = is_free || (entry->owner == 0 && first->is_reader);
  return can_have_it && first->is_suspended ? first->task : 0;
}

// A handler does not: it may have interrupted the scheduler. Then the task looks again by itself.
void wake_for_lock(uint64_t task) {
  if (task == 0 || here()->run == NULL || is_in_handler()) return;
  int error = errno;
  calls()->scheduler_wake(here()->run->scheduler, task);
  errno = error;
}

// It has the lock, or does not want it any more.
static void leave(const struct request *request) {
  const struct waiter *waiter = request->waiter;
  if (waiter == NULL) return;
  begin_change(request->locks);
  struct entry *entry = find_entry(request->locks, request->lock, 0);
  if (waiter->before == NULL) entry->first = waiter->next;
  else waiter->before->next = waiter->next;
  if (waiter->next == NULL) entry->last = waiter->before;
  else waiter->next->before = waiter->before;
  uint64_t next = whose_turn(request->locks, entry);
  end_change(request->locks);
  wake_for_lock(next);
}

// ---- waiting

static bool is_valid_limit(const struct request *request) {
  const struct timespec *until = request->until;
  return until == NULL || (until->tv_nsec >= 0 && until->tv_nsec < NS_PER_S);
}

// How long the call may still wait, by its own clock.
static uint64_t left_of(const struct request *request) {
  if (request->until == NULL) return FOREVER;
  struct timespec now;
  if (request->until->tv_sec < 0 || clock_gettime(request->clock, &now) != 0) return 0;
  uint64_t until_ns = ns_of_time(request->until), now_ns_ = ns_of_time(&now);
  return until_ns > now_ns_ ? until_ns - now_ns_ : 0;
}

// An unlock that nobody has seen is found after a while: at first soon, where nobody would tell.
enum {
  FIRST_LOOK_NS = NS_PER_MS,
  LOOK_OF_THREAD_NS = 20 * NS_PER_MS,
  LOOK_NS = 100 * NS_PER_MS,
  LONG_NS = NS_PER_S,
};

static uint64_t look_after_ns(enum found found, uint64_t waited_ns) {
  if (found == FOUND_OTHER_TASK) return LOOK_NS;
  uint64_t ns = FIRST_LOOK_NS + waited_ns / 4;
  return ns < LOOK_OF_THREAD_NS ? ns : LOOK_OF_THREAD_NS;
}

static void suspend(struct request *request, struct waiter *waiter, uint64_t ns) {
  waiter->is_suspended = true;
  suspend_for_lock(request->calls, ns);
  waiter->is_suspended = false;
}

void note_lock(const struct request *request) {
  begin_change(request->locks);
  request->kind->note(request);
  end_change(request->locks);
}

int block_for_lock(const struct request *request) {
  int answer = request->kind->block(request);
  if (answer == 0 || answer == EOWNERDEAD) note_lock(request);
  return answer;
}

// Waits until there is an answer.
static int wait_for_lock(struct request *request, enum found found) {
  struct waiter waiter = {.task = request->task, .is_reader = request->for_reading};
  uint64_t began_ns = request->calls->scheduler_now_ns(request->scheduler), waited_ns = 0;
  bool is_reported = false;
  int answer;
  count(&counts.lock_waits);
  count(&counts.suspended);
  join(request, &waiter);
  if (found == FOUND_OWN && request->until == NULL) report_own(request);
  for (;;) {
    uint64_t left = left_of(request);
    if (left == 0) {
      answer = ETIMEDOUT;
      break;
    }
    uint64_t ns = look_after_ns(found, waited_ns);
    if (!is_reported && ns > LONG_NS - waited_ns) ns = LONG_NS - waited_ns;
    suspend(request, &waiter, ns < left ? ns : left);
    found = request->kind->look(request, &answer);
    if (found == FOUND_ANSWER) break;
    if (found == FOUND_OTHER_THREAD) {
      count(&counts.pinned);
      answer = block_for_lock(request);
      break;
    }
    waited_ns = request->calls->scheduler_now_ns(request->scheduler) - began_ns;
    if (!is_reported && waited_ns >= LONG_NS) {
      is_reported = true;
      report_wait(request, found);
    }
  }
  leave(request);
  return answer;
}

int get_lock(struct request *request) {
  int answer;
  enum found found = request->kind->look(request, &answer);
  if (found == FOUND_ANSWER) return answer;
  if (found == FOUND_OTHER_THREAD) {
    count(&counts.pinned);
    return block_for_lock(request);
  }
  if (!may_suspend()) return block_for_lock(request);
  if (!is_valid_limit(request)) return EINVAL;
  int error = errno;
  answer = wait_for_lock(request, found);
  errno = error;
  return answer;
}
