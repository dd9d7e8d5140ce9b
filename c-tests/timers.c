// Timers: never early, in order, saturating, visible in the public fields, and not starved.
#define _GNU_SOURCE
#include "check.h"

static uint64_t random_state = 88172645463325252u;

// ---- Never early ----

typedef struct sleeps {
  const uint64_t* durations;
  size_t count;
} sleeps;

static void never_wakes_early(mj_scheduler* scheduler, void* user_state) {
  sleeps* state = user_state;
  mj_task* self = scheduler->current_task;
  for (size_t i = 0; i < state->count; i++) {
    uint64_t before = now_ns();
    mj_task_sleep_ns(state->durations[i]);
    uint64_t after = now_ns();
    CHECK_UINT(after - before, >=, state->durations[i]);
    CHECK_UINT(self->heap_index, ==, SIZE_MAX);
    CHECK_INT(self->state, ==, MJ_TASK_RUNNABLE);
  }
  uint64_t before = now_ns();
  mj_task_sleep_ms(2);
  CHECK_UINT(now_ns() - before, >=, 2000000);
  mj_task_exit();
}

static void a_sleep_is_never_early(void) {
  enum { count = 200, tasks = 20 };
  static uint64_t durations[tasks][count];
  static const uint64_t borders[] = {0,      1,      2,       999,     1000,    1001,   49999,
                                     50000,  50001,  999999,  1000000, 1000001, 1999999};
  enum { border_count = sizeof borders / sizeof borders[0] };
  mj_scheduler* scheduler = new_scheduler();
  for (size_t i = 0; i < tasks; i++) {
    for (size_t j = 0; j < count; j++) {
      durations[i][j] = j < border_count ? borders[j] : next_random(&random_state) % 2000000;
    }
    sleeps* state = allocate(sizeof *state);
    state->durations = durations[i];
    state->count = times(count, border_count + 10);
    add_task(scheduler, never_wakes_early, state);
  }
  mj_scheduler_run(scheduler);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->tasks_exited, ==, tasks);
  mj_scheduler_destroy(scheduler);
}

// One task alone: only the timer ends the scheduler's wait.
static void a_lone_sleep_is_never_early(void) {
  static const uint64_t durations[] = {0, 1, 1000, 123456, 999999, 1000000, 1500000, 3000001};
  mj_scheduler* scheduler = new_scheduler();
  sleeps* state = allocate(sizeof *state);
  state->durations = durations;
  state->count = sizeof durations / sizeof durations[0];
  add_task(scheduler, never_wakes_early, state);
  mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
}

static void sleeps_a_second(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  uint64_t before = now_ns();
  mj_task_sleep_s(1);
  CHECK_UINT(now_ns() - before, >=, 1000000000);
  mj_task_exit();
}

static void a_second_is_a_second(void) {
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, sleeps_a_second, NULL);
  mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
}

// ---- Many sleepers ----

enum { most_sleepers = 10000 };

typedef struct sleeper {
  size_t number;      // in the order of creation
  uint64_t deadline;  // as read from the task's field while it slept
  bool cancelled;     // whether the sleep was ended early
  mj_task* task;
} sleeper;

static sleeper sleepers[most_sleepers];
static size_t sleeper_count;
static size_t woken[most_sleepers];  // numbers, in the order of waking
static size_t woken_count;

// A frozen clock, until all sleepers are asleep, however long that takes.
static uint64_t standing_at_ns;

static uint64_t standing_clock(void* user_data) {
  (void)user_data;
  return standing_at_ns != 0 ? standing_at_ns : now_ns();
}

static void sleeps_a_random_time(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  sleeper* self = *(sleeper**)user_state;
  uint64_t duration = 1 + next_random(&random_state) % 100000000;
  uint64_t before = standing_clock(NULL);
  mj_task_sleep_ns(duration);
  if (!self->cancelled) CHECK_UINT(standing_clock(NULL) - before, >=, duration);
  woken[woken_count++] = self->number;
  mj_task_exit();
}

// The heap in the public fields: the earliest deadline first, and every index right. The order of
// the rest is not specified.
static void check_heap(mj_scheduler* scheduler) {
  mj_task** heap = scheduler->timer_heap;
  CHECK_UINT(scheduler->timer_count, <=, scheduler->timer_capacity);
  for (size_t i = 0; i < scheduler->timer_count; i++) {
    CHECK_UINT(heap[i]->heap_index, ==, i);
    CHECK_INT(heap[i]->state, ==, MJ_TASK_SLEEPING);
    CHECK_UINT(heap[0]->wake_time_ns, <=, heap[i]->wake_time_ns);
  }
}

