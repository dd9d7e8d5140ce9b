// Programs that are started with descriptors 0, 1 or 2 closed: what the library opens is above those,
// whatever it is for, and stays what it is when somebody opens 0 to 2 later.
#define _GNU_SOURCE
#include "child.h"
#include "pipes.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>

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
  saved_errors = fcntl(2, F_DUPFD_CLOEXEC, 10);
  open_pipe(ends);
  for (int fd = 0; fd <= 2; fd++) {
    if (closed & 1u << fd) close(fd);
  }
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

static void the_library_takes_none_of_them(void) {
  char directory[] = "/tmp/majjen-streams-XXXXXX";
  CHECK(mkdtemp(directory) != NULL);
  snprintf(log_path, sizeof log_path, "%s/log", directory);
  for (closed = 0; closed < 8; closed++) {
    int status = status_of_child(uses_everything);
    CHECK(WIFEXITED(status));
    CHECK_INT(WEXITSTATUS(status), ==, 0);
  }
  unlink(log_path);
  rmdir(directory);
}

// In a child of fork() the descriptors are replaced, which opens new ones.
static mj_scheduler* inherited;

static void runs_what_it_has_inherited(void) {
  saved_errors = fcntl(2, F_DUPFD_CLOEXEC, 10);
  closed = 7;
  for (int fd = 0; fd <= 2; fd++) close(fd);
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
  RUN(a_child_takes_none_of_them);
  // Valgrind has a limit of its own, and sanitizers open files.
  if (!under_valgrind() && !sanitized()) RUN(without_others_it_takes_none);
  return 0;
}
