// The contract of a wait function: how it is called, and what it may do.
#define _GNU_SOURCE
#include "check.h"
#include "log_lines.h"

#include <poll.h>
#include <pthread.h>

static int channel[2];

// Records the calls of a wait function.
typedef struct calls {
  size_t count;
  uint64_t last_timeout_ns;
  uint64_t longest_timeout_ns;  // MJ_FOREVER apart
  size_t endless;
  mj_task* task;  // a task that it may wake
} calls;

static void note_call(mj_scheduler* scheduler, uint64_t timeout_ns, calls* state) {
  state->count++;
  state->last_timeout_ns = timeout_ns;
  if (timeout_ns == MJ_FOREVER) {
    state->endless++;
  } else if (timeout_ns > state->longest_timeout_ns) {
    state->longest_timeout_ns = timeout_ns;
  }
  // Called between tasks, on the scheduler's thread, and with a timeout only if no task is ready.
  CHECK_PTR(mj_scheduler_current(), ==, scheduler);
  CHECK_PTR(scheduler->current_task, ==, NULL);
  CHECK_PTR(scheduler->wait_data, ==, state);
  if (timeout_ns > 0) CHECK_UINT(scheduler->runnable_count, ==, 0);
}

static void sleep_ns(uint64_t nanoseconds) {
  struct timespec duration = {(time_t)(nanoseconds / 1000000000u),
                              (long)(nanoseconds % 1000000000u)};
  nanosleep(&duration, NULL);
}

// The guide's default wait function, which also records its calls.
static int sleeps_as_told(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  note_call(scheduler, timeout_ns, user_data);
  CHECK_UINT(timeout_ns, !=, MJ_FOREVER);
  if (timeout_ns > 0) sleep_ns(timeout_ns);
  return 0;
}

static void sleeps_30_ms(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  uint64_t before = now_ns();
  mj_task_sleep_ms(30);
  CHECK_UINT(now_ns() - before, >=, 30000000);
  mj_task_exit();
}

// Simulated time does not pass while the machine is busy with something else.
static uint64_t simulated_now_ns;

static uint64_t simulated_clock(void* user_data) {
  (void)user_data;
  return simulated_now_ns;
}

static mj_scheduler* scheduler_in_simulated_time(mj_wait_fn function, void* user_data) {
  mj_scheduler* scheduler = new_scheduler();
  CHECK_INT(mj_scheduler_set_clock(scheduler, simulated_clock, NULL), ==, 0);
  mj_scheduler_set_wait_func(scheduler, function, user_data);
  return scheduler;
}

static int passes_as_told(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  note_call(scheduler, timeout_ns, user_data);
  CHECK_UINT(timeout_ns, !=, MJ_FOREVER);
  simulated_now_ns += timeout_ns;
  return 0;
}

static void sleeps_30_simulated_ms(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  uint64_t before = simulated_now_ns;
  mj_task_sleep_ms(30);
  CHECK_UINT(simulated_now_ns - before, ==, 30000000);
  mj_task_exit();
}

static void the_timeout_is_the_time_to_the_next_timer(void) {
  calls state;
  memset(&state, 0, sizeof state);
  mj_scheduler* scheduler = scheduler_in_simulated_time(passes_as_told, &state);
  add_task(scheduler, sleeps_30_simulated_ms, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(state.count, >=, 1);
  CHECK_UINT(state.longest_timeout_ns, ==, 30000000);
  CHECK_UINT(state.endless, ==, 0);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->wait_calls, ==, state.count);
  mj_scheduler_destroy(scheduler);
}

