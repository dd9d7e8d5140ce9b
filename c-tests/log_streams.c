// The log's writes do no harm: to streams, files and pipes that nobody reads, that are full, closed,
// nonblocking or limited. Each test is a child process with streams of its own.
#define _GNU_SOURCE
#include "child.h"
#include "log_output.h"

#include <signal.h>
#include <poll.h>
#include <sys/socket.h>

static void ends(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_exit();
}

static void runs_a_task(void) {
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, ends, NULL);
  mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
}

// The test's own words, since its streams are not there.
static int verdict_fd;

#define EXPECT(condition) \
  do { \
    if (!(condition)) { \
      dprintf(verdict_fd, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
      _exit(1); \
    } \
  } while (0)

static void check_child(void (*function)(void)) {
  verdict_fd = fcntl(2, F_DUPFD_CLOEXEC, 10);
  int status = status_of_child(function);
  close(verdict_fd);
  if (WIFSIGNALED(status)) fprintf(stderr, "killed by signal %d\n", WTERMSIG(status));
  CHECK(WIFEXITED(status));
  CHECK_INT(WEXITSTATUS(status), ==, 0);
}

// A descriptor in the place of a stream.
static void replace(int number, int fd) {
  EXPECT(fd >= 0);
  EXPECT(dup2(fd, number) == number);
  if (fd != number) close(fd);
}

// ---- Streams that nobody reads ----

static int pipe_without_reader(void) {
  int channel[2];
  EXPECT(pipe(channel) == 0);
  close(channel[0]);
  return channel[1];
}

static int socket_without_reader(void) {
  int pair[2];
  EXPECT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
  close(pair[0]);
  return pair[1];
}

static bool is_in(int (*ask)(sigset_t*), int signal) {
  sigset_t set;
  EXPECT(ask(&set) == 0);
  return sigismember(&set, signal) == 1;
}

static int blocked(sigset_t* set) { return sigprocmask(SIG_BLOCK, NULL, set); }

static void logs_into_closed(int (*make)(void)) {
  char error_path[] = "/tmp/majjen-log-streams-XXXXXX";
  int errors = mkstemp(error_path);
  EXPECT(errors >= 0 && unlink(error_path) == 0);
  replace(1, make());
  replace(2, dup(errors));
  uint64_t before = mj_log_dropped();
  runs_a_task();  // Its INFO lines.
  EXPECT(mj_log_dropped() - before == 2);
  for (int i = 0; i < 3; i++) MJ_INFO("lost");
  EXPECT(mj_log_dropped() - before == 5);
  // Said once, where somebody may see it.
  char* text = text_of_descriptor(errors);
  EXPECT(strstr(text, "Log lines are being lost: Broken pipe (errno 32): \"stdout\"\n") != NULL);
  EXPECT(strchr(text, '\n')[1] == '\0');
  free(text);
  // A line on the other stream between them is no reason to say it again.
  MJ_ERROR("seen");
  MJ_INFO("lost");
  MJ_ERROR("seen");
  text = text_of_descriptor(errors);
  int lines = 0;
  for (const char* at = text; (at = strchr(at, '\n')) != NULL; at++) lines++;
  EXPECT(lines == 3);
  free(text);
  EXPECT(!is_in(blocked, SIGPIPE) && !is_in(sigpending, SIGPIPE));
  replace(2, make());
  MJ_ERROR("lost");
  EXPECT(mj_log_dropped() - before == 7);
}

static void logs_into_closed_pipes(void) { logs_into_closed(pipe_without_reader); }
static void logs_into_closed_sockets(void) { logs_into_closed(socket_without_reader); }

static void a_stream_that_nobody_reads_ends_nothing(void) {
  check_child(logs_into_closed_pipes);
  check_child(logs_into_closed_sockets);
}

// A program's own SIGPIPE is not taken away, and its handler not called for the library's writes.
static volatile sig_atomic_t handled;
static void handles(int signal) {
  (void)signal;
  handled++;
}

static void logs_with_own_signals(void) {
  sigset_t pipes;
  sigemptyset(&pipes);
  sigaddset(&pipes, SIGPIPE);
  replace(1, pipe_without_reader());
  signal(SIGPIPE, handles);
  MJ_INFO("lost");
  EXPECT(handled == 0);
  EXPECT(sigprocmask(SIG_BLOCK, &pipes, NULL) == 0);
  MJ_INFO("lost");
  EXPECT(!is_in(sigpending, SIGPIPE));
  EXPECT(raise(SIGPIPE) == 0);
  MJ_INFO("lost");
  EXPECT(is_in(sigpending, SIGPIPE) && is_in(blocked, SIGPIPE) && handled == 0);
  EXPECT(sigprocmask(SIG_UNBLOCK, &pipes, NULL) == 0);
  EXPECT(handled == 1);
}

static void the_programs_own_signals_stay_its_own(void) { check_child(logs_with_own_signals); }

// ---- Closed streams ----

static void logs_without_streams(void) {
  close(0);
  close(1);
  close(2);
  uint64_t before = mj_log_dropped();
  MJ_INFO("lost");
  MJ_ERROR("lost");
  EXPECT(mj_log_dropped() - before == 2);
  EXPECT(mj_log_to_stderr() == 0);
  MJ_INFO("lost");
  EXPECT(mj_log_dropped() - before == 3);
  EXPECT(fcntl(0, F_GETFD) == -1 && fcntl(1, F_GETFD) == -1 && fcntl(2, F_GETFD) == -1);
}

static void closed_streams_lose_lines_and_count_them(void) { check_child(logs_without_streams); }

// ---- Nonblocking streams ----

enum { slow_lines = 300 };

// The test ends when the reader has seen all that arrived: whole lines, each once and in order.
static void check_lines_read(int fd, uint64_t dropped) {
  FILE* lines = fdopen(fd, "r");
  char line[4096];
  int last = -1, count = 0;
  while (fgets(line, sizeof line, lines) != NULL) {
    int number = -1;
    char end[8] = "";
    if (sscanf(line + 22, "[INFO] %d %*s %7s", &number, end) != 2) continue;  // a partial one
    EXPECT(number > last && strcmp(end, "end") == 0);
    last = number;
    count++;
  }
  fclose(lines);
  EXPECT(count + (int)dropped == slow_lines);
}

static bool reader_is_slow;
static int (*make_channel)(int ends[2]);

static int make_pipe(int channel[2]) {
  return pipe(channel) == 0 && fcntl(channel[1], F_SETPIPE_SZ, 4096) > 0 ? 0 : -1;
}

static int make_socket(int channel[2]) {
  int pair[2], bytes = 4096;
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) return -1;
  channel[0] = pair[0];
  channel[1] = pair[1];
  return setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
}

