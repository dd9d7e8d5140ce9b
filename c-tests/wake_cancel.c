// Ending waits: waking a task, and cancelling it.
#define _GNU_SOURCE
#include "check.h"
#include "bodies.h"
#include "log_lines.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>

static int empty_pipe[2];
static int full_pipe[2];

static void open_pipes(void) {
  CHECK_INT(pipe2(empty_pipe, O_CLOEXEC | O_NONBLOCK), ==, 0);
  CHECK_INT(pipe2(full_pipe, O_CLOEXEC | O_NONBLOCK), ==, 0);
  static const char zeros[65536];
  // First in large pieces and then byte by byte, since a pipe takes short writes completely or not
  // at all.
  while (write(full_pipe[1], zeros, sizeof zeros) > 0) {
  }
  while (write(full_pipe[1], zeros, 1) > 0) {
  }
}

static void close_pipes(void) {
  for (int i = 0; i < 2; i++) {
    close(empty_pipe[i]);
    close(full_pipe[i]);
  }
}

// ---- Every call that suspends ----

static mj_task_id never_ends;

static int call_yield(void) {
  mj_task_yield();
  return 0;
}

static int call_yield_now(void) { return mj_yield(); }

static int call_sleep_ns(void) {
  mj_task_sleep_ns(LONG_NS);
  return 0;
}

static int call_sleep_ms(void) {
  mj_task_sleep_ms(LONG_NS / 1000000);
  return 0;
}

static int call_sleep_s(void) {
  mj_task_sleep_s(LONG_NS / 1000000000);
  return 0;
}

static int call_sleep_for(void) { return mj_sleep_ns(LONG_NS); }

static int call_sleep_for_ever(void) { return mj_sleep_ns(MJ_FOREVER); }

static int call_sleep_until(void) { return mj_task_sleep_until_ns(now_ns() + LONG_NS); }

static int call_sleep_until_never(void) { return mj_task_sleep_until_ns(MJ_FOREVER); }

static int call_wait_readable(void) {
  mj_task_wait_readable(empty_pipe[0]);
  return 0;
}

static int call_wait_writable(void) { return mj_task_wait_fd(full_pipe[1], POLLOUT, MJ_FOREVER); }

static int call_wait_fd(void) { return mj_task_wait_fd(empty_pipe[0], POLLIN, MJ_FOREVER); }

static int call_wait_fd_with_a_limit(void) {
  return mj_task_wait_fd(empty_pipe[0], POLLIN, LONG_NS);
}

static int call_wait_for_a_hangup(void) { return mj_task_wait_fd(empty_pipe[0], 0, LONG_NS); }

static int call_join(void) { return mj_task_join(never_ends, MJ_FOREVER); }

static int call_join_with_a_limit(void) { return mj_task_join(never_ends, LONG_NS); }

typedef struct call {
  const char* name;
  int (*make)(void);
  bool reports;         // Whether the call returns how the wait ended.
  bool has_timer;
  mj_task_state state;  // The task's state while it waits.
} call;

static const call calls[] = {
    {"mj_task_yield", call_yield, false, false, MJ_TASK_RUNNABLE},
    {"mj_yield", call_yield_now, true, false, MJ_TASK_RUNNABLE},
    {"mj_task_sleep_ns", call_sleep_ns, false, true, MJ_TASK_SLEEPING},
    {"mj_task_sleep_ms", call_sleep_ms, false, true, MJ_TASK_SLEEPING},
    {"mj_task_sleep_s", call_sleep_s, false, true, MJ_TASK_SLEEPING},
    {"mj_sleep_ns", call_sleep_for, true, true, MJ_TASK_SLEEPING},
    {"mj_sleep_ns without end", call_sleep_for_ever, true, true, MJ_TASK_SLEEPING},
    {"mj_task_sleep_until_ns", call_sleep_until, true, true, MJ_TASK_SLEEPING},
    {"mj_task_sleep_until_ns without end", call_sleep_until_never, true, true, MJ_TASK_SLEEPING},
    {"mj_task_wait_readable", call_wait_readable, false, false, MJ_TASK_WAITING_IO},
    {"mj_task_wait_fd for POLLOUT", call_wait_writable, true, false, MJ_TASK_WAITING_IO},
    {"mj_task_wait_fd", call_wait_fd, true, false, MJ_TASK_WAITING_IO},
    {"mj_task_wait_fd with a limit", call_wait_fd_with_a_limit, true, true, MJ_TASK_WAITING_IO},
    {"mj_task_wait_fd for no events", call_wait_for_a_hangup, true, true, MJ_TASK_WAITING_IO},
    {"mj_task_join", call_join, true, false, MJ_TASK_WAITING_IO},
    {"mj_task_join with a limit", call_join_with_a_limit, true, true, MJ_TASK_WAITING_IO},
};
enum { call_count = sizeof calls / sizeof calls[0] };

