// Misuse of synchronization objects is an error, with the number that the header documents.
#define _GNU_SOURCE
#include "calls.h"
#include "log_lines.h"

static mj_mutex* mutex;
static mj_cond* cond;

static void make(void) {
  mutex = mj_mutex_create(scheduler);
  cond = mj_cond_create(scheduler);
  CHECK(mutex != NULL && cond != NULL);
}

static void unmake(void) {
  CHECK_INT(mj_cond_destroy(cond), ==, 0);
  CHECK_INT(mj_mutex_destroy(mutex), ==, 0);
}

// ---- NULL objects, and no scheduler to create one for ----

#define CHECK_NOT_MADE(create, error) \
  do { \
    errno = 0; \
    CHECK_PTR(create, ==, NULL); \
    CHECK_INT(errno, ==, error); \
  } while (0)

static void null_is_refused(void) {
  uint64_t value = 0;
  log_lines_begin();
  CHECK_NOT_MADE(mj_mutex_create(NULL), EINVAL);
  CHECK_NOT_MADE(mj_cond_create(NULL), EINVAL);
  CHECK_NOT_MADE(mj_sem_create(NULL, 1), EINVAL);
  CHECK_NOT_MADE(mj_waitgroup_create(NULL), EINVAL);
  CHECK_NOT_MADE(mj_chan_create(NULL, 1, 1), EINVAL);
  // Each of these logs a line; calls in a task only return an error.
  CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, 5);
  make();
  CHECK_INT(mj_mutex_lock(NULL, 0), ==, -EINVAL);
  CHECK_INT(mj_mutex_try_lock(NULL), ==, -EINVAL);
  CHECK_INT(mj_mutex_unlock(NULL), ==, -EINVAL);
  CHECK_INT(mj_mutex_destroy(NULL), ==, -EINVAL);
  CHECK_INT(mj_cond_wait(NULL, mutex, 0), ==, -EINVAL);
  CHECK_INT(mj_cond_wait(cond, NULL, 0), ==, -EINVAL);
  CHECK_INT(mj_cond_signal(NULL), ==, -EINVAL);
  CHECK_INT(mj_cond_broadcast(NULL), ==, -EINVAL);
  CHECK_INT(mj_cond_destroy(NULL), ==, -EINVAL);
  CHECK_INT(mj_sem_acquire(NULL, 1, 0), ==, -EINVAL);
  CHECK_INT(mj_sem_try_acquire(NULL, 1), ==, -EINVAL);
  CHECK_INT(mj_sem_release(NULL, 1), ==, -EINVAL);
  CHECK_UINT(mj_sem_available(NULL), ==, 0);
  CHECK_INT(mj_sem_destroy(NULL), ==, -EINVAL);
  CHECK_INT(mj_waitgroup_add(NULL, 1), ==, -EINVAL);
  CHECK_INT(mj_waitgroup_done(NULL), ==, -EINVAL);
  CHECK_INT(mj_waitgroup_wait(NULL, 0), ==, -EINVAL);
  CHECK_INT(mj_waitgroup_destroy(NULL), ==, -EINVAL);
  CHECK_INT(mj_chan_send(NULL, &value, 0), ==, -EINVAL);
  CHECK_INT(mj_chan_recv(NULL, &value, 0), ==, -EINVAL);
  CHECK_INT(mj_chan_try_send(NULL, &value), ==, -EINVAL);
  CHECK_INT(mj_chan_try_recv(NULL, &value), ==, -EINVAL);
  CHECK_INT(mj_chan_close(NULL), ==, -EINVAL);
  CHECK_INT(mj_chan_destroy(NULL), ==, -EINVAL);
  CHECK_UINT(mj_chan_length(NULL), ==, 0);
  CHECK_INT(mj_select(NULL, 1, 0), ==, -EINVAL);
  CHECK_INT(mj_try_select(NULL, 1), ==, -EINVAL);
  unmake();
  CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, 5);
  log_lines_end();
}

// ---- Outside a task ----

