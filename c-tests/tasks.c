// Tasks: how they suspend, end, are called again, and are parked.
#define _GNU_SOURCE
#include "check.h"
#include "log_lines.h"

#include <dlfcn.h>
#include <fcntl.h>

// What a test's tasks did, in order.
static char trace[128];
static size_t trace_length;

static void trace_clear(void) {
  memset(trace, 0, sizeof trace);
  trace_length = 0;
}

static void trace_add(char step) {
  CHECK_INT(trace_length, <, sizeof trace - 1);
  trace[trace_length++] = step;
}

// ---- The release of a task's state ----
//
// This free() replaces libc's for the library too. Blocks of watched() are counted, and kept until
// watch_end(): if they were freed at once, other blocks could get their addresses. Under valgrind,
// which has its own free(), nothing is counted: there valgrind reports blocks that are leaked or
// freed twice.

static struct {
  void* block;
  int releases;
} watches[8];
static size_t watch_count;

void free(void* block) {
  static void (*libc_free)(void*);
  static bool resolving;
  for (size_t i = 0; block != NULL && i < watch_count; i++) {
    if (watches[i].block == block) {
      watches[i].releases++;
      return;
    }
  }
  if (libc_free == NULL) {
    if (resolving) return;  // dlsym() itself calls free(); this block is leaked, once.
    resolving = true;
    *(void**)&libc_free = dlsym(RTLD_NEXT, "free");
    resolving = false;
  }
  libc_free(block);
}

// Allocates a task's state, and counts how often it is freed. The first block of a test has index
// 0.
static void* watched(void) {
  void* block = allocate(64);
  if (!under_valgrind()) {
    CHECK_INT(watch_count, <, sizeof watches / sizeof watches[0]);
    watches[watch_count].block = block;
    watches[watch_count].releases = 0;
    watch_count++;
  }
  return block;
}

static void check_releases(size_t index, int expected) {
  if (!under_valgrind()) CHECK_INT(watches[index].releases, ==, expected);
}

static void watch_end(void) {
  size_t count = watch_count;
  watch_count = 0;
  for (size_t i = 0; i < count; i++) {
    if (watches[i].releases > 0) free(watches[i].block);
  }
}

// ---- Suspension ----

static int entries;
static int channel[2];

static void suspends_three_ways(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  entries++;
  int local = 41;
  CHECK_INT(scheduler->current_task->state, ==, MJ_TASK_RUNNABLE);
  trace_add('a');
  mj_task_yield();
  trace_add('b');
  mj_task_sleep_ms(1);
  trace_add('c');
  mj_task_wait_readable(channel[0]);
  char byte = 0;
  CHECK_INT(read(channel[0], &byte, 1), ==, 1);
  CHECK_INT(byte, ==, 'x');
  trace_add('d');
  CHECK_INT(local, ==, 41);
  CHECK_INT(scheduler->current_task->state, ==, MJ_TASK_RUNNABLE);
  mj_task_exit();
}

static void writes_once_the_other_waits(mj_scheduler* scheduler, void* user_state) {
  mj_task* other = *(mj_task**)user_state;
  while (other->state != MJ_TASK_WAITING_IO) mj_task_yield();
  CHECK_STR(trace, "abc");
  CHECK_PTR(scheduler->current_task, !=, other);
  CHECK_INT(write(channel[1], "x", 1), ==, 1);
  mj_task_exit();
}

static void a_suspended_task_goes_on_where_it_was(void) {
  trace_clear();
  entries = 0;
  CHECK_INT(pipe(channel), ==, 0);
  mj_scheduler* scheduler = new_scheduler();
  mj_task** other = allocate(sizeof *other);
  *other = add_task(scheduler, suspends_three_ways, NULL);
  add_task(scheduler, writes_once_the_other_waits, other);
  mj_scheduler_run(scheduler);
  CHECK_STR(trace, "abcd");
  CHECK_INT(entries, ==, 1);
  mj_scheduler_destroy(scheduler);
  close(channel[0]);
  close(channel[1]);
}

