// Cancellations that are held, calls that reach tasks by the scheduler and an id, what a call that has
// yielded keeps alive, and the line about a function that returns for ever. What both APIs have is in
// tests/behaviour.
#define _GNU_SOURCE
#include "check.h"
#include "log_lines.h"
#include "pipes.h"

#include <poll.h>
#include <pthread.h>
#include <unistd.h>

static int results[4];

// ---- Cancellations that are held ----

static void sets_it(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  bool old = false;
  CHECK_INT(mj_task_set_cancelable(true, &old), ==, 0);
  CHECK(old);
  CHECK_INT(mj_task_set_cancelable(false, &old), ==, 0);
  CHECK(old);
  CHECK_INT(mj_task_set_cancelable(false, &old), ==, 0);
  CHECK(!old);
  CHECK_INT(mj_task_cancel(mj_task_current()), ==, 0);
  CHECK_INT(mj_sleep_ns(1000), ==, 0);
  CHECK_INT(mj_task_set_cancelable(true, NULL), ==, 0);
  CHECK_INT(mj_sleep_ns(1000), ==, -ECANCELED);
  mj_task_exit();
}

static void checks_that_it_is_as_at_first(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  bool old = false;
  CHECK_INT(mj_yield(), ==, 0);
  CHECK_INT(mj_task_set_cancelable(true, &old), ==, 0);
  CHECK(old);
  mj_task_exit();
}

static void ends_shielded(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  CHECK_INT(mj_task_set_cancelable(false, NULL), ==, 0);
  mj_task_exit();
}

static void a_cancellation_is_held_and_put_back(void) {
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, sets_it, NULL);
  add_task(scheduler, ends_shielded, NULL);
  CHECK_INT(mj_run(scheduler), ==, 0);
  // These get the same memory.
  for (int i = 0; i < 4; i++) add_task(scheduler, checks_that_it_is_as_at_first, NULL);
  CHECK_INT(mj_run(scheduler), ==, 0);
  log_lines_begin();
  bool old = false;
  CHECK_INT(mj_task_set_cancelable(false, &old), ==, -EPERM);
  CHECK(!old);
  CHECK_UINT(log_lines_from(MJ_LOG_WARN), ==, 1);
  log_lines_end();
  mj_scheduler_destroy(scheduler);
}

// ---- What can be had without waiting ----

static mj_task_id ended;

static void ends(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_exit();
}

static void joins_and_parks(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  ended = mj_task_get_id(add_task(scheduler, ends, NULL));
  mj_task_yield();
  CHECK_INT(mj_task_cancel(mj_task_current()), ==, 0);
  for (int i = 0; i < 3; i++) {
    CHECK_INT(mj_task_join(ended, MJ_FOREVER), ==, -ESRCH);
    CHECK_INT(mj_task_join(mj_task_get_id(mj_task_current()), 0), ==, -EDEADLK);
    CHECK_INT(mj_scheduler_enqueue(scheduler, mj_task_current()), ==, 0);
    CHECK_INT(mj_task_park(MJ_FOREVER), ==, 0);
    CHECK_INT(mj_task_park(MJ_FOREVER), ==, -ECANCELED);
  }
  mj_task_exit();
  CHECK_INT(mj_task_join(ended, MJ_FOREVER), ==, -ESRCH);
  CHECK_INT(mj_task_park(0), ==, -ECANCELED);
}

static void a_canceled_task_has_what_needs_no_waiting(void) {
  mj_scheduler* scheduler = new_scheduler();
  count_calls_only(scheduler);
  add_task(scheduler, joins_and_parks, NULL);
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_scheduler_destroy(scheduler);
}

// ---- Reaching tasks by the scheduler ----

static int fds[2];

// Each has what it calls for, and is told all the same. What it was told by is not in use afterwards.
static void is_enqueued_before_it_parks(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  mj_task_cancel(mj_task_current());
  int parks = 0;
  do {
    CHECK_INT(++parks, <=, 65);
    CHECK_INT(mj_scheduler_enqueue(scheduler, mj_task_current()), ==, 0);
  } while (mj_task_park(MJ_FOREVER) == 0);
  CHECK_INT(parks, ==, 65);
  mj_task_exit();
}

