// The log with several threads: lines stay whole, none is lost while the settings change, and
// children are forked meanwhile.
#define _GNU_SOURCE
#include "log_output.h"

#include "child.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { thread_count = 4, lines_a_round = 5000 };

// ---- The first line ----

static void pause_us(long us) {
  struct timespec pause = {0, us * 1000};
  nanosleep(&pause, NULL);
}

static const char* zone_path(void) {
  static char path[64];
  snprintf(path, sizeof path, "/tmp/majjen-log-zone-%d", (int)getpid());
  return path;
}

static void* logs_the_first_line(void* unused) {
  mj_log(MJ_LOG_INFO, "first");
  return unused;
}

// Whether a thread waits for who writes to the file of the time zone: then that can be opened without waiting.
static int open_for_who_reads(const char* path) {
  for (;;) {
    int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0) return fd;
    CHECK_INT(errno, ==, ENXIO);
    pause_us(100);
  }
}

// Its file is read under a lock of the C library that fflush(NULL) has while it waits for the streams.
static void reads_the_zone_with_no_stream_locked(void) {
  char zone[80];
  snprintf(zone, sizeof zone, ":%s", zone_path());
  CHECK_INT(mkfifo(zone_path(), 0600), ==, 0);
  CHECK_INT(setenv("TZ", zone, 1), ==, 0);
  CHECK(freopen("/dev/null", "w", stdout) != NULL);
  pthread_t thread;
  CHECK_INT(pthread_create(&thread, NULL, logs_the_first_line, NULL), ==, 0);
  int fd = open_for_who_reads(zone_path());
  int locked = ftrylockfile(stdout);
  if (locked == 0) funlockfile(stdout);
  close(fd);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
  CHECK_INT(unlink(zone_path()), ==, 0);
  CHECK_INT(locked, ==, 0);
}

// In a process that has logged nothing.
static void the_time_zone_is_read_with_no_stream_locked(void) {
  CHECK_INT(status_of_child(reads_the_zone_with_no_stream_locked), ==, 0);
}

// ---- Threads that log ----

// How many lines each thread writes in a round; main() lowers it where programs run slowly.
static int line_count = lines_a_round;

// How often each line was received, counted by callbacks on all threads, and in files afterwards.
static int seen[thread_count][lines_a_round];

// The number of rounds of each thread: one, or any number while `go_on` is set.
static int rounds[thread_count];
static bool go_on;

// How long each thread pauses after every twentieth line.
static long pause_between_us;

// How many threads have finished.
static int done;

// The lines' texts are prefixes of this one.
static char* letters;

// The length of a line's text: short, or so long that the library allocates.
static size_t text_length(int line) { return (size_t)(line * 37 % 200 + (line % 50 == 0) * 3000); }

static void* logs(void* argument) {
  int number = *(int*)argument;
  bool again;
  do {
    again = __atomic_load_n(&go_on, __ATOMIC_SEQ_CST);
    for (int i = 0; i < line_count; i++) {
      MJ_INFO("thread %d line %d %.*s end", number, i, (int)text_length(i), letters);
      if (pause_between_us > 0 && i % 20 == 0) pause_us(pause_between_us);
    }
    rounds[number]++;
  } while (again);
  __atomic_add_fetch(&done, 1, __ATOMIC_SEQ_CST);
  return NULL;
}

static pthread_t threads[thread_count];
static int numbers[thread_count];

static void start_threads(void) {
  memset(seen, 0, sizeof seen);
  memset(rounds, 0, sizeof rounds);
  done = 0;
  for (int i = 0; i < thread_count; i++) {
    numbers[i] = i;
    CHECK_INT(pthread_create(&threads[i], NULL, logs, &numbers[i]), ==, 0);
  }
}

static bool threads_are_logging(void) {
  return __atomic_load_n(&done, __ATOMIC_SEQ_CST) < thread_count;
}

static void join_threads(void) {
  for (int i = 0; i < thread_count; i++) CHECK_INT(pthread_join(threads[i], NULL), ==, 0);
}

static const char* after(const char* text, const char* part) {
  size_t length = strlen(part);
  CHECK_INT(strncmp(text, part, length), ==, 0);
  return text + length;
}

