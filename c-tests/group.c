// Groups, where C has more than Rust: results of members, what works outside of tasks, and lifetimes.
// What both APIs have is in tests/behaviour/groups.rs.
#define _GNU_SOURCE
#include "calls.h"
#include "log_lines.h"

static mj_group* group;
static int ended;

static int fails(void* argument) {
  ended++;
  return *(int*)argument;
}

static int succeeds(void* argument) {
  (void)argument;
  ended++;
  return 0;
}

static int parks(void* argument) {
  (void)argument;
  int result = mj_task_park(MJ_FOREVER);
  ended++;
  return result;
}

static int is_not_called(void* argument) {
  (void)argument;
  CHECK(false);
  return 0;
}

static void begin_group(size_t limit) {
  ended = 0;
  group = mj_group_create(scheduler, limit);
  CHECK(group != NULL);
}

static void end_group(void) {
  CHECK_INT(mj_group_end(group, 0), ==, 0);
  CHECK_UINT(mj_group_count(group), ==, 0);
  CHECK_INT(mj_group_destroy(group), ==, 0);
}

// ---- Results ----

static void the_first_failure_is_kept(void) {
  begin_group(0);
  static int failures[] = {0, 7, -ENOENT, 0};
  for (int i = 0; i < 4; i++) CHECK_INT(mj_group_go(group, fails, &failures[i], 0), ==, 0);
  CHECK_INT(mj_group_error(group), ==, 0);
  CHECK_INT(mj_group_wait(group, MJ_FOREVER), ==, 0);
  CHECK_INT(ended, ==, 4);  // It cancels nobody.
  CHECK_INT(mj_group_error(group), ==, 7);
  CHECK_INT(mj_group_go(group, fails, &failures[2], 0), ==, 0);
  end_group();
}

static void a_failure_cancels_the_others_if_it_is_to(void) {
  begin_group(4);
  static int failure = -EIO;
  CHECK_INT(mj_group_set_fail_fast(group, true), ==, 0);
  for (int i = 0; i < 3; i++) CHECK_INT(mj_group_go(group, parks, NULL, 0), ==, 0);
  CHECK_INT(mj_group_go(group, fails, &failure, 0), ==, 0);
  CHECK_INT(mj_group_go(group, is_not_called, NULL, MJ_FOREVER), ==, -EPIPE);
  CHECK_INT(mj_group_wait(group, MJ_FOREVER), ==, 0);
  CHECK_INT(ended, ==, 4);
  CHECK_INT(mj_group_error(group), ==, -EIO);  // And not -ECANCELED, which came later.
  CHECK_INT(mj_group_try_go(group, is_not_called, NULL), ==, -EPIPE);
  end_group();
}

static int calls_exit(void* argument) {
  mj_task_exit();
  CHECK_INT(mj_yield(), ==, -ECANCELED);
  return fails(argument);
}

