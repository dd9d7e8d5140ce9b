// Programs that are started with descriptors 0, 1 or 2 closed: what the library opens is above those,
// whatever it is for, and stays what it is when somebody opens 0 to 2 later.
#define _GNU_SOURCE
#include "child.h"
#include "pipes.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

static unsigned closed;  // a bit for each
static int saved_errors;
static char log_path[64];

static bool is_open(int fd) { return fcntl(fd, F_GETFD) != -1; }

// Which of the closed ones are open.
static unsigned taken(void) {
  unsigned found = 0;
  for (int fd = 0; fd <= 2; fd++) {
    if ((closed & 1u << fd) && is_open(fd)) found |= 1u << fd;
  }
  return found;
}

// With what went wrong on standard error, which may be closed.
static void check_none_is_taken(const char* when) {
  unsigned found = taken();
  if (found == 0) return;
  dup2(saved_errors, 2);
  fprintf(stderr, "closed: %u, taken %s: %u\n", closed, when, found);
  _exit(1);
}

// Beside other threads: what these open has the number until it is moved.
static void check_none_stays_taken(const char* when) {
  for (int i = 0; i < 1000; i++) {
    if (taken() == 0) return;  // Another look may find the next one.
    usleep(1000);
  }
  check_none_is_taken(when);
}

// A check whose message can be read.
static void check(bool holds, const char* what) {
  if (holds) return;
  dup2(saved_errors, 2);
  fprintf(stderr, "closed: %u, does not hold: %s\n", closed, what);
  _exit(1);
}

static void close_them(void) {
  saved_errors = fcntl(2, F_DUPFD_CLOEXEC, 10);
  for (int fd = 0; fd <= 2; fd++) {
    if (closed & 1u << fd) close(fd);
  }
}

// What daemon(3) does with standard streams.
static void open_nothing(void) {
  int nothing = open("/dev/null", O_RDWR);
  for (int fd = 0; fd <= 2; fd++) {
    if (closed & 1u << fd) dup2(nothing, fd);
  }
  if (nothing > 2) close(nothing);
}

static atomic_bool waited;

static void* stops(void* remote) {
  while (!waited) usleep(100);
  mj_remote_stop(remote);
  return NULL;
}

static int first_limit, second_limit;
static int ends[2];

static void waits(mj_scheduler* running, void* user_state) {
  (void)running;
  (void)user_state;
  // By poll(2), and then by the epoll set.
  first_limit = mj_task_wait_fd(ends[0], POLLIN, 1000);
  open_nothing();
  put_byte(ends[1]);
  second_limit = mj_task_wait_fd(ends[0], POLLIN, LONG_NS);
  waited = true;
  mj_task_park(LONG_NS);
  mj_task_exit();
}

static void uses_everything(void) {
  open_pipe(ends);
  close_them();
  mj_scheduler* scheduler = setup_scheduler_with_epoll();
  check_none_is_taken("by a scheduler");
  bool logs = mj_log_to_file(log_path) == 0 && mj_log_reopen() == 0;
  check_none_is_taken("by the log's file");
  mj_log_to_syslog("standard_streams");  // There need not be a daemon.
  check_none_is_taken("by the system log");
  mj_log_to_file(log_path);
  mj_log(MJ_LOG_WARN, "a line");
  // What a program prints goes nowhere.
  printf("not for the scheduler\n");
  fflush(stdout);
  int backend = mj_scheduler_backend_fd(scheduler);
  mj_remote* remote = mj_scheduler_remote(scheduler);
  pthread_t thread;
  bool runs = scheduler != NULL && remote != NULL && mj_create_task(scheduler, waits, NULL) != NULL &&
              pthread_create(&thread, NULL, stops, remote) == 0;
  int ended = runs ? mj_run(scheduler) : -1;
  if (runs) pthread_join(thread, NULL);
  mj_remote_release(remote);
  mj_scheduler_destroy(scheduler);
  dup2(saved_errors, 2);
  CHECK(runs);
  CHECK(logs);
  CHECK_INT(backend, >, 2);
  CHECK_INT(first_limit, ==, -ETIMEDOUT);
  CHECK_INT(second_limit, ==, POLLIN);
  CHECK_INT(ended, ==, MJ_RUN_STOPPED);
}

// In children, with each set of them closed.
static void with_each_of_them_closed(void (*function)(void)) {
  for (closed = 0; closed < 8; closed++) {
    int status = status_of_child(function);
    CHECK(WIFEXITED(status));
    CHECK_INT(WEXITSTATUS(status), ==, 0);
  }
}