static void three_steps(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  char letter = *(char*)user_state;
  for (int i = 0; i < 3; i++) {
    trace_add(letter);
    mj_task_yield();
  }
  mj_task_exit();
}

static char* letter_state(char letter) {
  char* state = allocate(1);
  *state = letter;
  return state;
}

static void tasks_take_turns_in_order(void) {
  trace_clear();
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, three_steps, letter_state('A'));
  add_task(scheduler, three_steps, letter_state('B'));
  add_task(scheduler, three_steps, letter_state('C'));
  mj_scheduler_run(scheduler);
  CHECK_STR(trace, "ABCABCABC");
  mj_scheduler_destroy(scheduler);
}

static void suspend_somehow(unsigned choice) {
  switch (choice % 3) {
    case 0: mj_task_yield(); break;
    case 1: mj_task_sleep_ns(1000); break;
    default: mj_task_wait_readable(channel[0]); break;
  }
}

// Suspends on the way down and on the way up, and checks at each level that its locals are there.
static uint64_t nested(unsigned depth, uint64_t seed) {
  volatile uint64_t locals[32];
  for (unsigned i = 0; i < 32; i++) locals[i] = seed * 1000 + depth * 32 + i;
  suspend_somehow(depth);
  uint64_t below = depth == 0 ? 0 : nested(depth - 1, seed);
  suspend_somehow(depth + 1);
  for (unsigned i = 0; i < 32; i++) CHECK_UINT(locals[i], ==, seed * 1000 + depth * 32 + i);
  return below + 1;
}

static void nests(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  CHECK_UINT(nested(30, *(unsigned*)user_state), ==, 31);
  entries++;
  mj_task_exit();
}

static void locals_of_nested_calls_survive(void) {
  entries = 0;
  // One byte that is never read: every wait for it ends at once.
  CHECK_INT(pipe(channel), ==, 0);
  CHECK_INT(write(channel[1], "x", 1), ==, 1);
  mj_scheduler* scheduler = new_scheduler();
  for (unsigned i = 0; i < 20; i++) {
    unsigned* seed = allocate(sizeof *seed);
    *seed = i;
    add_task(scheduler, nests, seed);
  }
  mj_scheduler_run(scheduler);
  CHECK_INT(entries, ==, 20);
  mj_scheduler_destroy(scheduler);
  close(channel[0]);
  close(channel[1]);
}

// ---- Ending ----

static void ends_after_code(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  entries++;
  mj_task_exit();
  // The task is still running, and still owns its state.
  memset(user_state, 0x5a, 64);
  check_releases(0, 0);
  trace_add('z');
}

static void a_task_that_returns_after_exit_ends(void) {
  trace_clear();
  entries = 0;
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, ends_after_code, watched());
  mj_scheduler_run(scheduler);
  CHECK_INT(entries, ==, 1);
  CHECK_STR(trace, "z");
  check_releases(0, 1);
  const mj_metrics* metrics = mj_scheduler_get_metrics(scheduler);
  CHECK_UINT(metrics->tasks_exited, ==, 1);
  CHECK_UINT(metrics->current_tasks, ==, 0);
  mj_scheduler_destroy(scheduler);
  check_releases(0, 1);
  watch_end();
}

static int other_turns;
static bool other_may_end;

static void counts_turns(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  while (!other_may_end) {
    other_turns++;
    mj_task_yield();
  }
  mj_task_exit();
}

static void exits_then_blocks(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  entries++;
  mj_task_yield();
  int turns_before = other_turns;
  CHECK_INT(turns_before, >, 0);
  mj_task_exit();
  CHECK_INT(scheduler->current_task->state, ==, MJ_TASK_EXITED);
  mj_task_yield();
  mj_task_sleep_s(1000000);
  mj_task_sleep_ms(1000000000);
  mj_task_sleep_ns(MJ_FOREVER);
  mj_task_wait_readable(channel[0]);
  mj_task_exit();
  CHECK_INT(scheduler->current_task->state, ==, MJ_TASK_EXITED);
  CHECK_UINT(scheduler->timer_count, ==, 0);
  // No other task ran: none of the calls suspended.
  CHECK_INT(other_turns, ==, turns_before);
  other_may_end = true;
}