// No call waits, and no task can own a mutex; everything else works.
static void outside_a_task_nothing_waits(void) {
  log_lines_begin();
  scheduler = new_scheduler();
  count_calls_only(scheduler);
  make();
  mj_sem* semaphore = mj_sem_create(scheduler, 1);
  mj_waitgroup* group = mj_waitgroup_create(scheduler);
  mj_chan* chan = mj_chan_create(scheduler, sizeof(uint64_t), 1);
  uint64_t value = 3;
  mj_select_case one = {.chan = chan, .op = MJ_SELECT_RECV, .element = &value};
  CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, 0);
  CHECK_INT(mj_mutex_lock(mutex, MJ_FOREVER), ==, -EPERM);
  CHECK_INT(mj_mutex_try_lock(mutex), ==, -EPERM);
  CHECK_INT(mj_mutex_unlock(mutex), ==, -EPERM);
  CHECK_INT(mj_cond_wait(cond, mutex, 0), ==, -EPERM);
  CHECK_INT(mj_sem_acquire(semaphore, 1, MJ_FOREVER), ==, -EPERM);
  CHECK_INT(mj_waitgroup_wait(group, MJ_FOREVER), ==, -EPERM);
  CHECK_INT(mj_chan_recv(chan, &value, MJ_FOREVER), ==, -EPERM);
  CHECK_INT(mj_select(&one, 1, 0), ==, -EPERM);
  // Each of these logs a line.
  CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, 8);
  CHECK_INT(mj_cond_signal(cond), ==, 0);
  CHECK_INT(mj_cond_broadcast(cond), ==, 0);
  CHECK_INT(mj_sem_try_acquire(semaphore, 1), ==, 0);
  CHECK_INT(mj_sem_release(semaphore, 2), ==, 0);
  CHECK_UINT(mj_sem_available(semaphore), ==, 2);
  CHECK_INT(mj_waitgroup_add(group, 2), ==, 0);
  CHECK_INT(mj_waitgroup_done(group), ==, 0);
  CHECK_INT(mj_try_select(&one, 1), ==, -EAGAIN);
  // Operations that are none are refused, and those that need a scheduler that runs.
  const mj_select_case others[] = {
      {.op = (mj_select_op)7, .chan = chan},       {.op = (mj_select_op)7},
      {.op = MJ_SELECT_FD, .fd = 0, .events = -1}, {.op = MJ_SELECT_FD, .fd = -1},
      {.op = MJ_SELECT_TASK, .task = 1},           {.op = MJ_SELECT_DEADLINE, .deadline_ns = 1},
  };
  const int refused[] = {-EINVAL, -EINVAL, -EINVAL, -EAGAIN, -EPERM, -EPERM};
  for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
    mj_select_case other = others[i];
    CHECK_INT(mj_try_select(&other, 1), ==, refused[i]);
  }
  mj_select_case events = {.op = MJ_SELECT_FD, .fd = 0, .events = (short)0x8000};
  CHECK_INT(mj_try_select(&events, 1), ==, -EINVAL);
  for (size_t i = 0; i < sizeof one.reserved / sizeof one.reserved[0]; i++) {
    mj_select_case other = one;
    other.reserved[i] = 1;
    CHECK_INT(mj_try_select(&other, 1), ==, -EINVAL);
  }
  CHECK_INT(mj_chan_try_send(chan, &value), ==, 0);
  value = 0;
  CHECK_INT(mj_try_select(&one, 1), ==, 0);
  CHECK_UINT(value, ==, 3);
  CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, 8);
  CHECK_INT(mj_sem_destroy(semaphore), ==, 0);
  CHECK_INT(mj_waitgroup_destroy(group), ==, 0);
  CHECK_INT(mj_chan_destroy(chan), ==, 0);
  unmake();
  mj_scheduler_destroy(scheduler);
  log_lines_end();
}

// ---- Mutexes and condition variables ----

static int unlocks(call* self) { return mj_mutex_unlock(self->object); }

static int locks_and_unlocks(call* self) {
  CHECK_INT(mj_mutex_lock(self->object, self->timeout_ns), ==, 0);
  return mj_mutex_unlock(self->object);
}