static bool waits(const call* call) { return call->state != MJ_TASK_RUNNABLE; }

// What a call returns whose wait was ended with this status.
static int expected(const call* call, int status) { return call->reports ? status : 0; }

static const call* current_call;
static int result;
static size_t returned;

static void makes_the_call(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  mj_task* self = scheduler->current_task;
  result = current_call->make();
  CHECK_PTR(mj_task_current(), ==, self);
  returned++;
  mj_task_exit();
}

// Adds a task that makes the call, and lets it run until it waits.
static mj_task* parked_in(mj_scheduler* scheduler, const call* call) {
  check_running = call->name;
  current_call = call;
  result = 1000;
  mj_task* waiter = add_task(scheduler, makes_the_call, NULL);
  size_t before = returned;
  mj_task_yield();
  CHECK_UINT(returned, ==, before);
  CHECK_INT(waiter->state, ==, call->state);
  return waiter;
}

static void check_returned(int status) {
  size_t before = returned;
  mj_task_yield();
  CHECK_UINT(returned, ==, before + 1);
  CHECK_INT(result, ==, expected(current_call, status));
}

// ---- Waking ----

static int (*end_wait)(mj_task* task);
static int ended_status;

static int by_enqueueing(mj_task* task) {
  // Its result does not distinguish a waiting task from a ready one.
  int status = mj_scheduler_enqueue(mj_scheduler_current(), task);
  return status == 0 ? 1 : status;
}

static void ends_each_wait(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  const char* test = check_running;
  never_ends = mj_task_get_id(scheduler->current_task);
  for (size_t i = 0; i < call_count; i++) {
    if (!waits(&calls[i])) continue;
    mj_task* waiter = parked_in(scheduler, &calls[i]);
    uint64_t before = mj_scheduler_get_metrics(scheduler)->timer_cancellations;
    CHECK_UINT(scheduler->timer_count, ==, calls[i].has_timer);
    CHECK_INT(end_wait(waiter), ==, 1);
    CHECK_INT(waiter->state, ==, MJ_TASK_RUNNABLE);
    CHECK_UINT(scheduler->timer_count, ==, 0);
    CHECK_UINT(waiter->heap_index, ==, SIZE_MAX);
    CHECK_PTR(scheduler->runnable_tail, ==, waiter);
    CHECK_UINT(scheduler->runnable_count, ==, 1);
    uint64_t after = mj_scheduler_get_metrics(scheduler)->timer_cancellations;
    CHECK_UINT(after - before, ==, calls[i].has_timer);
    // The second time it is not waiting any more.
    CHECK_INT(mj_task_wake(waiter), ==, 0);
    CHECK_UINT(scheduler->runnable_count, ==, 1);
    check_returned(ended_status);
  }
  check_running = test;
  mj_task_exit();
}

static void check_each_wait_ends(int (*how)(mj_task*), int status) {
  open_pipes();
  log_lines_begin();
  returned = 0;
  end_wait = how;
  ended_status = status;
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, ends_each_wait, NULL);
  mj_scheduler_run(scheduler);
  const mj_metrics* metrics = mj_scheduler_get_metrics(scheduler);
  uint64_t timers = 0, all = 0;
  for (size_t i = 0; i < call_count; i++) {
    timers += calls[i].has_timer;
    all += waits(&calls[i]);
  }
  CHECK_UINT(returned, ==, all);
  CHECK_UINT(metrics->timer_cancellations, ==, timers);
  CHECK_UINT(metrics->timer_expirations, ==, 0);
  CHECK_UINT(metrics->io_events, ==, 0);
  CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, 0);
  mj_scheduler_destroy(scheduler);
  log_lines_end();
  close_pipes();
}

