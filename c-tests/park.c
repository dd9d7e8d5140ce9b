// Parking, and two promises to programs with their own wait functions: an event that no task waits
// for any more does not keep a wait function awake, and simulated time does not depend on real
// time.
#define _GNU_SOURCE
#include "check.h"

#include <poll.h>

// ---- parking ----

static mj_task* parked;
static int results[3];

static void parks(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  results[0] = mj_task_park(MJ_FOREVER);
  results[1] = mj_task_park(1000000);
  // A wake-up before the call counts, so that none is lost between the check and the park.
  mj_scheduler_enqueue(mj_scheduler_current(), mj_task_current());
  results[2] = mj_task_park(MJ_FOREVER);
  mj_task_exit();
}

static void wakes(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  CHECK_INT(mj_task_wake(parked), ==, 1);
  // It is ready now, and no longer waiting.
  CHECK_INT(mj_task_wake(parked), ==, 0);
  mj_task_exit();
}

static void a_parked_task_is_woken_or_times_out(void) {
  mj_scheduler* scheduler = mj_scheduler_create();
  parked = mj_create_task(scheduler, parks, NULL);
  mj_create_task(scheduler, wakes, NULL);
  mj_scheduler_run(scheduler);
  CHECK_INT(results[0], ==, 0);
  CHECK_INT(results[1], ==, -ETIMEDOUT);
  CHECK_INT(results[2], ==, 0);
  // Only the second call had a timer, and it expired.
  const mj_metrics* metrics = mj_scheduler_get_metrics(scheduler);
  CHECK_UINT(metrics->timer_expirations, ==, 1);
  CHECK_UINT(metrics->timer_cancellations, ==, 0);
  CHECK_UINT(metrics->current_tasks, ==, 0);
  mj_scheduler_destroy(scheduler);
  CHECK_INT(mj_task_park(0), ==, -EPERM);
}

// ---- enqueued before a call whose budget is spent ----

enum { A_BUDGET = 64 };

static mj_chan* room;
static mj_sem* none_left;
static bool has_yielded;

static void spends_all_and_waits(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  char element = 0;
  for (int i = 0; i < A_BUDGET; i++) CHECK_INT(mj_chan_send(room, &element, MJ_FOREVER), ==, 0);
  CHECK(!has_yielded);
  mj_scheduler_enqueue(scheduler, mj_task_current());
  CHECK_INT(mj_chan_send(room, &element, MJ_FOREVER), ==, 0);
  CHECK(has_yielded);
  CHECK_INT(mj_sem_acquire(none_left, 1, 1000000), ==, -EINTR);
  CHECK_INT(mj_sem_acquire(none_left, 1, 1000000), ==, -ETIMEDOUT);
  mj_task_exit();
}

static void notes_its_turn(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  has_yielded = true;
  mj_task_exit();
}

// What it is enqueued for is its next wait, and no yield in the middle of a call that need not wait.
static void a_yield_within_a_call_takes_no_wake_up(void) {
  mj_scheduler* scheduler = new_scheduler();
  count_calls_only(scheduler);
  room = mj_chan_create(scheduler, 1, 2 * A_BUDGET);
  none_left = mj_sem_create(scheduler, 0);
  CHECK(room != NULL && none_left != NULL);
  add_task(scheduler, spends_all_and_waits, NULL);
  add_task(scheduler, notes_its_turn, NULL);
  CHECK_INT(mj_run(scheduler), ==, 0);
  CHECK_INT(mj_chan_destroy(room), ==, 0);
  CHECK_INT(mj_sem_destroy(none_left), ==, 0);
  mj_scheduler_destroy(scheduler);
}

static bool timed_out;

static void parks_briefly(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  results[0] = mj_task_park(1000000);
  mj_task_exit();
}

// Dequeues the task when its deadline has made it ready, puts it back, and enqueues it as many more
// times as it is told.
static void moves_it_late(mj_scheduler* scheduler, void* user_state) {
  do {
    usleep(2000);
    mj_task_yield();
  } while (scheduler->runnable_head != parked);
  timed_out = parked->heap_index == SIZE_MAX;
  CHECK_PTR(mj_scheduler_dequeue(scheduler), ==, parked);
  for (int i = 0; i <= *(int*)user_state; i++) {
    CHECK_INT(mj_scheduler_enqueue(scheduler, parked), ==, 0);
  }
  mj_task_exit();
}

