// Clocks: a scheduler in simulated time, and the clock that sleeps and timeouts use.
#define _GNU_SOURCE
#include "check.h"
#include "log_lines.h"

#include <fcntl.h>
#include <poll.h>

#define SECOND_NS UINT64_C(1000000000)
#define MINUTE_NS (60 * SECOND_NS)
#define HOUR_NS (60 * MINUTE_NS)

// ---- A clock that stands still until the wait function moves it ----

typedef struct simulation {
  uint64_t now_ns;
  uint64_t readings;
  uint64_t waits;
  uint64_t late_ns;   // By how much each wait is too long.
  uint64_t pieces;    // Into how many pieces a wait is split.
} simulation;

static uint64_t simulated_ns(void* user_data) {
  simulation* time = user_data;
  time->readings++;
  return time->now_ns;
}

static int advances(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  (void)scheduler;
  simulation* time = user_data;
  if (timeout_ns == 0) return 0;
  // Without a timeout nothing would ever happen again.
  CHECK_UINT(timeout_ns, !=, MJ_FOREVER);
  time->waits++;
  if (time->pieces > 1) {
    time->now_ns += timeout_ns / time->pieces + 1;
  } else {
    time->now_ns += timeout_ns + time->late_ns;
  }
  return 0;
}

static mj_scheduler* simulated_scheduler(simulation* time) {
  mj_scheduler* scheduler = new_scheduler();
  CHECK_INT(mj_scheduler_set_clock(scheduler, simulated_ns, time), ==, 0);
  mj_scheduler_set_wait_func(scheduler, advances, time);
  return scheduler;
}

// ---- The same run twice ----

typedef struct step {
  uint64_t at_ns;
  uint64_t task;
} step;

typedef struct history {
  step* steps;
  size_t count, capacity;
} history;

static history* current_history;

static void note(mj_scheduler* scheduler, uint64_t task) {
  history* self = current_history;
  if (self->count == self->capacity) {
    self->capacity = 2 * self->capacity + 64;
    self->steps = realloc(self->steps, self->capacity * sizeof *self->steps);
    CHECK(self->steps != NULL);
  }
  self->steps[self->count++] = (step){mj_scheduler_now_ns(scheduler), task};
}

static void check_same(const history* left, const history* right) {
  CHECK_UINT(left->count, ==, right->count);
  for (size_t i = 0; i < left->count; i++) {
    CHECK_UINT(left->steps[i].at_ns, ==, right->steps[i].at_ns);
    CHECK_UINT(left->steps[i].task, ==, right->steps[i].task);
  }
}

// Runs a simulation twice, and keeps the history of the first run for further checks.
static void check_repeats(void (*simulate)(void), history* first) {
  *first = (history){0};
  current_history = first;
  simulate();
  history second = {0};
  current_history = &second;
  simulate();
  check_same(first, &second);
  CHECK_UINT(first->count, >, 0);
  free(second.steps);
}

// ---- A day ----

static const uint64_t periods_ns[] = {
    30 * SECOND_NS, 7 * SECOND_NS, 30 * SECOND_NS, HOUR_NS, 11 * SECOND_NS + 1,
};
enum { period_count = sizeof periods_ns / sizeof periods_ns[0] };

// The guide's cleanup task, for a day.
static void cleans_up(mj_scheduler* scheduler, void* user_state) {
  uint64_t number = *(uint64_t*)user_state;
  uint64_t period_ns = periods_ns[number];
  for (uint64_t due_ns = period_ns; due_ns <= 24 * HOUR_NS; due_ns += period_ns) {
    CHECK_INT(mj_sleep_ns(period_ns), ==, 0);
    // Exact to the nanosecond, since the clock only advances by what a wait asked for.
    CHECK_UINT(mj_scheduler_now_ns(scheduler), ==, due_ns);
    note(scheduler, number);
  }
  mj_task_exit();
}