static void waking_ends_each_wait(void) { check_each_wait_ends(mj_task_wake, -EINTR); }

static void enqueueing_ends_each_wait(void) { check_each_wait_ends(by_enqueueing, -EINTR); }

static char order[8];

static void notes_its_letter(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  strcat(order, user_state);
  mj_task_exit();
}

static void wakes_those_that_do_not_wait(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  mj_task* fresh = add_task(scheduler, notes_its_letter, strdup("f"));
  add_task(scheduler, notes_its_letter, strdup("g"));
  CHECK_INT(mj_task_wake(fresh), ==, 0);
  CHECK_INT(mj_task_wake(mj_task_current()), ==, 0);
  CHECK_UINT(scheduler->runnable_count, ==, 2);
  CHECK_PTR(scheduler->runnable_head, ==, fresh);
  // Waking the running task has no effect on its next wait; enqueueing it has.
  uint64_t before = now_ns();
  CHECK_INT(mj_sleep_ns(1000000), ==, 0);
  CHECK_UINT(now_ns() - before, >=, 1000000);
  CHECK_STR(order, "fg");
  mj_task_exit();
}

static void waking_a_task_that_does_not_wait_changes_nothing(void) {
  order[0] = '\0';
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, wakes_those_that_do_not_wait, NULL);
  mj_scheduler_run(scheduler);
  CHECK_STR(order, "fg");
  mj_scheduler_destroy(scheduler);
}

static void enqueues_itself_and_waits(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  const char* test = check_running;
  mj_task* self = scheduler->current_task;
  for (size_t i = 0; i < call_count; i++) {
    check_running = calls[i].name;
    // Joining itself is a different error.
    if (calls[i].make == call_join || calls[i].make == call_join_with_a_limit) continue;
    CHECK_INT(mj_scheduler_enqueue(scheduler, self), ==, 0);
    CHECK_INT(calls[i].make(), ==, expected(&calls[i], waits(&calls[i]) ? -EINTR : 0));
    CHECK_UINT(scheduler->timer_count, ==, 0);
  }
  check_running = test;
  mj_task_exit();
}

static void enqueueing_oneself_ends_the_next_wait(void) {
  open_pipes();
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, enqueues_itself_and_waits, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->tasks_exited, ==, 1);
  mj_scheduler_destroy(scheduler);
  close_pipes();
}

// A task that is woken when its deadline passes wakes once, and is counted once.
static size_t race_rounds, full_sleeps, woken_sleeps, successful_wakes;
static mj_task* racer;

static void sleeps_20_us_often(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (size_t i = 0; i < race_rounds; i++) {
    uint64_t before = now_ns();
    int status = mj_sleep_ns(20000);
    if (status == 0) {
      full_sleeps++;
      CHECK_UINT(now_ns() - before, >=, 20000);
    } else {
      CHECK_INT(status, ==, -EINTR);
      woken_sleeps++;
    }
  }
  racer = NULL;
  mj_task_exit();
}

static void wakes_the_racer(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  while (racer != NULL) {
    if (racer->state != MJ_TASK_SLEEPING) {
      mj_task_yield();
      continue;
    }
    // Half of the wakes aim at the deadline itself, with a yield in between, the others come before
    // it.
    uint64_t due = racer->wake_time_ns;
    while (racer != NULL && racer->state == MJ_TASK_SLEEPING && now_ns() + 300 < due) {
      if (full_sleeps % 2 == 0) mj_task_yield();
    }
    if (racer != NULL) {
      int status = mj_task_wake(racer);
      CHECK_INT(status, >=, 0);
      successful_wakes += (size_t)status;
    }
    mj_task_yield();
  }
  mj_task_exit();
}