static void the_library_takes_none_of_them(void) {
  char directory[] = "/tmp/majjen-streams-XXXXXX";
  CHECK(mkdtemp(directory) != NULL);
  snprintf(log_path, sizeof log_path, "%s/log", directory);
  with_each_of_them_closed(uses_everything);
  unlink(log_path);
  rmdir(directory);
}

// ---- Children, threads, sockets ----

static bool is_done;

// Beside what the other task waits for.
static void looks(void* argument) {
  (void)argument;
  while (!is_done) {
    check_none_stays_taken("while a task waits");
    mj_task_sleep_ns(100000);
  }
}

static void has_a_child(void) {
  static const char* const arguments[] = {"cat", NULL};
  const mj_process_options options = {
      .input = MJ_PROCESS_PIPE, .output = MJ_PROCESS_PIPE, .error = MJ_PROCESS_NULL};
  char text[4] = "";
  int status = -1;
  mj_process* process = mj_process_spawn(arguments, &options);
  check(process != NULL, "a child is made");
  check_none_is_taken("by a child and its pipes");
  int to = mj_process_take_pipe(process, 0), from = mj_process_take_pipe(process, 1);
  check(to > 2 && from > 2, "a child's pipes are above 2");
  check(mj_process_wait(process, NULL, 2000000) == -ETIMEDOUT, "it waits for its input");
  check(mj_write_all(to, "text", 4, MJ_FOREVER, NULL) == 0, "it is written to");
  mj_fd_close(to);
  check(mj_read_exact(from, text, 4, MJ_FOREVER, NULL) == 4, "it answers");
  check(memcmp(text, "text", 4) == 0, "it answers with what it was sent");
  mj_fd_close(from);
  check(mj_process_wait(process, &status, MJ_FOREVER) == 0, "its end is told");
  check(status == 0, "it has had its pipes as 0 and 1");
  check(mj_process_end(process, 0, NULL) == 0, "it is ended");
}

static void is_in_the_pool(void* argument) {
  (void)argument;
  check_none_stays_taken("in the pool");
}

static void has_sockets(void) {
  struct sockaddr_in address;
  socklen_t length = sizeof address;
  char port[16];
  int listener = mj_listen("127.0.0.1", "0", 0, 0);
  check(listener > 2, "a listener is above 2");
  check_none_is_taken("by a listener");
  check(getsockname(listener, (struct sockaddr*)&address, &length) == 0, "it has a port");
  snprintf(port, sizeof port, "%d", ntohs(address.sin_port));
  int connection = mj_dial("127.0.0.1", port, MJ_FOREVER);
  check(connection > 2, "a connection is above 2");
  check_none_is_taken("by a connection");
  int accepted = mj_accept(listener, NULL, NULL, MJ_FOREVER);
  check(accepted > 2, "an accepted connection is above 2");
  check_none_is_taken("by an accepted connection");
  mj_fd_close(accepted);
  mj_fd_close(connection);
  mj_fd_close(listener);
}

static void uses_the_system(void* argument) {
  (void)argument;
  has_a_child();
  check_none_is_taken("after a child");
  check(mj_offload(is_in_the_pool, NULL, NULL, MJ_FOREVER) == 0, "the pool runs functions");
  check_none_is_taken("by the pool");
  int file = mj_open("/proc/self/exe", O_RDONLY, 0, MJ_FOREVER);
  check(file > 2, "a file is above 2");
  mj_fd_close(file);
  has_sockets();
  is_done = true;
}

static int sets_up(mj_scheduler* core, size_t index, void* user_data) {
  (void)core;
  (void)index;
  (void)user_data;
  check_none_stays_taken("by a core");
  return 0;
}

static void ends_at_once(mj_scheduler* running, void* user_state) {
  (void)running;
  (void)user_state;
  mj_task_exit();
}

static void uses_what_comes_later(void) {
  close_them();
  mj_scheduler* scheduler = new_scheduler();
  check(mj_go(scheduler, looks, NULL, NULL) == 0, "a task is made");
  check(mj_go(scheduler, uses_the_system, NULL, NULL) == 0, "a task is made");
  check(mj_run(scheduler) == 0, "the run is completed");
  mj_scheduler_destroy(scheduler);
  check_none_is_taken("after a run");
  mj_cluster* cluster = mj_cluster_create(&(mj_cluster_options){.cores = 2, .set_up = sets_up});
  check(cluster != NULL, "a cluster is made");
  check_none_is_taken("by a cluster");
  const mj_service service = {.handler = ends_at_once};
  check(mj_cluster_listen(cluster, "127.0.0.1", "0", &service) > 0, "a cluster listens");
  check_none_is_taken("by a cluster that listens");
  check(mj_cluster_start(cluster) == 0, "a cluster is started");
  check(mj_cluster_stop(cluster, MJ_FOREVER) == 0, "a cluster is stopped");
  check(mj_cluster_join(cluster) == 0, "a cluster ends");
  check(mj_cluster_destroy(cluster) == 0, "a cluster is destroyed");
  check_none_is_taken("after a cluster");
}