static void simulate_a_day(void) {
  simulation time = {0};
  mj_scheduler* scheduler = simulated_scheduler(&time);
  uint64_t sleeps = 0;
  for (uint64_t i = 0; i < period_count; i++) {
    uint64_t* number = allocate(sizeof *number);
    *number = i;
    add_task(scheduler, cleans_up, number);
    sleeps += 24 * HOUR_NS / periods_ns[i];
  }
  mj_scheduler_run(scheduler);
  const mj_metrics* metrics = mj_scheduler_get_metrics(scheduler);
  CHECK_UINT(metrics->timer_expirations, ==, sleeps);
  CHECK_UINT(metrics->heap_operations, ==, 2 * sleeps);
  CHECK_UINT(metrics->tasks_exited, ==, period_count);
  CHECK_UINT(current_history->count, ==, sleeps);
  CHECK_UINT(time.now_ns, ==, 24 * HOUR_NS);
  // One wait for each instant at which something happens.
  CHECK_UINT(metrics->wait_calls, >=, time.waits);
  CHECK_UINT(time.waits, <=, sleeps);
  // The wait function did not sleep, so the time spent in it is real time, not simulated.
  CHECK_UINT(metrics->total_wait_time_ns, <, HOUR_NS);
  mj_scheduler_destroy(scheduler);
}

// Computes who wakes when: tasks with equal deadlines wake in the order in which they went to
// sleep.
static void check_day(const history* day) {
  uint64_t due_ns[period_count], serial[period_count], last_serial = period_count;
  for (uint64_t i = 0; i < period_count; i++) {
    due_ns[i] = periods_ns[i];
    serial[i] = i;
  }
  for (size_t i = 0; i < day->count; i++) {
    uint64_t next = 0;
    for (uint64_t j = 1; j < period_count; j++) {
      bool before = due_ns[j] < due_ns[next];
      if (before || (due_ns[j] == due_ns[next] && serial[j] < serial[next])) next = j;
    }
    CHECK_UINT(day->steps[i].at_ns, ==, due_ns[next]);
    CHECK_UINT(day->steps[i].task, ==, next);
    due_ns[next] += periods_ns[next];
    serial[next] = last_serial++;
  }
}

static void a_day_passes_in_a_moment(void) {
  uint64_t before = now_ns();
  history first;
  check_repeats(simulate_a_day, &first);
  uint64_t elapsed_ns = now_ns() - before;
  printf("two days passed in %.3f s\n", (double)elapsed_ns / 1e9);
  // Generous, for any machine.
  CHECK_UINT(elapsed_ns, <, 48 * HOUR_NS / 1000);
  check_day(&first);
  free(first.steps);
}

// ---- All kinds of waits ----

static int channel[2];
static mj_task* wanderers[20];
static uint64_t speed;

// Busy-waits in real time, which must make no difference.
static void dawdle(uint64_t nanoseconds) {
  for (uint64_t start = now_ns(); now_ns() - start < nanoseconds;) {
  }
}

static void wanders(mj_scheduler* scheduler, void* user_state) {
  uint64_t number = *(uint64_t*)user_state;
  uint64_t random = 88172645463325252u + number;
  for (int i = 0; i < 50; i++) {
    dawdle(speed * (next_random(&random) % 2000));
    uint64_t choice = next_random(&random) % 8;
    uint64_t span_ns = next_random(&random) % (10 * SECOND_NS) + 1;
    int result = 0;
    if (choice < 3) {
      result = mj_sleep_ns(span_ns);
    } else if (choice == 3) {
      result = mj_task_sleep_until_ns(mj_scheduler_now_ns(scheduler) + span_ns);
    } else if (choice == 4) {
      result = mj_task_wait_fd(channel[0], POLLIN, span_ns);
    } else if (choice == 5) {
      result = mj_task_join(mj_task_get_id(wanderers[(number + 1) % 20]), span_ns);
    } else if (choice == 6) {
      for (uint64_t j = 0; j < span_ns % 5; j++) result = mj_yield();
    } else {
      mj_task* other = wanderers[span_ns % 20];
      if (other != NULL) result = mj_task_wake(other);
    }
    note(scheduler, number * 1000 + (uint64_t)(result + 500));
  }
  wanderers[number] = NULL;
  mj_task_exit();
}

static void simulate_wandering(void) {
  simulation time = {.now_ns = 12345};
  mj_scheduler* scheduler = simulated_scheduler(&time);
  CHECK_INT(pipe2(channel, O_CLOEXEC | O_NONBLOCK), ==, 0);
  for (uint64_t i = 0; i < 20; i++) {
    uint64_t* number = allocate(sizeof *number);
    *number = i;
    wanderers[i] = add_task(scheduler, wanders, number);
  }
  mj_scheduler_run(scheduler);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->current_tasks, ==, 0);
  mj_scheduler_destroy(scheduler);
  close(channel[0]);
  close(channel[1]);
  // The second run is slower.
  speed++;
}