static void a_wake_and_a_timeout_can_coincide(void) {
  race_rounds = times(1000, 100);
  full_sleeps = woken_sleeps = successful_wakes = 0;
  mj_scheduler* scheduler = new_scheduler();
  racer = add_task(scheduler, sleeps_20_us_often, NULL);
  add_task(scheduler, wakes_the_racer, NULL);
  mj_scheduler_run(scheduler);
  const mj_metrics* metrics = mj_scheduler_get_metrics(scheduler);
  CHECK_UINT(full_sleeps + woken_sleeps, ==, race_rounds);
  CHECK_UINT(metrics->timer_expirations, ==, full_sleeps);
  CHECK_UINT(metrics->timer_cancellations, ==, woken_sleeps);
  CHECK_UINT(successful_wakes, ==, woken_sleeps);
  CHECK_UINT(metrics->heap_operations, ==, 2 * race_rounds);
  mj_scheduler_destroy(scheduler);
}

// ---- Tasks parked by their own body ----

static int entries;

static void parks_itself_once(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  if (++entries == 1) {
    scheduler->current_task->state = MJ_TASK_WAITING_IO;
  } else {
    result = mj_yield();
    mj_task_exit();
  }
}

static void wakes_the_parked(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  mj_task* parked = add_task(scheduler, parks_itself_once, NULL);
  mj_task_id id = mj_task_get_id(parked);
  mj_task_yield();
  CHECK_INT(entries, ==, 1);
  CHECK_INT(parked->state, ==, MJ_TASK_WAITING_IO);
  // A wake returns whether it has woken the task, a cancel does not.
  CHECK_INT(end_wait(parked), ==, ended_status == 0);
  CHECK_INT(mj_task_join(id, MJ_FOREVER), ==, 0);
  CHECK_INT(entries, ==, 2);
  CHECK_INT(result, ==, ended_status);
  mj_task_exit();
}

static void a_task_parked_by_its_body_is_called_again(void) {
  for (int i = 0; i < 2; i++) {
    entries = 0;
    end_wait = i == 0 ? mj_task_wake : mj_task_cancel;
    ended_status = i == 0 ? 0 : -ECANCELED;
    mj_scheduler* scheduler = new_scheduler();
    add_task(scheduler, wakes_the_parked, NULL);
    mj_scheduler_run(scheduler);
    CHECK_INT(entries, ==, 2);
    CHECK_UINT(mj_scheduler_get_metrics(scheduler)->tasks_exited, ==, 2);
    mj_scheduler_destroy(scheduler);
  }
}

// ---- Cancelling ----

// Makes every call in a task that is cancelled: it returns at once, after the other ready tasks
// have run.
static void check_each_call_is_canceled(mj_scheduler* scheduler) {
  const char* test = check_running;
  for (int round = 0; round < 3; round++) {
    for (size_t i = 0; i < call_count; i++) {
      check_running = calls[i].name;
      uint64_t before = watcher_turns;
      CHECK_INT(calls[i].make(), ==, expected(&calls[i], -ECANCELED));
      CHECK_UINT(watcher_turns, ==, before + 1);
      CHECK_UINT(scheduler->timer_count, ==, 0);
    }
  }
  check_running = test;
}

static void waits_and_makes_each_call(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  result = current_call->make();
  returned++;
  check_each_call_is_canceled(scheduler);
  mj_task_exit();
}

static void cancels_each_wait(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  const char* test = check_running;
  never_ends = mj_task_get_id(scheduler->current_task);
  for (size_t i = 0; i < call_count; i++) {
    check_running = calls[i].name;
    current_call = &calls[i];
    size_t before = returned;
    mj_task* waiter = add_task(scheduler, waits_and_makes_each_call, NULL);
    mj_task_id id = mj_task_get_id(waiter);
    mj_task_yield();
    CHECK_UINT(returned, ==, before);
    CHECK_INT(waiter->state, ==, calls[i].state);
    CHECK_INT(mj_task_cancel(waiter), ==, 0);
    CHECK_INT(mj_task_cancel(waiter), ==, 0);
    CHECK_INT(waiter->state, ==, MJ_TASK_RUNNABLE);
    mj_task_yield();
    CHECK_UINT(returned, ==, before + 1);
    check_running = calls[i].name;
    CHECK_INT(result, ==, expected(&calls[i], -ECANCELED));
    // The next task gets the same slot, and must not be cancelled.
    while (mj_task_find(scheduler, id) != NULL) mj_task_yield();
  }
  watcher_may_end = true;
  check_running = test;
  mj_task_exit();
}

