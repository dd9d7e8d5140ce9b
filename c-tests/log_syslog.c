// Logging to the system log: what a real socket at /dev/log receives. The process gets its own /dev
// in a mount namespace. Where that is not possible, the program ends with status 77, after a line
// that says why it was skipped.
#define _GNU_SOURCE
#include "log_lines.h"
#include "log_output.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

static void skip(const char* step) {
  fprintf(stderr, "skipped: no /dev of its own: %s: %s\n", step, strerror(errno));
  exit(check_skipped);
}

static void write_text(const char* path, const char* text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, text, strlen(text)) < 0) skip(path);
  close(fd);
}

static void take_own_dev(void) {
  if (unshare(CLONE_NEWNS) != 0) {
    // Any user may mount as the root of a user namespace, where the system allows those.
    char user_map[32], group_map[32];
    snprintf(user_map, sizeof user_map, "0 %d 1", (int)getuid());
    snprintf(group_map, sizeof group_map, "0 %d 1", (int)getgid());
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) skip("unshare");
    write_text("/proc/self/setgroups", "deny");
    write_text("/proc/self/uid_map", user_map);
    write_text("/proc/self/gid_map", group_map);
  }
  if (mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0) skip("mount --make-rprivate /");
  if (mount("none", "/dev", "tmpfs", 0, NULL) != 0) skip("mount -t tmpfs none /dev");
}

// ---- The log daemon ----

static int daemon_socket = -1;

static void start_daemon(void) {
  daemon_socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  CHECK_INT(daemon_socket, >=, 0);
  struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/dev/log"};
  CHECK_INT(bind(daemon_socket, (struct sockaddr*)&address, sizeof address), ==, 0);
}

static void stop_daemon(void) {
  close(daemon_socket);
  CHECK_INT(unlink("/dev/log"), ==, 0);
}

// The next datagram, which must have arrived already. It may contain anything but a NUL.
static const char* datagram(void) {
  static char text[100000];
  ssize_t length = recv(daemon_socket, text, sizeof text - 1, MSG_DONTWAIT);
  CHECK_INT(length, >, 0);
  text[length] = '\0';
  CHECK_INT(strlen(text), ==, length);
  return text;
}

static void check_no_datagram(void) {
  char byte;
  CHECK_INT(recv(daemon_socket, &byte, 1, MSG_DONTWAIT), ==, -1);
}

// Checks that the next datagram is as syslog(3) writes it.
static void check_datagram(int priority, const char* ident, pid_t pid, const char* message) {
  const char* text = datagram();
  time_t now = time(NULL);
  char* expected = allocate(strlen(message) + 128);
  bool found = false;
  for (time_t moment = now - 2; moment <= now && !found; moment++) {
    char stamp[32];
    struct tm parts;
    localtime_r(&moment, &parts);
    strftime(stamp, sizeof stamp, "%b %e %H:%M:%S", &parts);
    sprintf(expected, "<%d>%s %s[%d]: %s", priority, stamp, ident, (int)pid, message);
    found = strcmp(text, expected) == 0;
  }
  if (!found) CHECK_STR(text, expected);
  free(expected);
}

static void to_syslog(const char* ident) { CHECK_INT(mj_log_to_syslog(ident), ==, 0); }

static void to_streams(void) { mj_log_set_callback(NULL, NULL); }

// ---- Tests ----

// LOG_USER is 8; then the severities of syslog.h.
static void levels_become_priorities(void) {
  start_daemon();
  to_syslog("server");
  mj_log_set_level(MJ_LOG_TRACE);
  MJ_TRACE("one %d", 1);
  MJ_DEBUG("two");
  MJ_INFO("three");
  MJ_WARN("four");
  MJ_ERROR("five");
  MJ_FATAL("six");
  mj_log_set_level(MJ_LOG_INFO);
  MJ_DEBUG("no");
  check_datagram(8 + 7, "server", getpid(), "one 1");
  check_datagram(8 + 7, "server", getpid(), "two");
  check_datagram(8 + 6, "server", getpid(), "three");
  check_datagram(8 + 4, "server", getpid(), "four");
  check_datagram(8 + 3, "server", getpid(), "five");
  check_datagram(8 + 2, "server", getpid(), "six");
  check_no_datagram();
  to_streams();
  stop_daemon();
}

