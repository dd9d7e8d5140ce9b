// Logging to a file: appending, rotation, and lines lost when the disk is full.
#define _GNU_SOURCE
#include "log_output.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

// How many descriptors of the process refer to a file whose name contains `part`.
static int descriptors_of(const char* part) {
  DIR* directory = opendir("/proc/self/fd");
  CHECK(directory != NULL);
  int count = 0;
  for (struct dirent* entry; (entry = readdir(directory)) != NULL;) {
    char target[512];
    ssize_t length = readlinkat(dirfd(directory), entry->d_name, target, sizeof target - 1);
    if (length < 0) continue;
    target[length] = '\0';
    if (strstr(target, part) != NULL) count++;
  }
  closedir(directory);
  return count;
}

// The descriptor of the file in the test's directory, or -1.
static int log_descriptor(void) {
  for (int fd = 0; fd < 1024; fd++) {
    char link[64], target[512];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, target, sizeof target - 1);
    if (length > 0 && strncmp(target, test_directory, strlen(test_directory)) == 0) return fd;
  }
  return -1;
}

static void to_file(const char* path) { CHECK_INT(mj_log_to_file(path), ==, 0); }

static void to_streams(void) { mj_log_set_callback(NULL, NULL); }

static size_t count_of(const char* text, const char* part) {
  size_t count = 0;
  for (; (text = strstr(text, part)) != NULL; text++) count++;
  return count;
}

// ---- Appending ----

static void logs_at_every_level(void) {
  to_file("levels.log");
  mj_log_set_level(MJ_LOG_TRACE);
  MJ_TRACE("one %d", 1);
  MJ_DEBUG("two %s", "2");
  MJ_INFO("three %c", '3');
  MJ_WARN("four %5.1f", 4.0);
  MJ_ERROR("five %lu", 5ul);
  MJ_FATAL("six %%");
  mj_log_set_level(MJ_LOG_SILENT);
  MJ_FATAL("no");
  mj_log_set_level(MJ_LOG_INFO);
  MJ_DEBUG("no");
  to_streams();
}

static void every_level_goes_to_the_file_and_nowhere_else(void) {
  output output = output_of(logs_at_every_level);
  CHECK_STR(output.out, "");
  CHECK_STR(output.err, "");
  release(&output);
  CHECK_FILE("levels.log", "[TRACE] one 1", "[DEBUG] two 2", "[INFO] three 3", "[WARN] four   4.0",
             "[ERROR] five 5", "[FATAL] six %");
}

static void the_time_is_the_local_time(void) {
  to_file("time.log");
  time_t before = time(NULL);
  MJ_INFO("now");
  time_t after = time(NULL);
  to_streams();
  char* text = text_of("time.log");
  bool found = false;
  for (time_t moment = before; moment <= after; moment++) {
    char expected[64];
    struct tm parts;
    localtime_r(&moment, &parts);
    strftime(expected, sizeof expected, "[%Y-%m-%d %H:%M:%S] [INFO] now\n", &parts);
    if (strcmp(text, expected) == 0) found = true;
  }
  if (!found) fprintf(stderr, "%s", text);
  CHECK(found);
  free(text);
}

static void time_and_level_can_be_left_out(void) {
  static const char* const expected[] = {"text\n", "[WARN] text\n"};
  for (int i = 0; i < 4; i++) {
    bool include_time = i / 2 == 1, include_level = i % 2 == 1;
    mj_logger logger = {MJ_LOG_INFO, NULL, NULL, include_time, include_level};
    CHECK_INT(mj_log_set_config(&logger), ==, 0);
    to_file("prefix.log");
    MJ_WARN("text");
    to_streams();
    char* text = text_of("prefix.log");
    const char* rest = include_time ? after_time(text) : text;
    CHECK(rest != NULL);
    CHECK_STR(rest, expected[include_level]);
    free(text);
    unlink("prefix.log");
  }
}