static void a_canceled_task_waits_no_more(void) {
  open_pipes();
  log_lines_begin();
  returned = 0;
  mj_scheduler* scheduler = new_scheduler();
  add_watcher(scheduler);
  add_task(scheduler, cancels_each_wait, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(returned, ==, call_count);
  uint64_t timers = 0;
  for (size_t i = 0; i < call_count; i++) timers += calls[i].has_timer;
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->timer_cancellations, ==, timers);
  CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, 0);
  mj_scheduler_destroy(scheduler);
  log_lines_end();
  close_pipes();
}

static void cancels_itself(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  mj_task* self = scheduler->current_task;
  never_ends = mj_task_get_id(scheduler->runnable_head);  // The watcher.
  CHECK_INT(mj_task_cancel(self), ==, 0);
  CHECK_INT(self->state, ==, MJ_TASK_RUNNABLE);
  check_each_call_is_canceled(scheduler);
  watcher_may_end = true;
  mj_task_exit();
}

static void a_task_may_cancel_itself(void) {
  open_pipes();
  mj_scheduler* scheduler = new_scheduler();
  add_watcher(scheduler);
  add_task(scheduler, cancels_itself, NULL);
  mj_scheduler_run(scheduler);
  CHECK(watcher_may_end);
  mj_scheduler_destroy(scheduler);
  close_pipes();
}

static void is_canceled_before_its_first_turn(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  entries++;
  check_each_call_is_canceled(scheduler);
  // Called again from the top, it is still the same task.
  if (entries == 3) mj_task_exit();
}

static void cancels_a_fresh_task(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  never_ends = mj_task_get_id(scheduler->current_task);
  mj_task* fresh = add_task(scheduler, is_canceled_before_its_first_turn, NULL);
  mj_task_id id = mj_task_get_id(fresh);
  CHECK_INT(mj_task_cancel(fresh), ==, 0);
  CHECK_INT(entries, ==, 0);
  CHECK_INT(mj_task_join(id, MJ_FOREVER), ==, 0);
  CHECK_INT(entries, ==, 3);
  watcher_may_end = true;
  mj_task_exit();
}

static void a_fresh_task_that_is_canceled_runs_to_clean_up(void) {
  open_pipes();
  entries = 0;
  mj_scheduler* scheduler = new_scheduler();
  add_watcher(scheduler);
  add_task(scheduler, cancels_a_fresh_task, NULL);
  mj_scheduler_run(scheduler);
  CHECK_INT(entries, ==, 3);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->tasks_exited, ==, 3);
  mj_scheduler_destroy(scheduler);
  close_pipes();
}

// Cancelled while it has yielded: waits that would end at once in any case are no exception.
static int regular_file;

static int polls_after_a_yield(void) { return mj_task_wait_fd(empty_pipe[0], POLLIN, 0); }

static int waits_for_a_file(void) { return mj_task_wait_fd(regular_file, POLLIN, MJ_FOREVER); }

static int sleeps_for_nothing(void) { return mj_sleep_ns(0); }

static int joins_for_nothing(void) { return mj_task_join(never_ends, 0); }

static void cancels_each_short_wait(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  const char* test = check_running;
  static const call short_calls[] = {
      {"mj_sleep_ns(0)", sleeps_for_nothing, true, true, MJ_TASK_SLEEPING},
      {"mj_task_join(id, 0)", joins_for_nothing, true, true, MJ_TASK_WAITING_IO},
      {"mj_task_wait_fd(fd, POLLIN, 0)", polls_after_a_yield, true, false, MJ_TASK_RUNNABLE},
      {"mj_task_wait_fd(file, ...)", waits_for_a_file, true, false, MJ_TASK_WAITING_IO},
  };
  never_ends = mj_task_get_id(scheduler->current_task);
  for (size_t i = 0; i < sizeof short_calls / sizeof short_calls[0]; i++) {
    current_call = &short_calls[i];
    check_running = current_call->name;
    result = 1000;
    mj_task* waiter = add_task(scheduler, makes_the_call, NULL);
    size_t before = returned;
    // Whether the timer of a zero timeout has fired before this task runs is not specified.
    mj_task_yield();
    if (returned > before) continue;
    CHECK_INT(mj_task_cancel(waiter), ==, 0);
    mj_task_yield();
    if (returned == before) mj_task_yield();
    CHECK_UINT(returned, ==, before + 1);
    if (short_calls[i].has_timer && result == (i == 0 ? 0 : -ETIMEDOUT)) continue;
    if (short_calls[i].make == waits_for_a_file && result == POLLIN) continue;
    CHECK_INT(result, ==, -ECANCELED);
  }
  check_running = test;
  mj_task_exit();
}