static void exit_only_marks(void) {
  entries = 0;
  other_turns = 0;
  other_may_end = false;
  CHECK_INT(pipe(channel), ==, 0);
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, exits_then_blocks, NULL);
  add_task(scheduler, counts_turns, NULL);
  mj_scheduler_run(scheduler);
  CHECK_INT(entries, ==, 1);
  CHECK(other_may_end);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->tasks_exited, ==, 2);
  mj_scheduler_destroy(scheduler);
  close(channel[0]);
  close(channel[1]);
}

// ---- Called again ----

typedef struct again {
  char letter;
  int entries;
  mj_task* task;
} again;

static void returns_twice_then_exits(mj_scheduler* scheduler, void* user_state) {
  again* state = user_state;
  if (state->entries == 0) state->task = scheduler->current_task;
  CHECK_PTR(scheduler->current_task, ==, state->task);
  CHECK_PTR(scheduler->current_task->user_state, ==, user_state);
  CHECK_INT(scheduler->current_task->state, ==, MJ_TASK_RUNNABLE);
  trace_add(state->letter);
  if (++state->entries == 3) mj_task_exit();
}

static void a_task_that_returns_without_exit_is_called_again(void) {
  trace_clear();
  mj_scheduler* scheduler = new_scheduler();
  again* first = allocate(sizeof *first);
  again* second = allocate(sizeof *second);
  first->letter = 'A';
  second->letter = 'B';
  add_task(scheduler, returns_twice_then_exits, first);
  add_task(scheduler, returns_twice_then_exits, second);
  mj_scheduler_run(scheduler);
  // At the end of the queue each time.
  CHECK_STR(trace, "ABABAB");
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->tasks_exited, ==, 2);
  mj_scheduler_destroy(scheduler);
}

// A body may suspend and still be called again from the top.
static void suspends_then_returns(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  int* calls = user_state;
  trace_add('(');
  mj_task_yield();
  mj_task_sleep_ns(1000);
  trace_add(')');
  if (++*calls == 3) mj_task_exit();
}

static void a_task_that_suspended_is_called_again_from_the_top(void) {
  trace_clear();
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, suspends_then_returns, allocate(sizeof(int)));
  mj_scheduler_run(scheduler);
  CHECK_STR(trace, "()()()");
  mj_scheduler_destroy(scheduler);
}

// ---- Parked by its own body ----

typedef struct parking {
  mj_task_state state;  // the state to return in
  int entries;
} parking;

static void returns_parked(mj_scheduler* scheduler, void* user_state) {
  parking* state = user_state;
  if (++state->entries < 3) {
    scheduler->current_task->state = state->state;
  } else {
    mj_task_exit();
  }
}

typedef struct waker {
  mj_task* task;
  parking* parking;
} waker;

static void wakes_the_parked(mj_scheduler* scheduler, void* user_state) {
  waker* state = user_state;
  for (int expected = 1; expected <= 2; expected++) {
    // The parked task is not called, however long it takes.
    for (int i = 0; i < 10; i++) {
      mj_task_yield();
      CHECK_INT(state->parking->entries, ==, expected);
      CHECK_INT(state->task->state, ==, state->parking->state);
      CHECK_UINT(state->task->heap_index, ==, SIZE_MAX);
      CHECK_UINT(scheduler->runnable_count, ==, 0);
    }
    mj_task_sleep_ms(1);
    CHECK_INT(state->parking->entries, ==, expected);
    mj_scheduler_enqueue(scheduler, state->task);
    CHECK_UINT(scheduler->runnable_count, ==, 1);
    CHECK_INT(state->task->state, ==, MJ_TASK_RUNNABLE);
    mj_task_yield();
  }
  mj_task_exit();
}

static void parked_in(mj_task_state parked_state) {
  mj_scheduler* scheduler = new_scheduler();
  parking* parked = allocate(sizeof *parked);
  parked->state = parked_state;
  waker* wakes = allocate(sizeof *wakes);
  wakes->parking = parked;
  wakes->task = add_task(scheduler, returns_parked, parked);
  add_task(scheduler, wakes_the_parked, wakes);
  mj_scheduler_run(scheduler);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->tasks_exited, ==, 2);
  mj_scheduler_destroy(scheduler);
}

