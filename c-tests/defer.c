// mj_task_defer(): what a task has called when it ends.
#define _GNU_SOURCE
#include "events.h"
#include "in_a_task.h"
#include "log_lines.h"

static void notes(void* letter) { note(*(const char*)letter); }

static void defer(void (*function)(void*), const void* argument) {
  CHECK_INT(mj_task_defer(function, (void*)argument), ==, 0);
}

// Runs a function as a task, and waits until it has ended.
static void run_as_task(void (*function)(void*), void* argument) {
  mj_task_id id = 0;
  events[0] = '\0';
  CHECK_INT(mj_go(scheduler, function, argument, &id), ==, 0);
  CHECK_INT(mj_task_join(id, MJ_FOREVER), ==, 0);
  note('j');
}

// ---- When it is called ----

static void defers_twenty(void* argument) {
  (void)argument;
  static const char letters[] = "tsrqponmlkjihgfedcba";
  for (const char* letter = letters; *letter != '\0'; letter++) defer(notes, letter);
  note('-');
}

static void the_newest_is_called_first(void) {
  run_as_task(defers_twenty, NULL);
  CHECK_STR(events, "-abcdefghijklmnopqrstj");
}

static int bodies;
static mj_task_id body_id;

static void checks_where_it_is(void* state) {
  int on_the_stack = 0;
  void* lowest = NULL;
  size_t bytes = 0;
  CHECK_UINT(mj_task_get_id(mj_task_current()), ==, body_id);
  CHECK_INT(mj_task_stack_bounds(mj_task_current(), &lowest, &bytes), ==, 0);
  CHECK((char*)&on_the_stack > (char*)lowest && (char*)&on_the_stack < (char*)lowest + bytes);
  CHECK_INT(*(int*)state, ==, 7);  // Not freed yet.
  CHECK_PTR(mj_task_find(scheduler, body_id), !=, NULL);
  note('d');
}

// A body that returns is called again: the task has not ended.
static void returns_three_times(mj_scheduler* running, void* state) {
  (void)running;
  note('r');
  if (bodies++ == 0) {
    body_id = mj_task_get_id(mj_task_current());
    *(int*)state = 7;
    defer(checks_where_it_is, state);
  }
  if (bodies == 3) mj_task_exit();
}

static void a_return_is_not_the_end(void) {
  events[0] = '\0';
  bodies = 0;
  mj_task_id id = mj_task_get_id(add_task(scheduler, returns_three_times, allocate(sizeof(int))));
  CHECK_INT(mj_task_join(id, MJ_FOREVER), ==, 0);
  CHECK_STR(events, "rrrd");
}

static void exits_deep_inside(int depth) {
  if (depth > 0) {
    exits_deep_inside(depth - 1);
  } else {
    defer(notes, "a");
    mj_task_exit();
    defer(notes, "b");  // It has not returned yet.
  }
  note('.');
}

static void exits(void* argument) {
  (void)argument;
  exits_deep_inside(2);
}

static void an_exit_anywhere_is_the_end_once_the_body_returns(void) {
  run_as_task(exits, NULL);
  CHECK_STR(events, "...baj");
}

static void unlocks(void* mutex) { CHECK_INT(mj_mutex_unlock(mutex), ==, 0); }

static void locks_and_defers(void* mutex) {
  CHECK_INT(mj_mutex_lock(mutex, MJ_FOREVER), ==, 0);
  defer(unlocks, mutex);
}