static void a_wait_that_only_yields_can_be_canceled(void) {
  open_pipes();
  FILE* file = tmpfile();
  CHECK(file != NULL);
  regular_file = fileno(file);
  returned = 0;
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, cancels_each_short_wait, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(returned, ==, 4);
  mj_scheduler_destroy(scheduler);
  fclose(file);
  close_pipes();
}

// A task that ignores its cancellation, with a tight loop around each kind of wait.
static bool ticked, answered;
static uint64_t loops;

static void ignores_its_cancellation(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  never_ends = mj_task_get_id(scheduler->current_task);
  CHECK_INT(mj_task_cancel(scheduler->current_task), ==, 0);
  while (!ticked || !answered || !watcher_may_end) {
    current_call->make();
    loops++;
  }
  mj_task_exit();
}

static void ticks(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < 3; i++) CHECK_INT(mj_sleep_ns(500000), ==, 0);
  CHECK_INT(write(empty_pipe[1], "x", 1), ==, 1);
  ticked = true;
  mj_task_exit();
}

static void answers(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  CHECK_INT(mj_task_wait_fd(empty_pipe[0], POLLIN, MJ_FOREVER), ==, POLLIN);
  char byte;
  CHECK_INT(read(empty_pipe[0], &byte, 1), ==, 1);
  answered = true;
  mj_task_exit();
}

static void yields_100_times(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < 100; i++) CHECK_INT(mj_yield(), ==, 0);
  watcher_may_end = true;
  mj_task_exit();
}

static void a_canceled_task_in_a_loop_starves_nobody(void) {
  const char* test = check_running;
  open_pipes();
  for (size_t i = 0; i < call_count; i++) {
    current_call = &calls[i];
    ticked = answered = watcher_may_end = false;
    loops = 0;
    mj_scheduler* scheduler = new_scheduler();
    for (int j = 0; j < 2; j++) add_task(scheduler, ignores_its_cancellation, NULL);
    add_task(scheduler, ticks, NULL);
    add_task(scheduler, answers, NULL);
    add_task(scheduler, yields_100_times, NULL);
    mj_scheduler_run(scheduler);
    check_running = calls[i].name;
    CHECK(ticked && answered && watcher_may_end);
    CHECK_UINT(loops, >=, 100);
    mj_scheduler_destroy(scheduler);
  }
  close_pipes();
  check_running = test;
}

// A task marked as ended no longer waits, and does not even yield.
static void calls_after_its_exit(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  const char* test = check_running;
  never_ends = mj_task_get_id(scheduler->runnable_head);  // The watcher.
  mj_task_exit();
  uint64_t before = watcher_turns;
  for (size_t i = 0; i < call_count; i++) {
    check_running = calls[i].name;
    CHECK_INT(calls[i].make(), ==, expected(&calls[i], -ECANCELED));
    CHECK_INT(scheduler->current_task->state, ==, MJ_TASK_EXITED);
  }
  CHECK_UINT(watcher_turns, ==, before);
  watcher_may_end = true;
  check_running = test;
}

static void a_task_marked_as_ended_waits_no_more(void) {
  open_pipes();
  mj_scheduler* scheduler = new_scheduler();
  add_watcher(scheduler);
  add_task(scheduler, calls_after_its_exit, NULL);
  mj_scheduler_run(scheduler);
  CHECK(watcher_may_end);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->tasks_exited, ==, 2);
  mj_scheduler_destroy(scheduler);
  close_pipes();
}

// The log callback runs on the task's stack and may call anything: what it does to the logging task
// must hold for the wait that the line announces.
static bool callback_armed;
static int (*callback_deed)(mj_task* task);

static void does_its_deed_once(mj_log_level level, const char* message, void* user_data) {
  (void)level;
  (void)message;
  (void)user_data;
  if (!callback_armed || mj_task_current() == NULL) return;
  callback_armed = false;
  CHECK_INT(callback_deed(mj_task_current()), >=, 0);
}

