// Timers against a clock that the test controls: equal deadlines, and deadlines one nanosecond
// apart.
//
// This program's clock_gettime() replaces libc's for the library too, so that many tasks can go to
// sleep at exactly the same time. A library that read its clock from elsewhere would fail the first
// check of each test.
#define _GNU_SOURCE
#include "check.h"

#include <sys/syscall.h>

static bool clock_is_held;
static uint64_t held_ns;
static uint64_t skipped_ns;  // how far the clock has been ahead since it was last held

int clock_gettime(clockid_t clock, struct timespec* now) {
  int result = (int)syscall(SYS_clock_gettime, clock, now);
  if (result == 0 && clock == CLOCK_MONOTONIC) {
    uint64_t real_ns = (uint64_t)now->tv_sec * 1000000000u + (uint64_t)now->tv_nsec;
    uint64_t ns = clock_is_held ? held_ns : real_ns + skipped_ns;
    now->tv_sec = (time_t)(ns / 1000000000u);
    now->tv_nsec = (long)(ns % 1000000000u);
  }
  return result;
}

static void hold_clock(void) {
  held_ns = now_ns();
  clock_is_held = true;
}

// The clock continues from where it was held; it never goes back.
static void release_clock(void) {
  clock_is_held = false;
  skipped_ns = 0;
  uint64_t real_ns = now_ns();
  if (held_ns > real_ns) skipped_ns = held_ns - real_ns;
}

static const uint64_t hour_ns = 3600u * 1000000000ull;

enum { most_sleepers = 1000 };

typedef struct sleeper {
  size_t number;
  uint64_t duration_ns;
} sleeper;

static size_t woken[most_sleepers];
static size_t woken_count;

static void sleeps(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  sleeper* self = user_state;
  mj_task_sleep_ns(self->duration_ns);
  CHECK_INT(woken_count, <, most_sleepers);
  woken[woken_count++] = self->number;
  mj_task_exit();
}

static sleeper* create_sleeper(mj_scheduler* scheduler, size_t number, uint64_t duration_ns) {
  sleeper* state = allocate(sizeof *state);
  state->number = number;
  state->duration_ns = duration_ns;
  add_task(scheduler, sleeps, state);
  return state;
}

// Yields often enough for the scheduler to check its timers, if it ever does.
static void yield_often(void) {
  for (size_t i = 0, count = times(100000, 5000); i < count; i++) mj_task_yield();
}

static void moves_the_clock_to_the_border(mj_scheduler* scheduler, void* user_state) {
  size_t count = *(size_t*)user_state;
  uint64_t deadline = held_ns + hour_ns;
  CHECK_UINT(scheduler->timer_count, ==, count);
  for (size_t i = 0; i < count; i++) {
    CHECK_UINT(scheduler->timer_heap[i]->wake_time_ns, ==, deadline);
  }
  held_ns = deadline - 1;
  yield_often();
  CHECK_UINT(woken_count, ==, 0);
  CHECK_UINT(scheduler->timer_count, ==, count);
  held_ns = deadline;
  mj_task_exit();
}

static void equal_deadlines_wake_in_the_order_of_creation(void) {
  static const size_t counts[] = {1, 2, 3, 10, 100, most_sleepers};
  for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
    woken_count = 0;
    mj_scheduler* scheduler = new_scheduler();
    for (size_t j = 0; j < counts[i]; j++) create_sleeper(scheduler, j, hour_ns);
    size_t* count = allocate(sizeof *count);
    *count = counts[i];
    add_task(scheduler, moves_the_clock_to_the_border, count);
    hold_clock();
    mj_scheduler_run(scheduler);
    release_clock();
    CHECK_UINT(woken_count, ==, counts[i]);
    for (size_t j = 0; j < counts[i]; j++) CHECK_UINT(woken[j], ==, j);
    mj_scheduler_destroy(scheduler);
  }
}

static void moves_the_clock_by_hours(mj_scheduler* scheduler, void* user_state) {
  size_t* due = *(size_t**)user_state;  // how many sleepers are due at each hour
  for (size_t hour = 0; hour < 3; hour++) {
    uint64_t next = scheduler->timer_heap[0]->wake_time_ns;
    CHECK_UINT(next, ==, held_ns + hour_ns);
    held_ns = next;
    // Until the timers have fired; then the others have run before this one runs again.
    while (woken_count < due[hour]) mj_task_yield();
    CHECK_UINT(woken_count, ==, due[hour]);
  }
  mj_task_exit();
}

static void groups_of_equal_deadlines_keep_their_order(void) {
  enum { count = 300 };
  uint64_t random_state = 2463534242u;
  size_t due[3] = {0};
  static size_t expected[count];
  static sleeper states[count];
  woken_count = 0;
  mj_scheduler* scheduler = new_scheduler();
  for (size_t i = 0; i < count; i++) {
    uint64_t hours = 1 + next_random(&random_state) % 3;
    states[i] = *create_sleeper(scheduler, i, hours * hour_ns);
    for (size_t hour = hours - 1; hour < 3; hour++) due[hour]++;
  }
  size_t next = 0;
  for (uint64_t hours = 1; hours <= 3; hours++) {
    for (size_t i = 0; i < count; i++) {
      if (states[i].duration_ns == hours * hour_ns) expected[next++] = i;
    }
  }
  size_t** state = allocate(sizeof *state);
  *state = due;
  add_task(scheduler, moves_the_clock_by_hours, state);
  hold_clock();
  mj_scheduler_run(scheduler);
  release_clock();
  CHECK_UINT(woken_count, ==, count);
  for (size_t i = 0; i < count; i++) CHECK_UINT(woken[i], ==, expected[i]);
  mj_scheduler_destroy(scheduler);
}

// A sleep that begins later but has the same deadline as others ends after them, and one that is
// canceled and begun again goes to the back.
static void sleeps_again(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  sleeper* self = user_state;
  mj_task_sleep_ns(hour_ns);  // canceled
  mj_task_sleep_ns(hour_ns);
  woken[woken_count++] = self->number;
  mj_task_exit();
}

static void cancels_the_first(mj_scheduler* scheduler, void* user_state) {
  mj_task* first = *(mj_task**)user_state;
  CHECK_PTR(scheduler->timer_heap[0], ==, first);
  mj_scheduler_enqueue(scheduler, first);
  mj_task_yield();
  CHECK_UINT(scheduler->timer_count, ==, 4);
  CHECK_UINT(first->wake_time_ns, ==, held_ns + hour_ns);
  held_ns += hour_ns;
  mj_task_exit();
}

static void a_sleep_begun_again_comes_last(void) {
  woken_count = 0;
  mj_scheduler* scheduler = new_scheduler();
  sleeper* state = allocate(sizeof *state);
  mj_task** first = allocate(sizeof *first);
  *first = add_task(scheduler, sleeps_again, state);
  for (size_t i = 1; i <= 3; i++) create_sleeper(scheduler, i, hour_ns);
  add_task(scheduler, cancels_the_first, first);
  hold_clock();
  mj_scheduler_run(scheduler);
  release_clock();
  CHECK_UINT(woken_count, ==, 4);
  static const size_t expected[] = {1, 2, 3, 0};
  for (size_t i = 0; i < 4; i++) CHECK_UINT(woken[i], ==, expected[i]);
  mj_scheduler_destroy(scheduler);
}

int main(void) {
  RUN(equal_deadlines_wake_in_the_order_of_creation);
  RUN(groups_of_equal_deadlines_keep_their_order);
  RUN(a_sleep_begun_again_comes_last);
  return 0;
}