// Raw, so that what is written is what is read.
static int make_terminal(int channel[2]) {
  channel[0] = posix_openpt(O_RDWR | O_NOCTTY);
  if (channel[0] < 0 || grantpt(channel[0]) != 0 || unlockpt(channel[0]) != 0) return -1;
  channel[1] = open(ptsname(channel[0]), O_WRONLY | O_NOCTTY);
  return channel[1] >= 0 ? 0 : -1;
}

static void logs_to_a_slow_reader(void) {
  int channel[2], counts[2];
  EXPECT(make_channel(channel) == 0 && pipe(counts) == 0);
  pid_t reader = fork();
  if (reader == 0) {
    close(channel[1]);
    close(counts[1]);
    uint64_t dropped;
    if (reader_is_slow) {  // Nothing is read until all is written.
      EXPECT(read(counts[0], &dropped, sizeof dropped) == sizeof dropped);
      check_lines_read(channel[0], dropped);
    } else {
      check_lines_read(channel[0], 0);
    }
    _exit(0);
  }
  close(channel[0]);
  EXPECT(fcntl(channel[1], F_SETFL, O_NONBLOCK) == 0);
  replace(1, channel[1]);
  uint64_t before = mj_log_dropped();
  char* text = long_text(2000);
  for (int i = 0; i < slow_lines; i++) MJ_INFO("%d %.*s end", i, i % 5 == 0 ? 2000 : 20, text);
  free(text);
  uint64_t dropped = mj_log_dropped() - before;
  EXPECT(reader_is_slow ? dropped > 0 : dropped == 0);
  EXPECT(write(counts[1], &dropped, sizeof dropped) == sizeof dropped);
  close(1);
  int status;
  EXPECT(waitpid(reader, &status, 0) == reader && status == 0);
}

static void a_nonblocking_stream_is_waited_for_and_losses_are_counted(void) {
  int (*const channels[])(int[2]) = {make_pipe, make_socket, make_terminal};
  // A terminal ends its reader's file with an error, and echoes: only that nothing is lost silently.
  for (int i = 0; i < 2; i++) {
    make_channel = channels[i];
    for (int slow = 0; slow < 2; slow++) {
      reader_is_slow = slow;
      check_child(logs_to_a_slow_reader);
    }
  }
}