static void lines_are_appended_at_once(void) {
  FILE* file = fopen("append.log", "w");
  fputs("what was there\n", file);
  fclose(file);
  to_file("append.log");
  for (int i = 0; i < 3; i++) {
    MJ_INFO("line %d", i);
    // Lines are not buffered.
    char* text = text_of("append.log");
    CHECK_INT(count_of(text, "\n"), ==, i + 2);
    free(text);
  }
  // The lines of another writer are not overwritten.
  file = fopen("append.log", "a");
  fputs("another's\n", file);
  fclose(file);
  MJ_INFO("last");
  to_streams();
  char* text = text_of("append.log");
  CHECK_INT(strncmp(text, "what was there\n", 15), ==, 0);
  const char* line = text + 15;
  for (int i = 0; i < 3; i++) {
    char expected[32];
    snprintf(expected, sizeof expected, "[INFO] line %d", i);
    line = after_line(line, expected);
    CHECK(line != NULL);
  }
  CHECK_INT(strncmp(line, "another's\n", 10), ==, 0);
  CHECK_LINES(line + 10, "[INFO] last");
  free(text);
}

static void long_lines_are_whole(void) {
  static const size_t lengths[] = {0, 1, 1022, 1023, 1024, 1025, 5000, 1000000};
  to_file("long.log");
  for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
    char* text = long_text(lengths[i]);
    MJ_INFO("<%s>", text);
    free(text);
  }
  to_streams();
  char* text = text_of("long.log");
  const char* line = text;
  for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
    char* part = long_text(lengths[i]);
    char* expected = allocate(lengths[i] + 16);
    snprintf(expected, lengths[i] + 16, "[INFO] <%s>", part);
    line = after_line(line, expected);
    CHECK(line != NULL);
    free(part);
    free(expected);
  }
  CHECK_STR(line, "");
  free(text);
}

static void the_file_is_made_with_a_modest_mode_and_not_inherited(void) {
  mode_t mask = umask(022);
  to_file("mode.log");
  umask(mask);
  struct stat status;
  CHECK_INT(stat("mode.log", &status), ==, 0);
  CHECK_INT(status.st_mode & 07777, ==, 0644);
  int fd = log_descriptor();
  CHECK_INT(fd, >=, 0);
  CHECK_INT(fcntl(fd, F_GETFD) & FD_CLOEXEC, !=, 0);
  CHECK_INT(fcntl(fd, F_GETFL) & O_APPEND, !=, 0);
  // Nor after the file has been replaced.
  CHECK_INT(mj_log_reopen(), ==, 0);
  CHECK_INT(log_descriptor(), ==, fd);
  CHECK_INT(fcntl(fd, F_GETFD) & FD_CLOEXEC, !=, 0);
  to_streams();
}

// Nor is the first file: it determines the descriptor's number, and later files are duplicated onto
// that number.
static void check_the_first_file(void) {
  to_file("first.log");
  int fd = log_descriptor();
  CHECK_INT(fd, >, 2);
  CHECK_INT(fcntl(fd, F_GETFD) & FD_CLOEXEC, !=, 0);
  to_streams();
}

static void the_file_is_closed_when_the_receiver_changes(void) {
  to_file("closed.log");
  CHECK_INT(descriptors_of("closed.log"), ==, 1);
  to_file("closed2.log");
  CHECK_INT(descriptors_of("closed.log"), ==, 0);
  CHECK_INT(descriptors_of("closed2.log"), ==, 1);
  to_streams();
  CHECK_INT(descriptors_of(test_directory), ==, 0);
  for (int i = 0; i < 100; i++) {
    to_file("closed.log");
    MJ_INFO("line");
    to_streams();
  }
  CHECK_INT(descriptors_of(test_directory), ==, 0);
}

static void the_path_is_copied(void) {
  char path[] = "copied.log";
  to_file(path);
  memset(path, 'x', sizeof path - 1);
  CHECK_INT(rename("copied.log", "copied.old"), ==, 0);
  CHECK_INT(mj_log_reopen(), ==, 0);
  MJ_INFO("line");
  to_streams();
  CHECK_FILE("copied.log", "[INFO] line");
}

