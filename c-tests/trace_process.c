// The flight recorder and the process: children of fork(), and the files that MAJJEN_TRACE asks for.
#define _GNU_SOURCE
#include "check.h"
#include "child.h"

#include <sys/stat.h>

static mj_scheduler* scheduler;

static void yields(void* name) {
  CHECK_INT(mj_task_set_name(mj_task_current(), name), ==, 0);
  for (int i = 0; i < 10; i++) mj_yield();
}

static void runs_task(const char* name) {
  CHECK_INT(mj_go(scheduler, yields, (void*)(intptr_t)name, NULL), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, 0);
}

// What is recorded, which the caller frees.
static char* recorded(void) {
  char* text = NULL;
  size_t length = 0;
  FILE* stream = open_memstream(&text, &length);
  CHECK(stream != NULL);
  CHECK_INT(mj_scheduler_write_trace(scheduler, stream), ==, 0);
  fclose(stream);
  return text;
}

// Whether a task with this name has ended in the record.
static bool has_ended(const char* text, const char* name) {
  char event[64];
  snprintf(event, sizeof event, "\"name\":\"ended\",\"args\":{\"name\":\"%s\"}", name);
  return strstr(text, event) != NULL;
}

static void check_has(const char* name, bool expected) {
  char* text = recorded();
  CHECK_INT(has_ended(text, name), ==, expected);
  free(text);
}

static void begins(size_t events) {
  scheduler = mj_scheduler_create();
  CHECK(scheduler != NULL);
  CHECK_INT(mj_scheduler_trace(scheduler, events), ==, 0);
}

// ---- Records

static void goes_on(void) {
  check_has("before", true);
  runs_task("child");
  check_has("before", true);
  check_has("child", true);
  mj_scheduler_destroy(scheduler);
}

// So many that all that is there is overwritten.
static void fills_it(void) {
  for (int i = 0; i < 1000; i++) runs_task("child");
  check_has("before", false);
  check_has("child", true);
  mj_scheduler_destroy(scheduler);
}

static void begins_anew(void) {
  CHECK_INT(mj_scheduler_trace(scheduler, 8192), ==, 0);
  check_has("before", false);
  runs_task("child");
  check_has("child", true);
  mj_scheduler_destroy(scheduler);
}

static void stops(void) {
  CHECK_INT(mj_scheduler_trace(scheduler, 0), ==, 0);
  runs_task("child");
  check_has("before", true);
  check_has("child", false);
  mj_scheduler_destroy(scheduler);
}

static void makes_one_that_does_not_record(void) {
  scheduler = mj_scheduler_create();
  runs_task("child");
  check_has("child", false);
  CHECK_INT(mj_scheduler_trace(scheduler, 1024), ==, 0);
  runs_task("child");
  check_has("child", true);
  mj_scheduler_destroy(scheduler);
}

static void a_child_has_a_record_of_its_own(void) {
  static void (*const children[])(void) = {goes_on, fills_it, begins_anew, stops,
                                           makes_one_that_does_not_record};
  for (size_t i = 0; i < sizeof children / sizeof *children; i++) {
    begins(1024);
    runs_task("before");
    CHECK_INT(status_of_child(children[i]), ==, 0);
    runs_task("after");
    check_has("before", true);
    check_has("child", false);
    check_has("after", true);
    mj_scheduler_destroy(scheduler);
  }
}

static pid_t child;

static void forks(void* unused) {
  (void)unused;
  mj_yield();
  child = fork();
  CHECK_INT(child, >=, 0);
  if (child == 0) alarm(50);
  CHECK_INT(mj_task_set_name(mj_task_current(), child == 0 ? "child" : "parent"), ==, 0);
  mj_yield();
}

static void a_child_that_goes_on_with_the_run_records(void) {
  begins(1024);
  runs_task("before");
  CHECK_INT(mj_go(scheduler, forks, NULL, NULL), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, 0);
  check_has("before", true);
  check_has("child", child == 0);
  check_has("parent", child != 0);
  mj_scheduler_destroy(scheduler);
  if (child == 0) _exit(0);
  CHECK_INT(status_of(child), ==, 0);
}

// ---- Files

static char directory[64];