static void simulated_runs_are_deterministic(void) {
  history first;
  speed = 0;
  check_repeats(simulate_wandering, &first);
  CHECK_UINT(first.count, ==, 20 * 50);
  free(first.steps);
}

// ---- Limits follow the clock ----

static void keeps_its_limits(mj_scheduler* scheduler, void* user_state) {
  mj_task* self = scheduler->current_task;
  simulation* time = *(simulation**)user_state;
  uint64_t start = time->now_ns;
  CHECK_UINT(mj_scheduler_now_ns(scheduler), ==, start);
  CHECK_INT(mj_task_wait_fd(channel[0], POLLIN, HOUR_NS), ==, -ETIMEDOUT);
  CHECK_UINT(time->now_ns, ==, start + HOUR_NS);
  CHECK_INT(mj_task_sleep_until_ns(start + 3 * HOUR_NS), ==, 0);
  CHECK_UINT(time->now_ns, ==, start + 3 * HOUR_NS);
  CHECK_UINT(self->wake_time_ns, ==, start + 3 * HOUR_NS);
  mj_task_sleep_s(60);
  mj_task_sleep_ms(60000);
  mj_task_sleep_ns(MINUTE_NS);
  CHECK_UINT(time->now_ns, ==, start + 3 * HOUR_NS + 3 * MINUTE_NS);
  // A deadline in the past is over at once.
  CHECK_INT(mj_task_sleep_until_ns(start), ==, 0);
  CHECK_INT(mj_task_sleep_until_ns(0), ==, 0);
  CHECK_INT(mj_task_sleep_until_ns(time->now_ns), ==, 0);
  CHECK_INT(mj_sleep_ns(0), ==, 0);
  CHECK_UINT(time->now_ns, ==, start + 3 * HOUR_NS + 3 * MINUTE_NS);
  mj_task_exit();
}

static void joins_for_ten_minutes(mj_scheduler* scheduler, void* user_state) {
  mj_task_id other = *(mj_task_id*)user_state;
  uint64_t start = mj_scheduler_now_ns(scheduler);
  CHECK_INT(mj_task_join(other, 10 * MINUTE_NS), ==, -ETIMEDOUT);
  CHECK_UINT(mj_scheduler_now_ns(scheduler), ==, start + 10 * MINUTE_NS);
  CHECK_INT(mj_task_join(other, MJ_FOREVER - 1), ==, 0);
  CHECK_UINT(mj_scheduler_now_ns(scheduler), ==, start + 3 * HOUR_NS + 3 * MINUTE_NS);
  mj_task_exit();
}

static void timeouts_follow_the_clock(void) {
  CHECK_INT(pipe2(channel, O_CLOEXEC | O_NONBLOCK), ==, 0);
  simulation time = {.now_ns = 5 * SECOND_NS};
  mj_scheduler* scheduler = simulated_scheduler(&time);
  simulation** state = allocate(sizeof *state);
  *state = &time;
  mj_task_id* id = allocate(sizeof *id);
  *id = mj_task_get_id(add_task(scheduler, keeps_its_limits, state));
  add_task(scheduler, joins_for_ten_minutes, id);
  mj_scheduler_run(scheduler);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->tasks_exited, ==, 2);
  mj_scheduler_destroy(scheduler);
  close(channel[0]);
  close(channel[1]);
}

// The wait function may return early or late: no task wakes before its deadline.
static void sleeps_for_hours(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  for (uint64_t i = 1; i <= 10; i++) {
    uint64_t before = mj_scheduler_now_ns(scheduler);
    CHECK_INT(mj_sleep_ns(i * HOUR_NS), ==, 0);
    CHECK_UINT(mj_scheduler_now_ns(scheduler), >=, before + i * HOUR_NS);
  }
  mj_task_exit();
}