static void a_mutex_is_its_owners(void) {
  make();
  CHECK_INT(mj_mutex_unlock(mutex), ==, -EPERM);
  CHECK_INT(mj_mutex_lock(mutex, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_mutex_lock(mutex, MJ_FOREVER), ==, -EDEADLK);
  CHECK_INT(mj_mutex_lock(mutex, 0), ==, -EDEADLK);
  CHECK_INT(mj_mutex_try_lock(mutex), ==, -EDEADLK);
  call one, two;
  begin(&one, unlocks, mutex, 0, 0);
  CHECK_INT(result_of(&one), ==, -EPERM);
  CHECK_INT(mj_mutex_destroy(mutex), ==, -EBUSY);
  begin(&two, locks_and_unlocks, mutex, 0, MJ_FOREVER);
  CHECK_INT(mj_mutex_destroy(mutex), ==, -EBUSY);
  CHECK_INT(mj_mutex_unlock(mutex), ==, 0);
  CHECK_INT(mj_mutex_destroy(mutex), ==, -EBUSY);
  CHECK_INT(result_of(&two), ==, 0);
  CHECK_INT(mj_mutex_unlock(mutex), ==, -EPERM);
  unmake();
}

static int waits(call* self) {
  CHECK_INT(mj_mutex_lock(mutex, MJ_FOREVER), ==, 0);
  int result = mj_cond_wait(cond, mutex, self->timeout_ns);
  CHECK_INT(mj_mutex_unlock(mutex), ==, 0);
  return result;
}

static void a_cond_is_used_with_one_mutex_at_a_time(void) {
  make();
  CHECK_INT(mj_cond_wait(cond, mutex, MJ_FOREVER), ==, -EPERM);
  call one;
  begin(&one, waits, NULL, 0, MJ_FOREVER);
  mj_mutex* other = mj_mutex_create(scheduler);
  CHECK_INT(mj_mutex_lock(other, 0), ==, 0);
  CHECK_INT(mj_cond_wait(cond, other, MJ_FOREVER), ==, -EINVAL);
  CHECK_INT(mj_mutex_unlock(other), ==, 0);
  CHECK_INT(mj_mutex_destroy(mutex), ==, -EBUSY);
  CHECK_INT(mj_cond_destroy(cond), ==, -EBUSY);
  CHECK_INT(mj_cond_signal(cond), ==, 0);
  // Once it has been signaled, the condition variable is not in use any more.
  CHECK_INT(mj_cond_destroy(cond), ==, 0);
  CHECK_INT(mj_mutex_destroy(mutex), ==, -EBUSY);
  CHECK_INT(result_of(&one), ==, 0);
  CHECK_INT(mj_mutex_destroy(mutex), ==, 0);
  // After that it can be used with another mutex.
  cond = mj_cond_create(scheduler);
  mutex = mj_mutex_create(scheduler);
  begin(&one, waits, NULL, 0, 1000);
  CHECK_INT(result_of(&one), ==, -ETIMEDOUT);
  CHECK_INT(mj_mutex_destroy(mutex), ==, 0);
  mutex = other;
  begin(&one, waits, NULL, 0, MJ_FOREVER);
  CHECK_INT(mj_cond_broadcast(cond), ==, 0);
  CHECK_INT(result_of(&one), ==, 0);
  unmake();
}

// ---- Channels ----

static void a_channel_needs_memory_and_elements(void) {
  uint64_t value = 0;
  CHECK_NOT_MADE(mj_chan_create(scheduler, SIZE_MAX / 2, 3), ENOMEM);
  // A sanitizer would report the allocation, and keep a descriptor open for its reports.
  if (!sanitized()) CHECK_NOT_MADE(mj_chan_create(scheduler, 1, SIZE_MAX / 4), ENOMEM);
  mj_chan* chan = mj_chan_create(scheduler, sizeof value, 1);
  CHECK_INT(mj_chan_send(chan, NULL, 0), ==, -EINVAL);
  CHECK_INT(mj_chan_recv(chan, NULL, 0), ==, -EINVAL);
  CHECK_INT(mj_chan_try_send(chan, NULL), ==, -EINVAL);
  CHECK_INT(mj_chan_try_recv(chan, NULL), ==, -EINVAL);
  CHECK_INT(mj_chan_close(chan), ==, 0);
  CHECK_INT(mj_chan_close(chan), ==, -EPIPE);
  CHECK_INT(mj_chan_destroy(chan), ==, 0);
}

static void cases_must_be_whole(void) {
  uint64_t value = 0;
  mj_chan* chan = mj_chan_create(scheduler, sizeof value, 1);
  mj_chan* other = mj_chan_create(scheduler, sizeof value, 1);
  mj_select_case cases[2] = {{.chan = chan, .op = MJ_SELECT_RECV, .element = &value},
                           {.chan = other, .op = MJ_SELECT_SEND, .element = &value}};
  CHECK_INT(mj_select(cases, SIZE_MAX, 0), ==, -EINVAL);
  int unknown = 7;
  memcpy(&cases[0].op, &unknown, sizeof unknown);
  CHECK_INT(mj_select(cases, 2, 0), ==, -EINVAL);
  CHECK_INT(mj_try_select(cases, 2), ==, -EINVAL);
  cases[0].op = MJ_SELECT_RECV;
  cases[1].element = NULL;
  CHECK_INT(mj_select(cases, 2, 0), ==, -EINVAL);
  // Nothing was sent.
  CHECK_UINT(mj_chan_length(other), ==, 0);
  CHECK_INT(mj_select(cases, 1, 0), ==, -ETIMEDOUT);
  CHECK_INT(mj_chan_destroy(chan), ==, 0);
  CHECK_INT(mj_chan_destroy(other), ==, 0);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN_IN_TASK(null_is_refused);
  RUN(outside_a_task_nothing_waits);
  RUN_IN_TASK(a_mutex_is_its_owners);
  RUN_IN_TASK(a_cond_is_used_with_one_mutex_at_a_time);
  RUN_IN_TASK(a_channel_needs_memory_and_elements);
  RUN_IN_TASK(cases_must_be_whole);
  return 0;
}