static void logs_to_syslog(void) {
  to_syslog("server");
  MJ_INFO("to syslog");
  MJ_ERROR("to syslog");
  to_streams();
  MJ_INFO("to stdout");
}

// Including those that the program was started with.
static int sockets_at_start;

static int open_sockets(void) {
  int count = 0;
  struct stat status;
  for (int fd = 0; fd < 1024; fd++) {
    if (fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode)) count++;
  }
  return count;
}

static void lines_go_nowhere_else(void) {
  start_daemon();
  output output = output_of(logs_to_syslog);
  CHECK_LINES(output.out, "[INFO] to stdout");
  CHECK_STR(output.err, "");
  release(&output);
  check_datagram(14, "server", getpid(), "to syslog");
  check_datagram(11, "server", getpid(), "to syslog");
  check_no_datagram();
  // Nothing stays open when the receiver changes.
  CHECK_INT(open_sockets(), ==, sockets_at_start + 1);
  stop_daemon();
}

static void the_prefix_is_that_of_syslog_whatever_is_set(void) {
  start_daemon();
  to_syslog("server");
  for (int i = 0; i < 4; i++) {
    mj_logger logger;
    mj_log_get_config(&logger);
    logger.include_time = i / 2 == 1;
    logger.include_level = i % 2 == 1;
    CHECK_INT(mj_log_set_config(&logger), ==, 0);
    MJ_INFO("line");
    check_datagram(14, "server", getpid(), "line");
  }
  to_streams();
  stop_daemon();
}

static void the_ident_is_copied_and_can_be_changed(void) {
  start_daemon();
  char ident[] = "first";
  to_syslog(ident);
  memset(ident, 'x', sizeof ident - 1);
  MJ_INFO("line");
  check_datagram(14, "first", getpid(), "line");
  to_syslog("second");
  MJ_INFO("line");
  check_datagram(14, "second", getpid(), "line");
  const char longest[] = "an ident of forty-eight bytes, which is the most";
  CHECK_INT(strlen(longest), ==, 48);
  to_syslog(longest);
  MJ_INFO("line");
  check_datagram(14, longest, getpid(), "line");
  to_streams();
  stop_daemon();
}

static void any_text_arrives(void) {
  static const size_t lengths[] = {0, 1, 1023, 1024, 5000, 60000};
  start_daemon();
  to_syslog("server");
  for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
    char* text = long_text(lengths[i]);
    MJ_INFO("%s", text);
    check_datagram(14, "server", getpid(), text);
    free(text);
  }
  MJ_INFO("%s", "two\nlines, 100%n");
  check_datagram(14, "server", getpid(), "two\nlines, 100%n");
  to_streams();
  stop_daemon();
}

static void errors_change_nothing(void) {
  log_lines_begin();
  CHECK_INT(mj_log_to_syslog(NULL), ==, -EINVAL);
  CHECK_INT(mj_log_to_syslog(""), ==, -EINVAL);
  CHECK_INT(mj_log_to_syslog("an ident of forty-nine bytes, which is one too mny"), ==, -EINVAL);
  CHECK_INT(mj_log_to_syslog("server"), ==, -ENOENT);
  start_daemon();
  close(daemon_socket);  // The name stays, as when a daemon has crashed.
  CHECK_INT(mj_log_to_syslog("server"), ==, -ECONNREFUSED);
  CHECK_INT(unlink("/dev/log"), ==, 0);
  MJ_INFO("line");
  CHECK_INT(log_lines_from(MJ_LOG_INFO), ==, 1);
  log_lines_end();
}

