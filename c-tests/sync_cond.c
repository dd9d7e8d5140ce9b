// Condition variables.
#define _GNU_SOURCE
#include "calls.h"
#include "log_lines.h"

static mj_mutex* mutex;
static mj_cond* cond;

static void with_a_condition(void (*body)(void)) {
  returned_count = 0;
  in_a_task(body);
}

static void make(void) {
  mutex = mj_mutex_create(scheduler);
  cond = mj_cond_create(scheduler);
  CHECK(mutex != NULL && cond != NULL);
}

static void unmake(void) {
  CHECK_INT(mj_cond_destroy(cond), ==, 0);
  CHECK_INT(mj_mutex_destroy(mutex), ==, 0);
}

static void lock(void) { CHECK_INT(mj_mutex_lock(mutex, UINT64_MAX), ==, 0); }
static void unlock(void) { CHECK_INT(mj_mutex_unlock(mutex), ==, 0); }

static size_t inside;

// One wait, and then some time with the mutex.
static int waits(call* self) {
  lock();
  int result = mj_cond_wait(self->object, mutex, self->timeout_ns);
  call_returned(self, result);
  CHECK_UINT(inside++, ==, 0);
  for (uint64_t i = 0; i < self->value; i++) mj_task_yield();
  CHECK_UINT(--inside, ==, 0);
  // Whatever the result, the mutex is its own.
  unlock();
  return result;
}

// ---- Signals ----

static void signals(void) {
  make();
  CHECK_INT(mj_cond_signal(cond), ==, 0);  // for nobody, and not kept
  call calls[4];
  for (size_t i = 0; i < 4; i++) begin(&calls[i], waits, cond, i, i % 2 == 0 ? UINT64_MAX : LONG_NS);
  CHECK_INT(mj_mutex_try_lock(mutex), ==, 0);  // they have let go of it
  unlock();
  for (size_t i = 0; i < 4; i++) {
    check_waiting(&calls[i]);
    CHECK_INT(mj_cond_signal(cond), ==, 0);
    settle();
    CHECK_UINT(returned_count, ==, i + 1);
    CHECK_PTR(returned_calls[i], ==, &calls[i]);
    CHECK_INT(calls[i].result, ==, 0);
  }
  CHECK_INT(mj_cond_signal(cond), ==, 0);
  unmake();
}

static void a_signal_ends_the_longest_wait(void) { with_a_condition(signals); }

static void broadcasts(void) {
  make();
  call calls[6], again;
  for (size_t i = 0; i < 6; i++) begin(&calls[i], waits, cond, 3, UINT64_MAX);
  lock();
  uint64_t turns = mj_scheduler_get_metrics(scheduler)->task_executions;
  CHECK_INT(mj_cond_broadcast(cond), ==, 0);
  // No crowd: they do not run before they can have the mutex.
  mj_task_yield();
  mj_task_yield();
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->task_executions, ==, turns + 2);
  CHECK_UINT(returned_count, ==, 0);
  // Not for those that come later.
  unlock();
  begin(&again, waits, cond, 0, UINT64_MAX);
  for (size_t i = 0; i < 6; i++) CHECK_INT(result_of(&calls[i]), ==, 0);
  for (size_t i = 0; i < 6; i++) CHECK_PTR(returned_calls[i], ==, &calls[i]);
  settle();
  check_waiting(&again);
  CHECK_INT(mj_cond_broadcast(cond), ==, 0);
  CHECK_INT(result_of(&again), ==, 0);
  CHECK_INT(mj_cond_broadcast(cond), ==, 0);
  settle();
  unmake();
}

static void a_broadcast_ends_all_waits_in_their_order(void) { with_a_condition(broadcasts); }

// A bounded queue, as it is done with threads.
static uint64_t queue[3], queue_length, produced_sum, consumed_sum;
static mj_cond* not_full;

static int produces(call* self) {
  for (uint64_t i = 1; i <= self->value; i++) {
    lock();
    while (queue_length == 3) CHECK_INT(mj_cond_wait(not_full, mutex, UINT64_MAX), ==, 0);
    queue[queue_length++] = i;
    produced_sum += i;
    CHECK_INT(mj_cond_signal(cond), ==, 0);
    unlock();
    if (i % 5 == 0) mj_task_yield();
  }
  return call_returned(self, 0);
}