static void logs_to_a_full_terminal(void) {
  int channel[2];
  EXPECT(make_terminal(channel) == 0);
  EXPECT(fcntl(channel[1], F_SETFL, O_NONBLOCK) == 0);
  replace(1, channel[1]);
  int lines = 0;
  while (mj_log_dropped() == 0 && lines < 100000) MJ_INFO("line %d", lines++);
  EXPECT(mj_log_dropped() == 1);
  // Once there is room, lines arrive again, and the first begins a line of its own.
  char bytes[65536];
  EXPECT(fcntl(channel[0], F_SETFL, O_NONBLOCK) == 0);
  while (read(channel[0], bytes, sizeof bytes) > 0) {
  }
  MJ_INFO("again");
  EXPECT(mj_log_dropped() == 1);
  ssize_t length = read(channel[0], bytes, sizeof bytes - 1);
  EXPECT(length > 0);
  bytes[length] = '\0';
  EXPECT(strstr(bytes, "[INFO] again") != NULL);
}

static void a_full_terminal_takes_lines_again(void) { check_child(logs_to_a_full_terminal); }

// What the program has printed is written first, whole, though its reader takes its time.
enum { printed_lines = 2000 };

static void prints_and_logs(void) {
  int channel[2];
  EXPECT(pipe(channel) == 0 && fcntl(channel[1], F_SETPIPE_SZ, 4096) > 0);
  pid_t reader = fork();
  if (reader == 0) {
    close(channel[1]);
    FILE* lines = fdopen(channel[0], "r");
    char line[256];
    usleep(20000);  // Until the pipe is full.
    for (int i = 0; i < printed_lines; i++) {
      EXPECT(fgets(line, sizeof line, lines) != NULL);
      char expected[32];
      snprintf(expected, sizeof expected, i % 2 == 0 ? "printed %d\n" : "logged %d\n", i);
      EXPECT(strcmp(i % 2 == 0 ? line : line + 29, expected) == 0);
      if (i % 100 == 0) usleep(2000);
    }
    _exit(0);
  }
  close(channel[0]);
  EXPECT(fcntl(channel[1], F_SETFL, O_NONBLOCK) == 0);
  replace(1, channel[1]);
  for (int i = 0; i < printed_lines; i += 2) {
    printf("printed %d\n", i);
    MJ_INFO("logged %d", i + 1);
  }
  int status;
  EXPECT(waitpid(reader, &status, 0) == reader && status == 0);
}

static void prints_stay_in_order_on_a_nonblocking_stream(void) { check_child(prints_and_logs); }

// A stream without a descriptor, in the place of stdout.
static void logs_to_memory(void) {
  char* text = NULL;
  size_t length = 0;
  FILE* before = stdout;
  stdout = open_memstream(&text, &length);
  printf("printed\n");
  MJ_INFO("logged");
  fclose(stdout);
  stdout = before;
  EXPECT(strncmp(text, "printed\n", 8) == 0);
  EXPECT(after_line(text + 8, "[INFO] logged") != NULL);
  free(text);
}

static void a_stream_without_a_descriptor_gets_its_lines(void) { check_child(logs_to_memory); }

// ---- A limit on the size of files ----

static char limited_path[] = "/tmp/majjen-log-limit-XXXXXX";
static bool limit_on_stdout;

static void logs_past_a_limit(void) {
  int file = mkstemp(limited_path);
  EXPECT(file >= 0);
  struct rlimit limit = {4096, 4096};
  EXPECT(setrlimit(RLIMIT_FSIZE, &limit) == 0);
  if (limit_on_stdout) {
    replace(1, dup(file));
  } else {
    EXPECT(mj_log_to_file(limited_path) == 0);
  }
  replace(2, open("/dev/null", O_WRONLY));
  uint64_t before = mj_log_dropped();
  for (int i = 0; i < 200; i++) MJ_INFO("line %d of some length, to fill the file", i);
  uint64_t dropped = mj_log_dropped() - before;
  EXPECT(!is_in(blocked, SIGXFSZ) && !is_in(sigpending, SIGXFSZ));
  char* text = text_of_descriptor(file);
  int lines = 0;
  for (const char* at = text; (at = strchr(at, '\n')) != NULL; at++) lines++;
  EXPECT(strlen(text) == 4096 && lines + (int)dropped == 200);
  free(text);
  unlink(limited_path);
}

static void a_limit_on_files_loses_lines_and_counts_them(void) {
  for (int i = 0; i < 2; i++) {
    limit_on_stdout = i == 1;
    check_child(logs_past_a_limit);
  }
}

// ---- Lines on stderr, and lines that are one line ----

static void logs_to_stderr(void) {
  CHECK_INT(mj_log_to_stderr(), ==, 0);
  MJ_INFO("one");
  MJ_ERROR("two");
  // Setting what is set changes nothing.
  mj_logger logger;
  mj_log_get_config(&logger);
  CHECK(logger.callback == NULL);
  CHECK_INT(mj_log_set_config(&logger), ==, 0);
  MJ_WARN("three");
  mj_log_set_callback(NULL, NULL);
  MJ_INFO("four");
}

