// The log: its format, its streams, its levels, and the callback.
#define _GNU_SOURCE
#include "check.h"
#include "bodies.h"
#include "log_output.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/stat.h>

// ---- Streams and levels ----

// This wide character cannot be written in the C locale.
static void logs_what_cannot_be_formatted(void) { MJ_INFO("%ls", L"\x20ac"); }

static void a_line_that_cannot_be_formatted_is_reported(void) {
  output output = output_of(logs_what_cannot_be_formatted);
  CHECK_LINES(output.out, "[WARN] mj_log: the format or an argument is invalid; the line is dropped");
  release(&output);
}

static void logs_at_every_level(void) {
  mj_log_set_level(MJ_LOG_TRACE);
  mj_log(MJ_LOG_TRACE, "one %d", 1);
  mj_log(MJ_LOG_DEBUG, "two %s", "2");
  mj_log(MJ_LOG_INFO, "three %c", '3');
  mj_log(MJ_LOG_WARN, "four %5.1f", 4.0);
  mj_log(MJ_LOG_ERROR, "five %lu", 5ul);
  mj_log(MJ_LOG_FATAL, "six %%");
  mj_log_set_level(MJ_LOG_INFO);
}

static void each_level_has_its_name_and_stream(void) {
  output output = output_of(logs_at_every_level);
  CHECK_LINES(output.out, "[TRACE] one 1", "[DEBUG] two 2", "[INFO] three 3", "[WARN] four   4.0");
  CHECK_LINES(output.err, "[ERROR] five 5", "[FATAL] six %");
  release(&output);
}

static void logs_by_the_macros(void) {
  mj_log_set_level(MJ_LOG_TRACE);
  MJ_TRACE("one %d", 1);
  MJ_DEBUG("two");
  MJ_INFO("three");
  MJ_WARN("four");
  MJ_ERROR("five");
  MJ_FATAL("six");
  mj_log_set_level(MJ_LOG_INFO);
}

static void the_macros_log_at_their_levels(void) {
  output output = output_of(logs_by_the_macros);
  CHECK_LINES(output.out, "[TRACE] one 1", "[DEBUG] two", "[INFO] three", "[WARN] four");
  CHECK_LINES(output.err, "[ERROR] five", "[FATAL] six");
  release(&output);
}

static void logs_at_the_first_level(void) {
  MJ_TRACE("no");
  MJ_DEBUG("no");
  MJ_INFO("yes");
}

static void logs_from_error_on(void) {
  mj_log_set_level(MJ_LOG_ERROR);
  MJ_INFO("no");
  MJ_WARN("no");
  MJ_ERROR("yes");
  MJ_FATAL("yes, too");
  mj_log_set_level(MJ_LOG_INFO);
}

static void logs_in_silence(void) {
  mj_log_set_level(MJ_LOG_SILENT);
  MJ_TRACE("no");
  MJ_INFO("no");
  MJ_ERROR("no");
  MJ_FATAL("no");
  mj_log_set_level(MJ_LOG_INFO);
}

static void levels_filter(void) {
  output output = output_of(logs_at_the_first_level);
  CHECK_LINES(output.out, "[INFO] yes");
  CHECK_STR(output.err, "");
  release(&output);
  output = output_of(logs_from_error_on);
  CHECK_STR(output.out, "");
  CHECK_LINES(output.err, "[ERROR] yes", "[FATAL] yes, too");
  release(&output);
  output = output_of(logs_in_silence);
  CHECK_STR(output.out, "");
  CHECK_STR(output.err, "");
  release(&output);
}

static int evaluations;

static int evaluate(void) { return ++evaluations; }

static void arguments_are_always_evaluated(void) {
  evaluations = 0;
  mj_log_set_level(MJ_LOG_SILENT);
  MJ_TRACE("%d", evaluate());
  MJ_FATAL("%d", evaluate());
  mj_log_set_level(MJ_LOG_INFO);
  MJ_DEBUG("%d", evaluate());
  CHECK_INT(evaluations, ==, 3);
}

// ---- The line ----

static void logs_now(void) { MJ_INFO("now"); }

static void the_time_is_the_local_time(void) {
  time_t before = time(NULL);
  output output = output_of(logs_now);
  time_t after = time(NULL);
  bool found = false;
  for (time_t moment = before; moment <= after; moment++) {
    char expected[64];
    struct tm parts;
    localtime_r(&moment, &parts);
    strftime(expected, sizeof expected, "[%Y-%m-%d %H:%M:%S] [INFO] now\n", &parts);
    if (strcmp(output.out, expected) == 0) found = true;
  }
  if (!found) fprintf(stderr, "%s", output.out);
  CHECK(found);
  release(&output);
}