static void a_task_that_returns_sleeping_is_parked(void) { parked_in(MJ_TASK_SLEEPING); }

static void a_task_that_returns_waiting_is_parked(void) { parked_in(MJ_TASK_WAITING_IO); }

static void parks_once(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  if (++entries == 1) {
    scheduler->current_task->state = MJ_TASK_WAITING_IO;
  } else {
    mj_task_exit();
  }
}

static void a_deadlock_is_an_error_line(void) {
  entries = 0;
  mj_scheduler* scheduler = new_scheduler();
  mj_task* task = add_task(scheduler, parks_once, NULL);
  log_lines_begin();
  mj_scheduler_run(scheduler);
  CHECK_INT(log_lines_from(MJ_LOG_ERROR), ==, 1);
  CHECK_INT(entries, ==, 1);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->current_tasks, ==, 1);
  // The task still exists, and continues in a later run.
  mj_scheduler_enqueue(scheduler, task);
  mj_scheduler_run(scheduler);
  CHECK_INT(entries, ==, 2);
  CHECK_INT(log_lines_from(MJ_LOG_ERROR), ==, 1);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->current_tasks, ==, 0);
  log_lines_end();
  mj_scheduler_destroy(scheduler);
}

// ---- Creation, and the current scheduler ----

static void notes_its_letter(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  trace_add(*(char*)user_state);
  mj_task_exit();
}

static void creates_others(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  trace_add('(');
  add_task(scheduler, notes_its_letter, letter_state('1'));
  add_task(scheduler, notes_its_letter, letter_state('2'));
  trace_add(')');
  mj_task_yield();
  trace_add('.');
  mj_task_exit();
}

static void a_new_task_runs_after_those_before_it(void) {
  trace_clear();
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, creates_others, NULL);
  add_task(scheduler, notes_its_letter, letter_state('0'));
  CHECK_STR(trace, "");
  CHECK_UINT(scheduler->runnable_count, ==, 2);
  mj_scheduler_run(scheduler);
  CHECK_STR(trace, "()012.");
  mj_scheduler_destroy(scheduler);
}

static void looks_at_its_task(mj_scheduler* scheduler, void* user_state) {
  mj_task** expected = user_state;
  for (int i = 0; i < 3; i++) {
    CHECK_PTR(mj_scheduler_current(), ==, scheduler);
    CHECK_PTR(mj_scheduler_current(), ==, scheduler);
    CHECK_PTR(scheduler->current_task, ==, *expected);
    CHECK((*expected)->task_function == looks_at_its_task);
    CHECK_PTR((*expected)->user_state, ==, user_state);
    mj_task_yield();
  }
  mj_task_exit();
}

static void the_current_scheduler_and_task_are_right(void) {
  CHECK_PTR(mj_scheduler_current(), ==, NULL);
  mj_scheduler* scheduler = new_scheduler();
  for (int i = 0; i < 3; i++) {
    mj_task** self = allocate(sizeof *self);
    *self = add_task(scheduler, looks_at_its_task, self);
    CHECK_INT((*self)->state, ==, MJ_TASK_RUNNABLE);
    CHECK_UINT((*self)->heap_index, ==, SIZE_MAX);
  }
  CHECK_PTR(mj_scheduler_current(), ==, NULL);
  mj_scheduler_run(scheduler);
  CHECK_PTR(mj_scheduler_current(), ==, NULL);
  CHECK_PTR(scheduler->current_task, ==, NULL);
  mj_scheduler_destroy(scheduler);
}

// ---- The end of a run ----

