// mj_go(): tasks that end when their function returns, and whose argument stays the caller's.
#define _GNU_SOURCE
#include "check.h"
#include "log_lines.h"

#include <pthread.h>

static int calls;

static void counts(void* argument) {
  ++*(int*)argument;
  mj_task_yield();
  calls++;
}

static void a_task_ends_when_its_function_returns(void) {
  mj_scheduler* scheduler = new_scheduler();
  int on_the_stack = 0;
  mj_task_id first = 0, second = 0;
  calls = 0;
  CHECK_INT(mj_go(scheduler, counts, &on_the_stack, &first), ==, 0);
  CHECK_INT(mj_go(scheduler, counts, &on_the_stack, &second), ==, 0);
  CHECK_INT(mj_go(scheduler, counts, &on_the_stack, NULL), ==, 0);
  CHECK_UINT(first, !=, second);
  CHECK_INT(calls, ==, 0);  // Not inside the call.
  CHECK_UINT(mj_task_get_id(mj_task_find(scheduler, first)), ==, first);
  CHECK_INT(mj_run(scheduler), ==, 0);
  CHECK_INT(calls, ==, 3);
  CHECK_INT(on_the_stack, ==, 3);
  CHECK_PTR(mj_task_find(scheduler, first), ==, NULL);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->tasks_exited, ==, 3);
  mj_scheduler_destroy(scheduler);
}

// ---- In a task ----

static void leaves_by_exit(void* argument) {
  *(int*)argument = 7;
  mj_task_exit();
  CHECK_INT(mj_yield(), ==, -ECANCELED);
}

static void sets_its_state(void* argument) {
  (void)argument;
  mj_task_current()->state = MJ_TASK_SLEEPING;  // Parks no function that has returned.
}

static void makes_tasks(void* argument) {
  mj_scheduler* scheduler = argument;
  int result = 0;
  mj_task_id id = 0;
  CHECK_INT(mj_go(mj_scheduler_current(), leaves_by_exit, &result, &id), ==, 0);
  CHECK_INT(result, ==, 0);
  CHECK_INT(mj_task_join(id, MJ_FOREVER), ==, 0);
  CHECK_INT(result, ==, 7);
  CHECK_INT(mj_go(scheduler, sets_its_state, NULL, &id), ==, 0);
  CHECK_INT(mj_task_join(id, MJ_FOREVER), ==, 0);
}

static void tasks_make_tasks(void) {
  mj_scheduler* scheduler = new_scheduler();
  CHECK_INT(mj_go(scheduler, makes_tasks, scheduler, NULL), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, 0);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->current_tasks, ==, 0);
  mj_scheduler_destroy(scheduler);
}

static void sleeps_for_long(void* argument) { *(int*)argument = mj_sleep_ns(LONG_NS); }

static void is_named(void* argument) {
  (void)argument;
  int result = 0;
  mj_scheduler* scheduler = mj_scheduler_current();
  mj_task_id id = 0;
  CHECK_INT(mj_go(scheduler, sleeps_for_long, &result, &id), ==, 0);
  mj_task* task = mj_task_find(scheduler, id);
  CHECK_INT(mj_task_set_name(task, "goes"), ==, 0);
  CHECK_INT(mj_task_set_stack_size(task, 32 * 1024), ==, 0);
  mj_task_yield();
  char* text = NULL;
  size_t length = 0;
  FILE* stream = open_memstream(&text, &length);
  mj_scheduler_dump(scheduler, stream);
  fclose(stream);
  char line[100];
  snprintf(line, sizeof line, "task %#llx \"goes\" sleeping until ", (unsigned long long)id);
  CHECK(strstr(text, line) != NULL);
  free(text);
  CHECK_INT(mj_scheduler_cancel(scheduler, id), ==, 0);
  CHECK_INT(mj_task_join(id, MJ_FOREVER), ==, 0);
  CHECK_INT(result, ==, -ECANCELED);
}

static void it_is_a_task_as_any_other(void) {
  mj_scheduler* scheduler = new_scheduler();
  CHECK_INT(mj_go(scheduler, is_named, NULL, NULL), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_scheduler_destroy(scheduler);
}

// What the scheduler has for each is released, for those that have begun and for those that have not.
static void tasks_are_destroyed_with_their_scheduler(void) {
  mj_scheduler* scheduler = new_scheduler();
  int result = 1;
  mj_task_id id = 0;
  CHECK_INT(mj_go(scheduler, sleeps_for_long, &result, &id), ==, 0);
  CHECK_INT(mj_scheduler_stop(scheduler), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, MJ_RUN_STOPPED);
  for (int i = 0; i < 100; i++) CHECK_INT(mj_go(scheduler, counts, &result, NULL), ==, 0);
  mj_scheduler_destroy(scheduler);
  CHECK_INT(result, ==, 1);
}

// ---- Errors ----

static mj_scheduler* elsewhere;

static void* goes_on_another_thread(void* result) {
  mj_task_id id = 5;
  *(int*)result = mj_go(elsewhere, counts, NULL, &id);
  CHECK_UINT(id, ==, 5);
  return NULL;
}

static void has_another_thread_go(void* argument) {
  (void)argument;
  pthread_t thread;
  int result = 0;
  elsewhere = mj_scheduler_current();
  CHECK_INT(pthread_create(&thread, NULL, goes_on_another_thread, &result), ==, 0);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
  CHECK_INT(result, ==, -EPERM);
}

static void errors_leave_no_task(void) {
  mj_scheduler* scheduler = new_scheduler();
  mj_task_id id = 5;
  log_lines_begin();
  CHECK_WARNS(CHECK_INT(mj_go(NULL, counts, NULL, &id), ==, -EINVAL));
  CHECK_WARNS(CHECK_INT(mj_go(scheduler, NULL, NULL, &id), ==, -EINVAL));
  CHECK_UINT(id, ==, 5);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->tasks_created, ==, 0);
  CHECK_INT(mj_go(scheduler, has_another_thread_go, NULL, NULL), ==, 0);
  CHECK_WARNS(CHECK_INT(mj_run(scheduler), ==, 0));
  log_lines_end();
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->tasks_created, ==, 1);
  mj_scheduler_destroy(scheduler);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN(a_task_ends_when_its_function_returns);
  RUN(tasks_make_tasks);
  RUN(it_is_a_task_as_any_other);
  RUN(tasks_are_destroyed_with_their_scheduler);
  RUN(errors_leave_no_task);
  return 0;
}
