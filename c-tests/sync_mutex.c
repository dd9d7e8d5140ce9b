// Mutexes.
#define _GNU_SOURCE
#include "calls.h"
#include "log_lines.h"

static mj_mutex* mutex;

static int locks(call* self) {
  return call_returned(self, mj_mutex_lock(self->object, self->timeout_ns));
}

static int locks_and_unlocks(call* self) {
  int result = mj_mutex_lock(self->object, self->timeout_ns);
  call_returned(self, result);
  if (result == 0) CHECK_INT(mj_mutex_unlock(self->object), ==, 0);
  return result;
}

static int holds_until_told(call* self) {
  int result = locks(self);
  while (!self->may_go_on) mj_task_yield();
  if (result == 0) CHECK_INT(mj_mutex_unlock(self->object), ==, 0);
  return result;
}

static void with_a_mutex(void (*body)(void)) {
  returned_count = 0;
  scheduler = NULL;
  in_a_task(body);
}

static void make(void) {
  mutex = mj_mutex_create(mj_scheduler_current());
  CHECK(mutex != NULL);
}

static void unmake(void) { CHECK_INT(mj_mutex_destroy(mutex), ==, 0); }

// ---- Order ----

static void hands_on_in_order(void) {
  make();
  CHECK_INT(mj_mutex_lock(mutex, UINT64_MAX), ==, 0);
  call calls[5];
  for (size_t i = 0; i < 5; i++) begin(&calls[i], holds_until_told, mutex, i, UINT64_MAX);
  for (size_t i = 0; i < 5; i++) check_waiting(&calls[i]);
  CHECK_INT(mj_mutex_unlock(mutex), ==, 0);
  // It belongs to the first one already, though that has not run: nobody takes it in between.
  CHECK_INT(mj_mutex_try_lock(mutex), ==, -EBUSY);
  CHECK_UINT(returned_count, ==, 0);
  for (size_t i = 0; i < 5; i++) {
    CHECK_INT(result_of(&calls[i]), ==, 0);
    CHECK_UINT(returned_count, ==, i + 1);
    settle();
    CHECK_UINT(returned_count, ==, i + 1);
    CHECK_INT(mj_mutex_try_lock(mutex), ==, -EBUSY);
    calls[i].may_go_on = true;
  }
  settle();
  for (size_t i = 0; i < 5; i++) CHECK_PTR(returned_calls[i], ==, &calls[i]);
  CHECK_INT(mj_mutex_try_lock(mutex), ==, 0);
  CHECK_INT(mj_mutex_unlock(mutex), ==, 0);
  unmake();
}

static void it_is_handed_on_in_the_order_of_coming(void) { with_a_mutex(hands_on_in_order); }

static uint64_t turns_with_it[3];
static bool all_may_end;

static int wants_it_again_and_again(call* self) {
  while (!all_may_end) {
    CHECK_INT(mj_mutex_lock(self->object, UINT64_MAX), ==, 0);
    turns_with_it[self->value]++;
    mj_task_yield();
    CHECK_INT(mj_mutex_unlock(self->object), ==, 0);
  }
  return call_returned(self, 0);
}

static void shares_it(void) {
  make();
  all_may_end = false;
  call calls[3];
  for (size_t i = 0; i < 3; i++) {
    begin(&calls[i], wants_it_again_and_again, mutex, i, UINT64_MAX);
  }
  memset(turns_with_it, 0, sizeof turns_with_it);
  for (int i = 0; i < 300; i++) {
    mj_task_yield();
    for (size_t k = 1; k < 3; k++) {
      // Each has had it as often as the others, but for those before it in this round.
      CHECK_UINT(turns_with_it[k - 1] + 1, >=, turns_with_it[k]);
      CHECK_UINT(turns_with_it[k] + 1, >=, turns_with_it[k - 1]);
    }
  }
  CHECK_UINT(turns_with_it[2], >=, 50);
  all_may_end = true;
  settle();
  CHECK_UINT(returned_count, ==, 3);
  unmake();
}

static void nobody_gets_it_twice_while_others_wait(void) { with_a_mutex(shares_it); }

// What it protects: a counter that is read, and written after others have run.
static uint64_t protected_count;
static size_t inside;

static int counts(call* self) {
  for (uint64_t i = 0; i < self->value; i++) {
    CHECK_INT(mj_mutex_lock(self->object, UINT64_MAX), ==, 0);
    CHECK_UINT(inside++, ==, 0);
    uint64_t count = protected_count;
    if (i % 3 == 0) mj_task_yield();
    if (i % 7 == 0) mj_task_sleep_ns(1);
    protected_count = count + 1;
    CHECK_UINT(--inside, ==, 0);
    CHECK_INT(mj_mutex_unlock(self->object), ==, 0);
  }
  return call_returned(self, 0);
}