// Records a thread's line at the beginning of a text. Returns the rest of the text.
static const char* see(const char* text) {
  char* end;
  long number = strtol(after(text, "thread "), &end, 10);
  CHECK_INT(number, >=, 0);
  CHECK_INT(number, <, thread_count);
  long line = strtol(after(end, " line "), &end, 10);
  CHECK_INT(line, >=, 0);
  CHECK_INT(line, <, line_count);
  size_t length = text_length((int)line);
  text = after(end, " ");
  CHECK_INT(strncmp(text, letters, length), ==, 0);
  text = after(text + length, " end");
  __atomic_add_fetch(&seen[number][line], 1, __ATOMIC_SEQ_CST);
  return text;
}

// Records the lines of a text, all of which must be of threads or children.
static int see_lines(const char* text) {
  int children = 0;
  while (*text != '\0') {
    text = after_time(text);
    CHECK(text != NULL);
    CHECK_INT(strncmp(text, "[INFO] ", 7), ==, 0);
    text += 7;
    if (strncmp(text, "child ", 6) == 0) {
      children++;
      text = strchr(text, '\n');
      CHECK(text != NULL);
    } else {
      text = see(text);
    }
    CHECK_INT(*text, ==, '\n');
    text++;
  }
  return children;
}

static int see_file(const char* path) {
  char* text = text_of(path);
  int children = see_lines(text);
  free(text);
  return children;
}

static void check_each_line_was_seen_once(void) {
  for (int i = 0; i < thread_count; i++) {
    for (int k = 0; k < line_count; k++) {
      if (seen[i][k] != rounds[i]) fprintf(stderr, "thread %d line %d\n", i, k);
      CHECK_INT(seen[i][k], ==, rounds[i]);
    }
  }
}

static void receives(mj_log_level level, const char* message, void* user_data) {
  (void)user_data;
  CHECK_INT(level, ==, MJ_LOG_INFO);
  CHECK_STR(see(message), "");
}

// ---- Whole lines ----

static void lines_in_a_file_are_whole(void) {
  uint64_t dropped = mj_log_dropped();
  CHECK_INT(mj_log_to_file("threads.log"), ==, 0);
  start_threads();
  join_threads();
  mj_log_set_callback(NULL, NULL);
  CHECK_INT(see_file("threads.log"), ==, 0);
  check_each_line_was_seen_once();
  CHECK_UINT(mj_log_dropped(), ==, dropped);
}

static void log_by_threads(void) {
  start_threads();
  join_threads();
}

static void lines_on_the_streams_are_whole(void) {
  output output = output_of(log_by_threads);
  CHECK_INT(see_lines(output.out), ==, 0);
  check_each_line_was_seen_once();
  release(&output);
}

static void lines_to_a_callback_are_whole(void) {
  mj_log_set_callback(receives, NULL);
  log_by_threads();
  mj_log_set_callback(NULL, NULL);
  check_each_line_was_seen_once();
}

// ---- Settings that change meanwhile ----

static void no_line_is_lost_in_a_rotation(void) {
  uint64_t dropped = mj_log_dropped();
  char path[32];
  int rotations = 0;
  CHECK_INT(mj_log_to_file("rotation.log"), ==, 0);
  start_threads();
  while (threads_are_logging() && rotations < 500) {
    snprintf(path, sizeof path, "rotation.%d", rotations++);
    CHECK_INT(rename("rotation.log", path), ==, 0);
    CHECK_INT(mj_log_reopen(), ==, 0);
  }
  join_threads();
  mj_log_set_callback(NULL, NULL);
  for (int i = 0; i < rotations; i++) {
    snprintf(path, sizeof path, "rotation.%d", i);
    see_file(path);
  }
  see_file("rotation.log");
  check_each_line_was_seen_once();
  CHECK_UINT(mj_log_dropped(), ==, dropped);
}

