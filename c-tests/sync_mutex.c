// Mutexes, and condition variables with them: tasks that end with a mutex locked, and waits for a
// mutex that only the mutex ends.
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

static void lock(void) { CHECK_INT(mj_mutex_lock(mutex, MJ_FOREVER), ==, 0); }
static void unlock(void) { CHECK_INT(mj_mutex_unlock(mutex), ==, 0); }

static int locks(call* self) { return mj_mutex_lock(self->object, self->timeout_ns); }

static int locks_and_unlocks(call* self) {
  int result = locks(self);
  if (result == 0) CHECK_INT(mj_mutex_unlock(self->object), ==, 0);
  return result;
}

// One wait, and then some time in the critical section.
static int waits(call* self) {
  lock();
  int result = call_returned(self, mj_cond_wait(self->object, mutex, self->timeout_ns));
  for (uint64_t i = 0; i < self->value; i++) mj_task_yield();
  // Whatever the result, the task owns the mutex.
  unlock();
  return result;
}

// ---- A task that ends with a mutex locked ----

static int ends_with_it(call* self) {
  int result = locks(self);
  while (!self->may_go_on) mj_task_yield();
  return result;
}

static void leaves_it_locked(void) {
  make();
  mj_mutex* other = mj_mutex_create(scheduler);
  CHECK(other != NULL);
  call owner, waiting[3], elsewhere;
  begin(&owner, ends_with_it, mutex, 0, MJ_FOREVER);
  CHECK_INT(mj_mutex_lock(other, MJ_FOREVER), ==, 0);
  for (size_t i = 0; i < 3; i++) {
    begin(&waiting[i], locks, mutex, 0, i == 0 ? LONG_NS : MJ_FOREVER);
  }
  begin(&elsewhere, locks_and_unlocks, other, 0, MJ_FOREVER);
  CHECK_INT(mj_mutex_destroy(mutex), ==, -EBUSY);
  CHECK_INT(log_lines_from(MJ_LOG_ERROR), ==, 0);
  owner.may_go_on = true;
  for (size_t i = 0; i < 3; i++) CHECK_INT(result_of(&waiting[i]), ==, -EOWNERDEAD);
  CHECK_INT(log_lines_from(MJ_LOG_ERROR), ==, 1);
  CHECK_INT(owner.result, ==, 0);
  check_waiting(&elsewhere);
  // It stays locked for good.
  CHECK_INT(mj_mutex_lock(mutex, MJ_FOREVER), ==, -EOWNERDEAD);
  CHECK_INT(mj_mutex_lock(mutex, 0), ==, -EOWNERDEAD);
  CHECK_INT(mj_mutex_try_lock(mutex), ==, -EOWNERDEAD);
  CHECK_INT(mj_mutex_unlock(mutex), ==, -EPERM);
  // The task that reuses its slot is another one.
  call next;
  begin(&next, locks, mutex, 0, MJ_FOREVER);
  CHECK_INT(result_of(&next), ==, -EOWNERDEAD);
  CHECK_INT(mj_mutex_unlock(other), ==, 0);
  CHECK_INT(result_of(&elsewhere), ==, 0);
  CHECK_INT(mj_mutex_destroy(other), ==, 0);
  unmake();
  CHECK_INT(log_lines_from(MJ_LOG_ERROR), ==, 1);
}

static void waiters_learn_that_the_owner_has_ended(void) {
  log_lines_begin();
  in_a_task(leaves_it_locked);
  log_lines_end();
}

static void locks_in_the_callback(mj_log_level level, const char* message, void* user_data) {
  log_lines_take(level, message, user_data);
  if (strstr(message, "has ended") != NULL) CHECK_INT(mj_mutex_try_lock(user_data), ==, 0);
}