static int consumes(call* self) {
  for (uint64_t i = 0; i < self->value; i++) {
    lock();
    while (queue_length == 0) CHECK_INT(mj_cond_wait(cond, mutex, LONG_NS), ==, 0);
    consumed_sum += queue[--queue_length];
    CHECK_INT(mj_cond_signal(not_full), ==, 0);
    unlock();
    if (i % 3 == 0) mj_task_sleep_ns(1);
  }
  return call_returned(self, 0);
}

static void queues(void) {
  make();
  not_full = mj_cond_create(scheduler);
  CHECK(not_full != NULL);
  produced_sum = consumed_sum = queue_length = 0;
  uint64_t rounds = times(500, 50);
  static call calls[20];
  for (size_t i = 0; i < 20; i++) {
    begin(&calls[i], i % 2 == 0 ? produces : consumes, NULL, rounds, 0);
  }
  for (size_t i = 0; i < 20; i++) CHECK_INT(result_of(&calls[i]), ==, 0);
  CHECK_UINT(produced_sum, ==, 10 * rounds * (rounds + 1) / 2);
  CHECK_UINT(consumed_sum, ==, produced_sum);
  CHECK_INT(mj_cond_destroy(not_full), ==, 0);
  unmake();
}

static void a_queue_loses_nothing(void) { with_a_condition(queues); }

// ---- How waits end ----

static void ends_waits(void) {
  make();
  call patient;
  check_other_ends(waits, cond, &patient);
  // The next signal is not lost on one of them.
  CHECK_INT(mj_cond_signal(cond), ==, 0);
  CHECK_INT(result_of(&patient), ==, 0);
  settle();  // until it has let go of the mutex
  unmake();
}

static void waits_end_for_other_reasons(void) { with_a_condition(ends_waits); }