static void the_fields_hold_what_was_set(void) {
  calls state;
  memset(&state, 0, sizeof state);
  mj_scheduler* scheduler = new_scheduler();
  CHECK(scheduler->wait_func == NULL);
  mj_scheduler_set_wait_func(scheduler, sleeps_as_told, &state);
  CHECK(scheduler->wait_func == sleeps_as_told);
  CHECK_PTR(scheduler->wait_data, ==, &state);
  add_task(scheduler, sleeps_30_ms, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(state.count, >=, 1);
  CHECK_UINT(state.longest_timeout_ns, <=, 30000000);
  CHECK_UINT(state.endless, ==, 0);
  mj_scheduler_destroy(scheduler);
}

// ---- Waking tasks ----

static int parks, wakes;

static void parks_three_times(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  if (parks > 0) wakes++;
  if (++parks == 4) {
    mj_task_exit();
  } else {
    scheduler->current_task->state = MJ_TASK_WAITING_IO;
  }
}

// As the guide's own epoll function does it, including state and counter.
static int wakes_as_the_guide_does(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  calls* state = user_data;
  note_call(scheduler, timeout_ns, state);
  // Only this function can wake the task, and there is no timer.
  if (timeout_ns != 0) CHECK_UINT(timeout_ns, ==, MJ_FOREVER);
  mj_task* task = state->task;
  if (task == NULL || task->state != MJ_TASK_WAITING_IO) return 0;
  task->state = MJ_TASK_RUNNABLE;
  mj_scheduler_enqueue(scheduler, task);
  scheduler->metrics.io_events++;
  return 1;
}

static void it_wakes_parked_tasks_as_the_guides_does(void) {
  calls state;
  memset(&state, 0, sizeof state);
  parks = 0;
  wakes = 0;
  mj_scheduler* scheduler = new_scheduler();
  mj_scheduler_set_wait_func(scheduler, wakes_as_the_guide_does, &state);
  state.task = add_task(scheduler, parks_three_times, NULL);
  log_lines_begin();
  mj_scheduler_run(scheduler);
  // No deadlock: the wait function could wake the task, and did.
  CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, 0);
  log_lines_end();
  CHECK_INT(wakes, ==, 3);
  CHECK_UINT(state.endless, >=, 3);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->io_events, ==, 3);
  mj_scheduler_destroy(scheduler);
}

static int for_ever_calls;

static void sleeps_for_ever(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  CHECK_INT(mj_sleep_ns(MJ_FOREVER), ==, -EINTR);
  CHECK_INT(mj_sleep_ns(MJ_FOREVER - 1), ==, -EINTR);
  mj_task_exit();
}

static int wakes_a_sleeper(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  if (timeout_ns == 0) return 0;
  CHECK_UINT(timeout_ns, ==, MJ_FOREVER);
  if (++for_ever_calls % 3 == 0) mj_scheduler_enqueue(scheduler, *(mj_task**)user_data);
  return 0;
}

// It may know who wakes one that sleeps for ever, so the run goes on. Without it nobody is known.
static void it_is_asked_for_those_that_sleep_for_ever(void) {
  for_ever_calls = 0;
  mj_scheduler* scheduler = new_scheduler();
  mj_task* task = add_task(scheduler, sleeps_for_ever, NULL);
  CHECK_INT(mj_run(scheduler), ==, -EDEADLK);
  mj_scheduler_set_wait_func(scheduler, wakes_a_sleeper, &task);
  CHECK_INT(mj_run(scheduler), ==, 0);
  CHECK_INT(for_ever_calls, ==, 6);
  mj_scheduler_destroy(scheduler);
}

static void notes_one_turn(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  wakes++;
  mj_task_exit();
}

static int creates_a_task_and_wakes(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  calls* state = user_data;
  note_call(scheduler, timeout_ns, state);
  if (state->count == 1) add_task(scheduler, notes_one_turn, NULL);
  if (state->count == 2) mj_scheduler_enqueue(scheduler, state->task);
  return 1;
}

static void sleeps_long(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_sleep_s(1000000);
  wakes++;
  mj_task_exit();
}

static void a_wait_function_may_create_tasks_and_end_sleeps(void) {
  calls state;
  memset(&state, 0, sizeof state);
  wakes = 0;
  mj_scheduler* scheduler = new_scheduler();
  mj_scheduler_set_wait_func(scheduler, creates_a_task_and_wakes, &state);
  state.task = add_task(scheduler, sleeps_long, NULL);
  mj_scheduler_run(scheduler);
  CHECK_INT(wakes, ==, 2);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->timer_cancellations, ==, 1);
  mj_scheduler_destroy(scheduler);
}

// ---- Results that are not counts of events ----

static int fails_at_once(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  note_call(scheduler, timeout_ns, user_data);
  sleep_ns(1000000);
  return -1;
}