static void no_line_is_lost_when_the_receiver_changes(void) {
  uint64_t dropped = mj_log_dropped();
  CHECK_INT(mj_log_to_file("a.log"), ==, 0);
  go_on = true;
  start_threads();
  for (size_t i = 0; i < times(3000, 30); i++) {
    mj_log_set_callback(receives, NULL);
    CHECK_INT(mj_log_to_file("b.log"), ==, 0);
    // The same file as before: a line in flight must not be taken for a failed one.
    CHECK_INT(mj_log_to_file("a.log"), ==, 0);
  }
  __atomic_store_n(&go_on, false, __ATOMIC_SEQ_CST);
  join_threads();
  mj_log_set_callback(NULL, NULL);
  CHECK_UINT(mj_log_dropped(), ==, dropped);
  see_file("a.log");
  see_file("b.log");
  check_each_line_was_seen_once();
}

static int callback_lines;

static void counts(mj_log_level level, const char* message, void* user_data) {
  (void)level;
  (void)message;
  (void)user_data;
  __atomic_add_fetch(&callback_lines, 1, __ATOMIC_SEQ_CST);
}

// Repeated often enough to hit every point in a line's way, and with no files to fill.
static void no_line_fails_when_the_receiver_changes(void) {
  uint64_t dropped = mj_log_dropped();
  CHECK_INT(mj_log_to_file("/dev/null"), ==, 0);
  go_on = true;
  start_threads();
  for (size_t i = 0; i < times(30000, 30); i++) {
    mj_log_set_callback(counts, NULL);
    CHECK_INT(mj_log_to_file("/dev/null"), ==, 0);
  }
  __atomic_store_n(&go_on, false, __ATOMIC_SEQ_CST);
  join_threads();
  mj_log_set_callback(NULL, NULL);
  CHECK_UINT(mj_log_dropped(), ==, dropped);
}

// Two threads set files, two a callback. Each line must arrive in one of these.
static void* changes_settings(void* argument) {
  int number = *(int*)argument;
  char path[32];
  snprintf(path, sizeof path, "changes.%d", number);
  for (int i = 0; i < line_count / 2; i++) {
    if (number < 2) {
      CHECK_INT(mj_log_to_file(path), ==, 0);
    } else {
      mj_log_set_callback(counts, NULL);
    }
    MJ_INFO("line");
    CHECK_INT(mj_log_reopen(), ==, 0);
    MJ_INFO("line");
  }
  return NULL;
}

static void threads_may_change_the_settings_at_once(void) {
  uint64_t dropped = mj_log_dropped();
  callback_lines = 0;
  mj_log_set_callback(counts, NULL);
  for (int i = 0; i < thread_count; i++) {
    numbers[i] = i;
    CHECK_INT(pthread_create(&threads[i], NULL, changes_settings, &numbers[i]), ==, 0);
  }
  join_threads();
  CHECK_INT(mj_log_to_file("last.log"), ==, 0);
  MJ_INFO("line");
  mj_log_set_callback(NULL, NULL);
  CHECK_FILE("last.log", "[INFO] line");
  CHECK_UINT(mj_log_dropped(), ==, dropped);
  int lines = callback_lines;
  for (int i = 0; i < 2; i++) {
    char path[32];
    snprintf(path, sizeof path, "changes.%d", i);
    char* text = text_of(path);
    for (const char* line = text; *line != '\0'; lines++) {
      line = after_line(line, "[INFO] line");
      CHECK(line != NULL);
    }
    free(text);
  }
  CHECK_INT(lines, ==, thread_count * (line_count / 2) * 2);
}

// ---- Children ----

// Forks while threads log, and lets each child call a function, which must not take long: a lock
// that another thread held during the fork would stay locked for ever. Returns the number of
// children.
static int fork_children(void (*function)(int number)) {
  int children = (int)times(300, 5);
  fflush(NULL);
  go_on = true;
  pause_between_us = 100;
  start_threads();
  for (int i = 0; i < children; i++) {
    pause_us(50);
    pid_t child = fork();
    CHECK_INT(child, >=, 0);
    if (child == 0) {
      alarm(30);
      function(i);
      // Valgrind would report the allocations of threads that do not exist in the child as leaks.
      kill(getpid(), SIGKILL);
    }
    int status;
    CHECK_INT(waitpid(child, &status, 0), ==, child);
    if (status != SIGKILL) fprintf(stderr, "child %d has status %#x\n", i, (unsigned)status);
    CHECK_INT(status, ==, SIGKILL);
  }
  __atomic_store_n(&go_on, false, __ATOMIC_SEQ_CST);
  join_threads();
  pause_between_us = 0;
  return children;
}