static void counts_with_many(void) {
  make();
  protected_count = 0;
  size_t rounds = times(200, 30);
  static call calls[50];
  for (size_t i = 0; i < 50; i++) begin(&calls[i], counts, mutex, rounds, UINT64_MAX);
  for (size_t i = 0; i < 50; i++) CHECK_INT(result_of(&calls[i]), ==, 0);
  CHECK_UINT(protected_count, ==, 50 * rounds);
  unmake();
}

static void one_task_at_a_time_is_inside(void) { with_a_mutex(counts_with_many); }

static void does_not_suspend(void) {
  make();
  uint64_t turns = mj_scheduler_get_metrics(scheduler)->task_executions;
  for (int i = 0; i < 100; i++) {
    CHECK_INT(mj_mutex_lock(mutex, i % 2 == 0 ? UINT64_MAX : 0), ==, 0);
    CHECK_INT(mj_mutex_unlock(mutex), ==, 0);
    CHECK_INT(mj_mutex_try_lock(mutex), ==, 0);
    CHECK_INT(mj_mutex_unlock(mutex), ==, 0);
  }
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->task_executions, ==, turns);
  unmake();
}

static void what_is_free_is_locked_at_once(void) { with_a_mutex(does_not_suspend); }

// ---- How waits end ----

static void ends_waits(void) {
  make();
  CHECK_INT(mj_mutex_lock(mutex, UINT64_MAX), ==, 0);
  call patient, last;
  check_other_ends(locks_and_unlocks, mutex, &patient);
  begin(&last, locks_and_unlocks, mutex, 0, UINT64_MAX);
  check_waiting(&last);
  CHECK_INT(mj_mutex_unlock(mutex), ==, 0);
  CHECK_INT(result_of(&last), ==, 0);
  CHECK_INT(patient.result, ==, 0);
  CHECK_PTR(returned_calls[4], ==, &patient);
  unmake();
}

static void waits_end_for_other_reasons(void) { with_a_mutex(ends_waits); }

// The mutex is handed to a task, and then something else happens to it before its turn.
static void happens_too_late(void) {
  make();
  for (int what = 0; what < 4; what++) {
    returned_count = 0;
    CHECK_INT(mj_mutex_lock(mutex, UINT64_MAX), ==, 0);
    call first, second;
    begin(&first, locks_and_unlocks, mutex, 0, short_ns());
    begin(&second, locks_and_unlocks, mutex, 0, UINT64_MAX);
    CHECK_INT(mj_mutex_unlock(mutex), ==, 0);
    if (what == 0) CHECK_INT(mj_task_cancel(first.task), ==, 0);
    if (what == 1) CHECK_INT(mj_task_wake(first.task), ==, 0);
    if (what == 2) {
      // Taken out of the queue, and put back.
      CHECK_PTR(mj_scheduler_dequeue(scheduler), ==, first.task);
      CHECK_INT(mj_scheduler_enqueue(scheduler, first.task), ==, 0);
    }
    if (what == 3) {
      uint64_t start = now_ns();
      while (now_ns() - start < 2 * short_ns()) continue;
    }
    CHECK_INT(result_of(&second), ==, 0);
    CHECK_INT(first.result, ==, 0);
    CHECK_PTR(returned_calls[0], ==, &first);
  }
  unmake();
}

static void what_was_handed_over_is_kept(void) { with_a_mutex(happens_too_late); }

static void polls(void) {
  make();
  call holder;
  begin(&holder, holds_until_told, mutex, 0, UINT64_MAX);
  for (int i = 0; i < 10; i++) CHECK_INT(mj_mutex_lock(mutex, 0), ==, -ETIMEDOUT);
  holder.may_go_on = true;
  int result = -ETIMEDOUT;
  for (int i = 0; i < 10 && result == -ETIMEDOUT; i++) result = mj_mutex_lock(mutex, 0);
  CHECK_INT(result, ==, 0);
  CHECK_INT(mj_mutex_unlock(mutex), ==, 0);
  unmake();
}

static void a_loop_without_time_lets_the_owner_go_on(void) { with_a_mutex(polls); }

// ---- Tasks that are told to end ----