// A dequeue and enqueue that only changes the order does not change what the call returns.
static void a_requeued_task_has_timed_out_and_an_enqueued_one_is_woken(void) {
  for (int times_more = 0; times_more < 2; times_more++) {
    mj_scheduler* scheduler = mj_scheduler_create();
    timed_out = false;
    int* argument = malloc(sizeof *argument);
    *argument = times_more;
    mj_create_task(scheduler, moves_it_late, argument);
    parked = mj_create_task(scheduler, parks_briefly, NULL);
    mj_scheduler_run(scheduler);
    CHECK(timed_out);
    CHECK_INT(results[0], ==, times_more == 0 ? -ETIMEDOUT : 0);
    mj_scheduler_destroy(scheduler);
  }
}

// ---- an event that no task waits for ----

static int channel[2];
static unsigned wait_calls;

static int wait_by_poll(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  (void)user_data;
  wait_calls++;
  struct pollfd backend = {.fd = mj_scheduler_backend_fd(scheduler), .events = POLLIN};
  struct timespec timeout = {.tv_sec = (time_t)(timeout_ns / 1000000000),
                             .tv_nsec = (long)(timeout_ns % 1000000000)};
  int ready = ppoll(&backend, 1, timeout_ns == MJ_FOREVER ? NULL : &timeout, NULL);
  return ready < 0 ? 0 : ready;
}

static void gives_up_and_sleeps(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  CHECK_INT(mj_task_wait_fd(channel[0], POLLIN, 1000000), ==, -ETIMEDOUT);
  // The descriptor becomes ready while it is still armed, and no task waits.
  CHECK_INT(write(channel[1], "x", 1), ==, 1);
  unsigned before = wait_calls;
  mj_task_sleep_ms(50);
  // One call for the event, one for the sleep, and a few for interruptions.
  CHECK_INT(wait_calls - before, <, 10);
  mj_task_exit();
}

static void an_event_that_nobody_waits_for_is_taken(void) {
  CHECK_INT(pipe(channel), ==, 0);
  mj_scheduler* scheduler = mj_scheduler_create();
  mj_scheduler_set_wait_func(scheduler, wait_by_poll, NULL);
  mj_create_task(scheduler, gives_up_and_sleeps, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->io_events, ==, 0);
  mj_scheduler_destroy(scheduler);
  close(channel[0]);
  close(channel[1]);
}

// ---- simulated time ----

static uint64_t simulated_ns;

static uint64_t simulated_clock(void* user_data) {
  (void)user_data;
  return simulated_ns;
}

static int wait_in_simulated_time(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  (void)scheduler;
  (void)user_data;
  simulated_ns += timeout_ns;
  return 0;
}

static unsigned turns_of_others;
static unsigned turns_at_the_end;

static void sleeps_for_no_time(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_sleep_ns(0);
  turns_at_the_end = turns_of_others;
  mj_task_exit();
}

static void yields_much(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < 2000; i++) {
    turns_of_others++;
    mj_task_yield();
  }
  mj_task_exit();
}

static void simulated_time_does_not_depend_on_real_time(void) {
  unsigned first = 0;
  for (int round = 0; round < 20; round++) {
    turns_of_others = 0;
    mj_scheduler* scheduler = mj_scheduler_create();
    CHECK_INT(mj_scheduler_set_clock(scheduler, simulated_clock, NULL), ==, 0);
    mj_scheduler_set_wait_func(scheduler, wait_in_simulated_time, NULL);
    mj_create_task(scheduler, sleeps_for_no_time, NULL);
    mj_create_task(scheduler, yields_much, NULL);
    mj_create_task(scheduler, yields_much, NULL);
    mj_scheduler_run(scheduler);
    mj_scheduler_destroy(scheduler);
    if (round == 0) first = turns_at_the_end;
    CHECK_INT(turns_at_the_end, ==, first);
  }
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN(a_parked_task_is_woken_or_times_out);
  RUN(a_yield_within_a_call_takes_no_wake_up);
  RUN(a_requeued_task_has_timed_out_and_an_enqueued_one_is_woken);
  RUN(an_event_that_nobody_waits_for_is_taken);
  RUN(simulated_time_does_not_depend_on_real_time);
  return 0;
}