static int callback_lines;

static void counts(mj_log_level level, const char* message, void* user_data) {
  (void)level;
  (void)message;
  ++*(int*)user_data;
}

static void errors_change_nothing(void) {
  mj_log_set_callback(counts, &callback_lines);
  for (int i = 0; i < 2; i++) {
    CHECK_INT(mj_log_to_file(NULL), ==, -EINVAL);
    CHECK_INT(mj_log_to_file(""), ==, -ENOENT);
    CHECK_INT(mj_log_to_file("missing/log"), ==, -ENOENT);
    CHECK_INT(mj_log_to_file("."), ==, -EISDIR);
    int before = callback_lines;
    MJ_INFO("line");
    if (i == 0) {
      CHECK_INT(callback_lines, ==, before + 1);
      // The second time, with a file set.
      to_file("errors.log");
    }
  }
  to_streams();
  CHECK_FILE("errors.log", "[INFO] line");
}

// A callback that logs, after a file was set: its own lines go to the streams, not to the file.
static void logs_itself(mj_log_level level, const char* message, void* user_data) {
  (void)level;
  (void)user_data;
  MJ_INFO("about: %s", message);
}

static void logs_to_one_that_logs(void) {
  to_file("callback.log");
  mj_log_set_callback(logs_itself, NULL);
  MJ_INFO("line");
  to_streams();
}

static void the_lines_of_a_callback_go_to_the_streams(void) {
  output output = output_of(logs_to_one_that_logs);
  CHECK_LINES(output.out, "[INFO] about: line");
  release(&output);
  char* text = text_of("callback.log");
  CHECK_STR(text, "");
  free(text);
}

// ---- Rotation ----

static void a_renamed_file_is_left_on_reopen(void) {
  to_file("rotated.log");
  MJ_INFO("before");
  CHECK_INT(rename("rotated.log", "rotated.1"), ==, 0);
  // Until then lines go to the renamed file.
  MJ_INFO("between");
  CHECK_INT(mj_log_reopen(), ==, 0);
  MJ_INFO("after");
  CHECK_INT(descriptors_of("rotated.1"), ==, 0);
  // Nothing was renamed: lines go to the same file.
  CHECK_INT(mj_log_reopen(), ==, 0);
  MJ_INFO("later");
  to_streams();
  CHECK_FILE("rotated.1", "[INFO] before", "[INFO] between");
  CHECK_FILE("rotated.log", "[INFO] after", "[INFO] later");
}

static void a_reopen_that_fails_keeps_the_old_file(void) {
  CHECK_INT(mkdir("sub", 0755), ==, 0);
  to_file("sub/kept.log");
  CHECK_INT(rename("sub/kept.log", "kept.1"), ==, 0);
  CHECK_INT(rmdir("sub"), ==, 0);
  CHECK_INT(mj_log_reopen(), ==, -ENOENT);
  MJ_INFO("still here");
  CHECK_INT(mkdir("sub", 0755), ==, 0);
  CHECK_INT(mj_log_reopen(), ==, 0);
  MJ_INFO("back");
  to_streams();
  CHECK_FILE("kept.1", "[INFO] still here");
  CHECK_FILE("sub/kept.log", "[INFO] back");
  CHECK_INT(unlink("sub/kept.log"), ==, 0);
  CHECK_INT(rmdir("sub"), ==, 0);
}

static void a_descriptor_that_the_program_has_closed_is_opened_again(void) {
  to_file("opened_again.log");
  int fd = log_descriptor();
  CHECK_INT(fd, >, 2);
  // The next file gets the lowest free number.
  for (int lower = 3; lower < fd; lower++) CHECK_INT(fcntl(lower, F_GETFD), >=, 0);
  CHECK_INT(close(fd), ==, 0);
  CHECK_INT(mj_log_reopen(), ==, 0);
  CHECK_INT(log_descriptor(), ==, fd);
  MJ_INFO("line");
  to_streams();
  CHECK_FILE("opened_again.log", "[INFO] line");
}