static void waits_with_a_meddling_callback(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  callback_armed = true;
  result = mj_task_wait_fd(empty_pipe[0], POLLIN, MJ_FOREVER);
  CHECK(!callback_armed);
  // Twice: a task left behind in a wait queue would be found there by the next wait.
  bool canceled = ended_status == -ECANCELED;
  CHECK_INT(mj_task_wait_fd(empty_pipe[0], POLLIN, 1000000), ==, canceled ? -ECANCELED : -ETIMEDOUT);
  CHECK_INT(write(empty_pipe[1], "x", 1), ==, 1);
  int status = mj_task_wait_fd(empty_pipe[0], POLLIN, LONG_NS);
  CHECK_INT(status, ==, POLLIN);  // Which needs no waiting.
  returned++;
  mj_task_exit();
}

static void sends_a_byte_after_20_ms(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  mj_task* waiter = scheduler->runnable_head;
  CHECK_PTR(waiter, !=, NULL);
  mj_task_id id = mj_task_get_id(waiter);
  // Only ends a wait that nothing else has ended.
  if (mj_task_join(id, 200000000) == -ETIMEDOUT) CHECK_INT(write(empty_pipe[1], "x", 1), ==, 1);
  mj_task_exit();
}

static void check_callback(int (*deed)(mj_task*), int status) {
  open_pipes();
  returned = 0;
  callback_deed = deed;
  ended_status = status;
  mj_log_set_level(MJ_LOG_DEBUG);
  mj_log_set_callback(does_its_deed_once, NULL);
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, sends_a_byte_after_20_ms, NULL);
  add_task(scheduler, waits_with_a_meddling_callback, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(returned, ==, 1);
  CHECK_INT(result, ==, status);
  mj_scheduler_destroy(scheduler);
  mj_log_set_callback(NULL, NULL);
  mj_log_set_level(MJ_LOG_INFO);
  close_pipes();
}

static void a_log_callback_that_cancels_ends_the_wait(void) {
  check_callback(mj_task_cancel, -ECANCELED);
}

static void a_log_callback_that_enqueues_ends_the_wait(void) {
  check_callback(by_enqueueing, -EINTR);
}

// ---- What cannot be woken or cancelled ----

static mj_scheduler* other_scheduler;
static mj_task* others_task;

static void check_refused(mj_task* task) {
  CHECK_WARNS(CHECK_INT(mj_task_wake(task), ==, -EINVAL));
  CHECK_WARNS(CHECK_INT(mj_task_cancel(task), ==, -EINVAL));
}

static void wakes_what_is_no_task(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  mj_task* ended = add_task(scheduler, ends_at_once, NULL);
  mj_task_yield();
  check_refused(ended);
  check_refused(NULL);
  check_refused(others_task);
  check_refused((mj_task*)(uintptr_t)1);
  check_refused((mj_task*)(uintptr_t)64);
  check_refused((mj_task*)UINTPTR_MAX);
  check_refused((mj_task*)scheduler);
  mj_task* self = scheduler->current_task;
  check_refused((mj_task*)(void*)((char*)self + 8));
  check_refused(self + 1);
  mj_task forged = *self;
  check_refused(&forged);
  // None of it has had an effect, on this task or on the other scheduler's.
  CHECK_INT(mj_yield(), ==, 0);
  CHECK_UINT(other_scheduler->runnable_count, ==, 1);
  returned++;
  mj_task_exit();
}

static void a_pointer_to_no_living_task_is_refused(void) {
  log_lines_begin();
  returned = 0;
  other_scheduler = new_scheduler();
  others_task = add_task(other_scheduler, ends_at_once, NULL);
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, wakes_what_is_no_task, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(returned, ==, 1);
  mj_scheduler_run(other_scheduler);
  CHECK_UINT(mj_scheduler_get_metrics(other_scheduler)->tasks_exited, ==, 1);
  mj_scheduler_destroy(scheduler);
  mj_scheduler_destroy(other_scheduler);
  log_lines_end();
}

static void sleeps_long(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  result = mj_sleep_ns(LONG_NS);
  mj_task_exit();
}