static void locks_at_the_end(void) {
  make();
  mj_mutex* other = mj_mutex_create(scheduler);
  mj_log_set_callback(locks_in_the_callback, other);
  call first, second;
  begin(&first, locks, mutex, 0, MJ_FOREVER);
  CHECK_INT(result_of(&first), ==, 0);
  CHECK_INT(log_lines_from(MJ_LOG_ERROR), ==, 1);
  CHECK_INT(mj_mutex_try_lock(other), ==, -EOWNERDEAD);
  // It has the first one's slot, but not its mutex.
  begin(&second, locks, mutex, 0, MJ_FOREVER);
  CHECK_INT(result_of(&second), ==, -EOWNERDEAD);
  CHECK_INT(log_lines_from(MJ_LOG_ERROR), ==, 1);
  CHECK_INT(mj_mutex_destroy(other), ==, 0);
  unmake();
}

static void a_reused_slot_does_not_inherit_mutexes(void) {
  log_lines_begin();
  in_a_task(locks_at_the_end);
  log_lines_end();
}

// ---- Waits for a condition variable that have ended ----

// Once the wait has ended, for whatever reason, the task relocks the mutex, which cannot be
// interrupted.
static void relocking_cannot_be_interrupted(void) {
  make();
  for (int why = 0; why < 4; why++) {
    call one, patient;
    begin(&one, waits, cond, 1, why == 0 ? short_ns() : LONG_NS);
    begin(&patient, waits, cond, 0, MJ_FOREVER);
    lock();
    if (why == 0) CHECK_INT(mj_sleep_ns(2 * short_ns()), ==, 0);
    if (why == 1) CHECK_INT(mj_cond_signal(cond), ==, 0);
    if (why == 2) CHECK_INT(mj_task_wake(one.task), ==, 1);
    if (why == 3) CHECK_INT(mj_task_cancel(one.task), ==, 0);
    CHECK_INT(mj_cond_destroy(cond), ==, -EBUSY);
    CHECK_INT(mj_mutex_destroy(mutex), ==, -EBUSY);
    CHECK_UINT(scheduler->timer_count, ==, 0);
    CHECK_INT(mj_task_wake(one.task), ==, 0);
    CHECK_INT(mj_scheduler_enqueue(scheduler, one.task), ==, 0);
    if (why != 2) CHECK_INT(mj_task_cancel(one.task), ==, 0);
    settle();
    check_waiting(&one);
    check_waiting(&patient);
    unlock();
    int expected[] = {-ETIMEDOUT, 0, -EINTR, -ECANCELED};
    CHECK_INT(result_of(&one), ==, expected[why]);
    CHECK_INT(mj_cond_signal(cond), ==, 0);
    CHECK_INT(result_of(&patient), ==, 0);
    settle();
  }
  unmake();
}

static int is_canceled_and_waits(call* self) {
  lock();
  CHECK_INT(mj_task_cancel(mj_task_current()), ==, 0);
  int result = mj_cond_wait(self->object, mutex, MJ_FOREVER);
  unlock();
  return result;
}

// While it yields, it still counts as a task that will relock the mutex.
static void a_mutex_is_in_use_until_a_canceled_waiter_has_relocked_it(void) {
  make();
  call one;
  lock();
  begin(&one, is_canceled_and_waits, cond, 0, 0);
  unlock();  // The task is about to lock the mutex, and then to wait.
  mj_task_yield();
  CHECK_INT(one.result, !=, -ECANCELED);
  CHECK_INT(mj_mutex_try_lock(mutex), ==, 0);
  unlock();
  CHECK_INT(mj_mutex_destroy(mutex), ==, -EBUSY);
  CHECK_INT(result_of(&one), ==, -ECANCELED);
  unmake();
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN(waiters_learn_that_the_owner_has_ended);
  RUN(a_reused_slot_does_not_inherit_mutexes);
  RUN_IN_TASK(relocking_cannot_be_interrupted);
  RUN_IN_TASK(a_mutex_is_in_use_until_a_canceled_waiter_has_relocked_it);
  return 0;
}