static void waits_for_the_mutex(void* mutex) {
  CHECK_INT(mj_mutex_lock(mutex, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_mutex_unlock(mutex), ==, 0);
}

static void what_is_locked_can_be_unlocked(void) {
  mj_mutex* mutex = mj_mutex_create(scheduler);
  log_lines_begin();
  CHECK_INT(mj_go(scheduler, locks_and_defers, mutex, NULL), ==, 0);
  run_as_task(waits_for_the_mutex, mutex);
  CHECK_UINT(log_lines_from(MJ_LOG_WARN), ==, 0);
  log_lines_end();
  CHECK_INT(mj_mutex_destroy(mutex), ==, 0);
}

// ---- What it may do ----

static void sleeps(void* argument) {
  note('(');
  CHECK_INT(mj_sleep_ns(1000000), ==, 0);
  note(*(const char*)argument);
}

static void defers_one_that_sleeps(void* argument) {
  (void)argument;
  defer(notes, "a");
  defer(sleeps, "s");
}

static void it_may_suspend(void) {
  run_as_task(defers_one_that_sleeps, NULL);
  CHECK_STR(events, "(saj");
}

static void defers_another(void* left) {
  note('d');
  if (--*(int*)left > 0) defer(defers_another, left);
}

static void defers_one_that_defers(void* left) {
  defer(notes, "z");
  defer(defers_another, left);
}

static void it_may_defer(void) {
  int left = 4;
  run_as_task(defers_one_that_defers, &left);
  CHECK_STR(events, "ddddzj");
}

static void exits_again(void* argument) {
  (void)argument;
  mj_task_exit();
  CHECK_INT(mj_yield(), ==, -ECANCELED);
  note('e');
}

static void defers_one_that_exits(void* argument) {
  (void)argument;
  defer(sleeps, "s");
  defer(exits_again, NULL);
}

static void an_exit_in_it_ends_with_it(void) {
  run_as_task(defers_one_that_exits, NULL);
  CHECK_STR(events, "e(sj");
}

static void leaves_a_mutex_locked(void* mutex) {
  CHECK_INT(mj_mutex_lock(mutex, MJ_FOREVER), ==, 0);
}

static void defers_a_lock(void* mutex) { defer(leaves_a_mutex_locked, mutex); }

static void a_mutex_that_it_leaves_locked_is_reported(void) {
  mj_mutex* mutex = mj_mutex_create(scheduler);
  log_lines_begin();
  run_as_task(defers_a_lock, mutex);
  CHECK_UINT(log_lines_from(MJ_LOG_ERROR), ==, 1);
  log_lines_end();
  CHECK_INT(mj_mutex_lock(mutex, MJ_FOREVER), ==, -EOWNERDEAD);
  CHECK_INT(mj_mutex_destroy(mutex), ==, 0);
}

// The line of the mutex that is left locked finds the task in its last moments.
static bool defers_in_line;

static void line_defers(mj_log_level level, const char* message, void* user_data) {
  (void)level, (void)message, (void)user_data;
  if (defers_in_line) defer(notes, "l");
  defers_in_line = false;
}

static void a_log_callback_may_defer_at_the_very_end(void) {
  mj_mutex* mutex = mj_mutex_create(scheduler);
  defers_in_line = true;
  mj_log_set_callback(line_defers, NULL);
  run_as_task(leaves_a_mutex_locked, mutex);
  mj_log_set_callback(NULL, NULL);
  CHECK_STR(events, "lj");
  CHECK_INT(mj_mutex_destroy(mutex), ==, 0);
}

// ---- Canceled tasks ----

static void cleans_up(void* argument) {
  (void)argument;
  CHECK_INT(mj_sleep_ns(LONG_NS), ==, -ECANCELED);
  bool old = false;
  CHECK_INT(mj_task_set_cancelable(false, &old), ==, 0);
  CHECK_INT(mj_sleep_ns(1000), ==, 0);
  CHECK_INT(mj_task_set_cancelable(old, NULL), ==, 0);
  note('c');
}

static void waits_to_be_canceled(void* argument) {
  (void)argument;
  defer(cleans_up, NULL);
  CHECK_INT(mj_sleep_ns(LONG_NS), ==, -ECANCELED);
  note('w');
}

static void a_canceled_task_calls_it_too(void) {
  for (int before_the_first_turn = 0; before_the_first_turn < 2; before_the_first_turn++) {
    mj_task_id id = 0;
    events[0] = '\0';
    CHECK_INT(mj_go(scheduler, waits_to_be_canceled, NULL, &id), ==, 0);
    if (!before_the_first_turn) mj_task_yield();
    CHECK_INT(mj_scheduler_cancel(scheduler, id), ==, 0);
    CHECK_INT(mj_task_join(id, MJ_FOREVER), ==, 0);
    CHECK_STR(events, "wc");
  }
}

static void is_limited(void* argument) {
  (void)argument;
  CHECK_INT(mj_sleep_ns(LONG_NS), ==, -ETIMEDOUT);
  note('t');
}

static void has_a_deadline(void* argument) {
  (void)argument;
  defer(is_limited, NULL);
  CHECK_INT(mj_task_set_deadline(mj_deadline_after(1), NULL), ==, 0);
}

static void the_deadline_of_the_task_counts(void) {
  run_as_task(has_a_deadline, NULL);
  CHECK_STR(events, "tj");
}

// ---- All kinds of tasks ----

static int is_a_member(void* argument) {
  (void)argument;
  defer(sleeps, "m");
  return 5;
}

static void a_group_ends_when_its_members_have_called_it(void) {
  mj_group* group = mj_group_create(scheduler, 0);
  events[0] = '\0';
  CHECK_INT(mj_group_go(group, is_a_member, NULL, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_group_wait(group, MJ_FOREVER), ==, 0);
  note('w');
  CHECK_STR(events, "(mw");
  CHECK_INT(mj_group_error(group), ==, 5);
  CHECK_INT(mj_group_destroy(group), ==, 0);
}

static void is_posted(void* argument) {
  note('p');
  defer(notes, argument);
}

// Such a task goes on with the next post, unless it has left something behind.
static void a_post_calls_it_before_the_next_one(void) {
  mj_scheduler* own = new_scheduler();
  mj_remote* remote = mj_scheduler_remote(own);
  events[0] = '\0';
  for (const char* letter = "ab"; *letter != '\0'; letter++) {
    CHECK_INT(mj_post(remote, is_posted, (void*)letter, NULL), ==, 0);
  }
  mj_remote_release(remote);
  CHECK_INT(mj_run(own), ==, 0);
  CHECK_STR(events, "papb");
  mj_scheduler_destroy(own);
}

// ---- At the scheduler's end ----

static mj_scheduler* ending;
static mj_chan* channel;

static void is_never_run(void* argument) {
  (void)argument;
  CHECK(false);
}

static void is_outside(void* letter) {
  CHECK_PTR(mj_task_current(), ==, NULL);
  CHECK_PTR(mj_scheduler_current(), ==, NULL);
  CHECK_WARNS(CHECK_INT(mj_sleep_ns(LONG_NS), ==, -EPERM));
  CHECK_WARNS(CHECK_INT(mj_task_defer(notes, letter), ==, -EPERM));
  mj_scheduler_stop(ending);
  mj_scheduler_destroy(ending);  // An ERROR line.
  CHECK_WARNS(CHECK_INT(mj_run(ending), ==, -EPERM));
  CHECK_INT(mj_go(ending, is_never_run, NULL, NULL), ==, 0);
  notes(letter);
}

static void closes(void* argument) {
  (void)argument;
  CHECK_INT(mj_chan_close(channel), ==, 0);
  CHECK_INT(mj_chan_destroy(channel), ==, 0);  // Nobody waits for it any more.
  note('c');
}

static void waits_for_a_channel(void* argument) {
  int element;
  defer(is_outside, argument);
  defer(closes, NULL);
  mj_chan_recv(channel, &element, MJ_FOREVER);
  CHECK(false);
}

static void destroy_with_a_task_that_waits(void) {
  ending = new_scheduler();
  channel = mj_chan_create(ending, sizeof(int), 0);
  events[0] = '\0';
  CHECK_INT(mj_go(ending, waits_for_a_channel, "o", NULL), ==, 0);
  log_lines_begin();
  CHECK_INT(mj_run(ending), ==, -EDEADLK);
  mj_scheduler_destroy(ending);
  log_lines_end();
  CHECK_STR(events, "co");
}

static void destroys_in_a_task_of_its_own(void* argument) {
  (void)argument;
  mj_task* self = mj_task_current();
  mj_scheduler_destroy(ending);
  note('.');
  CHECK_PTR(mj_task_current(), ==, self);
  CHECK_INT(mj_yield(), ==, 0);
}

// Nor does it suspend the task that destroys the scheduler.
static void destroy_in_a_task(void) {
  ending = new_scheduler();
  channel = mj_chan_create(ending, sizeof(int), 0);
  events[0] = '\0';
  log_lines_begin();
  CHECK_INT(mj_go(ending, waits_for_a_channel, "o", NULL), ==, 0);
  CHECK_INT(mj_run(ending), ==, -EDEADLK);
  mj_scheduler* other = new_scheduler();
  CHECK_INT(mj_go(other, destroys_in_a_task_of_its_own, NULL, NULL), ==, 0);
  CHECK_INT(mj_run(other), ==, 0);
  mj_scheduler_destroy(other);
  log_lines_end();
  CHECK_STR(events, "co.");
}

static void stops_in_the_middle(void* argument) {
  (void)argument;
  note('(');
  mj_scheduler_stop(mj_scheduler_current());
  mj_task_yield();
  CHECK(false);
}

static void ends_slowly(void* argument) {
  (void)argument;
  defer(notes, "a");
  defer(stops_in_the_middle, NULL);
  defer(notes, "b");
}

static void destroy_in_the_middle_of_it(void) {
  ending = new_scheduler();
  events[0] = '\0';
  CHECK_INT(mj_go(ending, ends_slowly, NULL, NULL), ==, 0);
  CHECK_INT(mj_run(ending), ==, MJ_RUN_STOPPED);
  mj_scheduler_destroy(ending);
  CHECK_STR(events, "b(a");
}

// ---- Limits and errors ----

static size_t calls;

static void counts(void* argument) {
  (void)argument;
  calls++;
}

// What has been called has made room.
static void counts_and_defers(void* argument) {
  if (calls++ == 0) CHECK_INT(mj_task_defer(counts, argument), ==, 0);
}

static void defers_as_many_as_it_can(void* argument) {
  size_t deferred = 0;
  while (mj_task_defer(counts_and_defers, NULL) == 0) deferred++;
  CHECK_INT(mj_task_defer(counts, NULL), ==, -ENOMEM);
  *(size_t*)argument = deferred;
}

static void there_is_a_limit(void) {
  size_t deferred = 0;
  calls = 0;
  run_as_task(defers_as_many_as_it_can, &deferred);
  CHECK_UINT(deferred, ==, 65536);
  CHECK_UINT(calls, ==, deferred + 1);
}

static void errors(void) {
  CHECK_INT(mj_task_defer(NULL, NULL), ==, -EINVAL);
}

static void errors_outside(void) {
  log_lines_begin();
  CHECK_INT(mj_task_defer(NULL, NULL), ==, -EINVAL);
  CHECK_WARNS(CHECK_INT(mj_task_defer(counts, NULL), ==, -EPERM));
  log_lines_end();
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN_IN_TASK(the_newest_is_called_first);
  RUN_IN_TASK(a_return_is_not_the_end);
  RUN_IN_TASK(an_exit_anywhere_is_the_end_once_the_body_returns);
  RUN_IN_TASK(what_is_locked_can_be_unlocked);
  RUN_IN_TASK(it_may_suspend);
  RUN_IN_TASK(it_may_defer);
  RUN_IN_TASK(an_exit_in_it_ends_with_it);
  RUN_IN_TASK(a_mutex_that_it_leaves_locked_is_reported);
  RUN_IN_TASK(a_log_callback_may_defer_at_the_very_end);
  RUN_IN_TASK(a_canceled_task_calls_it_too);
  RUN_IN_TASK(the_deadline_of_the_task_counts);
  RUN_IN_TASK(a_group_ends_when_its_members_have_called_it);
  RUN(a_post_calls_it_before_the_next_one);
  RUN(destroy_with_a_task_that_waits);
  RUN(destroy_in_a_task);
  RUN(destroy_in_the_middle_of_it);
  RUN_IN_TASK(there_is_a_limit);
  RUN_IN_TASK(errors);
  RUN(errors_outside);
  return 0;
}