static const size_t lengths[] = {0,    1,    100,  1022, 1023, 1024,
                                 1025, 2047, 2048, 4096, 5000, 100000};
enum { length_count = sizeof lengths / sizeof lengths[0] };

static void logs_long_lines(void) {
  for (size_t i = 0; i < length_count; i++) {
    char* text = long_text(lengths[i]);
    MJ_INFO("%s", text);
    MJ_ERROR("<%s|%zu>", text, lengths[i]);
    free(text);
  }
}

static void long_lines_are_whole(void) {
  output output = output_of(logs_long_lines);
  const char* out = output.out;
  const char* err = output.err;
  for (size_t i = 0; i < length_count; i++) {
    char* text = long_text(lengths[i]);
    char* expected = allocate(lengths[i] + 100);
    snprintf(expected, lengths[i] + 100, "[INFO] %s", text);
    CHECK(after_line(out, expected));
    out = strchr(out, '\n') + 1;
    snprintf(expected, lengths[i] + 100, "[ERROR] <%s|%zu>", text, lengths[i]);
    CHECK(after_line(err, expected));
    err = strchr(err, '\n') + 1;
    free(text);
    free(expected);
  }
  CHECK_STR(out, "");
  CHECK_STR(err, "");
  release(&output);
}

static void logs_among_prints(void) {
  // stdout is a file here, so the program's own output waits in stdio's buffer.
  printf("first\n");
  MJ_INFO("second");
  printf("third\n");
  MJ_WARN("fourth");
  fprintf(stderr, "first\n");
  MJ_ERROR("second");
  fprintf(stderr, "third\n");
}

static void the_order_with_the_programs_own_output_is_kept(void) {
  output output = output_of(logs_among_prints);
  const char* out = output.out;
  CHECK_INT(strncmp(out, "first\n", 6), ==, 0);
  CHECK(after_line(out + 6, "[INFO] second"));
  const char* third = strchr(out + 6, '\n') + 1;
  CHECK_INT(strncmp(third, "third\n", 6), ==, 0);
  CHECK_LINES(third + 6, "[WARN] fourth");
  const char* err = output.err;
  CHECK_INT(strncmp(err, "first\n", 6), ==, 0);
  CHECK(after_line(err + 6, "[ERROR] second"));
  CHECK_STR(strchr(err + 6, '\n') + 1, "third\n");
  release(&output);
}

static off_t written_at_once;

static void logs_and_looks(void) {
  MJ_INFO("at once");
  struct stat status;
  written_at_once = fstat(1, &status) == 0 ? status.st_size : -1;
}

static void a_line_is_written_at_once(void) {
  output output = output_of(logs_and_looks);
  CHECK_INT(written_at_once, ==, strlen(output.out));
  CHECK_INT(written_at_once, >, 0);
  release(&output);
}

static void forwards(mj_log_level level, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  mj_vlog(level, format, arguments);
  va_end(arguments);
}

static void logs_by_va_list(void) {
  forwards(MJ_LOG_INFO, "%d %s %.1f %ld %d %d %d %d", 1, "two", 3.0, 4l, 5, 6, 7, 8);
  forwards(MJ_LOG_DEBUG, "%d", 1);
  // More arguments than the registers hold, of both kinds.
  mj_log(MJ_LOG_INFO, "%d %d %d %d %d %d %d %d %.0f %.0f %.0f %.0f %.0f %.0f %.0f %.0f %.0f %d", 1,
         2, 3, 4, 5, 6, 7, 8, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 9);
}

static void arguments_of_every_kind_arrive(void) {
  output output = output_of(logs_by_va_list);
  CHECK_LINES(output.out, "[INFO] 1 two 3.0 4 5 6 7 8",
              "[INFO] 1 2 3 4 5 6 7 8 1 2 3 4 5 6 7 8 9 9");
  release(&output);
}

static int errno_after[4];

static void sets_errno(mj_log_level level, const char* message, void* user_data) {
  (void)level;
  (void)message;
  (void)user_data;
  errno = EBADF;
}

static void logs_with_errno(void) {
  errno = ENOENT;
  MJ_INFO("%m");
  errno_after[0] = errno;
  MJ_ERROR("x");
  errno_after[1] = errno;
  MJ_DEBUG("filtered");
  errno_after[2] = errno;
  mj_log_set_callback(sets_errno, NULL);
  errno = ENOENT;
  MJ_INFO("x");
  errno_after[3] = errno;
  mj_log_set_callback(NULL, NULL);
}

static void errno_is_kept(void) {
  output output = output_of(logs_with_errno);
  for (int i = 0; i < 4; i++) CHECK_INT(errno_after[i], ==, ENOENT);
  // errno is the caller's while the line is formatted.
  char expected[128];
  snprintf(expected, sizeof expected, "[INFO] %s", strerror(ENOENT));
  CHECK(after_line(output.out, expected));
  release(&output);
}