static void create_sleepers(mj_scheduler* scheduler, size_t count) {
  CHECK_INT(count, <=, most_sleepers);
  // Thousands of tasks that need little stack each.
  CHECK_INT(mj_scheduler_set_stack_size(scheduler, 32 * 1024), ==, 0);
  memset(sleepers, 0, sizeof sleepers);
  sleeper_count = count;
  woken_count = 0;
  standing_at_ns = now_ns();
  CHECK_INT(mj_scheduler_set_clock(scheduler, standing_clock, NULL), ==, 0);
  for (size_t i = 0; i < count; i++) {
    sleeper** state = allocate(sizeof *state);
    *state = &sleepers[i];
    sleepers[i].number = i;
    sleepers[i].task = add_task(scheduler, sleeps_a_random_time, state);
  }
}

// Runs after all sleepers have gone to sleep, since it was created after them.
static void notes_the_deadlines(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  CHECK_UINT(scheduler->timer_count, ==, sleeper_count);
  check_heap(scheduler);
  uint64_t earliest = UINT64_MAX;
  for (size_t i = 0; i < sleeper_count; i++) {
    mj_task* task = sleepers[i].task;
    CHECK_PTR(scheduler->timer_heap[task->heap_index], ==, task);
    sleepers[i].deadline = task->wake_time_ns;
    if (task->wake_time_ns < earliest) earliest = task->wake_time_ns;
  }
  CHECK_UINT(scheduler->timer_heap[0]->wake_time_ns, ==, earliest);
  standing_at_ns = 0;
  mj_task_exit();
}

static int by_deadline(const void* left, const void* right) {
  const sleeper* a = &sleepers[*(const size_t*)left];
  const sleeper* b = &sleepers[*(const size_t*)right];
  if (a->deadline != b->deadline) return a->deadline < b->deadline ? -1 : 1;
  return a->number < b->number ? -1 : a->number > b->number;
}

static void many_sleepers_wake_in_order(void) {
  size_t count = times(most_sleepers, 1000);
  mj_scheduler* scheduler = new_scheduler();
  create_sleepers(scheduler, count);
  add_task(scheduler, notes_the_deadlines, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(woken_count, ==, count);
  static size_t expected[most_sleepers];
  for (size_t i = 0; i < count; i++) expected[i] = i;
  qsort(expected, count, sizeof expected[0], by_deadline);
  for (size_t i = 0; i < count; i++) CHECK_UINT(woken[i], ==, expected[i]);
  const mj_metrics* metrics = mj_scheduler_get_metrics(scheduler);
  CHECK_UINT(metrics->timer_expirations, ==, count);
  CHECK_UINT(metrics->timer_cancellations, ==, 0);
  CHECK_UINT(metrics->heap_operations, ==, 2 * count);
  mj_scheduler_destroy(scheduler);
}

// Cancels every third sleep, in a scattered order, and checks the heap after each.
static void cancels_some(mj_scheduler* scheduler, void* user_state) {
  size_t* cancelled = *(size_t**)user_state;
  CHECK_UINT(scheduler->timer_count, ==, sleeper_count);
  for (size_t i = 0; i < sleeper_count; i++) {
    // 7919 is a prime that does not divide the count, so each number comes up once.
    sleeper* one = &sleepers[i * 7919 % sleeper_count];
    if (one->number % 3 != 0) continue;
    one->cancelled = true;
    size_t before = scheduler->timer_count;
    size_t ready = scheduler->runnable_count;
    mj_scheduler_enqueue(scheduler, one->task);
    ++*cancelled;
    CHECK_UINT(scheduler->timer_count, ==, before - 1);
    CHECK_UINT(scheduler->runnable_count, ==, ready + 1);
    CHECK_UINT(one->task->heap_index, ==, SIZE_MAX);
    CHECK_INT(one->task->state, ==, MJ_TASK_RUNNABLE);
    check_heap(scheduler);
  }
  standing_at_ns = 0;
  mj_task_exit();
}

static void the_heap_stays_right_when_sleeps_are_cancelled(void) {
  size_t count = times(1000, 200);
  size_t cancelled = 0;
  mj_scheduler* scheduler = new_scheduler();
  create_sleepers(scheduler, count);
  size_t** state = allocate(sizeof *state);
  *state = &cancelled;
  add_task(scheduler, cancels_some, state);
  mj_scheduler_run(scheduler);
  CHECK_UINT(woken_count, ==, count);
  // The sleepers whose sleep was cancelled woke first.
  for (size_t i = 0; i < count; i++) CHECK_INT(sleepers[woken[i]].cancelled, ==, i < cancelled);
  const mj_metrics* metrics = mj_scheduler_get_metrics(scheduler);
  CHECK_UINT(metrics->timer_cancellations, ==, cancelled);
  CHECK_UINT(metrics->timer_expirations, ==, count - cancelled);
  CHECK_UINT(metrics->heap_operations, ==, 2 * count);
  mj_scheduler_destroy(scheduler);
}

// ---- The run queue in the public fields ----

static void walks_the_queue(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  for (int round = 0; round < 3; round++) {
    size_t count = 0;
    mj_task* last = NULL;
    for (mj_task* task = scheduler->runnable_head; task != NULL; task = task->next) {
      CHECK_INT(task->state, ==, MJ_TASK_RUNNABLE);
      CHECK_UINT(task->heap_index, ==, SIZE_MAX);
      CHECK_PTR(task, !=, scheduler->current_task);
      count++;
      last = task;
    }
    CHECK_UINT(count, ==, 9);
    CHECK_UINT(scheduler->runnable_count, ==, 9);
    CHECK_PTR(scheduler->runnable_tail, ==, last);
    mj_task_yield();
  }
  mj_task_exit();
}

static void the_run_queue_is_the_list(void) {
  mj_scheduler* scheduler = new_scheduler();
  CHECK_PTR(scheduler->runnable_head, ==, NULL);
  CHECK_PTR(scheduler->runnable_tail, ==, NULL);
  CHECK_UINT(scheduler->runnable_count, ==, 0);
  mj_task* tasks[10];
  for (size_t i = 0; i < 10; i++) tasks[i] = add_task(scheduler, walks_the_queue, NULL);
  CHECK_UINT(scheduler->runnable_count, ==, 10);
  CHECK_PTR(scheduler->runnable_head, ==, tasks[0]);
  for (size_t i = 0; i < 9; i++) CHECK_PTR(tasks[i]->next, ==, tasks[i + 1]);
  CHECK_PTR(tasks[9]->next, ==, NULL);
  CHECK_PTR(scheduler->runnable_tail, ==, tasks[9]);
  // Each task sees the nine others: none ends before the last one has checked for the third time.
  mj_scheduler_run(scheduler);
  CHECK_PTR(scheduler->runnable_head, ==, NULL);
  CHECK_PTR(scheduler->runnable_tail, ==, NULL);
  CHECK_UINT(scheduler->runnable_count, ==, 0);
  mj_scheduler_destroy(scheduler);
}

static void finds_an_empty_queue(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  CHECK_UINT(scheduler->runnable_count, ==, 0);
  CHECK_PTR(scheduler->runnable_head, ==, NULL);
  CHECK_PTR(scheduler->runnable_tail, ==, NULL);
  mj_task_yield();
  CHECK_UINT(scheduler->runnable_count, ==, 0);
  mj_task_exit();
}

static void the_running_task_is_not_in_the_queue(void) {
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, finds_an_empty_queue, NULL);
  mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
}