static void logs_as_a_child(int number) { MJ_INFO("child %d", number); }

static void a_child_logs_to_the_file(void) {
  CHECK_INT(mj_log_to_file("children.log"), ==, 0);
  int children = fork_children(logs_as_a_child);
  mj_log_set_callback(NULL, NULL);
  CHECK_INT(see_file("children.log"), ==, children);
  check_each_line_was_seen_once();
}

static int children_on_streams;

static void logs_with_children(void) { children_on_streams = fork_children(logs_as_a_child); }

static void a_child_logs_to_the_streams(void) {
  output output = output_of(logs_with_children);
  // A child also writes what was in stdio's buffer at the fork, as fork(2) describes. So lines of
  // threads may appear more than once, and only the children's own lines can be counted.
  int count = 0;
  const char* line = output.out;
  while ((line = strstr(line, "[INFO] child ")) != NULL) {
    count++;
    line++;
  }
  CHECK_INT(count, ==, children_on_streams);
  release(&output);
}

static int child_lines;

static void receives_as_a_child(mj_log_level level, const char* message, void* user_data) {
  (void)level;
  (void)user_data;
  if (strncmp(message, "child ", 6) == 0) child_lines++;
}

static void logs_to_the_callback_as_a_child(int number) {
  MJ_INFO("child %d", number);
  CHECK_INT(child_lines, ==, 1);
}

static void a_child_logs_to_the_callback(void) {
  mj_log_set_callback(receives_as_a_child, NULL);
  fork_children(logs_to_the_callback_as_a_child);
  mj_log_set_callback(NULL, NULL);
  CHECK_INT(child_lines, ==, 0);
}

static void* changes_until_told(void* stop) {
  while (!__atomic_load_n((bool*)stop, __ATOMIC_SEQ_CST)) {
    CHECK_INT(mj_log_to_file("parent.log"), ==, 0);
    CHECK_INT(mj_log_reopen(), ==, 0);
  }
  return NULL;
}

static void changes_settings_as_a_child(int number) {
  CHECK_INT(mj_log_reopen(), ==, 0);
  CHECK_INT(mj_log_to_file("child.log"), ==, 0);
  MJ_INFO("child %d", number);
}

// Also while the parent is changing its own settings.
static void a_child_can_change_its_settings(void) {
  bool stop = false;
  pthread_t thread;
  CHECK_INT(mj_log_to_file("parent.log"), ==, 0);
  CHECK_INT(pthread_create(&thread, NULL, changes_until_told, &stop), ==, 0);
  int children = fork_children(changes_settings_as_a_child);
  __atomic_store_n(&stop, true, __ATOMIC_SEQ_CST);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
  mj_log_set_callback(NULL, NULL);
  CHECK_INT(see_file("child.log"), ==, children);
  CHECK_INT(see_file("parent.log"), ==, 0);
  check_each_line_was_seen_once();
}

int main(void) {
  line_count = (int)times(lines_a_round, 200);
  letters = long_text(4000);
  test_directory_begin();
  RUN(the_time_zone_is_read_with_no_stream_locked);
  // After the first file the library keeps the descriptor's number.
  CHECK_INT(mj_log_to_file("/dev/null"), ==, 0);
  mj_log_set_callback(NULL, NULL);
  RUN(lines_in_a_file_are_whole);
  RUN(lines_on_the_streams_are_whole);
  RUN(lines_to_a_callback_are_whole);
  RUN(no_line_is_lost_in_a_rotation);
  RUN(no_line_is_lost_when_the_receiver_changes);
  RUN(no_line_fails_when_the_receiver_changes);
  RUN(threads_may_change_the_settings_at_once);
  RUN(a_child_logs_to_the_file);
  RUN(a_child_logs_to_the_streams);
  RUN(a_child_logs_to_the_callback);
  RUN(a_child_can_change_its_settings);
  free(letters);
  test_directory_end();
  return 0;
}