// ---- The callback ----

typedef struct received {
  int count;
  mj_log_level level;
  char message[8192];
} received;

static void receives(mj_log_level level, const char* message, void* user_data) {
  received* state = user_data;
  state->count++;
  state->level = level;
  snprintf(state->message, sizeof state->message, "%s", message);
}

static received first_receiver, second_receiver;

static void logs_to_callbacks(void) {
  mj_log_set_callback(receives, &first_receiver);
  MJ_INFO("one %d", 1);
  MJ_DEBUG("filtered");
  MJ_ERROR("two");
  mj_log_set_callback(receives, &second_receiver);
  MJ_WARN("%5000d", 3);
  mj_log_set_callback(NULL, NULL);
  MJ_INFO("on the stream");
}

static void the_callback_takes_the_place_of_the_streams(void) {
  output output = output_of(logs_to_callbacks);
  CHECK_INT(first_receiver.count, ==, 2);
  CHECK_INT(first_receiver.level, ==, MJ_LOG_ERROR);
  // Only the text: no time, no level, no newline.
  CHECK_STR(first_receiver.message, "two");
  CHECK_INT(second_receiver.count, ==, 1);
  CHECK_INT(second_receiver.level, ==, MJ_LOG_WARN);
  CHECK_INT(strlen(second_receiver.message), ==, 5000);
  CHECK_LINES(output.out, "[INFO] on the stream");
  CHECK_STR(output.err, "");
  release(&output);
}

static int nested_calls;

static void logs_itself(mj_log_level level, const char* message, void* user_data) {
  (void)level;
  (void)user_data;
  if (++nested_calls > 10) return;  // Enough to fail the check that follows.
  MJ_INFO("about: %s", message);
  MJ_ERROR("about: %s", message);
}

static void logs_to_one_that_logs(void) {
  nested_calls = 0;
  mj_log_set_callback(logs_itself, NULL);
  MJ_INFO("first");
  MJ_INFO("second");
  mj_log_set_callback(NULL, NULL);
}

static void the_lines_of_a_callback_go_to_the_streams(void) {
  output output = output_of(logs_to_one_that_logs);
  CHECK_INT(nested_calls, ==, 2);
  CHECK_LINES(output.out, "[INFO] about: first", "[INFO] about: second");
  CHECK_LINES(output.err, "[ERROR] about: first", "[ERROR] about: second");
  release(&output);
}

// A callback that suspends the task that logs. The other task logs meanwhile.
static char yielding_trace[16];

static void trace(char step) { yielding_trace[strlen(yielding_trace)] = step; }

static void yields(mj_log_level level, const char* message, void* user_data) {
  (void)user_data;
  if (level != MJ_LOG_WARN) return;  // Skips the library's own lines.
  trace(message[0]);
  mj_task_yield();
  trace((char)(message[0] + 'A' - 'a'));
}

static void logs_twice(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  char letter = *(char*)user_state;
  MJ_WARN("%c", letter);
  MJ_WARN("%c", letter + 1);
  mj_task_exit();
}

static void a_callback_may_suspend_the_task(void) {
  memset(yielding_trace, 0, sizeof yielding_trace);
  mj_scheduler* scheduler = new_scheduler();
  char* first = allocate(1);
  char* second = allocate(1);
  *first = 'a';
  *second = 'x';
  add_task(scheduler, logs_twice, first);
  add_task(scheduler, logs_twice, second);
  mj_log_set_callback(yields, NULL);
  mj_scheduler_run(scheduler);
  mj_log_set_callback(NULL, NULL);
  // The callback got each line, also lines logged while an earlier call was suspended.
  CHECK_STR(yielding_trace, "axAbXyBY");
  mj_scheduler_destroy(scheduler);
}

// ---- Threads ----

enum { thread_count = 4, lines_a_thread = 250 };

static void* logs_from_a_thread(void* argument) {
  int number = *(int*)argument;
  for (int i = 0; i < lines_a_thread; i++) MJ_INFO("thread %d line %d end", number, i);
  return NULL;
}

static void log_from_threads(void) {
  pthread_t threads[thread_count];
  int numbers[thread_count];
  for (int i = 0; i < thread_count; i++) {
    numbers[i] = i;
    CHECK_INT(pthread_create(&threads[i], NULL, logs_from_a_thread, &numbers[i]), ==, 0);
  }
  for (int i = 0; i < thread_count; i++) CHECK_INT(pthread_join(threads[i], NULL), ==, 0);
}

