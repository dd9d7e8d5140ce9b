// The direct switch from task to task, past tasks at the head of the queue that cannot run: the
// task that yields may itself be the next one that can.
#define _GNU_SOURCE
#include "check.h"
#include "log_lines.h"

#include <sys/resource.h>

static int finished;

// ---- Past tasks that have ended ----

// Enqueued while it runs, it is still in the queue when it ends.
static void ends_in_the_queue(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  CHECK_INT(mj_scheduler_enqueue(scheduler, scheduler->current_task), ==, 0);
  mj_task_exit();
}

// The state counts the calls of the body.
static void yields_once(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  int* entries = user_state;
  ++*entries;
  mj_task_yield();
  CHECK_INT(*entries, ==, 1);
  finished++;
  mj_task_exit();
}

static void a_first_yield_skips_ended_tasks(void) {
  for (int ended = 1; ended < 5; ended++) {
    finished = 0;
    mj_scheduler* scheduler = new_scheduler();
    for (int i = 0; i < ended; i++) add_task(scheduler, ends_in_the_queue, NULL);
    add_task(scheduler, yields_once, allocate(sizeof(int)));
    mj_scheduler_run(scheduler);
    CHECK_INT(finished, ==, 1);
    const mj_metrics* metrics = mj_scheduler_get_metrics(scheduler);
    CHECK_UINT(metrics->tasks_exited, ==, ended + 1);
    CHECK_UINT(metrics->task_executions, ==, ended + 2);
    mj_scheduler_destroy(scheduler);
  }
}

// Yields at a given call depth, so that the stack differs each time.
static uint64_t yields_from(uint64_t depth) {
  volatile uint64_t local[8];
  for (uint64_t i = 0; i < 8; i++) local[i] = depth;
  if (depth == 0) {
    mj_task_yield();
  } else {
    CHECK_UINT(yields_from(depth - 1), ==, 8 * (depth - 1));
  }
  uint64_t sum = 0;
  for (size_t i = 0; i < 8; i++) sum += local[i];
  return sum;
}

static void yields_from_many_depths(mj_scheduler* scheduler, void* user_state) {
  int* entries = user_state;
  uint64_t random = 88172645463325252u;
  ++*entries;
  for (size_t i = 0; i < times(2000, 200); i++) {
    uint64_t ended = next_random(&random) % 4;
    for (uint64_t j = 0; j < ended; j++) add_task(scheduler, ends_in_the_queue, NULL);
    // The first yield lets them end, the second finds them at the head of the queue.
    for (int j = 0; j < 2; j++) {
      uint64_t depth = next_random(&random) % 8;
      CHECK_UINT(yields_from(depth), ==, 8 * depth);
    }
  }
  CHECK_INT(*entries, ==, 1);
  finished++;
  mj_task_exit();
}

static void a_yield_skips_ended_tasks(void) {
  for (int tasks = 1; tasks < 4; tasks++) {
    finished = 0;
    mj_scheduler* scheduler = new_scheduler();
    for (int i = 0; i < tasks; i++) {
      add_task(scheduler, yields_from_many_depths, allocate(sizeof(int)));
    }
    mj_scheduler_run(scheduler);
    CHECK_INT(finished, ==, tasks);
    CHECK_UINT(mj_scheduler_get_metrics(scheduler)->current_tasks, ==, 0);
    mj_scheduler_destroy(scheduler);
  }
}

// ---- Past tasks for which there is no stack ----

enum { greedy_count = 5 };

static mj_task* greedy[greedy_count];

static void ends_at_once(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  finished++;
  mj_task_exit();
}

static void creates_the_greedy(mj_scheduler* scheduler, void* user_state) {
  int* entries = user_state;
  ++*entries;
  for (int i = 0; i < greedy_count; i++) {
    greedy[i] = add_task(scheduler, ends_at_once, NULL);
    CHECK_INT(mj_task_set_stack_size(greedy[i], (size_t)1 << 30), ==, 0);
    uint64_t depth = (uint64_t)(7 * i % 4);
    CHECK_UINT(yields_from(depth), ==, 8 * depth);
    CHECK_INT(*entries, ==, 1);
  }
  CHECK_INT(finished, ==, 0);
  finished++;
  mj_task_exit();
}

static void a_yield_skips_tasks_without_a_stack(void) {
  // The limit would also apply to valgrind, the emulator or the sanitizer.
  if (under_valgrind() || emulated() || sanitized()) return;
  log_lines_begin();
  finished = 0;
  mj_scheduler* scheduler = new_scheduler();
  struct rlimit limit;
  CHECK_INT(getrlimit(RLIMIT_AS, &limit), ==, 0);
  const struct rlimit before = limit;
  limit.rlim_cur = (rlim_t)1 << 30;
  CHECK_INT(setrlimit(RLIMIT_AS, &limit), ==, 0);
  add_task(scheduler, creates_the_greedy, allocate(sizeof(int)));
  mj_scheduler_run(scheduler);
  CHECK_INT(setrlimit(RLIMIT_AS, &before), ==, 0);
  CHECK_INT(finished, ==, 1);
  CHECK_INT(log_lines_from(MJ_LOG_ERROR), >=, 1);
  // None is lost: they run once there is memory for their stacks.
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->current_tasks, ==, greedy_count);
  for (int i = 0; i < greedy_count; i++) {
    CHECK_INT(mj_task_set_stack_size(greedy[i], 65536), ==, 0);
  }
  mj_scheduler_run(scheduler);
  CHECK_INT(finished, ==, 1 + greedy_count);
  mj_scheduler_destroy(scheduler);
  log_lines_end();
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN(a_first_yield_skips_ended_tasks);
  RUN(a_yield_skips_ended_tasks);
  RUN(a_yield_skips_tasks_without_a_stack);
  return 0;
}