// The text of a file, which the caller frees; NULL if there is none. It is removed.
static char* taken(const char* name, int number, const char* end) {
  char path[128];
  snprintf(path, sizeof path, "%s/%s", directory, name);
  if (number != 0) snprintf(path, sizeof path, "%s/%s%d%s", directory, name, number, end);
  FILE* file = fopen(path, "r");
  if (file == NULL) return NULL;
  char* text = NULL;
  size_t capacity = 0;
  CHECK_INT(getdelim(&text, &capacity, '\0', file), >, 0);
  fclose(file);
  CHECK_INT(unlink(path), ==, 0);
  return text;
}

static void check_file(const char* name, int number, const char* end, const char* task) {
  char* text = taken(name, number, end);
  CHECK(text != NULL);
  CHECK(has_ended(text, task));
  free(text);
}

static void asks_for_files(const char* name) {
  char value[128];
  strcpy(directory, "/tmp/majjen-trace-XXXXXX");
  CHECK(mkdtemp(directory) != NULL);
  snprintf(value, sizeof value, "%s/%s", directory, name);
  CHECK_INT(setenv("MAJJEN_TRACE", value, 1), ==, 0);
}

static void runs_both(void) {
  runs_task("inherited");
  mj_scheduler_destroy(scheduler);
  scheduler = mj_scheduler_create();
  runs_task("own");
  mj_scheduler_destroy(scheduler);
}

static void runs_both_in_a_child(void) {
  pid_t pid = start_child(runs_both);
  CHECK_INT(status_of(pid), ==, 0);
  child = pid;
}

static void writes_files(void) {
  asks_for_files("trace");
  scheduler = mj_scheduler_create();
  runs_task("parent");
  check_file("trace", 0, "", "parent");
  runs_both_in_a_child();
  CHECK_INT(rmdir(directory), ==, 0);  // It has written none.
  CHECK_INT(mkdir(directory, 0700), ==, 0);
  runs_task("parent");
  check_file("trace", 0, "", "parent");
  mj_scheduler_destroy(scheduler);
  scheduler = mj_scheduler_create();
  runs_task("second");
  check_file("trace.", 2, "", "second");
  mj_scheduler_destroy(scheduler);
  CHECK_INT(rmdir(directory), ==, 0);  // There is no other.
}

static void writes_files_of_processes(void) {
  asks_for_files("%p-%p");
  scheduler = mj_scheduler_create();
  runs_both_in_a_child();
  char end[32];
  snprintf(end, sizeof end, "-%d", (int)child);
  check_file("", child, end, "inherited");
  snprintf(end, sizeof end, "-%d.2", (int)child);
  check_file("", child, end, "own");
  runs_task("parent");
  snprintf(end, sizeof end, "-%d", (int)getpid());
  check_file("", getpid(), end, "parent");
  mj_scheduler_destroy(scheduler);
  CHECK_INT(rmdir(directory), ==, 0);
}

static size_t errors;

static void counts_errors(mj_log_level level, const char* message, void* user_data) {
  (void)user_data;
  errors += level >= MJ_LOG_ERROR && strstr(message, "File name too long") != NULL;
}

// Also by no more than what is put behind it.
static void has_too_long_a_name(void) {
  static const size_t lengths[] = {4000, 4093, 4094, 4095, 4096, 9000};
  char name[10000];
  mj_log_set_callback(counts_errors, NULL);
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
    memset(name, 'x', lengths[i]);
    name[lengths[i]] = '\0';
    CHECK_INT(setenv("MAJJEN_TRACE", name, 1), ==, 0);
    if (i == 0) scheduler = mj_scheduler_create();
    runs_task("task");
    CHECK_UINT(errors, ==, i + 1);
  }
  mj_scheduler_destroy(scheduler);
}

static void files_are_those_of_one_process(void) {
  CHECK_INT(status_of_child(writes_files), ==, 0);
}

static void files_with_the_number_of_the_process_are_of_each(void) {
  CHECK_INT(status_of_child(writes_files_of_processes), ==, 0);
}

static void a_name_that_is_too_long_is_an_error(void) {
  CHECK_INT(status_of_child(has_too_long_a_name), ==, 0);
}

int main(void) {
  CHECK_INT(unsetenv("MAJJEN_TRACE"), ==, 0);
  // In children, and before others: how many schedulers there have been tells the names of files.
  RUN(files_are_those_of_one_process);
  RUN(files_with_the_number_of_the_process_are_of_each);
  RUN(a_name_that_is_too_long_is_an_error);
  RUN(a_child_has_a_record_of_its_own);
  if (!under_tsan()) RUN(a_child_that_goes_on_with_the_run_records);
  return 0;
}