static void a_member_may_call_exit(void) {
  begin_group(1);
  static int failure = 3;
  CHECK_INT(mj_group_go(group, calls_exit, &failure, 0), ==, 0);
  CHECK_INT(mj_group_go(group, succeeds, NULL, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_group_wait(group, MJ_FOREVER), ==, 0);
  CHECK_INT(ended, ==, 2);
  CHECK_INT(mj_group_error(group), ==, 3);
  end_group();
}

// Members that were canceled before their first turn are called, to release what they were given.
static int owns(void* argument) {
  CHECK_INT(mj_yield(), ==, -ECANCELED);
  free(argument);
  return succeeds(NULL);
}

static void members_that_have_not_begun_are_called(void) {
  begin_group(0);
  for (int i = 0; i < 3; i++) CHECK_INT(mj_group_go(group, owns, allocate(1), 0), ==, 0);
  CHECK_INT(mj_group_cancel(group), ==, 0);
  CHECK_INT(ended, ==, 0);
  CHECK_INT(mj_group_end(group, MJ_FOREVER), ==, 0);
  CHECK_INT(ended, ==, 3);
  end_group();
}

// ---- The end ----

static void ends_its_group_after_exit(mj_scheduler* running, void* user_state) {
  (void)running;
  (void)user_state;
  mj_group* own = mj_group_create(scheduler, 0);
  CHECK_INT(mj_group_go(own, parks, NULL, 0), ==, 0);
  mj_task_yield();
  mj_task_exit();
  CHECK_INT(mj_group_wait(own, MJ_FOREVER), ==, -ECANCELED);
  errno = 1234;
  CHECK_INT(mj_group_end(own, 1000000), ==, 0);
  CHECK_INT(errno, ==, 1234);
  CHECK_INT(ended, ==, 1);
  CHECK_INT(mj_yield(), ==, -ECANCELED);  // It is still marked as ended.
  CHECK_INT(mj_group_destroy(own), ==, 0);
}

static void a_task_that_is_marked_as_ended_ends_its_group(void) {
  ended = 0;
  mj_task* task = add_task(scheduler, ends_its_group_after_exit, NULL);
  CHECK_INT(mj_task_join(mj_task_get_id(task), MJ_FOREVER), ==, 0);
}

static void the_cancelability_is_as_before(void) {
  begin_group(0);
  bool old = false;
  CHECK_INT(mj_group_end(group, 0), ==, 0);
  CHECK_INT(mj_task_set_cancelable(false, &old), ==, 0);
  CHECK(old);
  CHECK_INT(mj_group_end(group, 0), ==, 0);
  CHECK_INT(mj_task_set_cancelable(true, &old), ==, 0);
  CHECK(!old);
  end_group();
}

// So many members, all alive, and nobody waits for room.
static void many_members_are_canceled_and_end(void) {
  begin_group(0);
  CHECK_INT(mj_scheduler_set_stack_size(scheduler, 16384), ==, 0);
  int count = (int)times(100000, 1000);
  for (int i = 0; i < count; i++) CHECK_INT(mj_group_go(group, parks, NULL, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_group_wait(group, 0), ==, -ETIMEDOUT);
  CHECK_UINT(mj_group_count(group), ==, count);
  CHECK_INT(mj_group_end(group, 0), ==, 0);
  CHECK_INT(ended, ==, count);
  CHECK_INT(mj_group_error(group), ==, -ECANCELED);
  end_group();
}

static void many_members_come_and_go(void) {
  begin_group(100);
  int count = (int)times(100000, 1000);
  for (int i = 0; i < count; i++) CHECK_INT(mj_group_go(group, succeeds, NULL, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_group_wait(group, MJ_FOREVER), ==, 0);
  CHECK_INT(ended, ==, count);
  end_group();
}

// ---- Arguments ----

static void wrong_arguments_are_refused(void) {
  begin_group(1);
  CHECK_INT(mj_group_go(NULL, is_not_called, NULL, 0), ==, -EINVAL);
  CHECK_INT(mj_group_go(group, NULL, NULL, 0), ==, -EINVAL);
  CHECK_INT(mj_group_try_go(NULL, is_not_called, NULL), ==, -EINVAL);
  CHECK_INT(mj_group_try_go(group, NULL, NULL), ==, -EINVAL);
  CHECK_INT(mj_group_wait(NULL, 0), ==, -EINVAL);
  CHECK_INT(mj_group_cancel(NULL), ==, -EINVAL);
  CHECK_INT(mj_group_end(NULL, 0), ==, -EINVAL);
  CHECK_INT(mj_group_destroy(NULL), ==, -EINVAL);
  CHECK_INT(mj_group_set_fail_fast(NULL, true), ==, -EINVAL);
  CHECK_INT(mj_group_error(NULL), ==, 0);
  CHECK_UINT(mj_group_count(NULL), ==, 0);
  errno = 0;
  CHECK_PTR(mj_group_create(NULL, 1), ==, NULL);
  CHECK_INT(errno, ==, EINVAL);
  end_group();
}

static int adds(call* self) { return mj_group_go(self->object, succeeds, NULL, self->timeout_ns); }
static int waits(call* self) { return mj_group_wait(self->object, self->timeout_ns); }
static int ends(call* self) { return mj_group_end(self->object, self->timeout_ns); }

static void a_group_that_is_in_use_is_not_destroyed(void) {
  begin_group(1);
  CHECK_INT(mj_group_go(group, parks, NULL, 0), ==, 0);
  CHECK_INT(mj_group_destroy(group), ==, -EBUSY);
  mj_task_yield();
  call woken, waiting, adding, ending;
  begin(&woken, adds, group, 0, MJ_FOREVER);
  begin(&waiting, waits, group, 0, MJ_FOREVER);
  begin(&adding, adds, group, 0, MJ_FOREVER);
  check_waiting(&woken);
  CHECK_INT(mj_group_try_go(group, is_not_called, NULL), ==, -EAGAIN);
  CHECK_INT(mj_task_wake(woken.task), ==, 1);
  CHECK_INT(result_of(&woken), ==, -EINTR);
  CHECK_INT(mj_group_destroy(group), ==, -EBUSY);
  begin(&ending, ends, group, 0, 0);
  CHECK_INT(result_of(&adding), ==, -EPIPE);
  CHECK_INT(result_of(&waiting), ==, 0);
  CHECK_INT(result_of(&ending), ==, 0);
  CHECK_INT(mj_group_destroy(group), ==, 0);
}

// ---- Outside of tasks ----

static void members_are_added_before_the_run(void) {
  scheduler = new_scheduler();
  begin_group(2);
  for (int i = 0; i < 2; i++) CHECK_INT(mj_group_try_go(group, parks, NULL), ==, 0);
  CHECK_INT(mj_group_try_go(group, is_not_called, NULL), ==, -EAGAIN);
  log_lines_begin();
  CHECK_INT(mj_group_go(group, is_not_called, NULL, 0), ==, -EPERM);
  CHECK_INT(mj_group_wait(group, 0), ==, -EPERM);
  CHECK_INT(mj_group_end(group, 0), ==, -EPERM);
  CHECK_UINT(log_lines_from(MJ_LOG_WARN), ==, 3);
  log_lines_end();
  CHECK_UINT(mj_group_count(group), ==, 2);
  CHECK_INT(mj_run(scheduler), ==, -EDEADLK);
  CHECK_INT(mj_group_cancel(group), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, 0);
  CHECK_INT(ended, ==, 2);
  CHECK_INT(mj_group_wait(group, 0), ==, -EPERM);
  end_group();
  mj_scheduler_destroy(scheduler);
}

static void waits_for_good(mj_scheduler* running, void* user_state) {
  int* kind = user_state;
  (void)running;
  if (*kind == 0) mj_group_wait(group, MJ_FOREVER);
  if (*kind == 1) mj_group_go(group, is_not_called, NULL, MJ_FOREVER);
  if (*kind == 2) mj_group_end(group, LONG_NS);
  CHECK(false);
}

// All that is in the group's lists is destroyed with it.
static void a_scheduler_is_destroyed_with_a_group(void) {
  scheduler = new_scheduler();
  begin_group(2);
  for (int i = 0; i < 2; i++) CHECK_INT(mj_group_try_go(group, parks, NULL), ==, 0);
  for (int kind = 0; kind < 2; kind++) {
    int* state = allocate(sizeof *state);
    *state = kind;
    add_task(scheduler, waits_for_good, state);
  }
  CHECK_INT(mj_run(scheduler), ==, -EDEADLK);
  CHECK_INT(mj_group_destroy(group), ==, -EBUSY);
  mj_scheduler_destroy(scheduler);
  CHECK_UINT(mj_group_count(group), ==, 0);
  CHECK_INT(mj_group_try_go(group, is_not_called, NULL), ==, -EINVAL);
  CHECK_INT(mj_group_cancel(group), ==, 0);
  end_group();
  CHECK_INT(ended, ==, 0);
}

static void stops_it(mj_scheduler* running, void* user_state) {
  (void)user_state;
  settle();
  CHECK_INT(mj_scheduler_stop(running), ==, 0);
  mj_task_exit();
}

static void a_scheduler_is_destroyed_while_a_group_ends(void) {
  scheduler = new_scheduler();
  begin_group(0);
  CHECK_INT(mj_group_try_go(group, parks, NULL), ==, 0);
  int* state = allocate(sizeof *state);
  *state = 2;
  add_task(scheduler, waits_for_good, state);
  add_task(scheduler, stops_it, NULL);
  CHECK_INT(mj_run(scheduler), ==, MJ_RUN_STOPPED);
  mj_scheduler_destroy(scheduler);
  end_group();
}

int main(void) {
  RUN_IN_TASK(the_first_failure_is_kept);
  RUN_IN_TASK(a_failure_cancels_the_others_if_it_is_to);
  RUN_IN_TASK(a_member_may_call_exit);
  RUN_IN_TASK(members_that_have_not_begun_are_called);
  RUN_IN_TASK(a_task_that_is_marked_as_ended_ends_its_group);
  RUN_IN_TASK(the_cancelability_is_as_before);
  RUN_IN_TASK(many_members_are_canceled_and_end);
  RUN_IN_TASK(many_members_come_and_go);
  RUN_IN_TASK(wrong_arguments_are_refused);
  RUN_IN_TASK(a_group_that_is_in_use_is_not_destroyed);
  RUN(members_are_added_before_the_run);
  RUN(a_scheduler_is_destroyed_with_a_group);
  RUN(a_scheduler_is_destroyed_while_a_group_ends);
  return 0;
}