static void no_sleeper_wakes_early(void) {
  simulation late = {.late_ns = 12345};
  mj_scheduler* scheduler = simulated_scheduler(&late);
  add_task(scheduler, sleeps_for_hours, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(late.now_ns, ==, 55 * HOUR_NS + 10 * 12345);
  mj_scheduler_destroy(scheduler);

  simulation early = {.pieces = 3};
  scheduler = simulated_scheduler(&early);
  for (int i = 0; i < 3; i++) add_task(scheduler, sleeps_for_hours, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(early.waits, >=, 30);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->timer_expirations, ==, 30);
  mj_scheduler_destroy(scheduler);
}

// ---- Periods ----

typedef struct period {
  simulation* time;
  bool until;
} period;

// Works for 3 s of each 30.
static void works_periodically(mj_scheduler* scheduler, void* user_state) {
  period* self = user_state;
  simulation* time = self->time;
  uint64_t start = mj_scheduler_now_ns(scheduler);
  for (uint64_t i = 1; i <= 100; i++) {
    if (self->until) {
      CHECK_INT(mj_task_sleep_until_ns(start + i * 30 * SECOND_NS), ==, 0);
      CHECK_UINT(time->now_ns, ==, start + i * 30 * SECOND_NS);
    } else {
      CHECK_INT(mj_sleep_ns(30 * SECOND_NS), ==, 0);
      CHECK_UINT(time->now_ns, ==, start + i * 30 * SECOND_NS + (i - 1) * 3 * SECOND_NS);
    }
    time->now_ns += 3 * SECOND_NS;
  }
  mj_task_exit();
}

static void periods_do_not_drift(void) {
  for (int until = 0; until < 2; until++) {
    simulation time = {.now_ns = 777};
    mj_scheduler* scheduler = simulated_scheduler(&time);
    period* state = allocate(sizeof *state);
    *state = (period){&time, until == 1};
    add_task(scheduler, works_periodically, state);
    mj_scheduler_run(scheduler);
    mj_scheduler_destroy(scheduler);
  }
}

static void ticks_in_real_time(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  const uint64_t period_ns = 1000000;
  uint64_t start = mj_scheduler_now_ns(scheduler);
  for (uint64_t i = 1; i <= 20; i++) {
    CHECK_INT(mj_task_sleep_until_ns(start + i * period_ns), ==, 0);
    CHECK_UINT(mj_scheduler_now_ns(scheduler), >=, start + i * period_ns);
    CHECK_UINT(scheduler->current_task->wake_time_ns, ==, start + i * period_ns);
    dawdle(period_ns / 4);
  }
  // More than a period late, the deadlines that have passed are over at once, and none is skipped.
  dawdle(5 * period_ns);
  uint64_t missed = 0;
  uint64_t waits_before = mj_scheduler_get_metrics(scheduler)->timer_expirations;
  for (uint64_t i = 21; start + i * period_ns <= mj_scheduler_now_ns(scheduler); i++) {
    CHECK_INT(mj_task_sleep_until_ns(start + i * period_ns), ==, 0);
    missed++;
  }
  CHECK_UINT(missed, >=, 4);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->timer_expirations - waits_before, ==, missed);
  mj_task_exit();
}

static void real_periods_are_never_early(void) {
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, ticks_in_real_time, NULL);
  mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
}

// ---- Setting it ----

static simulation other_time;
static uint64_t refusals;

static int refuses_a_clock(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  CHECK_INT(mj_scheduler_set_clock(scheduler, simulated_ns, &other_time), ==, -EBUSY);
  CHECK_INT(mj_scheduler_set_clock(scheduler, NULL, NULL), ==, -EBUSY);
  refusals++;
  return advances(scheduler, timeout_ns, user_data);
}

static void is_refused_a_clock(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  CHECK_INT(mj_scheduler_set_clock(scheduler, simulated_ns, &other_time), ==, -EBUSY);
  CHECK_INT(mj_sleep_ns(SECOND_NS), ==, 0);
  CHECK_INT(mj_scheduler_set_clock(scheduler, NULL, NULL), ==, -EBUSY);
  refusals++;
  mj_task_exit();
}

static void sleeps_for_an_hour(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  CHECK_INT(mj_sleep_ns(HOUR_NS), ==, 0);
  mj_task_exit();
}

static void stops(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  CHECK_INT(mj_scheduler_stop(scheduler), ==, 0);
  mj_task_exit();
}

