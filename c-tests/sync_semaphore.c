// Semaphores and wait groups.
#define _GNU_SOURCE
#include "calls.h"
#include "log_lines.h"

static mj_semaphore* semaphore;
static mj_waitgroup* group;

static int acquires(call* self) {
  uint32_t permits = (uint32_t)self->value;
  return call_returned(self, mj_semaphore_acquire(self->object, permits, self->timeout_ns));
}

static int waits(call* self) {
  return call_returned(self, mj_waitgroup_wait(self->object, self->timeout_ns));
}

static void with(void (*body)(void)) {
  returned_count = 0;
  in_a_task(body);
}

static void make(uint32_t permits) {
  semaphore = mj_semaphore_create(scheduler, permits);
  CHECK(semaphore != NULL);
}

static void unmake(uint32_t permits) {
  CHECK_UINT(mj_semaphore_available(semaphore), ==, permits);
  CHECK_INT(mj_semaphore_destroy(semaphore), ==, 0);
}

// ---- Semaphores ----

static void counts(void) {
  make(3);
  CHECK_INT(mj_semaphore_acquire(semaphore, 2, 0), ==, 0);
  CHECK_INT(mj_semaphore_try_acquire(semaphore, 2), ==, -EAGAIN);
  CHECK_INT(mj_semaphore_acquire(semaphore, 2, 0), ==, -ETIMEDOUT);
  CHECK_INT(mj_semaphore_try_acquire(semaphore, 1), ==, 0);
  CHECK_INT(mj_semaphore_try_acquire(semaphore, 0), ==, 0);
  CHECK_INT(mj_semaphore_try_acquire(semaphore, 1), ==, -EAGAIN);
  CHECK_UINT(mj_semaphore_available(semaphore), ==, 0);
  CHECK_INT(mj_semaphore_release(semaphore, 5), ==, 0);
  CHECK_UINT(mj_semaphore_available(semaphore), ==, 5);
  CHECK_INT(mj_semaphore_release(semaphore, UINT32_MAX - 4), ==, -EOVERFLOW);
  CHECK_UINT(mj_semaphore_available(semaphore), ==, 5);
  CHECK_INT(mj_semaphore_release(semaphore, UINT32_MAX - 5), ==, 0);
  CHECK_INT(mj_semaphore_acquire(semaphore, UINT32_MAX, UINT64_MAX), ==, 0);
  unmake(0);
}

static void permits_are_counted(void) { with(counts); }

static void serves_in_order(void) {
  make(0);
  call calls[4];
  uint32_t wanted[] = {1, 3, 1, 2};
  for (size_t i = 0; i < 4; i++) begin(&calls[i], acquires, semaphore, wanted[i], UINT64_MAX);
  CHECK_INT(mj_semaphore_release(semaphore, 3), ==, 0);
  // The first has its permit; the second waits for all of its own, and the third behind it.
  settle();
  CHECK_UINT(returned_count, ==, 1);
  CHECK_UINT(mj_semaphore_available(semaphore), ==, 2);
  CHECK_INT(mj_semaphore_try_acquire(semaphore, 1), ==, -EAGAIN);
  CHECK_INT(mj_semaphore_release(semaphore, 2), ==, 0);
  // Handed over at once.
  CHECK_UINT(mj_semaphore_available(semaphore), ==, 0);
  CHECK_INT(mj_semaphore_try_acquire(semaphore, 1), ==, -EAGAIN);
  settle();
  CHECK_UINT(returned_count, ==, 3);
  check_waiting(&calls[3]);
  CHECK_INT(mj_semaphore_release(semaphore, 1), ==, 0);
  CHECK_INT(mj_semaphore_release(semaphore, 1), ==, 0);
  CHECK_INT(result_of(&calls[3]), ==, 0);
  for (size_t i = 0; i < 4; i++) {
    CHECK_PTR(returned_calls[i], ==, &calls[i]);
    CHECK_INT(calls[i].result, ==, 0);
  }
  unmake(0);
}

static void permits_are_handed_over_in_order(void) { with(serves_in_order); }