static int cleans_up(call* self) {
  CHECK_INT(mj_task_sleep_for(LONG_NS), ==, -ECANCELED);
  // Free: a canceled task may clean up.
  CHECK_INT(mj_mutex_lock(self->object, UINT64_MAX), ==, 0);
  CHECK_INT(mj_mutex_unlock(self->object), ==, 0);
  self->may_go_on = true;
  while (mj_mutex_try_lock(self->object) == 0) {
    CHECK_INT(mj_mutex_unlock(self->object), ==, 0);
    CHECK_INT(mj_task_yield_now(), ==, -ECANCELED);
  }
  // But it does not wait.
  return call_returned(self, mj_mutex_lock(self->object, UINT64_MAX));
}

static void cancels_first(void) {
  make();
  call one;
  begin(&one, cleans_up, mutex, 0, UINT64_MAX);
  CHECK_INT(mj_task_cancel(one.task), ==, 0);
  while (!one.may_go_on) mj_task_yield();
  CHECK_INT(mj_mutex_lock(mutex, UINT64_MAX), ==, 0);
  CHECK_INT(result_of(&one), ==, -ECANCELED);
  CHECK_INT(mj_mutex_unlock(mutex), ==, 0);
  unmake();
}

static void a_canceled_task_locks_what_is_free(void) { with_a_mutex(cancels_first); }

static int locks_after_its_end(call* self) {
  CHECK_INT(mj_mutex_lock(self->object, UINT64_MAX), ==, 0);
  mj_task_exit();
  CHECK_INT(mj_mutex_unlock(self->object), ==, 0);
  CHECK_INT(mj_mutex_lock(self->object, UINT64_MAX), ==, 0);
  CHECK_INT(mj_mutex_unlock(self->object), ==, 0);
  return call_returned(self, 0);
}

static int waits_after_its_end(call* self) {
  mj_task_exit();
  return call_returned(self, mj_mutex_lock(self->object, UINT64_MAX));
}

static void ends_first(void) {
  make();
  call one, two;
  begin(&one, locks_after_its_end, mutex, 0, UINT64_MAX);
  CHECK_INT(result_of(&one), ==, 0);
  CHECK_INT(mj_mutex_lock(mutex, UINT64_MAX), ==, 0);
  begin(&two, waits_after_its_end, mutex, 0, UINT64_MAX);
  CHECK(two.returned);
  CHECK_INT(two.result, ==, -ECANCELED);
  CHECK_INT(mj_mutex_unlock(mutex), ==, 0);
  unmake();
}

static void a_task_marked_as_ended_does_not_wait(void) { with_a_mutex(ends_first); }

// ---- A task that ends with a mutex locked ----

static int ends_with_it(call* self) {
  int result = mj_mutex_lock(self->object, UINT64_MAX);
  while (!self->may_go_on) mj_task_yield();
  return call_returned(self, result);
}

static void leaves_it_locked(void) {
  make();
  mj_mutex* other = mj_mutex_create(scheduler);
  CHECK(other != NULL);
  call owner, waiting[3], elsewhere;
  begin(&owner, ends_with_it, mutex, 0, UINT64_MAX);
  CHECK_INT(mj_mutex_lock(other, UINT64_MAX), ==, 0);
  for (size_t i = 0; i < 3; i++) {
    begin(&waiting[i], locks, mutex, 0, i == 0 ? LONG_NS : UINT64_MAX);
  }
  begin(&elsewhere, locks_and_unlocks, other, 0, UINT64_MAX);
  CHECK_INT(mj_mutex_destroy(mutex), ==, -EBUSY);
  CHECK_INT(log_lines_from(MJ_LOG_ERROR), ==, 0);
  owner.may_go_on = true;
  for (size_t i = 0; i < 3; i++) CHECK_INT(result_of(&waiting[i]), ==, -EOWNERDEAD);
  CHECK_INT(log_lines_from(MJ_LOG_ERROR), ==, 1);
  CHECK_INT(owner.result, ==, 0);
  check_waiting(&elsewhere);
  // For good.
  CHECK_INT(mj_mutex_lock(mutex, UINT64_MAX), ==, -EOWNERDEAD);
  CHECK_INT(mj_mutex_lock(mutex, 0), ==, -EOWNERDEAD);
  CHECK_INT(mj_mutex_try_lock(mutex), ==, -EOWNERDEAD);
  CHECK_INT(mj_mutex_unlock(mutex), ==, -EPERM);
  // The task that has its place now is another one.
  call next;
  begin(&next, locks, mutex, 0, UINT64_MAX);
  CHECK_INT(result_of(&next), ==, -EOWNERDEAD);
  CHECK_INT(mj_mutex_unlock(other), ==, 0);
  CHECK_INT(result_of(&elsewhere), ==, 0);
  CHECK_INT(mj_mutex_destroy(other), ==, 0);
  unmake();
  CHECK_INT(log_lines_from(MJ_LOG_ERROR), ==, 1);
}