static void a_daemon_started_anew_is_found(void) {
  uint64_t dropped = mj_log_dropped();
  start_daemon();
  to_syslog("server");
  for (int i = 0; i < 3; i++) {
    stop_daemon();
    start_daemon();
    MJ_INFO("line %d", i);
    char expected[16];
    snprintf(expected, sizeof expected, "line %d", i);
    check_datagram(14, "server", getpid(), expected);
    check_no_datagram();
  }
  CHECK_UINT(mj_log_dropped(), ==, dropped);
  to_streams();
  stop_daemon();
}

static void logs_without_daemon(void) {
  start_daemon();
  to_syslog("server");
  for (int round = 0; round < 2; round++) {
    stop_daemon();
    for (int i = 0; i < 5; i++) MJ_INFO("lost");
    start_daemon();
    MJ_INFO("back");
    check_datagram(14, "server", getpid(), "back");
  }
  check_no_datagram();
  to_streams();
  stop_daemon();
}

static void a_missing_daemon_is_reported_once_and_counted(void) {
  uint64_t dropped = mj_log_dropped();
  output output = output_of(logs_without_daemon);
  CHECK_UINT(mj_log_dropped() - dropped, ==, 10);
  char report[128];
  snprintf(report, sizeof report, "[ERROR] Log lines are being lost: %s (errno %d): \"/dev/log\"",
           strerror(ENOENT), ENOENT);
  CHECK_LINES(output.err, report, report);
  CHECK_STR(output.out, "");
  release(&output);
}

// How many lines queue for a daemon that does not read.
static int waiting_lines;
static uint64_t ns_of_first_loss, ns_of_further_losses;

static void logs_to_a_daemon_that_does_not_read(void) {
  start_daemon();
  to_syslog("server");
  uint64_t dropped = mj_log_dropped();
  for (waiting_lines = 0; waiting_lines < 100000; waiting_lines++) {
    uint64_t begin = now_ns();
    MJ_INFO("line %d", waiting_lines);
    ns_of_first_loss = now_ns() - begin;
    if (mj_log_dropped() != dropped) break;
  }
  uint64_t begin = now_ns();
  for (int i = 0; i < 100; i++) MJ_INFO("lost");
  ns_of_further_losses = now_ns() - begin;
  CHECK_UINT(mj_log_dropped() - dropped, ==, 101);
  for (int i = 0; i < waiting_lines; i++) {
    char expected[32];
    snprintf(expected, sizeof expected, "line %d", i);
    check_datagram(14, "server", getpid(), expected);
  }
  check_no_datagram();
  MJ_INFO("back");
  check_datagram(14, "server", getpid(), "back");
  to_streams();
  stop_daemon();
}

static void a_daemon_that_does_not_read_stops_nobody(void) {
  output output = output_of(logs_to_a_daemon_that_does_not_read);
  CHECK_INT(waiting_lines, >, 0);
  CHECK_INT(waiting_lines, <, 100000);
  CHECK_UINT(ns_of_first_loss, >=, 90000000);
  // Reported once, not a hundred times more.
  CHECK_UINT(ns_of_further_losses, <, 5000000000);
  char report[128];
  snprintf(report, sizeof report, "[ERROR] Log lines are being lost: %s (errno %d): \"/dev/log\"",
           strerror(EAGAIN), EAGAIN);
  CHECK_LINES(output.err, report);
  release(&output);
}

enum { thread_count = 4, lines_a_thread = 500 };

static void* logs_from_a_thread(void* number) {
  for (int i = 0; i < lines_a_thread; i++) MJ_INFO("thread %d line %d", *(int*)number, i);
  return NULL;
}