static void a_run_returns_when_all_tasks_ended(void) {
  trace_clear();
  mj_scheduler* scheduler = new_scheduler();
  mj_scheduler_run(scheduler);
  add_task(scheduler, notes_its_letter, letter_state('1'));
  mj_scheduler_run(scheduler);
  CHECK_STR(trace, "1");
  mj_scheduler_run(scheduler);
  add_task(scheduler, notes_its_letter, letter_state('2'));
  add_task(scheduler, three_steps, letter_state('3'));
  mj_scheduler_run(scheduler);
  CHECK_STR(trace, "12333");
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->tasks_exited, ==, 3);
  mj_scheduler_destroy(scheduler);
}

static int stopper_step;

static void stops_and_goes_on(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  int local = 17;
  mj_task_yield();
  mj_task_yield();
  CHECK_INT(mj_scheduler_stop(scheduler), ==, 0);
  // The stop takes effect when this task suspends, not before.
  stopper_step = 1;
  mj_task_yield();
  CHECK_INT(local, ==, 17);
  stopper_step = 2;
  other_may_end = true;
  mj_task_exit();
}

static void a_task_stops_the_run_and_a_later_run_goes_on(void) {
  other_turns = 0;
  other_may_end = false;
  stopper_step = 0;
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, counts_turns, NULL);
  add_task(scheduler, stops_and_goes_on, NULL);
  mj_scheduler_run(scheduler);
  CHECK_INT(stopper_step, ==, 1);
  CHECK_INT(other_turns, ==, 3);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->current_tasks, ==, 2);
  CHECK_UINT(scheduler->runnable_count, ==, 2);
  mj_scheduler_run(scheduler);
  CHECK_INT(stopper_step, ==, 2);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->current_tasks, ==, 0);
  mj_scheduler_destroy(scheduler);
}

static void sleeps_until_it_may_end(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_sleep_s(1000000);
  trace_add('s');
  mj_task_exit();
}

static void reads_the_channel(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  char byte;
  mj_task_wait_readable(channel[0]);
  CHECK_INT(read(channel[0], &byte, 1), ==, 1);
  trace_add('r');
  mj_task_exit();
}

static void stops_then_ends(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  mj_task_yield();
  CHECK_INT(mj_scheduler_stop(scheduler), ==, 0);
  mj_task_exit();
}

static void a_later_run_goes_on_with_parked_tasks(void) {
  trace_clear();
  CHECK_INT(pipe(channel), ==, 0);
  mj_scheduler* scheduler = new_scheduler();
  mj_task* sleeper = add_task(scheduler, sleeps_until_it_may_end, NULL);
  mj_task* reader = add_task(scheduler, reads_the_channel, NULL);
  add_task(scheduler, stops_then_ends, NULL);
  mj_scheduler_run(scheduler);
  CHECK_INT(sleeper->state, ==, MJ_TASK_SLEEPING);
  CHECK_INT(reader->state, ==, MJ_TASK_WAITING_IO);
  CHECK_UINT(scheduler->timer_count, ==, 1);
  CHECK_PTR(scheduler->timer_heap[0], ==, sleeper);
  CHECK_INT(write(channel[1], "x", 1), ==, 1);
  mj_scheduler_enqueue(scheduler, sleeper);
  CHECK_UINT(scheduler->timer_count, ==, 0);
  mj_scheduler_run(scheduler);
  CHECK_STR(trace, "sr");
  mj_scheduler_destroy(scheduler);
  close(channel[0]);
  close(channel[1]);
}

static void never_runs(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  CHECK(!"a task that was created after the stop has run");
}

static void parks_itself(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  scheduler->current_task->state = MJ_TASK_WAITING_IO;
}

static void stops_after_creating(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  mj_task_yield();
  add_task(scheduler, never_runs, watched());
  CHECK_INT(mj_scheduler_stop(scheduler), ==, 0);
  mj_task_yield();
  CHECK(!"a task has run after the stop");
}