static void reopen_does_nothing_without_a_file(void) {
  CHECK_INT(mj_log_reopen(), ==, 0);
  to_file("unused.log");
  mj_log_set_callback(counts, &callback_lines);
  CHECK_INT(unlink("unused.log"), ==, 0);
  CHECK_INT(mj_log_reopen(), ==, 0);
  CHECK_INT(access("unused.log", F_OK), ==, -1);
  int before = callback_lines;
  MJ_INFO("line");
  CHECK_INT(callback_lines, ==, before + 1);
  to_streams();
}

// ---- Lines that are lost ----

static int errno_after;

static void logs_to_a_full_disk(void) {
  to_file("/dev/full");
  errno = ECHILD;
  for (int i = 0; i < 10; i++) MJ_INFO("lost %d", i);
  errno_after = errno;
  to_file("space.log");
  MJ_INFO("written");
  to_file("/dev/full");
  for (int i = 0; i < 5; i++) MJ_FATAL("lost %d", i);
  to_streams();
  MJ_INFO("to stdout");
  // Another receiver, with no line written to a file in between.
  to_file("/dev/full");
  MJ_INFO("lost");
  to_streams();
}

static void a_full_disk_is_reported_once_and_counted(void) {
  uint64_t before = mj_log_dropped();
  output output = output_of(logs_to_a_full_disk);
  CHECK_UINT(mj_log_dropped() - before, ==, 16);
  CHECK_INT(errno_after, ==, ECHILD);
  char report[128];
  snprintf(report, sizeof report,
           "[ERROR] Log lines are being lost: %s (errno %d): \"/dev/full\"", strerror(ENOSPC),
           ENOSPC);
  CHECK_LINES(output.err, report, report, report);
  CHECK_LINES(output.out, "[INFO] to stdout");
  release(&output);
  CHECK_FILE("space.log", "[INFO] written");
}

// A limit on file sizes acts like a full disk: the line that reaches it is half written.
static void set_file_limit(rlim_t bytes) {
  struct rlimit limit;
  CHECK_INT(getrlimit(RLIMIT_FSIZE, &limit), ==, 0);
  limit.rlim_cur = bytes;
  CHECK_INT(setrlimit(RLIMIT_FSIZE, &limit), ==, 0);
}

static void logs_across_a_limit(void) {
  struct rlimit before;
  CHECK_INT(getrlimit(RLIMIT_FSIZE, &before), ==, 0);
  mj_logger logger = {MJ_LOG_INFO, NULL, NULL, false, false};
  CHECK_INT(mj_log_set_config(&logger), ==, 0);
  to_file("limit.log");
  char* text = long_text(1000);
  for (int round = 0; round < 3; round++) {
    struct stat status;
    CHECK_INT(stat("limit.log", &status), ==, 0);
    set_file_limit((rlim_t)status.st_size + 1500);
    MJ_INFO("%d %s", round, text);           // fits
    MJ_INFO("%d half %s", round, text);      // half of it
    MJ_INFO("%d nothing %s", round, text);   // nothing of it
    // Reopening the same file does not complete its partial line.
    if (round == 1) CHECK_INT(mj_log_reopen(), ==, 0);
    set_file_limit(before.rlim_cur);
    MJ_INFO("%d again", round);
    MJ_INFO("%d and again", round);
  }
  free(text);
  to_streams();
  logger.include_time = logger.include_level = true;
  CHECK_INT(mj_log_set_config(&logger), ==, 0);
}