static void lines_of_threads_are_whole(void) {
  output output = output_of(log_from_threads);
  int next[thread_count] = {0};
  int count = 0;
  for (const char* line = output.out; *line != '\0'; line = strchr(line, '\n') + 1) {
    int number = -1, i = -1;
    CHECK_INT(sscanf(line + 22, "[INFO] thread %d line %d end", &number, &i), ==, 2);
    CHECK_INT(number, >=, 0);
    CHECK_INT(number, <, thread_count);
    // Each thread's lines are in order.
    CHECK_INT(i, ==, next[number]);
    next[number]++;
    char expected[64];
    snprintf(expected, sizeof expected, "[INFO] thread %d line %d end", number, i);
    CHECK(after_line(line, expected));
    count++;
  }
  CHECK_INT(count, ==, thread_count * lines_a_thread);
  release(&output);
}

// ---- The library's own lines ----

static void runs_two_tasks(void) {
  mj_scheduler* scheduler = setup_scheduler_with_epoll();
  mj_create_task(scheduler, ends_at_once, NULL);
  mj_create_task(scheduler, ends_at_once, NULL);
  mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
}

static void a_run_announces_itself_as_the_guide_shows(void) {
  output output = output_of(runs_two_tasks);
  CHECK_LINES(output.out, "[INFO] Scheduler created with epoll integration",
              "[INFO] Scheduler starting with 2 runnable tasks, 0 sleeping",
              "[INFO] Scheduler stopped: all tasks completed");
  CHECK_STR(output.err, "");
  release(&output);
}

// ---- What the system lacks ----

static char debug_line[256];

static void takes_a_debug_line(mj_log_level level, const char* message, void* user_data) {
  (void)user_data;
  if (level == MJ_LOG_DEBUG) snprintf(debug_line, sizeof debug_line, "%s", message);
}

// docs/platforms.md has the names. The line contains the features that this test takes away; a
// system may lack others as well.
static void a_debug_line_names_the_fallbacks_in_use(void) {
  static const char start[] = "Fallbacks in use: ";
  static const char* const known[] = {"guards", "batches", "pwait2",  "wipe",
                                      "counter", "poll",    "nowait", "nosignal"};
  const char* taken_away = getenv("MAJJEN_FALLBACKS");
  mj_log_set_callback(takes_a_debug_line, NULL);
  mj_log_set_level(MJ_LOG_DEBUG);
  mj_scheduler_destroy(mj_scheduler_create());
  mj_log_set_level(MJ_LOG_INFO);
  mj_log_set_callback(NULL, NULL);
  CHECK(strncmp(debug_line, start, strlen(start)) == 0);

  char* names = debug_line + strlen(start);
  bool in_use[sizeof known / sizeof *known] = {false};
  if (strcmp(names, "none") != 0) {
    for (char* name = strtok(names, ", "); name != NULL; name = strtok(NULL, ", ")) {
      size_t i = 0;
      while (i < sizeof known / sizeof *known && strcmp(known[i], name) != 0) i++;
      CHECK(i < sizeof known / sizeof *known);
      in_use[i] = true;
    }
  }
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    if (taken_away != NULL && strstr(taken_away, known[i]) != NULL) CHECK(in_use[i]);
  }
  enum { guard_install = 102 };
  CHECK_INT(in_use[0], ==, madvise(NULL, 0, guard_install) != 0);
  // Of no descriptor. Whatever the C library has, and however the library is linked.
  bool has_pwait2 = syscall(SYS_epoll_pwait2, -1, NULL, 1, NULL, NULL, 0) == -1 && errno == EBADF;
  CHECK_INT(in_use[2], ==, !has_pwait2);
  CHECK_INT(in_use[3], ==, madvise(NULL, 0, MADV_WIPEONFORK) != 0);
}

int main(void) {
  // Far from Greenwich, so that UTC would show. Set before the first line, since the library may
  // cache a time.
  setenv("TZ", "XYZ-05:30", 1);
  tzset();
  RUN(each_level_has_its_name_and_stream);
  RUN(a_line_that_cannot_be_formatted_is_reported);
  RUN(the_macros_log_at_their_levels);
  RUN(levels_filter);
  RUN(arguments_are_always_evaluated);
  RUN(the_time_is_the_local_time);
  RUN(long_lines_are_whole);
  RUN(the_order_with_the_programs_own_output_is_kept);
  RUN(a_line_is_written_at_once);
  RUN(arguments_of_every_kind_arrive);
  RUN(errno_is_kept);
  RUN(the_callback_takes_the_place_of_the_streams);
  RUN(the_lines_of_a_callback_go_to_the_streams);
  RUN(a_callback_may_suspend_the_task);
  RUN(lines_of_threads_are_whole);
  RUN(a_run_announces_itself_as_the_guide_shows);
  RUN(a_debug_line_names_the_fallbacks_in_use);
  return 0;
}