static void destroy_releases_the_tasks_that_are_left(void) {
  trace_clear();
  other_turns = 0;
  other_may_end = false;
  CHECK_INT(pipe(channel), ==, 0);
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, sleeps_until_it_may_end, watched());
  add_task(scheduler, reads_the_channel, watched());
  add_task(scheduler, counts_turns, watched());
  add_task(scheduler, parks_itself, watched());
  add_task(scheduler, stops_after_creating, watched());
  mj_scheduler_run(scheduler);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->current_tasks, ==, 6);
  for (size_t i = 0; i < 6; i++) check_releases(i, 0);
  mj_scheduler_destroy(scheduler);
  for (size_t i = 0; i < 6; i++) check_releases(i, 1);
  CHECK_STR(trace, "");
  // The descriptor that a task waited for belongs to the program: it stays open.
  CHECK_INT(fcntl(channel[0], F_GETFD), >=, 0);
  close(channel[0]);
  close(channel[1]);
  watch_end();
}

static void destroy_releases_tasks_that_never_ran(void) {
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, never_runs, watched());
  add_task(scheduler, never_runs, NULL);
  mj_scheduler_destroy(scheduler);
  check_releases(0, 1);
  watch_end();
}

// ---- The run queue, changed by the program ----

static void takes_one_out(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  CHECK_UINT(scheduler->runnable_count, ==, 2);
  mj_task* first = scheduler->runnable_head;
  mj_task* taken = mj_scheduler_dequeue(scheduler);
  CHECK_PTR(taken, ==, first);
  CHECK_UINT(scheduler->runnable_count, ==, 1);
  mj_task_yield();
  mj_task_yield();
  // The second one ran, the first one did not.
  CHECK_STR(trace, "2");
  CHECK_PTR(mj_scheduler_dequeue(scheduler), ==, NULL);
  mj_scheduler_enqueue(scheduler, taken);
  CHECK_PTR(scheduler->runnable_head, ==, taken);
  CHECK_PTR(scheduler->runnable_tail, ==, taken);
  mj_task_yield();
  CHECK_STR(trace, "21");
  mj_task_exit();
}

static void a_dequeued_task_runs_once_it_is_enqueued(void) {
  trace_clear();
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, takes_one_out, NULL);
  add_task(scheduler, notes_its_letter, letter_state('1'));
  add_task(scheduler, notes_its_letter, letter_state('2'));
  mj_scheduler_run(scheduler);
  CHECK_STR(trace, "21");
  mj_scheduler_destroy(scheduler);
}

static void ends_both_waits(mj_scheduler* scheduler, void* user_state) {
  mj_task** tasks = user_state;
  while (tasks[0]->state != MJ_TASK_SLEEPING || tasks[1]->state != MJ_TASK_WAITING_IO) {
    mj_task_yield();
  }
  CHECK_UINT(scheduler->timer_count, ==, 1);
  mj_scheduler_enqueue(scheduler, tasks[0]);
  CHECK_INT(tasks[0]->state, ==, MJ_TASK_RUNNABLE);
  CHECK_UINT(tasks[0]->heap_index, ==, SIZE_MAX);
  CHECK_UINT(scheduler->timer_count, ==, 0);
  mj_scheduler_enqueue(scheduler, tasks[1]);
  CHECK_INT(tasks[1]->state, ==, MJ_TASK_RUNNABLE);
  CHECK_UINT(scheduler->runnable_count, ==, 2);
  mj_task_yield();
  CHECK_STR(trace, "sw");
  mj_task_exit();
}

static void waits_in_vain(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_wait_readable(channel[0]);
  trace_add('w');
  mj_task_exit();
}

static void enqueue_ends_a_sleep_and_a_wait(void) {
  trace_clear();
  CHECK_INT(pipe(channel), ==, 0);
  mj_scheduler* scheduler = new_scheduler();
  mj_task** tasks = allocate(2 * sizeof *tasks);
  tasks[0] = add_task(scheduler, sleeps_until_it_may_end, NULL);
  tasks[1] = add_task(scheduler, waits_in_vain, NULL);
  add_task(scheduler, ends_both_waits, tasks);
  mj_scheduler_run(scheduler);
  CHECK_STR(trace, "sw");
  const mj_metrics* metrics = mj_scheduler_get_metrics(scheduler);
  CHECK_UINT(metrics->timer_cancellations, ==, 1);
  CHECK_UINT(metrics->timer_expirations, ==, 0);
  mj_scheduler_destroy(scheduler);
  close(channel[0]);
  close(channel[1]);
}

