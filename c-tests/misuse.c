// Misuse: a log line or an error code, no effect, and a scheduler that keeps working.
#define _GNU_SOURCE
#include "check.h"
#include "log_lines.h"

static int turns;

static void counts_one_turn(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  turns++;
  mj_task_exit();
}

// A scheduler that has been misused still suspends, sleeps and ends tasks.
static void works_still(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  int* done = user_state;
  mj_task_yield();
  mj_task_sleep_ns(1000);
  (*done)++;
  turns += 100;
  mj_task_exit();
}

static void check_works(mj_scheduler* scheduler) {
  turns = 0;
  add_task(scheduler, works_still, allocate(sizeof(int)));
  mj_scheduler_run(scheduler);
  CHECK_INT(turns, ==, 100);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->current_tasks, ==, 0);
}

static int logs_through_vlog(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  mj_vlog(MJ_LOG_INFO, format, arguments);
  va_end(arguments);
  return 0;
}

static void null_is_reported(void) {
  log_lines_begin();
  mj_scheduler* scheduler = new_scheduler();
  int* state = allocate(sizeof *state);

  CHECK_WARNS(mj_scheduler_destroy(NULL));
  CHECK_WARNS(mj_scheduler_run(NULL));
  CHECK_INT(mj_scheduler_stop(NULL), ==, -EINVAL);
  errno = 0;
  CHECK_PTR(mj_create_task(NULL, counts_one_turn, state), ==, NULL);
  CHECK_INT(errno, ==, EINVAL);
  errno = 0;
  CHECK_PTR(mj_create_task(scheduler, NULL, state), ==, NULL);
  CHECK_INT(errno, ==, EINVAL);
  // The state is still owned by the caller.
  *state = 1;
  free(state);
  CHECK_INT(mj_task_set_stack_size(NULL, 65536), ==, -EINVAL);
  CHECK_INT(mj_scheduler_set_stack_size(NULL, 65536), ==, -EINVAL);
  CHECK_WARNS(mj_scheduler_set_wait_func(NULL, NULL, NULL));
  CHECK_INT(mj_scheduler_backend_fd(NULL), ==, -EINVAL);
  CHECK_WARNS(CHECK_INT(mj_scheduler_enqueue(NULL, NULL), ==, -EINVAL));
  CHECK_WARNS(CHECK_INT(mj_scheduler_enqueue(scheduler, NULL), ==, -EINVAL));
  CHECK_WARNS(mj_scheduler_enqueue(scheduler, NULL));
  CHECK_PTR(mj_scheduler_dequeue(NULL), ==, NULL);
  CHECK_PTR(mj_scheduler_dequeue(NULL), ==, NULL);
  CHECK_WARNS(CHECK_PTR(mj_scheduler_get_metrics(NULL), ==, NULL));
  CHECK_WARNS(mj_scheduler_reset_metrics(NULL));
  CHECK_WARNS(mj_scheduler_print_metrics(NULL, stdout));
  CHECK_WARNS(mj_scheduler_print_metrics(scheduler, NULL));
  // A variable, since the compiler would warn about a literal NULL.
  const char* volatile no_format = NULL;
  CHECK_WARNS(mj_log(MJ_LOG_INFO, no_format, 0));
  CHECK_WARNS(logs_through_vlog(no_format));

  check_works(scheduler);
  mj_scheduler_destroy(scheduler);
  log_lines_end();
}

static void enqueueing_another_schedulers_task_is_reported(void) {
  log_lines_begin();
  mj_scheduler* scheduler = new_scheduler();
  mj_scheduler* other = new_scheduler();
  turns = 0;
  mj_task* others_task = add_task(other, counts_one_turn, NULL);
  CHECK_WARNS(CHECK_INT(mj_scheduler_enqueue(scheduler, others_task), ==, -EINVAL));
  CHECK_UINT(scheduler->runnable_count, ==, 0);
  CHECK_PTR(scheduler->runnable_head, ==, NULL);
  CHECK_UINT(other->runnable_count, ==, 1);
  CHECK_PTR(other->runnable_head, ==, others_task);
  mj_scheduler_run(scheduler);
  CHECK_INT(turns, ==, 0);
  mj_scheduler_run(other);
  CHECK_INT(turns, ==, 1);
  check_works(scheduler);
  check_works(other);
  mj_scheduler_destroy(scheduler);
  mj_scheduler_destroy(other);
  log_lines_end();
}