static void a_failure_is_logged_and_ends_nothing(void) {
  calls state;
  memset(&state, 0, sizeof state);
  mj_scheduler* scheduler = new_scheduler();
  mj_scheduler_set_wait_func(scheduler, fails_at_once, &state);
  add_task(scheduler, sleeps_30_ms, NULL);
  log_lines_begin();
  mj_scheduler_run(scheduler);
  CHECK_INT(log_lines_from(MJ_LOG_WARN), >=, 1);
  log_lines_end();
  const mj_metrics* metrics = mj_scheduler_get_metrics(scheduler);
  CHECK_UINT(metrics->tasks_exited, ==, 1);
  CHECK_UINT(metrics->wait_calls, ==, state.count);
  mj_scheduler_destroy(scheduler);
}

static int returns_early(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  note_call(scheduler, timeout_ns, user_data);
  simulated_now_ns += (timeout_ns + 2) / 3;
  // An arbitrary count, at times.
  return ((calls*)user_data)->count % 2 == 0 ? 0 : 7;
}

static void returning_early_wakes_nobody_early(void) {
  calls state;
  memset(&state, 0, sizeof state);
  mj_scheduler* scheduler = scheduler_in_simulated_time(returns_early, &state);
  for (int i = 0; i < 3; i++) add_task(scheduler, sleeps_30_simulated_ms, NULL);
  log_lines_begin();
  mj_scheduler_run(scheduler);
  CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, 0);
  log_lines_end();
  CHECK_UINT(state.count, >=, 2);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->timer_expirations, ==, 3);
  mj_scheduler_destroy(scheduler);
}

// ---- What it must not do ----

static int blocks_in_vain(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  note_call(scheduler, timeout_ns, user_data);
  CHECK_WARNS(mj_task_yield());
  CHECK_WARNS(mj_task_sleep_s(1000000));
  CHECK_WARNS(mj_task_wait_readable(channel[0]));
  CHECK_WARNS(mj_task_exit());
  CHECK_WARNS(mj_scheduler_run(scheduler));
  CHECK_WARNS(mj_scheduler_destroy(scheduler));
  if (timeout_ns > 0 && timeout_ns != MJ_FOREVER) sleep_ns(timeout_ns);
  return 0;
}

static void blocking_calls_in_it_are_reported(void) {
  CHECK_INT(pipe(channel), ==, 0);
  calls state;
  memset(&state, 0, sizeof state);
  mj_scheduler* scheduler = new_scheduler();
  mj_scheduler_set_wait_func(scheduler, blocks_in_vain, &state);
  add_task(scheduler, sleeps_30_ms, NULL);
  log_lines_begin();
  mj_scheduler_run(scheduler);
  log_lines_end();
  CHECK_UINT(state.count, >=, 1);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->tasks_exited, ==, 1);
  mj_scheduler_destroy(scheduler);
  close(channel[0]);
  close(channel[1]);
}

// ---- Setting it ----

static void sets_another(mj_scheduler* scheduler, void* user_state) {
  calls* states = *(calls**)user_state;
  mj_task_sleep_ms(1);
  CHECK_UINT(states[0].count, >=, 1);
  mj_scheduler_set_wait_func(scheduler, sleeps_as_told, &states[1]);
  size_t first_count = states[0].count;
  mj_task_sleep_ms(1);
  CHECK_UINT(states[1].count, >=, 1);
  CHECK_UINT(states[0].count, ==, first_count);
  mj_scheduler_set_wait_func(scheduler, NULL, NULL);
  CHECK(scheduler->wait_func == NULL);
  size_t second_count = states[1].count;
  mj_task_sleep_ms(1);
  CHECK_UINT(states[1].count, ==, second_count);
  mj_task_exit();
}

static void it_can_be_exchanged_during_a_run(void) {
  calls states[2];
  memset(states, 0, sizeof states);
  mj_scheduler* scheduler = new_scheduler();
  mj_scheduler_set_wait_func(scheduler, sleeps_as_told, &states[0]);
  calls** state = allocate(sizeof *state);
  *state = states;
  add_task(scheduler, sets_another, state);
  mj_scheduler_run(scheduler);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->tasks_exited, ==, 1);
  mj_scheduler_destroy(scheduler);
}

static void the_application_preset_has_one(void) {
  mj_scheduler* scheduler = setup_scheduler_with_epoll();
  CHECK(scheduler != NULL);
  CHECK(scheduler->wait_func != NULL);
  mj_scheduler_destroy(scheduler);
}