static void who_waits_learns_that_the_owner_has_ended(void) {
  log_lines_begin();
  with_a_mutex(leaves_it_locked);
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
  begin(&first, locks, mutex, 0, UINT64_MAX);
  CHECK_INT(result_of(&first), ==, 0);
  CHECK_INT(log_lines_from(MJ_LOG_ERROR), ==, 1);
  CHECK_INT(mj_mutex_try_lock(other), ==, -EOWNERDEAD);
  // It has the place of the first one, and no mutex.
  begin(&second, locks, mutex, 0, UINT64_MAX);
  CHECK_INT(result_of(&second), ==, -EOWNERDEAD);
  CHECK_INT(log_lines_from(MJ_LOG_ERROR), ==, 1);
  CHECK_INT(mj_mutex_destroy(other), ==, 0);
  unmake();
}

static void what_is_locked_while_a_task_ends_is_not_the_next_ones(void) {
  log_lines_begin();
  with_a_mutex(locks_at_the_end);
  log_lines_end();
}

// ---- Misuse ----

static int unlocks(call* self) { return call_returned(self, mj_mutex_unlock(self->object)); }

static void misuses(void) {
  make();
  CHECK_INT(mj_mutex_unlock(mutex), ==, -EPERM);
  CHECK_INT(mj_mutex_lock(mutex, UINT64_MAX), ==, 0);
  CHECK_INT(mj_mutex_lock(mutex, UINT64_MAX), ==, -EDEADLK);
  CHECK_INT(mj_mutex_lock(mutex, 0), ==, -EDEADLK);
  CHECK_INT(mj_mutex_try_lock(mutex), ==, -EDEADLK);
  call one, two;
  begin(&one, unlocks, mutex, 0, 0);
  CHECK_INT(result_of(&one), ==, -EPERM);
  CHECK_INT(mj_mutex_destroy(mutex), ==, -EBUSY);
  begin(&two, locks_and_unlocks, mutex, 0, UINT64_MAX);
  CHECK_INT(mj_mutex_destroy(mutex), ==, -EBUSY);
  CHECK_INT(mj_mutex_unlock(mutex), ==, 0);
  CHECK_INT(mj_mutex_destroy(mutex), ==, -EBUSY);
  CHECK_INT(result_of(&two), ==, 0);
  CHECK_INT(mj_mutex_unlock(mutex), ==, -EPERM);
  CHECK_INT(mj_mutex_lock(NULL, 0), ==, -EINVAL);
  CHECK_INT(mj_mutex_try_lock(NULL), ==, -EINVAL);
  CHECK_INT(mj_mutex_unlock(NULL), ==, -EINVAL);
  CHECK_INT(mj_mutex_destroy(NULL), ==, -EINVAL);
  unmake();
}

static void misuse_is_an_error(void) {
  log_lines_begin();
  with_a_mutex(misuses);
  CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, 0);
  errno = 0;
  CHECK_PTR(mj_mutex_create(NULL), ==, NULL);
  CHECK_INT(errno, ==, EINVAL);
  scheduler = new_scheduler();
  mutex = mj_mutex_create(scheduler);
  CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, 1);
  CHECK_INT(mj_mutex_lock(mutex, UINT64_MAX), ==, -EPERM);
  CHECK_INT(mj_mutex_try_lock(mutex), ==, -EPERM);
  CHECK_INT(mj_mutex_unlock(mutex), ==, -EPERM);
  CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, 4);
  unmake();
  mj_scheduler_destroy(scheduler);
  log_lines_end();
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN(it_is_handed_on_in_the_order_of_coming);
  RUN(nobody_gets_it_twice_while_others_wait);
  RUN(one_task_at_a_time_is_inside);
  RUN(what_is_free_is_locked_at_once);
  RUN(waits_end_for_other_reasons);
  RUN(what_was_handed_over_is_kept);
  RUN(a_loop_without_time_lets_the_owner_go_on);
  RUN(a_canceled_task_locks_what_is_free);
  RUN(a_task_marked_as_ended_does_not_wait);
  RUN(who_waits_learns_that_the_owner_has_ended);
  RUN(what_is_locked_while_a_task_ends_is_not_the_next_ones);
  RUN(misuse_is_an_error);
  return 0;
}