static void acquires_what_is_free_while_it_owns_a_mutex(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  mj_mutex* mutex = mj_mutex_create(scheduler);
  mj_sem* permits = mj_sem_create(scheduler, 1000);
  mj_task_cancel(mj_task_current());
  CHECK_INT(mj_mutex_lock(mutex, MJ_FOREVER), ==, 0);
  int calls = 1;
  while (mj_sem_acquire(permits, 1, MJ_FOREVER) == 0) calls++;
  CHECK_INT(calls, ==, 64);
  CHECK_INT(mj_sem_available(permits), ==, 1000 - 63);
  CHECK_INT(mj_sem_destroy(permits), ==, 0);
  CHECK_INT(mj_mutex_unlock(mutex), ==, 0);
  CHECK_INT(mj_mutex_destroy(mutex), ==, 0);
  mj_task_exit();
}

static int steady[2];
static bool was_told;

// There is nothing when it begins to wait, and something after its yield.
static void polls_what_comes_meanwhile(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_cancel(mj_task_current());
  int polls = 0, result;
  struct pollfd one = {.fd = steady[0], .events = POLLIN};
  while ((result = mj_poll(&one, 1, MJ_FOREVER)) == 1) {
    CHECK_INT(++polls, <=, 64);
    take_byte(steady[0]);
  }
  CHECK_INT(result, ==, -ECANCELED);
  CHECK_INT(polls, ==, 64);
  was_told = true;
  mj_task_exit();
}

static void never_lets_up(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  struct pollfd one = {.fd = steady[0], .events = POLLIN};
  for (; !was_told; mj_task_yield()) {
    if (poll(&one, 1, 0) == 0) put_byte(steady[1]);
  }
  mj_task_exit();
}

static void a_canceled_task_is_told_however_much_it_has(void) {
  mj_scheduler* scheduler = new_scheduler();
  count_calls_only(scheduler);
  add_task(scheduler, is_enqueued_before_it_parks, NULL);
  add_task(scheduler, acquires_what_is_free_while_it_owns_a_mutex, NULL);
  open_pipe(steady);
  add_task(scheduler, polls_what_comes_meanwhile, NULL);
  add_task(scheduler, never_lets_up, NULL);
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_scheduler_destroy(scheduler);
  close_both(steady);
}

static void waits_for_a_descriptor(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  results[0] = mj_task_wait_fd(fds[0], POLLIN, MJ_FOREVER);
  mj_task_exit();
}

static void stops(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  mj_scheduler_stop(scheduler);
  mj_task_exit();
}

static void a_descriptor_is_closed_between_runs(void) {
  CHECK_INT(pipe(fds), ==, 0);
  mj_scheduler* scheduler = new_scheduler();
  for (int late = 0; late < 2; late++) {
    results[0] = 1;
    add_task(scheduler, waits_for_a_descriptor, NULL);
    add_task(scheduler, stops, NULL);
    CHECK_INT(mj_run(scheduler), ==, MJ_RUN_STOPPED);
    CHECK_INT(mj_scheduler_close_fd(scheduler, fds[late]), ==, 0);
    if (late) CHECK_INT(write(fds[1], "x", 1), ==, -1);
    if (!late) {
      CHECK_INT(mj_run(scheduler), ==, 0);
      CHECK_INT(results[0], ==, -EBADF);
      CHECK_INT(close(fds[1]), ==, 0);
      CHECK_INT(pipe(fds), ==, 0);
    }
  }
  // The other end was closed, and nobody waits for that: the reader sees the end of file.
  CHECK_INT(mj_run(scheduler), ==, 0);
  CHECK_INT(results[0], ==, POLLHUP);
  CHECK_INT(close(fds[0]), ==, 0);
  mj_scheduler_destroy(scheduler);
}