static void enqueues_itself_and_sleeps(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  mj_task* self = scheduler->current_task;
  for (int i = 1; i <= 3; i++) {
    mj_scheduler_enqueue(scheduler, self);
    CHECK_PTR(scheduler->current_task, ==, self);
    mj_task_sleep_s(1000000);
    CHECK_INT(other_turns, ==, i);
  }
  for (int i = 4; i <= 6; i++) {
    mj_scheduler_enqueue(scheduler, self);
    mj_task_yield();
    CHECK_INT(other_turns, ==, i);
  }
  other_may_end = true;
  mj_task_exit();
}

static void enqueueing_oneself_ends_the_next_wait_after_one_turn(void) {
  other_turns = 0;
  other_may_end = false;
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, enqueues_itself_and_sleeps, NULL);
  add_task(scheduler, counts_turns, NULL);
  mj_scheduler_run(scheduler);
  CHECK(other_may_end);
  CHECK_UINT(scheduler->timer_count, ==, 0);
  mj_scheduler_destroy(scheduler);
}

// What the guide's own mj_task_yield() does: enqueue and return.
static void enqueues_itself_and_returns(mj_scheduler* scheduler, void* user_state) {
  int* calls = user_state;
  trace_add('e');
  if (++*calls == 3) {
    mj_task_exit();
  } else {
    scheduler->current_task->state = MJ_TASK_RUNNABLE;
    mj_scheduler_enqueue(scheduler, scheduler->current_task);
  }
}

static void enqueueing_oneself_and_returning_is_one_more_call(void) {
  trace_clear();
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, enqueues_itself_and_returns, allocate(sizeof(int)));
  add_task(scheduler, three_steps, letter_state('o'));
  mj_scheduler_run(scheduler);
  CHECK_STR(trace, "eoeoeo");
  mj_scheduler_destroy(scheduler);
}

static void enqueues_itself_and_ends(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  trace_add('e');
  mj_scheduler_enqueue(scheduler, mj_task_current());
  mj_task_exit();
}

static void yields_three_times(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (char step = '1'; step <= '3'; step++) {
    trace_add(step);
    mj_task_yield();
  }
  mj_task_exit();
}

// The yielding task is queued right behind the ended one, and is then the only one left.
static void an_ended_task_in_the_queue_is_skipped(void) {
  trace_clear();
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, enqueues_itself_and_ends, NULL);
  add_task(scheduler, yields_three_times, NULL);
  mj_scheduler_run(scheduler);
  CHECK_STR(trace, "e123");
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->tasks_exited, ==, 2);
  mj_scheduler_destroy(scheduler);
}

int main(void) {
  RUN(a_suspended_task_goes_on_where_it_was);
  RUN(tasks_take_turns_in_order);
  RUN(locals_of_nested_calls_survive);
  RUN(a_task_that_returns_after_exit_ends);
  RUN(exit_only_marks);
  RUN(a_task_that_returns_without_exit_is_called_again);
  RUN(a_task_that_suspended_is_called_again_from_the_top);
  RUN(a_task_that_returns_sleeping_is_parked);
  RUN(a_task_that_returns_waiting_is_parked);
  RUN(a_deadlock_is_an_error_line);
  RUN(a_new_task_runs_after_those_before_it);
  RUN(the_current_scheduler_and_task_are_right);
  RUN(a_run_returns_when_all_tasks_ended);
  RUN(a_task_stops_the_run_and_a_later_run_goes_on);
  RUN(a_later_run_goes_on_with_parked_tasks);
  RUN(destroy_releases_the_tasks_that_are_left);
  RUN(destroy_releases_tasks_that_never_ran);
  RUN(a_dequeued_task_runs_once_it_is_enqueued);
  RUN(enqueue_ends_a_sleep_and_a_wait);
  RUN(enqueueing_oneself_ends_the_next_wait_after_one_turn);
  RUN(enqueueing_oneself_and_returning_is_one_more_call);
  RUN(an_ended_task_in_the_queue_is_skipped);
  return 0;
}