// ---- Saturation ----

typedef struct endless {
  int function;  // 0: _ns, 1: _ms, 2: _s
  uint64_t argument;
} endless;

static int endless_woken;

static void sleeps_past_the_end(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  endless* state = user_state;
  switch (state->function) {
    case 0: mj_task_sleep_ns(state->argument); break;
    case 1: mj_task_sleep_ms(state->argument); break;
    default: mj_task_sleep_s(state->argument); break;
  }
  endless_woken++;
  mj_task_exit();
}

static void watches_the_endless(mj_scheduler* scheduler, void* user_state) {
  size_t count = *(size_t*)user_state;
  CHECK_UINT(scheduler->timer_count, ==, count);
  for (size_t i = 0; i < count; i++) {
    CHECK_UINT(scheduler->timer_heap[i]->wake_time_ns, ==, UINT64_MAX);
    CHECK_INT(scheduler->timer_heap[i]->state, ==, MJ_TASK_SLEEPING);
  }
  // Other tasks keep running, by yields and by timers.
  for (int i = 0; i < 3; i++) {
    mj_task_yield();
    mj_task_sleep_ms(2);
    CHECK_INT(endless_woken, ==, 0);
  }
  CHECK_INT(mj_scheduler_stop(scheduler), ==, 0);
  mj_task_exit();
}

static void an_endless_sleep_saturates(void) {
  static const endless cases[] = {
      {0, UINT64_MAX},
      {0, UINT64_MAX - 1},
      {1, UINT64_MAX},
      {1, UINT64_MAX / 1000000 + 1},
      {1, (uint64_t)1 << 63},
      {2, UINT64_MAX},
      {2, UINT64_MAX / 1000000000 + 1},
      {2, (uint64_t)1 << 63},
  };
  enum { count = sizeof cases / sizeof cases[0] };
  endless_woken = 0;
  mj_scheduler* scheduler = new_scheduler();
  mj_task* tasks[count];
  for (size_t i = 0; i < count; i++) {
    endless* state = allocate(sizeof *state);
    *state = cases[i];
    tasks[i] = add_task(scheduler, sleeps_past_the_end, state);
  }
  size_t* expected = allocate(sizeof *expected);
  *expected = count;
  add_task(scheduler, watches_the_endless, expected);
  mj_scheduler_run(scheduler);
  CHECK_INT(endless_woken, ==, 0);
  // Enqueueing ends even an endless sleep.
  for (size_t i = 0; i < count; i++) mj_scheduler_enqueue(scheduler, tasks[i]);
  mj_scheduler_run(scheduler);
  CHECK_INT(endless_woken, ==, count);
  mj_scheduler_destroy(scheduler);
}