static void a_clock_in_use_stays(void) {
  refusals = 0;
  other_time = (simulation){0};
  simulation time = {.now_ns = 1000};
  mj_scheduler* scheduler = simulated_scheduler(&time);
  mj_scheduler_set_wait_func(scheduler, refuses_a_clock, &time);
  add_task(scheduler, is_refused_a_clock, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(refusals, >=, 2);
  CHECK_UINT(time.now_ns, ==, 1000 + SECOND_NS);

  // A sleeper left over from a run keeps using the clock that its sleep began with.
  add_task(scheduler, sleeps_for_an_hour, NULL);
  add_task(scheduler, stops, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(scheduler->timer_count, ==, 1);
  CHECK_INT(mj_scheduler_set_clock(scheduler, simulated_ns, &other_time), ==, -EBUSY);
  CHECK_INT(mj_scheduler_set_clock(scheduler, NULL, NULL), ==, -EBUSY);
  mj_scheduler_run(scheduler);
  CHECK_UINT(scheduler->timer_count, ==, 0);
  CHECK_UINT(time.now_ns, ==, 1000 + SECOND_NS + HOUR_NS);
  CHECK_UINT(other_time.readings, ==, 0);

  // While no task uses it, it can be replaced by a clock with any reading.
  CHECK_INT(mj_scheduler_set_clock(scheduler, simulated_ns, &other_time), ==, 0);
  CHECK_UINT(mj_scheduler_now_ns(scheduler), ==, 0);
  CHECK_UINT(other_time.readings, ==, 1);
  mj_scheduler_destroy(scheduler);
}

static void sleeps_for_a_ms(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  uint64_t before = now_ns();
  CHECK_INT(mj_sleep_ns(1000000), ==, 0);
  CHECK_UINT(now_ns() - before, >=, 1000000);
  CHECK_UINT(scheduler->current_task->wake_time_ns, >=, before + 1000000);
  mj_task_exit();
}

static void check_is_monotonic(mj_scheduler* scheduler) {
  uint64_t before = now_ns();
  uint64_t now = mj_scheduler_now_ns(scheduler);
  CHECK_UINT(now, >=, before);
  CHECK_UINT(now, <=, now_ns());
}

static void null_is_the_monotonic_clock(void) {
  mj_scheduler* scheduler = new_scheduler();
  check_is_monotonic(scheduler);
  simulation time = {.now_ns = 42};
  CHECK_INT(mj_scheduler_set_clock(scheduler, simulated_ns, &time), ==, 0);
  CHECK_UINT(mj_scheduler_now_ns(scheduler), ==, 42);
  time.now_ns = 43;
  CHECK_UINT(mj_scheduler_now_ns(scheduler), ==, 43);
  CHECK_INT(mj_scheduler_set_clock(scheduler, NULL, NULL), ==, 0);
  check_is_monotonic(scheduler);
  CHECK_UINT(time.readings, ==, 2);
  add_task(scheduler, sleeps_for_a_ms, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(time.readings, ==, 2);
  mj_scheduler_destroy(scheduler);
}

static void a_clock_needs_a_scheduler(void) {
  log_lines_begin();
  simulation time = {0};
  CHECK_INT(mj_scheduler_set_clock(NULL, simulated_ns, &time), ==, -EINVAL);
  CHECK_INT(mj_scheduler_set_clock(NULL, NULL, NULL), ==, -EINVAL);
  CHECK_UINT(mj_scheduler_now_ns(NULL), ==, 0);
  CHECK_UINT(time.readings, ==, 0);
  log_lines_end();
}

// ---- Real descriptors in simulated time ----

static int polls_and_advances(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  // Time only passes when no descriptor is ready.
  int events = mj_wait_poll(scheduler, 0, NULL);
  CHECK_INT(events, >=, 0);
  if (events > 0) return events;
  return advances(scheduler, timeout_ns, user_data);
}

static void writes_every_minute(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  for (int i = 0; i < 10; i++) {
    CHECK_INT(mj_sleep_ns(MINUTE_NS), ==, 0);
    uint64_t now = mj_scheduler_now_ns(scheduler);
    CHECK_INT(write(channel[1], &now, sizeof now), ==, sizeof now);
  }
  mj_task_exit();
}

static void reads_every_minute(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  for (uint64_t i = 1; i <= 10; i++) {
    CHECK_INT(mj_task_wait_fd(channel[0], POLLIN, HOUR_NS), ==, POLLIN);
    uint64_t written_at;
    CHECK_INT(read(channel[0], &written_at, sizeof written_at), ==, sizeof written_at);
    CHECK_UINT(written_at, ==, i * MINUTE_NS);
    CHECK_UINT(mj_scheduler_now_ns(scheduler), ==, written_at);
  }
  CHECK_INT(mj_task_wait_fd(channel[0], POLLIN, HOUR_NS), ==, -ETIMEDOUT);
  mj_task_exit();
}

static void descriptors_are_served_in_simulated_time(void) {
  CHECK_INT(pipe2(channel, O_CLOEXEC | O_NONBLOCK), ==, 0);
  simulation time = {0};
  mj_scheduler* scheduler = simulated_scheduler(&time);
  mj_scheduler_set_wait_func(scheduler, polls_and_advances, &time);
  add_task(scheduler, reads_every_minute, NULL);
  add_task(scheduler, writes_every_minute, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(time.now_ns, ==, 10 * MINUTE_NS + HOUR_NS);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->io_events, ==, 10);
  mj_scheduler_destroy(scheduler);
  close(channel[0]);
  close(channel[1]);
}

// ---- Deadlines that have already passed ----

// Zero-length sleeps, beside tasks that yield: when they end depends on scheduling order and on the
// clock, not on how long tasks run in real time.
static void naps(mj_scheduler* scheduler, void* user_state) {
  uint64_t number = *(uint64_t*)user_state;
  for (int i = 0; i < 5; i++) {
    if (number == 0) {
      CHECK_INT(mj_sleep_ns(0), ==, 0);
    } else {
      CHECK_INT(mj_task_sleep_until_ns(1), ==, 0);
    }
    note(scheduler, number);
  }
  mj_task_exit();
}

static void yields_often(mj_scheduler* scheduler, void* user_state) {
  uint64_t number = *(uint64_t*)user_state;
  for (int i = 0; i < 200; i++) {
    dawdle(speed * 3000);
    CHECK_INT(mj_yield(), ==, 0);
    note(scheduler, number);
  }
  mj_task_exit();
}

static void simulate_naps(void) {
  simulation time = {.now_ns = SECOND_NS};
  mj_scheduler* scheduler = simulated_scheduler(&time);
  for (uint64_t i = 0; i < 4; i++) {
    uint64_t* number = allocate(sizeof *number);
    *number = i;
    add_task(scheduler, i < 2 ? naps : yields_often, number);
  }
  mj_scheduler_run(scheduler);
  CHECK_UINT(time.now_ns, ==, SECOND_NS);
  mj_scheduler_destroy(scheduler);
  speed++;
}

static void simulated_zero_length_sleeps_are_deterministic(void) {
  history first;
  speed = 0;
  check_repeats(simulate_naps, &first);
  free(first.steps);
}

// ---- A clock that goes back ----

typedef struct two_clocks {
  uint64_t now_ns;    // The scheduler's.
  uint64_t waited_ns; // One that nobody sets.
  bool has_gone_back;
} two_clocks;

static uint64_t first_of_two_ns(void* user_data) { return ((two_clocks*)user_data)->now_ns; }

static int goes_back_once(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  (void)scheduler;
  two_clocks* clocks = user_data;
  if (timeout_ns == 0) return 0;
  CHECK_UINT(timeout_ns, !=, MJ_FOREVER);
  // In the middle of what it waits for, once.
  if (!clocks->has_gone_back) {
    timeout_ns /= 2;
    clocks->now_ns -= HOUR_NS;
    clocks->has_gone_back = true;
  }
  clocks->now_ns += timeout_ns;
  clocks->waited_ns += timeout_ns;
  return 0;
}

static void waits_for_ten_minutes(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  mj_sem* none = mj_sem_create(scheduler, 0);
  CHECK_INT(mj_sem_acquire(none, 1, 10 * MINUTE_NS), ==, -ETIMEDOUT);
  CHECK_INT(mj_sem_destroy(none), ==, 0);
  mj_task_exit();
}

static void sleeps_for_ten_minutes(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  CHECK_INT(mj_sleep_ns(10 * MINUTE_NS), ==, 0);
  mj_task_exit();
}

static void a_clock_that_goes_back_delays_by_as_much(void) {
  mj_task_fn* const bodies[] = {sleeps_for_ten_minutes, waits_for_ten_minutes};
  for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
    two_clocks clocks = {.now_ns = 2 * HOUR_NS};
    mj_scheduler* scheduler = new_scheduler();
    CHECK_INT(mj_scheduler_set_clock(scheduler, first_of_two_ns, &clocks), ==, 0);
    mj_scheduler_set_wait_func(scheduler, goes_back_once, &clocks);
    add_task(scheduler, bodies[i], NULL);
    CHECK_INT(mj_run(scheduler), ==, 0);
    CHECK_UINT(clocks.now_ns, ==, 2 * HOUR_NS + 10 * MINUTE_NS);
    CHECK_UINT(clocks.waited_ns, ==, HOUR_NS + 10 * MINUTE_NS);
    mj_scheduler_destroy(scheduler);
  }
}

// ---- How often the clock is read ----

static uint64_t readings_of_ready, readings_of_more;

static void waits_for_what_is_ready(mj_scheduler* scheduler, void* user_state) {
  simulation* time = *(simulation**)user_state;
  int ends[2];
  CHECK_INT(pipe(ends), ==, 0);
  CHECK_INT(write(ends[1], "x", 1), ==, 1);
  time->readings = 0;
  CHECK_INT(mj_task_wait_fd(ends[0], POLLIN, MJ_FOREVER), ==, POLLIN);
  CHECK_UINT(time->readings, ==, 0);
  CHECK_INT(mj_task_wait_fd(ends[0], POLLIN, HOUR_NS), ==, POLLIN);
  readings_of_ready = time->readings;
  // A call that does not block needs no deadline.
  mj_mutex* mutex = mj_mutex_create(scheduler);
  time->readings = 0;
  CHECK_INT(mj_mutex_lock(mutex, HOUR_NS), ==, 0);
  CHECK_INT(mj_mutex_unlock(mutex), ==, 0);
  CHECK_INT(mj_mutex_destroy(mutex), ==, 0);
  readings_of_more = time->readings;
  close(ends[0]);
  close(ends[1]);
  mj_task_exit();
}

static void a_wait_with_a_timeout_reads_the_clock_once(void) {
  // With the program's wait function, and with the built-in one.
  for (int round = 0; round < 2; round++) {
    simulation time = {0};
    mj_scheduler* scheduler = simulated_scheduler(&time);
    if (round == 1) mj_scheduler_set_wait_func(scheduler, NULL, NULL);
    simulation** state = allocate(sizeof *state);
    *state = &time;
    add_task(scheduler, waits_for_what_is_ready, state);
    mj_scheduler_run(scheduler);
    mj_scheduler_destroy(scheduler);
    CHECK_UINT(readings_of_ready, ==, 1);
    CHECK_UINT(readings_of_more, ==, 0);
  }
}

static uint64_t at_the_end(void* user_data) {
  (void)user_data;
  return UINT64_MAX;
}

static void waits_at_the_end(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  int ends[2];
  CHECK_INT(pipe(ends), ==, 0);
  mj_sem* none = mj_sem_create(scheduler, 0);
  CHECK_INT(mj_sem_acquire(none, 1, 0), ==, -ETIMEDOUT);
  CHECK_INT(mj_task_wait_fd(ends[0], POLLIN, 0), ==, -ETIMEDOUT);
  CHECK_INT(mj_task_park(0), ==, -ETIMEDOUT);
  CHECK_INT(mj_sleep_ns(0), ==, 0);
  CHECK_INT(mj_task_sleep_until_ns(UINT64_MAX - 1), ==, 0);
  CHECK_INT(mj_sem_destroy(none), ==, 0);
  close(ends[0]);
  close(ends[1]);
  mj_task_exit();
}

// A limit of 0 has passed, also where the clock stands at the moment that stands for never.
static void a_limit_of_zero_passes_at_the_end_of_the_clock(void) {
  mj_scheduler* scheduler = mj_scheduler_create();
  CHECK_INT(mj_scheduler_set_clock(scheduler, at_the_end, NULL), ==, 0);
  CHECK(mj_create_task(scheduler, waits_at_the_end, NULL) != NULL);
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_scheduler_destroy(scheduler);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN(a_day_passes_in_a_moment);
  RUN(simulated_runs_are_deterministic);
  RUN(timeouts_follow_the_clock);
  RUN(no_sleeper_wakes_early);
  RUN(periods_do_not_drift);
  RUN(real_periods_are_never_early);
  RUN(a_clock_in_use_stays);
  RUN(null_is_the_monotonic_clock);
  RUN(a_clock_needs_a_scheduler);
  RUN(descriptors_are_served_in_simulated_time);
  RUN(simulated_zero_length_sleeps_are_deterministic);
  RUN(a_clock_that_goes_back_delays_by_as_much);
  RUN(a_wait_with_a_timeout_reads_the_clock_once);
  RUN(a_limit_of_zero_passes_at_the_end_of_the_clock);
  return 0;
}