// ---- Not starved ----

static void spins(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  uint64_t start = now_ns();
  // Generous: it only bounds a failing test.
  for (unsigned i = 1; wakes == 0; i++) {
    if (i % 4096 == 0) CHECK_UINT(now_ns() - start, <, 40000000000);
    mj_task_yield();
  }
  mj_task_exit();
}

static void parks_once(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  if (++parks == 1) {
    scheduler->current_task->state = MJ_TASK_WAITING_IO;
  } else {
    wakes++;
    mj_task_exit();
  }
}

static int wakes_at_the_tenth_call(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  calls* state = user_data;
  note_call(scheduler, timeout_ns, state);
  // The spinning task is always ready, so the timeout is 0.
  CHECK_UINT(timeout_ns, ==, 0);
  if (state->count != 10) return 0;
  mj_scheduler_enqueue(scheduler, state->task);
  return 1;
}

static void yielding_tasks_do_not_starve_it(void) {
  calls state;
  memset(&state, 0, sizeof state);
  parks = 0;
  wakes = 0;
  mj_scheduler* scheduler = new_scheduler();
  mj_scheduler_set_wait_func(scheduler, wakes_at_the_tenth_call, &state);
  state.task = add_task(scheduler, parks_once, NULL);
  add_task(scheduler, spins, NULL);
  mj_scheduler_run(scheduler);
  CHECK_INT(wakes, ==, 1);
  CHECK_UINT(state.count, >=, 10);
  mj_scheduler_destroy(scheduler);
}

// ---- The library's own descriptors and stops, through the backend descriptor ----

typedef struct poller {
  calls calls;
  size_t by_backend;  // how often the backend descriptor ended the wait
} poller;

static int polls_the_backend(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  poller* state = user_data;
  note_call(scheduler, timeout_ns, &state->calls);
  struct pollfd backend = {.fd = mj_scheduler_backend_fd(scheduler), .events = POLLIN};
  CHECK_INT(backend.fd, >=, 0);
  struct timespec timeout = {(time_t)(timeout_ns / 1000000000u), (long)(timeout_ns % 1000000000u)};
  int count = ppoll(&backend, 1, timeout_ns == MJ_FOREVER ? NULL : &timeout, NULL);
  if (count < 0) return errno == EINTR ? 0 : -1;
  if (count > 0) state->by_backend++;
  return count;
}

static void reads_three_bytes(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < 3; i++) {
    char byte;
    mj_task_wait_readable(channel[0]);
    CHECK_INT(read(channel[0], &byte, 1), ==, 1);
    wakes++;
  }
  mj_task_exit();
}

static void writes_three_bytes(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < 3; i++) {
    mj_task_sleep_ms(2);
    CHECK_INT(wakes, ==, i);
    CHECK_INT(write(channel[1], "x", 1), ==, 1);
  }
  mj_task_exit();
}

static void* writes_from_a_thread(void* argument) {
  (void)argument;
  for (int i = 0; i < 3; i++) {
    usleep(2000);
    CHECK_INT(write(channel[1], "x", 1), ==, 1);
  }
  return NULL;
}

static void waits_for_ever(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_wait_readable(channel[0]);
  CHECK(!"a task has been woken that nothing wakes");
}

static void* stops_after_10_ms(void* argument) {
  usleep(10000);
  CHECK_INT(mj_scheduler_stop(argument), ==, 0);
  return NULL;
}