// ---- Starvation ----

// If a timer or descriptor starved, the spinning tasks would spin for ever: they give up after this
// time, with a message. Generous, since it only bounds a failing test.
static const uint64_t patience_ns = 40000000000;

static bool spinners_may_end;
static uint64_t spinners_began;

static void check_patience(unsigned round) {
  if (round % 4096 == 0) CHECK_UINT(now_ns() - spinners_began, <, patience_ns);
}

static void spins_by_yielding(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (unsigned round = 1; !spinners_may_end; round++) {
    check_patience(round);
    mj_task_yield();
  }
  mj_task_exit();
}

static void spins_by_returning(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  check_patience(++*(unsigned*)user_state);
  if (spinners_may_end) mj_task_exit();
}

static void spins_by_succession(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  static unsigned round;
  check_patience(++round);
  if (!spinners_may_end) add_task(scheduler, spins_by_succession, NULL);
  mj_task_exit();
}

static void spins_by_zero_sleeps(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (unsigned round = 1; !spinners_may_end; round++) {
    check_patience(round);
    mj_task_sleep_ns(0);
  }
  mj_task_exit();
}

static void ticks(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < 10; i++) {
    uint64_t before = now_ns();
    mj_task_sleep_ms(1);
    CHECK_UINT(now_ns() - before, >=, 1000000);
  }
  spinners_may_end = true;
  mj_task_exit();
}

static int starving_channel[2];

static void answers(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < 10; i++) {
    char byte;
    mj_task_wait_readable(starving_channel[0]);
    CHECK_INT(read(starving_channel[0], &byte, 1), ==, 1);
    // The next byte: ready at once, and not seen by a wait yet.
    if (i < 9) CHECK_INT(write(starving_channel[1], "x", 1), ==, 1);
  }
  spinners_may_end = true;
  mj_task_exit();
}

static void with_spinners(mj_task_fn* spinner, bool state, size_t count, mj_task_fn* starved) {
  spinners_may_end = false;
  spinners_began = now_ns();
  CHECK_INT(pipe(starving_channel), ==, 0);
  CHECK_INT(write(starving_channel[1], "x", 1), ==, 1);
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, starved, NULL);
  for (size_t i = 0; i < count; i++) {
    add_task(scheduler, spinner, state ? allocate(sizeof(unsigned)) : NULL);
  }
  mj_scheduler_run(scheduler);
  CHECK(spinners_may_end);
  mj_scheduler_destroy(scheduler);
  close(starving_channel[0]);
  close(starving_channel[1]);
}

static void yielding_tasks_do_not_starve_a_timer(void) {
  with_spinners(spins_by_yielding, false, 1, ticks);
  with_spinners(spins_by_yielding, false, 3, ticks);
}

static void yielding_tasks_do_not_starve_a_descriptor(void) {
  with_spinners(spins_by_yielding, false, 1, answers);
  with_spinners(spins_by_yielding, false, 3, answers);
}

static void returning_tasks_do_not_starve_others(void) {
  with_spinners(spins_by_returning, true, 2, ticks);
  with_spinners(spins_by_returning, true, 2, answers);
}

static void new_tasks_do_not_starve_others(void) {
  with_spinners(spins_by_succession, false, 2, ticks);
  with_spinners(spins_by_succession, false, 2, answers);
}

static void zero_sleeps_do_not_starve_others(void) {
  with_spinners(spins_by_zero_sleeps, false, 2, ticks);
  with_spinners(spins_by_zero_sleeps, false, 2, answers);
}

int main(void) {
  RUN(a_sleep_is_never_early);
  RUN(a_lone_sleep_is_never_early);
  RUN(a_second_is_a_second);
  RUN(many_sleepers_wake_in_order);
  RUN(the_heap_stays_right_when_sleeps_are_cancelled);
  RUN(the_run_queue_is_the_list);
  RUN(the_running_task_is_not_in_the_queue);
  RUN(an_endless_sleep_saturates);
  RUN(yielding_tasks_do_not_starve_a_timer);
  RUN(yielding_tasks_do_not_starve_a_descriptor);
  RUN(returning_tasks_do_not_starve_others);
  RUN(new_tasks_do_not_starve_others);
  RUN(zero_sleeps_do_not_starve_others);
  return 0;
}