static void errors_of_arguments(void) {
  mj_scheduler* scheduler = new_scheduler();
  log_lines_begin();
  CHECK_INT(mj_scheduler_cancel(NULL, 1), ==, -EINVAL);
  CHECK_INT(mj_scheduler_wake(NULL, 1), ==, -EINVAL);
  CHECK_INT(mj_scheduler_close_fd(NULL, -1), ==, -EINVAL);
  CHECK_UINT(log_lines_from(MJ_LOG_WARN), ==, 3);
  CHECK_INT(mj_scheduler_cancel(scheduler, 0), ==, -ESRCH);
  CHECK_INT(mj_scheduler_wake(scheduler, 12345), ==, -ESRCH);
  CHECK_INT(mj_scheduler_close_fd(scheduler, -1), ==, -EBADF);
  CHECK_UINT(log_lines_from(MJ_LOG_WARN), ==, 3);
  CHECK_INT(mj_scheduler_close_fd(scheduler, mj_scheduler_backend_fd(scheduler)), ==, -EBUSY);
  CHECK_UINT(log_lines_from(MJ_LOG_ERROR), ==, 1);
  // Ready, and not waiting.
  mj_task* ready = add_task(scheduler, ends, NULL);
  CHECK_INT(mj_scheduler_wake(scheduler, mj_task_get_id(ready)), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, 0);
  log_lines_end();
  mj_scheduler_destroy(scheduler);
}

static pthread_barrier_t barrier;

static void lets_the_other_thread_call(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  ended = mj_task_get_id(mj_task_current());
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier);
  mj_task_exit();
}

static void* calls_from_elsewhere(void* scheduler) {
  pthread_barrier_wait(&barrier);
  results[0] = mj_scheduler_cancel(scheduler, ended);
  results[1] = mj_scheduler_wake(scheduler, ended);
  results[2] = mj_scheduler_close_fd(scheduler, -1);
  pthread_barrier_wait(&barrier);
  return NULL;
}

static void a_running_scheduler_is_its_threads(void) {
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, lets_the_other_thread_call, NULL);
  CHECK_INT(pthread_barrier_init(&barrier, NULL, 2), ==, 0);
  log_lines_begin();
  pthread_t thread;
  CHECK_INT(pthread_create(&thread, NULL, calls_from_elsewhere, scheduler), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, 0);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
  for (int i = 0; i < 3; i++) CHECK_INT(results[i], ==, -EPERM);
  CHECK_UINT(log_lines_from(MJ_LOG_ERROR), ==, 3);
  log_lines_end();
  pthread_barrier_destroy(&barrier);
  mj_scheduler_destroy(scheduler);
}

// ---- A call that has yielded since its budget is spent uses its object ----

static mj_mutex* mutex;
static mj_sem* semaphore;
static mj_waitgroup* group;
static mj_chan *chan, *other;
static int yields, calls;

// The 65th call of each kind.
static void spends(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  int kind = *(int*)user_state;
  for (calls = 0; calls < 65; calls++) {
    char element = 'x';
    mj_select_case cases[] = {
        {.chan = other, .op = MJ_SELECT_RECV, .element = &element},
        {.chan = chan, .op = MJ_SELECT_SEND, .element = &element},
    };
    int result = 0;
    if (kind == 0) result = mj_mutex_lock(mutex, MJ_FOREVER);
    if (kind == 0) mj_mutex_unlock(mutex);
    if (kind == 1) result = mj_sem_acquire(semaphore, 0, MJ_FOREVER);
    if (kind == 2) result = mj_waitgroup_wait(group, MJ_FOREVER);
    if (kind == 3) result = mj_chan_send(chan, &element, MJ_FOREVER);
    if (kind == 4) result = mj_select(cases, 2, MJ_FOREVER) - 1;
    results[0] = result;
  }
  mj_task_exit();
}