// Who leaves the list lets those go on that only waited behind it.
static void leaves(void) {
  make(2);
  for (int why = 0; why < 3; why++) {
    returned_count = 0;
    call greedy, first, second, third;
    begin(&greedy, acquires, semaphore, 3, why == 0 ? short_ns() : LONG_NS);
    begin(&first, acquires, semaphore, 1, UINT64_MAX);
    begin(&second, acquires, semaphore, 1, LONG_NS);
    begin(&third, acquires, semaphore, 1, LONG_NS);
    check_waiting(&first);
    if (why == 1) CHECK_INT(mj_task_cancel(greedy.task), ==, 0);
    if (why == 2) CHECK_INT(mj_task_wake(greedy.task), ==, 1);
    int expected[] = {-ETIMEDOUT, -ECANCELED, -EINTR};
    CHECK_INT(result_of(&greedy), ==, expected[why]);
    CHECK_INT(result_of(&first), ==, 0);
    CHECK_INT(result_of(&second), ==, 0);
    settle();
    check_waiting(&third);
    CHECK_INT(mj_semaphore_destroy(semaphore), ==, -EBUSY);
    CHECK_INT(mj_semaphore_release(semaphore, 3), ==, 0);
    CHECK_INT(result_of(&third), ==, 0);
  }
  unmake(2);
}

static void who_leaves_lets_the_others_go_on(void) { with(leaves); }

static void too_late(void) {
  make(0);
  for (int what = 0; what < 3; what++) {
    call one;
    begin(&one, acquires, semaphore, 1, LONG_NS);
    CHECK_INT(mj_semaphore_release(semaphore, 1), ==, 0);
    if (what == 0) CHECK_INT(mj_task_cancel(one.task), ==, 0);
    if (what == 1) CHECK_INT(mj_task_wake(one.task), ==, 0);
    if (what == 2) {
      CHECK_PTR(mj_scheduler_dequeue(scheduler), ==, one.task);
      CHECK_INT(mj_scheduler_enqueue(scheduler, one.task), ==, 0);
    }
    CHECK_INT(result_of(&one), ==, 0);
    CHECK_UINT(mj_semaphore_available(semaphore), ==, 0);
  }
  unmake(0);
}

static void what_was_handed_over_is_kept(void) { with(too_late); }

static uint32_t inside, most_inside;

static int enters_and_leaves(call* self) {
  for (uint64_t i = 0; i < self->value; i++) {
    uint32_t permits = 1 + (uint32_t)(i % 3);
    if (mj_semaphore_acquire(self->object, permits, i % 4 == 0 ? 5000 : UINT64_MAX) != 0) continue;
    inside += permits;
    if (inside > most_inside) most_inside = inside;
    mj_task_sleep_ns(i % 5 * 1000);
    inside -= permits;
    CHECK_INT(mj_semaphore_release(self->object, permits), ==, 0);
  }
  return call_returned(self, 0);
}

static void limits(void) {
  make(4);
  inside = most_inside = 0;
  static call calls[30];
  for (size_t i = 0; i < 30; i++) {
    begin(&calls[i], enters_and_leaves, semaphore, times(100, 20), 0);
  }
  for (size_t i = 0; i < 30; i++) CHECK_INT(result_of(&calls[i]), ==, 0);
  CHECK_UINT(most_inside, ==, 4);
  unmake(4);
}

static void as_many_are_inside_as_may_be(void) { with(limits); }

// ---- Wait groups ----

static int works(call* self) {
  for (uint64_t i = 0; i < self->value; i++) mj_task_yield();
  CHECK_INT(mj_waitgroup_done(self->object), ==, 0);
  return call_returned(self, 0);
}

