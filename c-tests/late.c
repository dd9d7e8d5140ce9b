// A limit that passes while nobody looks: the process is stopped (as by SIGSTOP, a debugger, or the pause of
// a virtual machine), or others have their turns for longer than the limit. What has come meanwhile
// counts, and what has not has timed out. tests/behaviour/sync/late.rs has the other objects.
#define _GNU_SOURCE
#include "child.h"
#include "pipes.h"

#include <poll.h>
#include <signal.h>

#define MS UINT64_C(1000000)

// ---- A process that is stopped ----

static int ready[2], given[2], never[2];
static bool is_busy;
static int running;

static void waits_for_what_comes(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  CHECK_INT(mj_task_wait_fd(given[0], POLLIN, 600 * MS), ==, POLLIN);
  running--;
  mj_task_exit();
}

static void waits_for_nothing(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  uint64_t begin = now_ns();
  CHECK_INT(mj_task_wait_fd(never[0], POLLIN, 600 * MS), ==, -ETIMEDOUT);
  CHECK_UINT(now_ns() - begin, >=, 1000 * MS);  // It was stopped for longer.
  running--;
  mj_task_exit();
}

static void sleeps(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  uint64_t begin = now_ns();
  CHECK_INT(mj_sleep_ns(300 * MS), ==, 0);
  CHECK_UINT(now_ns() - begin, >=, 300 * MS);
  running--;
  mj_task_exit();
}

static void says_that_they_wait(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  put_byte(ready[1]);
  while (is_busy && running > 0) mj_task_yield();
  mj_task_exit();
}

static void is_stopped_in_its_run(void) {
  mj_scheduler* scheduler = new_scheduler();
  running = 3;
  add_task(scheduler, waits_for_what_comes, NULL);
  add_task(scheduler, waits_for_nothing, NULL);
  add_task(scheduler, sleeps, NULL);
  add_task(scheduler, says_that_they_wait, NULL);
  CHECK_INT(mj_run(scheduler), ==, 0);
  CHECK_INT(running, ==, 0);
  mj_scheduler_destroy(scheduler);
}

static void what_came_while_the_process_was_stopped_counts(void) {
  for (int busy = 0; busy < 2; busy++) {
    is_busy = busy;
    CHECK_INT(pipe(ready), ==, 0);
    open_pipe(given);
    open_pipe(never);
    pid_t child = start_child(is_stopped_in_its_run);
    take_byte(ready[0]);
    int status;
    CHECK_INT(kill(child, SIGSTOP), ==, 0);
    CHECK_INT(waitpid(child, &status, WUNTRACED), ==, child);
    CHECK(WIFSTOPPED(status));
    put_byte(given[1]);
    usleep(1200000);
    CHECK_INT(kill(child, SIGCONT), ==, 0);
    status = status_of(child);
    CHECK(WIFEXITED(status));
    CHECK_INT(WEXITSTATUS(status), ==, 0);
    close_both(ready);
    close_both(given);
    close_both(never);
  }
}

// ---- Others that are busy ----

static bool done;

static void only_yields(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  while (!done) mj_task_yield();
  mj_task_exit();
}

static void waits_with_short_limits(mj_scheduler* scheduler, void* user_state) {
  static const uint64_t limits_ns[] = {1, 1000, 10000, 40000, 100000, MS};
  (void)scheduler;
  (void)user_state;
  for (int round = 0; round < 20; round++) {
    for (size_t i = 0; i < sizeof limits_ns / sizeof *limits_ns; i++) {
      CHECK_INT(mj_task_wait_fd(given[0], POLLIN, limits_ns[i]), ==, POLLIN);
      CHECK_INT(mj_task_wait_fd(never[0], POLLIN, limits_ns[i]), ==, -ETIMEDOUT);
    }
  }
  done = true;
  mj_task_exit();
}

static void a_limit_of_microseconds_beside_busy_tasks_is_one(void) {
  open_pipe(given);
  open_pipe(never);
  put_byte(given[1]);
  done = false;
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, only_yields, NULL);
  add_task(scheduler, only_yields, NULL);
  add_task(scheduler, waits_with_short_limits, NULL);
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_scheduler_destroy(scheduler);
  close_both(given);
  close_both(never);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN(what_came_while_the_process_was_stopped_counts);
  RUN(a_limit_of_microseconds_beside_busy_tasks_is_one);
  return 0;
}