static void lines_of_threads_are_whole(void) {
  pthread_t threads[thread_count];
  int numbers[thread_count], next[thread_count] = {0};
  uint64_t dropped = mj_log_dropped();
  start_daemon();
  to_syslog("server");
  for (int i = 0; i < thread_count; i++) {
    numbers[i] = i;
    CHECK_INT(pthread_create(&threads[i], NULL, logs_from_a_thread, &numbers[i]), ==, 0);
  }
  char ident[64];
  snprintf(ident, sizeof ident, " server[%d]: ", (int)getpid());
  // On a machine so busy that this thread does not read for 100 ms, lines may be lost, but not
  // mangled.
  uint64_t count = 0;
  while (count + (mj_log_dropped() - dropped) < thread_count * lines_a_thread) {
    struct pollfd readable = {.fd = daemon_socket, .events = POLLIN};
    if (poll(&readable, 1, 10) == 0) continue;
    const char* text = datagram();
    const char* message = strstr(text, ident);
    CHECK(message != NULL);
    CHECK_INT(message - text, ==, strlen("<14>Mmm dd hh:mm:ss"));
    char* end;
    CHECK_INT(strncmp(message + strlen(ident), "thread ", 7), ==, 0);
    long number = strtol(message + strlen(ident) + 7, &end, 10);
    CHECK_INT(number, >=, 0);
    CHECK_INT(number, <, thread_count);
    CHECK_INT(strncmp(end, " line ", 6), ==, 0);
    // Each thread's lines in their order.
    long line = strtol(end + 6, &end, 10);
    CHECK_INT(line, >=, next[number]);
    next[number] = (int)line + 1;
    CHECK_INT(*end, ==, '\0');
    count++;
  }
  for (int i = 0; i < thread_count; i++) CHECK_INT(pthread_join(threads[i], NULL), ==, 0);
  CHECK_UINT(count, >, 0);
  check_no_datagram();
  to_streams();
  stop_daemon();
}

static void a_child_logs_as_itself(void) {
  start_daemon();
  to_syslog("server");
  pid_t child = fork();
  CHECK_INT(child, >=, 0);
  if (child == 0) {
    MJ_INFO("child");
    _exit(0);
  }
  int status;
  CHECK_INT(waitpid(child, &status, 0), ==, child);
  CHECK_INT(status, ==, 0);
  MJ_INFO("parent");
  check_datagram(14, "server", child, "child");
  check_datagram(14, "server", getpid(), "parent");
  to_streams();
  stop_daemon();
}

// A daemon that closes all, and then has a socket of its own under the number.
static void loses_its_socket(void) {
  int own[2];
  char byte;
  to_syslog("server");
  for (int fd = 3; fd < 64; fd++) close(fd);
  CHECK_INT(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, own), ==, 0);
  for (int fd = own[1]; fd < 64;) fd = dup(own[0]);
  uint64_t dropped = mj_log_dropped();
  MJ_INFO("lost");
  CHECK_UINT(mj_log_dropped(), ==, dropped + 1);
  to_streams();
  CHECK_INT(recv(own[1], &byte, 1, 0), ==, -1);
  CHECK_INT(errno, ==, EAGAIN);
}

static void a_socket_that_gets_the_number_is_the_programs(void) {
  start_daemon();
  pid_t child = fork();
  CHECK_INT(child, >=, 0);
  if (child == 0) {
    loses_its_socket();
    _exit(0);
  }
  int status;
  CHECK_INT(waitpid(child, &status, 0), ==, child);
  CHECK_INT(status, ==, 0);
  check_no_datagram();
  stop_daemon();
}

int main(void) {
  take_own_dev();
  sockets_at_start = open_sockets();
  // Far from Greenwich, so that UTC would show.
  setenv("TZ", "XYZ-05:30", 1);
  tzset();
  // After the first time the library keeps the descriptor's number.
  start_daemon();
  to_syslog("first");
  to_streams();
  stop_daemon();
  RUN(levels_become_priorities);
  RUN(lines_go_nowhere_else);
  RUN(the_prefix_is_that_of_syslog_whatever_is_set);
  RUN(the_ident_is_copied_and_can_be_changed);
  RUN(any_text_arrives);
  RUN(errors_change_nothing);
  RUN(a_daemon_started_anew_is_found);
  RUN(a_missing_daemon_is_reported_once_and_counted);
  RUN(a_daemon_that_does_not_read_stops_nobody);
  RUN(lines_of_threads_are_whole);
  RUN(a_child_logs_as_itself);
  RUN(a_socket_that_gets_the_number_is_the_programs);
  return 0;
}