static void waits_for_workers(void) {
  group = mj_waitgroup_create(scheduler);
  CHECK(group != NULL);
  CHECK_INT(mj_waitgroup_wait(group, UINT64_MAX), ==, 0);
  // The same group again and again.
  for (int round = 0; round < 3; round++) {
    returned_count = 0;
    call workers[10], others[2];
    CHECK_INT(mj_waitgroup_add(group, 10), ==, 0);
    CHECK_INT(mj_waitgroup_wait(group, 0), ==, -ETIMEDOUT);
    for (size_t i = 0; i < 2; i++) begin(&others[i], waits, group, 0, i == 0 ? LONG_NS : UINT64_MAX);
    for (size_t i = 0; i < 10; i++) begin(&workers[i], works, group, 20 + i, 0);
    CHECK_UINT(returned_count, ==, 0);
    CHECK_INT(mj_waitgroup_destroy(group), ==, -EBUSY);
    CHECK_INT(mj_waitgroup_wait(group, UINT64_MAX), ==, 0);
    for (size_t i = 0; i < 10; i++) CHECK(workers[i].returned);
    for (size_t i = 0; i < 2; i++) {
      CHECK_INT(result_of(&others[i]), ==, 0);
      CHECK_PTR(returned_calls[10 + i], ==, &others[i]);
    }
  }
  CHECK_INT(mj_waitgroup_done(group), ==, -EINVAL);
  CHECK_INT(mj_waitgroup_add(group, SIZE_MAX), ==, 0);
  CHECK_INT(mj_waitgroup_add(group, 1), ==, -EOVERFLOW);
  CHECK_INT(mj_waitgroup_destroy(group), ==, 0);
}

static void a_wait_group_waits_for_all(void) { with(waits_for_workers); }

static void ends_waits(void) {
  group = mj_waitgroup_create(scheduler);
  CHECK_INT(mj_waitgroup_add(group, 1), ==, 0);
  call patient;
  check_other_ends(waits, group, &patient);
  CHECK_INT(mj_waitgroup_done(group), ==, 0);
  // That it was done stays true, though there is more to do before the task's turn.
  CHECK_INT(mj_waitgroup_add(group, 1), ==, 0);
  CHECK_INT(mj_task_cancel(patient.task), ==, 0);
  CHECK_INT(result_of(&patient), ==, 0);
  CHECK_INT(mj_waitgroup_destroy(group), ==, 0);
}

static void waits_end_for_other_reasons(void) { with(ends_waits); }

// ---- Misuse ----

static void misuse_is_an_error(void) {
  log_lines_begin();
  errno = 0;
  CHECK_PTR(mj_semaphore_create(NULL, 1), ==, NULL);
  CHECK_INT(errno, ==, EINVAL);
  errno = 0;
  CHECK_PTR(mj_waitgroup_create(NULL), ==, NULL);
  CHECK_INT(errno, ==, EINVAL);
  CHECK_INT(mj_semaphore_acquire(NULL, 1, 0), ==, -EINVAL);
  CHECK_INT(mj_semaphore_try_acquire(NULL, 1), ==, -EINVAL);
  CHECK_INT(mj_semaphore_release(NULL, 1), ==, -EINVAL);
  CHECK_UINT(mj_semaphore_available(NULL), ==, 0);
  CHECK_INT(mj_semaphore_destroy(NULL), ==, -EINVAL);
  CHECK_INT(mj_waitgroup_add(NULL, 1), ==, -EINVAL);
  CHECK_INT(mj_waitgroup_done(NULL), ==, -EINVAL);
  CHECK_INT(mj_waitgroup_wait(NULL, 0), ==, -EINVAL);
  CHECK_INT(mj_waitgroup_destroy(NULL), ==, -EINVAL);
  // Outside a task there is no waiting, but all else works.
  scheduler = new_scheduler();
  make(1);
  group = mj_waitgroup_create(scheduler);
  CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, 2);
  CHECK_INT(mj_semaphore_acquire(semaphore, 1, UINT64_MAX), ==, -EPERM);
  CHECK_INT(mj_waitgroup_wait(group, UINT64_MAX), ==, -EPERM);
  CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, 4);
  CHECK_INT(mj_semaphore_try_acquire(semaphore, 1), ==, 0);
  CHECK_INT(mj_semaphore_release(semaphore, 2), ==, 0);
  CHECK_INT(mj_waitgroup_add(group, 2), ==, 0);
  CHECK_INT(mj_waitgroup_done(group), ==, 0);
  CHECK_INT(mj_waitgroup_destroy(group), ==, 0);
  unmake(2);
  mj_scheduler_destroy(scheduler);
  log_lines_end();
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN(permits_are_counted);
  RUN(permits_are_handed_over_in_order);
  RUN(who_leaves_lets_the_others_go_on);
  RUN(what_was_handed_over_is_kept);
  RUN(as_many_are_inside_as_may_be);
  RUN(a_wait_group_waits_for_all);
  RUN(waits_end_for_other_reasons);
  RUN(misuse_is_an_error);
  return 0;
}