static void a_wait_function_of_the_program_serves_the_library(void) {
  poller state;
  memset(&state, 0, sizeof state);
  CHECK_INT(pipe(channel), ==, 0);
  mj_scheduler* scheduler = new_scheduler();
  mj_scheduler_set_wait_func(scheduler, polls_the_backend, &state);

  // Descriptors that tasks of this thread make ready, and then another thread.
  wakes = 0;
  add_task(scheduler, reads_three_bytes, NULL);
  add_task(scheduler, writes_three_bytes, NULL);
  mj_scheduler_run(scheduler);
  CHECK_INT(wakes, ==, 3);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->io_events, ==, 3);

  wakes = 0;
  size_t before = state.by_backend;
  pthread_t thread;
  CHECK_INT(pthread_create(&thread, NULL, writes_from_a_thread, NULL), ==, 0);
  add_task(scheduler, reads_three_bytes, NULL);
  mj_scheduler_run(scheduler);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
  CHECK_INT(wakes, ==, 3);
  CHECK_UINT(state.by_backend, >, before);

  // A stop from another thread, twice: the first must not end the second run.
  for (int i = 0; i < 2; i++) {
    CHECK_INT(pthread_create(&thread, NULL, stops_after_10_ms, scheduler), ==, 0);
    if (i == 0) add_task(scheduler, waits_for_ever, NULL);
    mj_scheduler_run(scheduler);
    CHECK_INT(pthread_join(thread, NULL), ==, 0);
  }

  // When nothing happens, the backend descriptor is not readable.
  wakes = 0;
  size_t calls_before = state.calls.count;
  add_task(scheduler, sleeps_30_ms, NULL);
  CHECK_INT(pthread_create(&thread, NULL, stops_after_10_ms, scheduler), ==, 0);
  mj_scheduler_run(scheduler);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
  CHECK_UINT(state.calls.count - calls_before, <, 100);
  mj_scheduler_destroy(scheduler);
  close(channel[0]);
  close(channel[1]);
}

// ---- Events at the same time as a deadline ----

static mj_task* late_task;
static bool late_event;
static int late_result;

// Descriptors and the wait function are polled only now and then, so that a poll that happens to be due
// does not hide a missing one.
static void compute_5_ms(void) { simulated_now_ns += 5000000; }

// Only this function reports the event.
static int tells_of_the_event(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  (void)user_data;
  if (late_event) {
    late_event = false;
    mj_scheduler_enqueue(scheduler, late_task);
    return 1;
  }
  if (timeout_ns > 0) sleep_ns(timeout_ns == MJ_FOREVER ? 1000000 : timeout_ns);
  return 0;
}

static void parks_for_1_ms(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  late_result = mj_task_park(1000000);
  mj_task_exit();
}

static void makes_the_event_and_computes(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  late_event = true;
  compute_5_ms();
  mj_task_yield();
  mj_task_exit();
}

static void the_wait_function_is_called_before_a_deadline_counts(void) {
  mj_scheduler* scheduler = scheduler_in_simulated_time(tells_of_the_event, NULL);
  late_task = add_task(scheduler, parks_for_1_ms, NULL);
  add_task(scheduler, makes_the_event_and_computes, NULL);
  mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
  CHECK_INT(late_result, ==, 0);
}

static void waits_for_1_ms(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  late_result = mj_task_wait_fd(channel[0], POLLIN, 1000000);
  mj_task_exit();
}

static void writes_and_computes(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  CHECK_INT(write(channel[1], "x", 1), ==, 1);
  compute_5_ms();
  mj_task_exit();
}

static void a_descriptor_that_is_ready_never_times_out(void) {
  mj_wait_fn functions[] = {NULL, mj_wait_epoll, mj_wait_poll, mj_wait_nanosleep,
                            tells_of_the_event};
  for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
    CHECK_INT(pipe(channel), ==, 0);
    mj_scheduler* scheduler = scheduler_in_simulated_time(functions[i], NULL);
    add_task(scheduler, waits_for_1_ms, NULL);
    add_task(scheduler, writes_and_computes, NULL);
    mj_scheduler_run(scheduler);
    mj_scheduler_destroy(scheduler);
    CHECK_INT(late_result, ==, POLLIN);
    close(channel[0]);
    close(channel[1]);
  }
}

int main(void) {
  RUN(the_timeout_is_the_time_to_the_next_timer);
  RUN(the_fields_hold_what_was_set);
  RUN(it_wakes_parked_tasks_as_the_guides_does);
  RUN(it_is_asked_for_those_that_sleep_for_ever);
  RUN(a_wait_function_may_create_tasks_and_end_sleeps);
  RUN(a_failure_is_logged_and_ends_nothing);
  RUN(returning_early_wakes_nobody_early);
  RUN(blocking_calls_in_it_are_reported);
  RUN(it_can_be_exchanged_during_a_run);
  RUN(the_application_preset_has_one);
  RUN(yielding_tasks_do_not_starve_it);
  RUN(a_wait_function_of_the_program_serves_the_library);
  RUN(the_wait_function_is_called_before_a_deadline_counts);
  RUN(a_descriptor_that_is_ready_never_times_out);
  return 0;
}