static void unknown_levels_are_reported(void) {
  log_lines_begin();
  CHECK_WARNS(mj_log_set_level((mj_log_level)42));
  CHECK_WARNS(mj_log_set_level((mj_log_level)7));
  CHECK_WARNS(mj_log_set_level((mj_log_level)-1));
  // The level is unchanged: INFO.
  size_t info_lines = log_line_counts[MJ_LOG_INFO];
  MJ_DEBUG("below the level");
  CHECK_UINT(log_line_counts[MJ_LOG_DEBUG], ==, 0);
  MJ_INFO("at the level");
  CHECK_UINT(log_line_counts[MJ_LOG_INFO], ==, info_lines + 1);
  // SILENT is a level to set, not one to log with.
  CHECK_WARNS(mj_log(MJ_LOG_SILENT, "never %d", 1));
  CHECK_WARNS(mj_log((mj_log_level)7, "never %d", 1));
  CHECK_WARNS(mj_log((mj_log_level)99, "never %d", 1));
  CHECK_WARNS(mj_log((mj_log_level)-1, "never %d", 1));
  log_lines_end();
}

static void blocking_calls_outside_a_task_do_nothing(void) {
  int fds[2];
  CHECK_INT(pipe(fds), ==, 0);
  log_lines_begin();
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, counts_one_turn, NULL);
  turns = 0;
  CHECK_WARNS(mj_task_yield());
  CHECK_WARNS(mj_task_sleep_ns(MJ_FOREVER));
  CHECK_WARNS(mj_task_sleep_ms(100000000));
  CHECK_WARNS(mj_task_sleep_s(100000));
  CHECK_WARNS(mj_task_wait_readable(fds[0]));
  CHECK_WARNS(mj_task_exit());
  CHECK_INT(turns, ==, 0);
  CHECK_UINT(scheduler->runnable_count, ==, 1);
  CHECK_UINT(scheduler->timer_count, ==, 0);
  mj_scheduler_run(scheduler);
  CHECK_INT(turns, ==, 1);
  // After a run it is the same as before one.
  CHECK_WARNS(mj_task_yield());
  check_works(scheduler);
  mj_scheduler_destroy(scheduler);
  log_lines_end();
  close(fds[0]);
  close(fds[1]);
}

static void runs_and_destroys_within(mj_scheduler* scheduler, void* user_state) {
  mj_scheduler* other = *(mj_scheduler**)user_state;
  mj_task* self = scheduler->current_task;
  CHECK_UINT(scheduler->runnable_count, ==, 1);
  CHECK_WARNS(mj_scheduler_run(scheduler));
  CHECK_WARNS(mj_scheduler_run(other));
  CHECK_WARNS(mj_scheduler_destroy(scheduler));
  // No task ran meanwhile, in either scheduler.
  CHECK_INT(turns, ==, 0);
  CHECK_PTR(mj_scheduler_current(), ==, scheduler);
  CHECK_PTR(scheduler->current_task, ==, self);
  CHECK_UINT(scheduler->runnable_count, ==, 1);
  mj_task_yield();
  CHECK_INT(turns, ==, 1);
  mj_task_sleep_ns(1000);
  CHECK_WARNS(mj_scheduler_run(scheduler));
  CHECK_WARNS(mj_scheduler_destroy(scheduler));
  mj_task_exit();
}

static void a_nested_run_and_destroy_are_reported(void) {
  log_lines_begin();
  mj_scheduler* scheduler = new_scheduler();
  mj_scheduler* other = new_scheduler();
  mj_scheduler** state = allocate(sizeof *state);
  *state = other;
  turns = 0;
  add_task(scheduler, runs_and_destroys_within, state);
  add_task(scheduler, counts_one_turn, NULL);
  add_task(other, counts_one_turn, NULL);
  mj_scheduler_run(scheduler);
  CHECK_INT(turns, ==, 1);
  mj_scheduler_run(other);
  CHECK_INT(turns, ==, 2);
  check_works(scheduler);
  mj_scheduler_destroy(scheduler);
  mj_scheduler_destroy(other);
  log_lines_end();
}

static void creates_and_destroys_another(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_scheduler* other = new_scheduler();
  add_task(other, counts_one_turn, NULL);
  mj_scheduler_destroy(other);
  mj_task_yield();
  turns = 1;
  mj_task_exit();
}