static void children_threads_and_sockets_take_none_of_them(void) {
  with_each_of_them_closed(uses_what_comes_later);
}

// ---- The file of MAJJEN_TRACE ----

static char trace_path[64];
static int trace_end;

// The file is open as long as not all of it has been read.
static void* reads_the_trace(void* unused) {
  char text[4096];
  int there = 0;
  while (there == 0) {
    usleep(100);
    check(ioctl(trace_end, FIONREAD, &there) == 0, "a trace can be read");
  }
  check_none_is_taken("by a trace");
  for (ssize_t length = 1; length != 0; length = read(trace_end, text, sizeof text)) {
    if (length < 0) usleep(100);
  }
  return unused;
}

static void has_many_turns(void* argument) {
  (void)argument;
  for (int i = 0; i < 200; i++) mj_yield();
}

static void writes_a_trace(void) {
  pthread_t thread;
  trace_end = open(trace_path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  check(trace_end >= 0, "the end of a FIFO");
  check(fcntl(trace_end, F_SETPIPE_SZ, 4096) >= 4096, "the FIFO has less room than there is");
  setenv("MAJJEN_TRACE", trace_path, 1);
  close_them();
  check(pthread_create(&thread, NULL, reads_the_trace, NULL) == 0, "there is a thread");
  mj_scheduler* scheduler = new_scheduler();
  check(mj_go(scheduler, has_many_turns, NULL, NULL) == 0, "a task is made");
  check(mj_go(scheduler, has_many_turns, NULL, NULL) == 0, "a task is made");
  check(mj_run(scheduler) == 0, "the run is completed");
  check(pthread_join(thread, NULL) == 0, "all of the trace has been read");
  check_none_is_taken("after a trace");
  mj_scheduler_destroy(scheduler);
}

static void a_trace_takes_none_of_them(void) {
  char directory[] = "/tmp/majjen-streams-XXXXXX";
  CHECK(mkdtemp(directory) != NULL);
  snprintf(trace_path, sizeof trace_path, "%s/trace", directory);
  CHECK_INT(mkfifo(trace_path, 0600), ==, 0);
  with_each_of_them_closed(writes_a_trace);
  unlink(trace_path);
  rmdir(directory);
}

// ---- Children of fork() ----

// In a child of fork() the descriptors are replaced, which opens new ones.
static mj_scheduler* inherited;

static void runs_what_it_has_inherited(void) {
  closed = 7;
  close_them();
  int backend = mj_scheduler_backend_fd(inherited);
  check_none_is_taken("by a child");
  int ended = mj_run(inherited);
  check_none_is_taken("by a child's run");
  mj_scheduler_destroy(inherited);
  dup2(saved_errors, 2);
  CHECK_INT(backend, >, 2);
  CHECK_INT(ended, ==, 0);
}

static void a_child_takes_none_of_them(void) {
  inherited = new_scheduler();
  int status = status_of_child(runs_what_it_has_inherited);
  CHECK(WIFEXITED(status));
  CHECK_INT(WEXITSTATUS(status), ==, 0);
  mj_scheduler_destroy(inherited);
}

// One number is free, and it is one of them.
static void may_have_no_others(void) {
  const struct rlimit three = {3, 3};
  CHECK_INT(setrlimit(RLIMIT_NOFILE, &three), ==, 0);
  close(0);
  errno = 0;
  CHECK_PTR(setup_scheduler_with_epoll(), ==, NULL);
  CHECK_INT(errno, ==, EMFILE);
  CHECK(!is_open(0));
}

static void without_others_it_takes_none(void) {
  int status = status_of_child(may_have_no_others);
  CHECK(WIFEXITED(status));
  CHECK_INT(WEXITSTATUS(status), ==, 0);
}

int main(void) {
  RUN(the_library_takes_none_of_them);
  // Valgrind takes what threads of a child have when it ends for lost.
  // An emulator opens descriptors of its own.
  if (!under_valgrind() && !emulated()) RUN(children_threads_and_sockets_take_none_of_them);
  RUN(a_trace_takes_none_of_them);
  RUN(a_child_takes_none_of_them);
  // Valgrind has a limit of its own, and sanitizers open files.
  if (!under_valgrind() && !sanitized()) RUN(without_others_it_takes_none);
  return 0;
}