static void after_half_a_line_comes_a_whole_one(void) {
  void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
  uint64_t before = mj_log_dropped();
  output output = output_of(logs_across_a_limit);
  signal(SIGXFSZ, handler);
  CHECK_UINT(mj_log_dropped() - before, ==, 6);
  CHECK_INT(count_of(output.err, "\n"), ==, 3);
  CHECK_INT(count_of(output.err, "being lost"), ==, 3);
  release(&output);

  char* text = text_of("limit.log");
  char* part = long_text(1000);
  char* expected = allocate(16384);
  size_t length = 0;
  for (int round = 0; round < 3; round++) {
    int whole = snprintf(expected + length, 2000, "%d %s\n", round, part);
    length += (size_t)whole;
    int half = snprintf(expected + length, 2000, "%d half %s", round, part);
    CHECK_INT(half, >, 1500 - whole);
    length += 1500 - (size_t)whole;
    length += (size_t)sprintf(expected + length, "\n%d again\n%d and again\n", round, round);
  }
  CHECK_STR(text, expected);
  free(text);
  free(part);
  free(expected);
}

static void a_new_file_begins_without_an_empty_line(void) {
  void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
  struct rlimit before;
  CHECK_INT(getrlimit(RLIMIT_FSIZE, &before), ==, 0);
  to_file("half.log");
  set_file_limit(10);
  MJ_INFO("half");
  set_file_limit(before.rlim_cur);
  signal(SIGXFSZ, handler);
  CHECK_INT(rename("half.log", "half.1"), ==, 0);
  CHECK_INT(mj_log_reopen(), ==, 0);
  MJ_INFO("whole");
  to_streams();
  CHECK_FILE("half.log", "[INFO] whole");
}