// Once a wait is over, for whatever reason, only the mutex ends it.
static void comes_too_late(void) {
  make();
  for (int why = 0; why < 4; why++) {
    returned_count = 0;
    call one, patient;
    begin(&one, waits, cond, 1, why == 0 ? short_ns() : LONG_NS);
    begin(&patient, waits, cond, 0, UINT64_MAX);
    lock();
    if (why == 0) CHECK_INT(mj_task_sleep_for(2 * short_ns()), ==, 0);
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

static void then_only_the_mutex_counts(void) { with_a_condition(comes_too_late); }

// A limit that comes after the signal does not take it back.
static void signals_in_time(void) {
  make();
  call one;
  begin(&one, waits, cond, 0, short_ns());
  lock();
  CHECK_INT(mj_cond_signal(cond), ==, 0);
  CHECK_INT(mj_task_sleep_for(2 * short_ns()), ==, 0);
  check_waiting(&one);
  unlock();
  CHECK_INT(result_of(&one), ==, 0);
  settle();
  unmake();
}

static void a_signal_in_time_counts(void) { with_a_condition(signals_in_time); }

// A canceled task that takes no notice must not keep the mutex from the others.
static int takes_no_notice(call* self) {
  int result;
  lock();
  do {
    result = mj_cond_wait(self->object, mutex, self->timeout_ns);
  } while (!self->may_go_on);
  unlock();
  return call_returned(self, result);
}

static void cancels(void) {
  make();
  call stubborn, patient;
  begin(&patient, waits, cond, 0, UINT64_MAX);
  begin(&stubborn, takes_no_notice, cond, 0, UINT64_MAX);
  CHECK_INT(mj_task_cancel(stubborn.task), ==, 0);
  for (int i = 0; i < 20; i++) {
    lock();
    mj_task_yield();
    unlock();
    mj_task_yield();
  }
  CHECK_INT(mj_cond_signal(cond), ==, 0);
  CHECK_INT(result_of(&patient), ==, 0);
  lock();
  stubborn.may_go_on = true;
  unlock();
  CHECK_INT(result_of(&stubborn), ==, -ECANCELED);
  unmake();
}

static void a_canceled_task_lets_the_others_have_it(void) { with_a_condition(cancels); }

static int is_interrupted_beforehand(call* self) {
  lock();
  CHECK_INT(mj_scheduler_enqueue(scheduler, mj_task_current()), ==, 0);
  int result = mj_cond_wait(self->object, mutex, UINT64_MAX);
  unlock();
  return call_returned(self, result);
}

static int waits_without_time(call* self) {
  lock();
  for (uint64_t i = 0; i < self->value; i++) {
    CHECK_INT(mj_cond_wait(self->object, mutex, 0), ==, -ETIMEDOUT);
  }
  unlock();
  return call_returned(self, 0);
}

static int waits_after_its_end(call* self) {
  lock();
  mj_task_exit();
  int result = mj_cond_wait(self->object, mutex, UINT64_MAX);
  unlock();
  return call_returned(self, result);
}

static int ends_at_once_with_the_mutex(call* self) {
  lock();
  return call_returned(self, 0);
}

static int loses_the_mutex(call* self) {
  lock();
  call other;
  begin(&other, ends_at_once_with_the_mutex, NULL, 0, 0);
  if (self->value == 0) {
    CHECK_INT(mj_scheduler_enqueue(scheduler, mj_task_current()), ==, 0);
  } else {
    CHECK_INT(mj_task_cancel(mj_task_current()), ==, 0);
  }
  return call_returned(self, mj_cond_wait(self->object, mutex, UINT64_MAX));
}

// The one that is enqueued wants it back before the owner has ended, the one that is canceled after.
static void ends_without_the_mutex(void) {
  for (uint64_t canceled = 0; canceled < 2; canceled++) {
    make();
    call one;
    begin(&one, loses_the_mutex, cond, canceled, 0);
    CHECK_INT(result_of(&one), ==, -EOWNERDEAD);
    unmake();
  }
}

static void a_wait_that_ends_at_once_may_find_the_owner_ended(void) {
  with_a_condition(ends_without_the_mutex);
}

static int is_canceled_and_waits(call* self) {
  lock();
  CHECK_INT(mj_task_cancel(mj_task_current()), ==, 0);
  int result = mj_cond_wait(self->object, mutex, UINT64_MAX);
  unlock();
  return call_returned(self, result);
}

// While it lets the others have their turn, it will still want the mutex.
static void wants_it_later(void) {
  make();
  call one;
  lock();
  begin(&one, is_canceled_and_waits, cond, 0, 0);
  unlock();  // It is ready to lock it now, and then to wait.
  mj_task_yield();
  CHECK_INT(one.result, !=, -ECANCELED);
  CHECK_INT(mj_mutex_try_lock(mutex), ==, 0);
  unlock();
  CHECK_INT(mj_mutex_destroy(mutex), ==, -EBUSY);
  CHECK_INT(result_of(&one), ==, -ECANCELED);
  unmake();
}

static void a_mutex_stays_while_a_wait_that_ends_at_once_will_want_it(void) {
  with_a_condition(wants_it_later);
}

static void ends_at_once(void) {
  make();
  call one, two, three;
  begin(&one, is_interrupted_beforehand, cond, 0, 0);
  CHECK_INT(result_of(&one), ==, -EINTR);
  begin(&two, waits_without_time, cond, 10, 0);
  for (int i = 0; i < 5; i++) {
    lock();
    mj_task_yield();
    unlock();
  }
  CHECK_INT(result_of(&two), ==, 0);
  begin(&three, waits_after_its_end, cond, 0, 0);
  CHECK_INT(three.result, ==, -ECANCELED);
  unmake();
}

static void waits_that_end_at_once(void) { with_a_condition(ends_at_once); }

// ---- Misuse ----

static int waits_and_keeps_nothing(call* self) {
  lock();
  return call_returned(self, mj_cond_wait(self->object, mutex, self->timeout_ns));
}

static int ends_with_the_mutex(call* self) {
  lock();
  while (!self->may_go_on) mj_task_yield();
  return call_returned(self, 0);
}

static void leaves_it_locked(void) {
  make();
  call signaled, late, owner, waiting;
  begin(&signaled, waits_and_keeps_nothing, cond, 0, UINT64_MAX);
  begin(&late, waits_and_keeps_nothing, cond, 0, short_ns());
  begin(&waiting, waits_and_keeps_nothing, cond, 0, UINT64_MAX);
  begin(&owner, ends_with_the_mutex, NULL, 0, 0);
  CHECK_INT(mj_cond_signal(cond), ==, 0);
  CHECK_INT(mj_task_sleep_for(2 * short_ns()), ==, 0);
  check_waiting(&signaled);
  check_waiting(&late);
  owner.may_go_on = true;
  CHECK_INT(result_of(&signaled), ==, -EOWNERDEAD);
  CHECK_INT(result_of(&late), ==, -EOWNERDEAD);
  // Nobody can have it any more.
  check_waiting(&waiting);
  CHECK_INT(mj_mutex_destroy(mutex), ==, -EBUSY);
  CHECK_INT(mj_cond_signal(cond), ==, 0);
  CHECK_INT(result_of(&waiting), ==, -EOWNERDEAD);
  unmake();
}

static void who_wants_it_back_learns_that_the_owner_has_ended(void) {
  log_lines_begin();
  with_a_condition(leaves_it_locked);
  CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, 1);
  log_lines_end();
}

static void misuses(void) {
  make();
  CHECK_INT(mj_cond_wait(cond, mutex, UINT64_MAX), ==, -EPERM);
  CHECK_INT(mj_cond_wait(NULL, mutex, 0), ==, -EINVAL);
  CHECK_INT(mj_cond_wait(cond, NULL, 0), ==, -EINVAL);
  CHECK_INT(mj_cond_signal(NULL), ==, -EINVAL);
  CHECK_INT(mj_cond_broadcast(NULL), ==, -EINVAL);
  CHECK_INT(mj_cond_destroy(NULL), ==, -EINVAL);
  call one;
  begin(&one, waits, cond, 0, UINT64_MAX);
  mj_mutex* other = mj_mutex_create(scheduler);
  CHECK_INT(mj_mutex_lock(other, 0), ==, 0);
  CHECK_INT(mj_cond_wait(cond, other, UINT64_MAX), ==, -EINVAL);
  CHECK_INT(mj_mutex_unlock(other), ==, 0);
  CHECK_INT(mj_mutex_destroy(mutex), ==, -EBUSY);
  CHECK_INT(mj_cond_destroy(cond), ==, -EBUSY);
  CHECK_INT(mj_cond_signal(cond), ==, 0);
  // As soon as it is signaled, the condition is not in use any more.
  CHECK_INT(mj_cond_destroy(cond), ==, 0);
  CHECK_INT(mj_mutex_destroy(mutex), ==, -EBUSY);
  CHECK_INT(result_of(&one), ==, 0);
  CHECK_INT(mj_mutex_destroy(mutex), ==, 0);
  // And with another mutex it can be used after that.
  cond = mj_cond_create(scheduler);
  mutex = mj_mutex_create(scheduler);
  begin(&one, waits, cond, 0, 1000);
  CHECK_INT(result_of(&one), ==, -ETIMEDOUT);
  CHECK_INT(mj_mutex_destroy(mutex), ==, 0);
  mutex = other;
  begin(&one, waits, cond, 0, UINT64_MAX);
  CHECK_INT(mj_cond_broadcast(cond), ==, 0);
  CHECK_INT(result_of(&one), ==, 0);
  unmake();
}

static void misuse_is_an_error(void) {
  with_a_condition(misuses);
  log_lines_begin();
  errno = 0;
  CHECK_PTR(mj_cond_create(NULL), ==, NULL);
  CHECK_INT(errno, ==, EINVAL);
  scheduler = new_scheduler();
  make();
  CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, 1);
  CHECK_INT(mj_cond_wait(cond, mutex, 0), ==, -EPERM);
  CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, 2);
  CHECK_INT(mj_cond_signal(cond), ==, 0);
  CHECK_INT(mj_cond_broadcast(cond), ==, 0);
  unmake();
  mj_scheduler_destroy(scheduler);
  log_lines_end();
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN(a_signal_ends_the_longest_wait);
  RUN(a_broadcast_ends_all_waits_in_their_order);
  RUN(a_queue_loses_nothing);
  RUN(waits_end_for_other_reasons);
  RUN(then_only_the_mutex_counts);
  RUN(a_signal_in_time_counts);
  RUN(a_canceled_task_lets_the_others_have_it);
  RUN(waits_that_end_at_once);
  RUN(a_mutex_stays_while_a_wait_that_ends_at_once_will_want_it);
  RUN(a_wait_that_ends_at_once_may_find_the_owner_ended);
  RUN(who_wants_it_back_learns_that_the_owner_has_ended);
  RUN(misuse_is_an_error);
  return 0;
}