// Not misuse: only running another scheduler from a task is.
static void a_task_may_create_and_destroy_another_scheduler(void) {
  log_lines_begin();
  turns = 0;
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, creates_and_destroys_another, NULL);
  mj_scheduler_run(scheduler);
  CHECK_INT(turns, ==, 1);
  CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, 0);
  mj_scheduler_destroy(scheduler);
  log_lines_end();
}

static void waits_for_nothing(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  int fds[2];
  CHECK_INT(pipe(fds), ==, 0);
  close(fds[0]);
  close(fds[1]);
  size_t errors = log_lines_from(MJ_LOG_ERROR);
  mj_task_wait_readable(-1);
  CHECK_INT(log_lines_from(MJ_LOG_ERROR), ==, errors + 1);
  // The call has yielded, so that a loop around it lets other tasks run.
  CHECK_INT(turns, ==, 1);
  mj_task_wait_readable(fds[0]);
  CHECK_INT(log_lines_from(MJ_LOG_ERROR), ==, errors + 2);
  CHECK_INT(turns, ==, 2);
  mj_task_wait_readable(INT32_MAX);
  CHECK_INT(log_lines_from(MJ_LOG_ERROR), ==, errors + 3);
  CHECK_INT(turns, ==, 3);
  mj_task_wait_readable(INT32_MIN);
  CHECK_INT(log_lines_from(MJ_LOG_ERROR), ==, errors + 4);
  CHECK_INT(turns, ==, 4);
  // A number that is no open descriptor costs no memory, however large it is.
  size_t memory = mj_scheduler_get_metrics(scheduler)->memory_allocated_bytes;
  mj_task_wait_readable(10000000);
  CHECK_INT(log_lines_from(MJ_LOG_ERROR), ==, errors + 5);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->memory_allocated_bytes, <, memory + (1 << 20));
  mj_task_exit();
}

static void counts_four_turns(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < 4; i++) {
    turns++;
    mj_task_yield();
  }
  mj_task_exit();
}

static void waiting_for_a_bad_descriptor_is_an_error_line_and_a_yield(void) {
  log_lines_begin();
  turns = 0;
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, waits_for_nothing, NULL);
  add_task(scheduler, counts_four_turns, NULL);
  mj_scheduler_run(scheduler);
  CHECK_INT(turns, ==, 4);
  check_works(scheduler);
  mj_scheduler_destroy(scheduler);
  log_lines_end();
}

static void enqueueing_twice_is_once(void) {
  log_lines_begin();
  turns = 0;
  mj_scheduler* scheduler = new_scheduler();
  mj_task* first = add_task(scheduler, counts_one_turn, NULL);
  mj_task* second = add_task(scheduler, counts_one_turn, NULL);
  CHECK_INT(mj_scheduler_enqueue(scheduler, first), ==, 0);
  mj_scheduler_enqueue(scheduler, first);
  CHECK_INT(mj_scheduler_enqueue(scheduler, second), ==, 0);
  CHECK_UINT(scheduler->runnable_count, ==, 2);
  // The queue is unchanged.
  CHECK_PTR(scheduler->runnable_head, ==, first);
  CHECK_PTR(first->next, ==, second);
  CHECK_PTR(scheduler->runnable_tail, ==, second);
  mj_scheduler_run(scheduler);
  CHECK_INT(turns, ==, 2);
  CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, 0);
  mj_scheduler_destroy(scheduler);
  log_lines_end();
}

static void enqueues_the_ended(mj_scheduler* scheduler, void* user_state) {
  mj_task* ended = *(mj_task**)user_state;
  mj_task_yield();
  CHECK_INT(turns, ==, 1);
  CHECK_WARNS(CHECK_INT(mj_scheduler_enqueue(scheduler, ended), ==, -EINVAL));
  CHECK_UINT(scheduler->runnable_count, ==, 0);
  mj_task_yield();
  CHECK_INT(turns, ==, 1);
  mj_task_exit();
}