static void* wakes_from_a_thread(void* task) {
  CHECK_INT(mj_task_wake(task), ==, -EPERM);
  CHECK_INT(mj_task_cancel(task), ==, -EPERM);
  return NULL;
}

static void starts_a_thread_and_wakes(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  mj_task* sleeper = *(mj_task**)user_state;
  pthread_t thread;
  CHECK_INT(pthread_create(&thread, NULL, wakes_from_a_thread, sleeper), ==, 0);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
  CHECK_INT(sleeper->state, ==, MJ_TASK_SLEEPING);
  CHECK_INT(mj_task_wake(sleeper), ==, 1);
  mj_task_exit();
}

static void outside_a_run_nothing_is_woken(void) {
  const char* test = check_running;
  open_pipes();
  log_lines_begin();
  mj_scheduler* scheduler = new_scheduler();
  mj_task* sleeper = add_task(scheduler, sleeps_long, NULL);
  add_task(scheduler, yields_and_stops, NULL);
  mj_scheduler_run(scheduler);
  CHECK_INT(sleeper->state, ==, MJ_TASK_SLEEPING);
  mj_task* const addresses[] = {sleeper, NULL, (mj_task*)(uintptr_t)64};
  for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
    CHECK_INT(mj_task_wake(addresses[i]), ==, -EPERM);
    CHECK_INT(mj_task_cancel(addresses[i]), ==, -EPERM);
  }
  CHECK_INT(sleeper->state, ==, MJ_TASK_SLEEPING);
  // Nor does a call outside a task suspend; calls with a result return an error.
  for (size_t i = 0; i < call_count; i++) {
    check_running = calls[i].name;
    CHECK_WARNS(CHECK_INT(calls[i].make(), ==, expected(&calls[i], -EPERM)));
  }
  // A run on another thread does not count for this thread either.
  mj_task** state = allocate(sizeof *state);
  *state = sleeper;
  add_task(scheduler, starts_a_thread_and_wakes, state);
  mj_scheduler_run(scheduler);
  CHECK_INT(result, ==, -EINTR);
  mj_scheduler_destroy(scheduler);
  log_lines_end();
  close_pipes();
  check_running = test;
}

// A wait function runs on the scheduler's thread and in no task: it may wake tasks, but not wait.
static int wakes_within_the_wait(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  (void)scheduler;
  if (timeout_ns == 0) return 0;
  CHECK_INT(mj_sleep_ns(1), ==, -EPERM);
  CHECK_INT(mj_task_join(1, 1), ==, -EPERM);
  CHECK_INT(mj_task_wake(user_data), ==, 1);
  return 1;
}

static void a_wait_function_may_wake(void) {
  log_lines_begin();
  result = 1000;
  mj_scheduler* scheduler = new_scheduler();
  mj_task* sleeper = add_task(scheduler, sleeps_long, NULL);
  mj_scheduler_set_wait_func(scheduler, wakes_within_the_wait, sleeper);
  mj_scheduler_run(scheduler);
  CHECK_INT(result, ==, -EINTR);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->timer_cancellations, ==, 1);
  mj_scheduler_destroy(scheduler);
  log_lines_end();
}

int main(void) {
  RUN(waking_ends_each_wait);
  RUN(enqueueing_ends_each_wait);
  RUN(waking_a_task_that_does_not_wait_changes_nothing);
  RUN(enqueueing_oneself_ends_the_next_wait);
  RUN(a_wake_and_a_timeout_can_coincide);
  RUN(a_task_parked_by_its_body_is_called_again);
  RUN(a_canceled_task_waits_no_more);
  RUN(a_task_may_cancel_itself);
  RUN(a_fresh_task_that_is_canceled_runs_to_clean_up);
  RUN(a_canceled_task_in_a_loop_starves_nobody);
  RUN(a_task_marked_as_ended_waits_no_more);
  RUN(a_pointer_to_no_living_task_is_refused);
  RUN(outside_a_run_nothing_is_woken);
  RUN(a_wait_function_may_wake);
  RUN(a_wait_that_only_yields_can_be_canceled);
  RUN(a_log_callback_that_cancels_ends_the_wait);
  RUN(a_log_callback_that_enqueues_ends_the_wait);
  return 0;
}