static void destroys(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  int kind = *(int*)user_state;
  CHECK_INT(calls, ==, 64);
  if (kind == 0) CHECK_INT(mj_mutex_destroy(mutex), ==, -EBUSY);
  if (kind == 1) CHECK_INT(mj_sem_destroy(semaphore), ==, -EBUSY);
  if (kind == 2) CHECK_INT(mj_waitgroup_destroy(group), ==, -EBUSY);
  if (kind >= 3) CHECK_INT(mj_chan_destroy(chan), ==, -EBUSY);
  if (kind == 4) CHECK_INT(mj_chan_destroy(other), ==, -EBUSY);
  yields++;
  // It is ready, and no wake-up reaches it.
  CHECK_INT(mj_scheduler_wake(scheduler, ended), ==, 0);
  mj_task_exit();
}

static int* number(int value) {
  int* memory = allocate(sizeof *memory);
  *memory = value;
  return memory;
}

static void an_object_stays_while_a_call_has_yielded(void) {
  for (int kind = 0; kind < 5; kind++) {
    for (int is_left = 0; is_left < 2; is_left++) {
      mj_scheduler* scheduler = new_scheduler();
      count_calls_only(scheduler);
      mutex = mj_mutex_create(scheduler);
      semaphore = mj_sem_create(scheduler, 0);
      group = mj_waitgroup_create(scheduler);
      chan = mj_chan_create(scheduler, 1, 200);
      other = mj_chan_create(scheduler, 1, 0);
      ended = mj_task_get_id(add_task(scheduler, spends, number(kind)));
      yields = 0;
      if (is_left) {
        // Its scheduler is destroyed in the middle of the yield, and the next one's tasks use them.
        add_task(scheduler, stops, NULL);
        CHECK_INT(mj_run(scheduler), ==, MJ_RUN_STOPPED);
        CHECK_INT(calls, ==, 64);
        mj_scheduler_destroy(scheduler);
        scheduler = new_scheduler();
        add_task(scheduler, spends, number(kind));
      } else {
        add_task(scheduler, destroys, number(kind));
      }
      CHECK_INT(mj_run(scheduler), ==, 0);
      CHECK_INT(yields, ==, !is_left);
      CHECK_INT(calls, ==, 65);
      CHECK_INT(results[0], ==, 0);
      CHECK_INT(mj_mutex_destroy(mutex), ==, 0);
      CHECK_INT(mj_sem_destroy(semaphore), ==, 0);
      CHECK_INT(mj_waitgroup_destroy(group), ==, 0);
      CHECK_INT(mj_chan_destroy(chan), ==, 0);
      CHECK_INT(mj_chan_destroy(other), ==, 0);
      mj_scheduler_destroy(scheduler);
    }
  }
}

// ---- A function that returns for ever ----

static int turns;

static void forgets(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  if (user_state != NULL) mj_task_yield();
  if (++turns == 5000) mj_task_exit();
}

static void returns_at_first(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  if (++turns == 999) mj_task_exit();
}

static size_t lines_of(mj_task_fn* body, void* user_state) {
  turns = 0;
  log_lines_begin();
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, body, user_state);
  CHECK_INT(mj_run(scheduler), ==, 0);
  size_t lines = log_lines_from(MJ_LOG_WARN);
  mj_scheduler_destroy(scheduler);
  log_lines_end();
  return lines;
}

static void a_function_that_only_returns_is_reported_once(void) {
  CHECK_UINT(lines_of(forgets, NULL), ==, 1);
  CHECK_UINT(lines_of(forgets, allocate(1)), ==, 0);
  CHECK_UINT(lines_of(returns_at_first, NULL), ==, 0);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN(a_cancellation_is_held_and_put_back);
  RUN(a_canceled_task_has_what_needs_no_waiting);
  RUN(a_canceled_task_is_told_however_much_it_has);
  RUN(a_descriptor_is_closed_between_runs);
  RUN(errors_of_arguments);
  RUN(a_running_scheduler_is_its_threads);
  RUN(an_object_stays_while_a_call_has_yielded);
  RUN(a_function_that_only_returns_is_reported_once);
  return 0;
}