static void a_pipe_without_a_reader_ends_nothing(void) {
  CHECK_INT(mkfifo("pipe", 0600), ==, 0);
  // Opening does not wait for a reader.
  CHECK_INT(mj_log_to_file("pipe"), ==, -ENXIO);
  int reader = open("pipe", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  CHECK_INT(reader, >=, 0);
  to_file("pipe");
  MJ_INFO("read");
  char text[128] = "";
  CHECK_INT(read(reader, text, sizeof text - 1), >, 0);
  CHECK_LINES(text, "[INFO] read");
  close(reader);
  uint64_t before = mj_log_dropped();
  for (int i = 0; i < 3; i++) MJ_INFO("lost");  // not killed by SIGPIPE
  CHECK_UINT(mj_log_dropped() - before, ==, 3);
  to_streams();
  sigset_t pending, blocked;
  CHECK_INT(sigpending(&pending), ==, 0);
  CHECK_INT(sigismember(&pending, SIGPIPE), ==, 0);
  CHECK_INT(sigprocmask(SIG_BLOCK, NULL, &blocked), ==, 0);
  CHECK_INT(sigismember(&blocked, SIGPIPE), ==, 0);
}

// ---- The descriptor ----

// Runs in a child, where the library has not had a file before. Returns its exit status.
static int status_of_child(int (*function)(void)) {
  fflush(NULL);
  pid_t child = fork();
  CHECK_INT(child, >=, 0);
  if (child == 0) _exit(function());
  int status;
  CHECK_INT(waitpid(child, &status, 0), ==, child);
  CHECK(WIFEXITED(status));
  return WEXITSTATUS(status);
}

static int logs_without_standard_streams(void) {
  close(0);
  close(1);
  close(2);
  to_file("early.log");
  if (fcntl(0, F_GETFD) != -1 || fcntl(1, F_GETFD) != -1 || fcntl(2, F_GETFD) != -1) return 1;
  printf("not into the log\n");
  fflush(stdout);
  MJ_INFO("line");
  CHECK_FILE("early.log", "[INFO] line");
  return 0;
}

// First in main(): after the first file the descriptor keeps its number.
static void the_file_never_becomes_a_standard_stream(void) {
  CHECK_INT(status_of_child(logs_without_standard_streams), ==, 0);
}

static int closes_all_and_logs(void) {
  to_file("before.log");
  for (int fd = 3; fd < 1024; fd++) close(fd);
  uint64_t before = mj_log_dropped();
  MJ_INFO("lost");
  if (mj_log_dropped() != before + 1) return 1;
  to_file("daemon.log");
  MJ_INFO("line");
  CHECK_FILE("daemon.log", "[INFO] line");
  return 0;
}

static void a_daemon_that_closes_all_sets_the_file_afterwards(void) {
  CHECK_INT(status_of_child(closes_all_and_logs), ==, 0);
}

enum { OTHERS = 8 };

// Files of the program, the log file itself among them.
static int open_another(int i) {
  char path[16];
  snprintf(path, sizeof path, "other.%d", i);
  return open(i % 2 == 0 ? "taken.log" : path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

static int closes_all_and_opens_others(void) {
  int others[OTHERS];
  struct stat before[OTHERS], after;
  to_file("taken.log");
  for (int fd = 3; fd < 1024; fd++) close(fd);
  for (int i = 0; i < OTHERS; i++) {
    others[i] = open_another(i);
    CHECK_INT(others[i], >=, 3);
    CHECK_INT(fstat(others[i], &before[i]), ==, 0);
  }
  uint64_t dropped = mj_log_dropped();
  MJ_INFO("lost");
  CHECK_UINT(mj_log_dropped(), ==, dropped + 1);
  CHECK_INT(mj_log_reopen(), ==, 0);
  MJ_INFO("line");
  to_file("later.log");
  MJ_INFO("later");
  to_streams();
  for (int i = 0; i < OTHERS; i++) {
    CHECK_INT(fstat(others[i], &after), ==, 0);
    CHECK_UINT(after.st_ino, ==, before[i].st_ino);
    CHECK_INT(fcntl(others[i], F_GETFL) & O_ACCMODE, ==, O_RDWR);
    if (i % 2 != 0) CHECK_INT(after.st_size, ==, 0);
  }
  CHECK_FILE("taken.log", "[INFO] line");
  CHECK_FILE("later.log", "[INFO] later");
  // Nor is one that is opened when the file is closed.
  to_file("taken.log");
  for (int fd = 3 + OTHERS; fd < 1024; fd++) close(fd);
  int last = open_another(0);
  to_streams();
  CHECK_INT(fcntl(last, F_GETFL) & O_ACCMODE, ==, O_RDWR);
  return 0;
}

static void files_that_get_the_number_are_the_programs(void) {
  CHECK_INT(status_of_child(closes_all_and_opens_others), ==, 0);
}

int main(void) {
  // Far from Greenwich, so that UTC would show.
  setenv("TZ", "XYZ-05:30", 1);
  tzset();
  test_directory_begin();
  RUN(the_file_never_becomes_a_standard_stream);
  // After the first file the library keeps the descriptor's number.
  check_the_first_file();
  RUN(every_level_goes_to_the_file_and_nowhere_else);
  RUN(the_time_is_the_local_time);
  RUN(time_and_level_can_be_left_out);
  RUN(lines_are_appended_at_once);
  RUN(long_lines_are_whole);
  RUN(the_file_is_made_with_a_modest_mode_and_not_inherited);
  RUN(the_file_is_closed_when_the_receiver_changes);
  RUN(the_path_is_copied);
  RUN(errors_change_nothing);
  RUN(the_lines_of_a_callback_go_to_the_streams);
  RUN(a_renamed_file_is_left_on_reopen);
  RUN(a_reopen_that_fails_keeps_the_old_file);
  RUN(a_descriptor_that_the_program_has_closed_is_opened_again);
  RUN(reopen_does_nothing_without_a_file);
  RUN(a_full_disk_is_reported_once_and_counted);
  RUN(after_half_a_line_comes_a_whole_one);
  RUN(a_new_file_begins_without_an_empty_line);
  RUN(a_pipe_without_a_reader_ends_nothing);
  RUN(a_daemon_that_closes_all_sets_the_file_afterwards);
  RUN(files_that_get_the_number_are_the_programs);
  test_directory_end();
  return 0;
}