static void enqueueing_no_living_task_is_reported(void) {
  log_lines_begin();
  turns = 0;
  mj_scheduler* scheduler = new_scheduler();
  mj_task** ended = allocate(sizeof *ended);
  mj_task* first = add_task(scheduler, counts_one_turn, NULL);
  *ended = first;
  add_task(scheduler, enqueues_the_ended, ended);
  mj_scheduler_run(scheduler);
  CHECK_WARNS(CHECK_INT(mj_scheduler_enqueue(scheduler, first), ==, -EINVAL));

  // Any address may be passed; it is not dereferenced.
  mj_task forged;
  memset(&forged, 0, sizeof forged);
  forged.task_function = counts_one_turn;
  CHECK_WARNS(CHECK_INT(mj_scheduler_enqueue(scheduler, &forged), ==, -EINVAL));
  CHECK_WARNS(CHECK_INT(mj_scheduler_enqueue(scheduler, (mj_task*)16), ==, -EINVAL));
  CHECK_WARNS(CHECK_INT(mj_scheduler_enqueue(scheduler, (mj_task*)scheduler), ==, -EINVAL));
  mj_task* live = add_task(scheduler, counts_one_turn, NULL);
  mj_task* off = (mj_task*)((char*)live + 8);
  CHECK_WARNS(CHECK_INT(mj_scheduler_enqueue(scheduler, off), ==, -EINVAL));
  CHECK_UINT(scheduler->runnable_count, ==, 1);
  mj_scheduler_run(scheduler);
  CHECK_INT(turns, ==, 2);
  check_works(scheduler);
  mj_scheduler_destroy(scheduler);
  log_lines_end();
}

static void sets_its_own_stack_size(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  mj_task* self = scheduler->current_task;
  CHECK_INT(mj_task_set_stack_size(self, 65536), ==, -EBUSY);
  mj_task_yield();
  CHECK_INT(mj_task_set_stack_size(self, 65536), ==, -EBUSY);
  CHECK_INT(mj_task_set_stack_size(self, 0), ==, -EINVAL);
  turns++;
  mj_task_exit();
}

static void stack_sizes_have_limits(void) {
  log_lines_begin();
  turns = 0;
  const size_t too_small[] = {0, 1, 4096, 16 * 1024 - 1};
  const size_t too_large[] = {((size_t)1 << 30) + 1, (size_t)1 << 40, SIZE_MAX};
  mj_scheduler* scheduler = new_scheduler();
  mj_task* task = add_task(scheduler, sets_its_own_stack_size, NULL);
  for (size_t i = 0; i < sizeof too_small / sizeof too_small[0]; i++) {
    CHECK_INT(mj_task_set_stack_size(task, too_small[i]), ==, -EINVAL);
    CHECK_INT(mj_scheduler_set_stack_size(scheduler, too_small[i]), ==, -EINVAL);
  }
  for (size_t i = 0; i < sizeof too_large / sizeof too_large[0]; i++) {
    CHECK_INT(mj_task_set_stack_size(task, too_large[i]), ==, -EINVAL);
    CHECK_INT(mj_scheduler_set_stack_size(scheduler, too_large[i]), ==, -EINVAL);
  }
  CHECK_INT(mj_task_set_stack_size(task, (size_t)1 << 30), ==, 0);
  CHECK_INT(mj_task_set_stack_size(task, 16 * 1024 + 1), ==, 0);
  CHECK_INT(mj_task_set_stack_size(task, 64 * 1024), ==, 0);
  CHECK_INT(mj_scheduler_set_stack_size(scheduler, 16 * 1024), ==, 0);
  CHECK_INT(mj_scheduler_set_stack_size(scheduler, 64 * 1024 - 1), ==, 0);
  mj_scheduler_run(scheduler);
  CHECK_INT(turns, ==, 1);
  CHECK_INT(mj_task_set_stack_size(task, 64 * 1024), ==, -EINVAL);  // it has ended
  check_works(scheduler);
  mj_scheduler_destroy(scheduler);
  log_lines_end();
}

int main(void) {
  RUN(null_is_reported);
  RUN(enqueueing_another_schedulers_task_is_reported);
  RUN(unknown_levels_are_reported);
  RUN(blocking_calls_outside_a_task_do_nothing);
  RUN(a_nested_run_and_destroy_are_reported);
  RUN(a_task_may_create_and_destroy_another_scheduler);
  RUN(waiting_for_a_bad_descriptor_is_an_error_line_and_a_yield);
  RUN(enqueueing_twice_is_once);
  RUN(enqueueing_no_living_task_is_reported);
  RUN(stack_sizes_have_limits);
  return 0;
}