static void all_lines_can_go_to_stderr(void) {
  output output = output_of(logs_to_stderr);
  CHECK_LINES(output.err, "[INFO] one", "[ERROR] two", "[WARN] three");
  CHECK_LINES(output.out, "[INFO] four");
  release(&output);
}

static char received[64];

static void receives(mj_log_level level, const char* message, void* user_data) {
  (void)level;
  (void)user_data;
  snprintf(received, sizeof received, "%s", message);
}

static void logs_control_characters(void) {
  MJ_INFO("a\n[ERROR] b");  // The guide's format.
  mj_log_set_escape(true);
  MJ_INFO("a\n[ERROR] b");
  MJ_INFO("\x1b[31m \x7f\t\r \\n \xc2\x9b 31m %s", "\xe2\x82\xac");
  MJ_INFO("plain");
  mj_log_set_callback(receives, NULL);
  MJ_INFO("a\nb");
  mj_log_set_callback(NULL, NULL);
  char* text = long_text(3000);
  MJ_INFO("%s\n", text);
  free(text);
  mj_log_set_escape(false);
  MJ_INFO("c\nd");
}

static void a_newline_in_a_value_makes_no_line_once_it_is_escaped(void) {
  output output = output_of(logs_control_characters);
  char* text = long_text(3000);
  char* expected = allocate(4096);
  snprintf(expected, 4096, "[INFO] %s\\n", text);
  CHECK_LINES(output.out, "[INFO] a\n[ERROR] b", "[INFO] a\\n[ERROR] b",
              "[INFO] \\x1b[31m \\x7f\\t\\r \\\\n \\xc2\\x9b 31m \xe2\x82\xac", "[INFO] plain",
              expected, "[INFO] c\nd");
  CHECK_STR(received, "a\\nb");
  free(text);
  free(expected);
  release(&output);
}

// ---- Lines that repeat ----

static int repeated_lines;
static char repeated_last[256];

static void counts_warnings(mj_log_level level, const char* message, void* user_data) {
  (void)user_data;
  if (level < MJ_LOG_WARN) return;
  repeated_lines++;
  snprintf(repeated_last, sizeof repeated_last, "%s", message);
}

enum { many = 5000, few = 40 };

static void misuses_in_a_loop(void) {
  mj_log_set_callback(counts_warnings, NULL);
  for (int i = 0; i < many; i++) mj_task_yield();
  EXPECT(repeated_lines > 0 && repeated_lines < few);
  // Another call is another kind.
  int before = repeated_lines;
  mj_task_sleep_ms(1);
  EXPECT(repeated_lines == before + 1);
  for (int i = 0; i < many; i++) mj_log((mj_log_level)77, "no");
  for (int i = 0; i < many; i++) mj_log_set_level((mj_log_level)77);
  for (int i = 0; i < many; i++) mj_scheduler_destroy(NULL);
  EXPECT(repeated_lines < 4 * few);
}

static void waits_in_a_loop(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < many; i++) EXPECT(mj_task_wait_fd(-1, POLLIN, MJ_FOREVER) == -EBADF);
  mj_task_exit();
}

static void fails_in_a_loop(void) {
  mj_log_set_callback(counts_warnings, NULL);
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, waits_in_a_loop, NULL);
  mj_scheduler_run(scheduler);
  EXPECT(repeated_lines > 0 && repeated_lines < few);
  // What was left out is told of when the run ends.
  char expected[64];
  snprintf(expected, sizeof expected, "%d warnings and errors", many + 1 - repeated_lines);
  EXPECT(strncmp(repeated_last, expected, strlen(expected)) == 0);
  mj_scheduler_destroy(scheduler);
}

static void lines_that_repeat_are_limited(void) {
  check_child(misuses_in_a_loop);
  check_child(fails_in_a_loop);
}

int main(void) {
  RUN(a_stream_that_nobody_reads_ends_nothing);
  RUN(the_programs_own_signals_stay_its_own);
  RUN(closed_streams_lose_lines_and_count_them);
  RUN(a_nonblocking_stream_is_waited_for_and_losses_are_counted);
  RUN(a_full_terminal_takes_lines_again);
  RUN(prints_stay_in_order_on_a_nonblocking_stream);
  RUN(a_stream_without_a_descriptor_gets_its_lines);
  RUN(a_limit_on_files_loses_lines_and_counts_them);
  RUN(all_lines_can_go_to_stderr);
  RUN(a_newline_in_a_value_makes_no_line_once_it_is_escaped);
  RUN(lines_that_repeat_are_limited);
  return 0;
}
