// fork() with a live scheduler: the child may destroy it, run it, or exit, and the parent is not
// affected. Parent and child share open file descriptions, the epoll set among them.
#define _GNU_SOURCE
#include "child.h"
#include "log_lines.h"
#include "waiters.h"

#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static int channel[2];
static int woken;
static int slept;
static long slack_outside_ns;

static void waits_for_the_channel(mj_scheduler* running, void* user_state) {
  (void)running;
  (void)user_state;
  mj_task_wait_readable(channel[0]);
  take_byte(channel[0]);
  woken++;
  mj_task_exit();
}

static void sleeps(mj_scheduler* running, void* user_state) {
  (void)running;
  (void)user_state;
  mj_task_sleep_ms(10);
  slept++;
  mj_task_exit();
}

static void stops(mj_scheduler* running, void* user_state) {
  (void)user_state;
  CHECK_INT(mj_scheduler_stop(running), ==, 0);
  mj_task_exit();
}

static void runs_until_stopped_with(uint64_t tasks) {
  mj_scheduler_run(scheduler);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->current_tasks, ==, tasks);
}

// Makes a scheduler with two parked tasks.
static void make_live_scheduler(void) {
  open_pipe(channel);
  woken = slept = 0;
  slack_outside_ns = prctl(PR_GET_TIMERSLACK);
  scheduler = new_scheduler();
  add_task(scheduler, waits_for_the_channel, NULL);
  add_task(scheduler, sleeps, NULL);
  add_task(scheduler, stops, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->current_tasks, ==, 2);
}

// Wakes the two tasks, and lets the run end.
static void check_undisturbed(void) {
  CHECK_INT(woken, ==, 0);
  put_byte(channel[1]);
  mj_scheduler_run(scheduler);
  CHECK_INT(woken, ==, 1);
  CHECK_INT(slept, ==, 1);
  CHECK_INT(prctl(PR_GET_TIMERSLACK), ==, slack_outside_ns);
  mj_scheduler_destroy(scheduler);
  close_both(channel);
}

static bool lacks_wiped_pages(void) {
  void* page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  bool lacks = madvise(page, 4096, MADV_WIPEONFORK) != 0;
  munmap(page, 4096);
  return lacks;
}

static void check_ended_well(int status) {
  CHECK(WIFEXITED(status));
  CHECK_INT(WEXITSTATUS(status), ==, 0);
}

// ---- Between runs ----

static void destroys(void) {
  int before = open_descriptors();
  mj_scheduler_destroy(scheduler);
  CHECK_INT(open_descriptors(), ==, before - 2);
}

static void exits(void) { exit(0); }

// The byte is the child's; the tasks wait for the descriptors that the parent's tasks wait for,
// too.
static void runs_to_the_end(void) {
  int descriptors = open_descriptors();
  int backend = mj_scheduler_backend_fd(scheduler);
  put_byte(channel[1]);
  mj_scheduler_run(scheduler);
  CHECK_INT(woken, ==, 1);
  CHECK_INT(slept, ==, 1);
  CHECK_INT(mj_scheduler_backend_fd(scheduler), ==, backend);
  CHECK_INT(open_descriptors(), ==, descriptors);
  destroys();
}

// A task that waits for a descriptor is told when the child closes it.
static void closes_and_runs(void) {
  int fds[2] = {channel[0], channel[1]};
  open_pipe(channel);
  close_both(fds);
  put_byte(channel[1]);
  mj_scheduler_run(scheduler);
  CHECK_INT(woken, ==, 1);
  mj_scheduler_destroy(scheduler);
}

// The event of the parent's one-shot registration is not the child's to consume.
static void looks(void) {
  put_byte(channel[1]);
  CHECK_INT(mj_wait_epoll(scheduler, 0, NULL), >=, 0);
  CHECK_INT(mj_wait_poll(scheduler, 0, NULL), >=, 0);
  char byte;
  CHECK_INT(read(channel[0], &byte, 1), ==, 1);
}

static bool is_readable(int fd) {
  struct pollfd one = {.fd = fd, .events = POLLIN};
  CHECK_INT(poll(&one, 1, 0), >=, 0);
  return one.revents != 0;
}

// Its wake-ups, and the events of what its tasks wait for, are at a descriptor of its own.
static void looks_at_the_backend(void) {
  int backend = mj_scheduler_backend_fd(scheduler);
  CHECK(!is_readable(backend));
  CHECK_INT(mj_scheduler_stop(scheduler), ==, 0);
  CHECK(is_readable(backend));
  mj_scheduler_run(scheduler);
  CHECK(!is_readable(backend));
  put_byte(channel[1]);
  CHECK(is_readable(backend));
  take_byte(channel[0]);
}

// A stop that comes before any use of the descriptors is told by them later.
static void stops_first(void) {
  CHECK_INT(mj_scheduler_stop(scheduler), ==, 0);
  CHECK(is_readable(mj_scheduler_backend_fd(scheduler)));
}

static void sleeps_once(void) { CHECK_INT(mj_wait_nanosleep(scheduler, 0, NULL), ==, 0); }

static void is_told_of_no_descriptor(void) {
  // These keep descriptors of their own.
  if (under_valgrind() || emulated()) return;
  struct rlimit none = {0, 0};
  CHECK_INT(setrlimit(RLIMIT_NOFILE, &none), ==, 0);
  CHECK_INT(mj_scheduler_backend_fd(scheduler), ==, -EMFILE);
  CHECK_INT(mj_run(scheduler), ==, -EMFILE);
  CHECK_INT(mj_fd_close(channel[0]), ==, 0);
}

static int open_other(size_t kind) {
  switch (kind) {
    case 0: return open("/dev/null", O_RDONLY | O_CLOEXEC);
    case 1: return eventfd(7, EFD_CLOEXEC);
    default: return epoll_create1(EPOLL_CLOEXEC);
  }
}

// What tells a file of one of these kinds from any other that the library could put in its place.
static void check_other(size_t kind, int fd, int watched) {
  struct stat status;
  uint64_t count = 0;
  struct epoll_event event = {.events = EPOLLIN};
  switch (kind) {
    case 0:
      CHECK_INT(fstat(fd, &status), ==, 0);
      CHECK(S_ISCHR(status.st_mode));
      break;
    case 1:
      CHECK_INT(read(fd, &count, sizeof count), ==, sizeof count);
      CHECK_UINT(count, ==, 7);
      break;
    default:
      CHECK_INT(epoll_ctl(fd, EPOLL_CTL_ADD, watched, &event), ==, -1);
      CHECK_INT(errno, ==, EEXIST);
  }
}

static void closes_all_and_opens(size_t kind) {
  int others[20];
  struct epoll_event event = {.events = EPOLLIN};
  for (int fd = 3; fd < 64; fd++) close(fd);
  for (int i = 0; i < 20; i++) {
    others[i] = open_other(kind);
    CHECK_INT(others[i], >=, 0);
  }
  int watched = eventfd(0, EFD_CLOEXEC);
  for (int i = 0; i < 20 && kind == 2; i++) {
    CHECK_INT(epoll_ctl(others[i], EPOLL_CTL_ADD, watched, &event), ==, 0);
  }
  CHECK_INT(mj_scheduler_stop(scheduler), ==, 0);
  runs_until_stopped_with(2);
  mj_scheduler_destroy(scheduler);
  for (int i = 0; i < 20; i++) {
    check_other(kind, others[i], watched);
    CHECK_INT(mj_fd_close(others[i]), ==, 0);
  }
}

// As a daemon does: it closes all that it has inherited, and opens other files. Those are not the
// library's, whatever their numbers.
static void closes_all_and_opens_others(void) {
  for (size_t kind = 0; kind < 3; kind++) {
    pid_t one = fork();
    CHECK_INT(one, >=, 0);
    if (one == 0) {
      closes_all_and_opens(kind);
      _exit(0);
    }
    check_ended_well(status_of(one));
  }
}

// Schedulers of the child get the numbers that the one of its parent has had.
static void closes_all_and_makes_schedulers(void) {
  mj_scheduler* own[8];
  for (int fd = 3; fd < 64; fd++) close(fd);
  for (int i = 0; i < 8; i++) own[i] = new_scheduler();
  CHECK_INT(mj_scheduler_stop(scheduler), ==, 0);
  runs_until_stopped_with(2);
  mj_scheduler_destroy(scheduler);
  for (int i = 0; i < 8; i++) {
    int backend = mj_scheduler_backend_fd(own[i]);
    CHECK(!is_readable(backend));
    CHECK_INT(mj_scheduler_stop(own[i]), ==, 0);
    CHECK(is_readable(backend));
    mj_scheduler_destroy(own[i]);
  }
}

// Nor are they closed where the library gets none of its own.
static void closes_all_and_can_open_no_more(void) {
  if (under_valgrind() || emulated()) return;
  int others[20];
  for (int fd = 3; fd < 64; fd++) close(fd);
  for (int i = 0; i < 20; i++) others[i] = open_other(0);
  struct rlimit none = {0, 0};
  CHECK_INT(setrlimit(RLIMIT_NOFILE, &none), ==, 0);
  mj_scheduler_destroy(scheduler);
  for (int i = 0; i < 20; i++) CHECK_INT(fcntl(others[i], F_GETFD), >=, 0);
}

static void a_child_of_a_stopped_scheduler_disturbs_nobody(void) {
  static void (*const children[])(void) = {
      destroys,    exits,       runs_to_the_end,          closes_and_runs,            looks,
      stops_first, sleeps_once, is_told_of_no_descriptor, closes_all_and_opens_others,
      looks_at_the_backend, closes_all_and_makes_schedulers, closes_all_and_can_open_no_more};
  for (size_t i = 0; i < sizeof children / sizeof *children; i++) {
    make_live_scheduler();
    check_ended_well(status_of_child(children[i]));
    check_undisturbed();
  }
}

// Pending wake-ups of the process's only eventfd.
static unsigned long wake_ups(void) {
  char path[64], line[256], target[64];
  unsigned long count = ULONG_MAX;
  for (int fd = 0; fd < 1024; fd++) {
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length < 0) continue;
    target[length] = '\0';
    if (strstr(target, "[eventfd]") == NULL) continue;
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    FILE* info = fopen(path, "r");
    CHECK(info != NULL);
    while (fgets(line, sizeof line, info) != NULL) {
      if (sscanf(line, "eventfd-count: %lx", &count) == 1) break;
    }
    fclose(info);
  }
  CHECK_UINT(count, !=, ULONG_MAX);
  return count;
}

static void runs_until_stopped(void) { runs_until_stopped_with(2); }

static void stops_and_runs(void) {
  CHECK_INT(mj_scheduler_stop(scheduler), ==, 0);
  runs_until_stopped();
}

static void stops_are_not_shared(void) {
  // The emulator has its own /proc.
  if (emulated()) return;
  make_live_scheduler();
  // The child's stop does not wake the parent,
  check_ended_well(status_of_child(stops_and_runs));
  CHECK_UINT(wake_ups(), ==, 0);
  // and the child does not consume a stop of the parent.
  CHECK_INT(mj_scheduler_stop(scheduler), ==, 0);
  CHECK_UINT(wake_ups(), ==, 1);
  check_ended_well(status_of_child(runs_until_stopped));
  CHECK_UINT(wake_ups(), ==, 1);
  runs_until_stopped();
  CHECK_UINT(wake_ups(), ==, 0);
  check_undisturbed();
}

// ---- Inside a task ----

static void (*in_the_child)(void);
static pid_t child;

static void forks(mj_scheduler* running, void* user_state) {
  (void)running;
  (void)user_state;
  long slack_ns = prctl(PR_GET_TIMERSLACK);
  mj_task_yield();
  child = fork();
  CHECK_INT(child, >=, 0);
  if (child == 0) {
    alarm(50);
    in_the_child();
  } else {
    check_ended_well(status_of(child));
    CHECK_INT(prctl(PR_GET_TIMERSLACK), ==, slack_ns);
    CHECK_INT(woken, ==, 0);
    put_byte(channel[1]);
  }
  mj_task_exit();
}

static void leaves(void) { _exit(0); }

static void fails_to_destroy(void) {
  log_lines_begin();
  mj_scheduler_destroy(scheduler);
  CHECK_INT(log_lines_from(MJ_LOG_ERROR), ==, 1);
  _exit(0);
}

// The registration in the shared epoll set is the parent's.
static void closes_and_leaves(void) {
  CHECK_INT(mj_fd_close(channel[0]), ==, 0);
  _exit(0);
}

static int backend;

// What has the number of the parent's epoll set is another file here.
static void adopts_what_has_the_number(void) {
  int own[2];
  open_pipe(own);
  CHECK_INT(dup2(own[0], backend), ==, backend);
  CHECK_INT(mj_fd_adopt(backend), ==, 0);
  put_byte(own[1]);
  CHECK_INT(mj_task_wait_fd(backend, POLLIN, LONG_NS), ==, POLLIN);
  CHECK_INT(mj_fd_close(backend), ==, 0);
  _exit(0);
}

// As the destructors of global objects do, after an exec that has failed.
static void close_at_exit(void) { CHECK_INT(mj_fd_close(channel[0]), ==, 0); }

static void fails_to_exec(void) {
  CHECK_INT(atexit(close_at_exit), ==, 0);
  execl("/", "/", (char*)NULL);
  exit(0);
}

static void goes_on(void) {
  int own[2];
  open_pipe(own);
  CHECK_INT(mj_task_wait_fd(own[0], POLLIN, 1000), ==, -ETIMEDOUT);
  CHECK_INT(mj_sleep_ns(1000000), ==, 0);
  CHECK_INT(mj_wait_epoll(scheduler, 0, NULL), >=, 0);
  CHECK_INT(mj_wait_poll(scheduler, 0, NULL), >=, 0);
  put_byte(own[1]);
  CHECK_INT(mj_task_wait_fd(own[0], POLLIN, LONG_NS), ==, POLLIN);
  CHECK_INT(mj_fd_close(channel[0]), ==, 0);
  mj_scheduler_dump(scheduler, stderr);
  exit(0);
}

// The run returns in the child as well.
static void stops_the_child(void) { CHECK_INT(mj_scheduler_stop(scheduler), ==, 0); }

// It waits for a descriptor that a parent's task waits for, and its run returns without an event.
static void stops_and_waits(void) {
  CHECK_INT(mj_scheduler_stop(scheduler), ==, 0);
  mj_task_wait_fd(channel[0], POLLIN, MJ_FOREVER);
}

static void a_child_of_a_task_disturbs_nobody(void) {
  static void (*const children[])(void) = {
      leaves,  exits,           fails_to_destroy, closes_and_leaves,         fails_to_exec,
      goes_on, stops_the_child, stops_and_waits,  adopts_what_has_the_number};
  for (size_t i = 0; i < sizeof children / sizeof *children; i++) {
    make_live_scheduler();
    backend = mj_scheduler_backend_fd(scheduler);
    in_the_child = children[i];
    add_task(scheduler, forks, NULL);
    mj_scheduler_run(scheduler);
    CHECK_INT(prctl(PR_GET_TIMERSLACK), ==, slack_outside_ns);
    if (child == 0) {
      bool still_waits = in_the_child == stops_and_waits;
      CHECK_UINT(mj_scheduler_get_metrics(scheduler)->current_tasks, ==, still_waits ? 3 : 2);
      destroys();
      _exit(0);
    }
    CHECK_INT(woken, ==, 1);
    CHECK_INT(slept, ==, 1);
    mj_scheduler_destroy(scheduler);
    close_both(channel);
  }
}

// ---- Children that have another parent's number, or that the C library does not know of ----

static void (*const tidy[])(void) = {closes_and_runs, runs_to_the_end, looks, destroys};

static pid_t clone_as_fork(int flags) {
  fflush(NULL);
  return (pid_t)syscall(SYS_clone, flags | SIGCHLD, NULL, NULL, NULL, NULL);
}

static void is_cloned(int flags) {
  for (size_t i = 0; i < sizeof tidy / sizeof *tidy; i++) {
    make_live_scheduler();
    pid_t cloned = clone_as_fork(flags);
    if (cloned < 0) _exit(check_skipped);  // Namespaces may not be allowed.
    if (cloned == 0) {
      alarm(50);
      if (flags != 0) CHECK_INT(getpid(), ==, 1);
      tidy[i]();
      _exit(0);
    }
    check_ended_well(status_of(cloned));
    check_undisturbed();
  }
}

static void is_the_first_of_its_namespace(void) {
  CHECK_INT(getpid(), ==, 1);
  is_cloned(CLONE_NEWPID);
}

static void makes_a_namespace(void) {
  pid_t first = clone_as_fork(CLONE_NEWUSER | CLONE_NEWPID);
  if (first < 0) _exit(check_skipped);
  if (first == 0) {
    alarm(50);
    is_the_first_of_its_namespace();
    _exit(0);
  }
  int status = status_of(first);
  _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

// The first process of a namespace has the same number as its child that is the first of another.
static void a_child_with_its_parents_number_disturbs_nobody(void) {
  // Where the kernel cannot clear a page, such children go unnoticed: docs/platforms.md.
  if (under_valgrind() || emulated() || lacks_wiped_pages()) return;
  int status = status_of_child(makes_a_namespace);
  CHECK(WIFEXITED(status));
  if (WEXITSTATUS(status) != check_skipped) check_ended_well(status);
}

static void a_child_by_a_system_call_disturbs_nobody(void) {
  if (under_valgrind() || emulated() || lacks_wiped_pages()) return;
  is_cloned(0);
}

// ---- Numbers that are used again ----

// A child keeps the open file description, and with it the registration in the epoll set. Its
// events must not wake a waiter of the next descriptor of the same number.
static void a_child_that_keeps_a_descriptor_wakes_nobody(void) {
  int first[2], control[2];
  open_pipe(first);
  CHECK_INT(pipe(control), ==, 0);
  CHECK_INT(mj_task_wait_fd(first[0], POLLIN, 1000), ==, -ETIMEDOUT);
  fflush(NULL);
  pid_t holder = fork();
  CHECK_INT(holder, >=, 0);
  if (holder == 0) {
    alarm(50);
    close(control[1]);
    char byte;
    _exit(read(control[0], &byte, 1) == 0 ? 0 : 1);
  }
  int second[2];
  open_pipe(second);
  CHECK_INT(dup2(second[0], first[0]), ==, first[0]);
  close(second[0]);
  second[0] = first[0];
  call next;
  begin_wait(&next, second[0], POLLIN, LONG_NS);
  put_byte(first[1]);
  let_events_come();
  check_waiting(&next);
  put_byte(second[1]);
  CHECK_INT(result_of(&next), ==, POLLIN);
  close_both(control);
  check_ended_well(status_of(holder));
  close(first[1]);
  close_both(second);
}

// ---- What a stream has collected ----

static mj_stream* collects;

static void writes_it(void) { CHECK_INT(mj_stream_close(collects, MJ_FOREVER), ==, 0); }

static void check_there(int fd, const char* text) {
  char there[32] = "";
  CHECK_INT(mj_read(fd, there, sizeof there - 1, 0), ==, strlen(text));
  CHECK_STR(there, text);
}

// The child has a copy: its end writes nothing, and what it writes itself the parent writes as well.
static void a_child_has_a_copy_of_what_is_collected(void) {
  int fds[2];
  open_pair(fds);
  collects = mj_stream_create(fds[0], 0, 0);
  CHECK(collects != NULL);
  CHECK_INT(mj_stream_write(collects, "once", 4, MJ_FOREVER, NULL), ==, 0);
  check_ended_well(status_of_child(exits));
  CHECK_INT(mj_task_wait_fd(fds[1], POLLIN, 0), ==, -ETIMEDOUT);
  check_ended_well(status_of_child(writes_it));
  check_there(fds[1], "once");
  CHECK_INT(mj_stream_close(collects, MJ_FOREVER), ==, 0);
  check_there(fds[1], "once");
  close(fds[1]);
}

// ---- Without descriptors ----

// A running scheduler whose child can have none for itself goes on without, and tries again.
static void a_child_without_descriptors_goes_on_when_it_has_some(void) {
  // These keep descriptors of their own.
  if (under_valgrind() || emulated()) return;
  int fds[2];
  open_pipe(fds);
  fflush(NULL);
  pid_t child = fork();
  CHECK_INT(child, >=, 0);
  if (child == 0) {
    alarm(50);
    struct rlimit usual, none;
    CHECK_INT(getrlimit(RLIMIT_NOFILE, &usual), ==, 0);
    none = (struct rlimit){0, usual.rlim_max};
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &none), ==, 0);
    log_lines_begin();
    CHECK_INT(mj_sleep_ns(3000000), ==, 0);
    CHECK_UINT(log_lines_from(MJ_LOG_ERROR), ==, 1);
    log_lines_end();
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &usual), ==, 0);
    CHECK_INT(mj_task_wait_fd(fds[0], POLLIN, 1000000), ==, -ETIMEDOUT);
    put_byte(fds[1]);
    CHECK_INT(mj_task_wait_fd(fds[0], POLLIN, LONG_NS), ==, POLLIN);
    _exit(0);
  }
  check_ended_well(status_of(child));
  close_both(fds);
}

// ---- While another thread runs the scheduler ----

static void* forks_and_stops(void* unused) {
  (void)unused;
  check_ended_well(status_of_child(fails_to_destroy));
  check_ended_well(status_of_child(leaves));
  CHECK_INT(mj_scheduler_stop(scheduler), ==, 0);
  return NULL;
}

static void starts_a_thread(mj_scheduler* running, void* user_state) {
  (void)running;
  CHECK_INT(pthread_create(*(pthread_t**)user_state, NULL, forks_and_stops, NULL), ==, 0);
  mj_task_exit();
}

static void a_child_of_another_thread_disturbs_nobody(void) {
  // Valgrind reports the C library's memory for the thread, which the child does not have, as lost.
  if (under_valgrind()) return;
  make_live_scheduler();
  pthread_t thread;
  pthread_t** state = allocate(sizeof *state);
  *state = &thread;
  add_task(scheduler, starts_a_thread, state);
  mj_scheduler_run(scheduler);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
  check_undisturbed();
}

// ---- Stacks ----

static unsigned overflow(volatile unsigned* limit, unsigned depth) {
  volatile char frame[512];
  frame[0] = (char)depth;
  return depth < *limit ? overflow(limit, depth + 1) + (unsigned)frame[0] : 0;
}

static void overflows(mj_scheduler* running, void* user_state) {
  (void)running;
  (void)user_state;
  volatile unsigned limit = UINT32_MAX;
  _exit(overflow(&limit, 0) == 0 ? 3 : 4);
}

static void runs_one_that_overflows(void) {
  add_task(scheduler, overflows, NULL);
  mj_scheduler_run(scheduler);
}

// The stack is one whose guard page was made by the parent.
static void guards_are_inherited(void) {
  // Valgrind handles stacks in its own way, and an emulator need not have guard pages.
  if (under_valgrind() || emulated()) return;
  make_live_scheduler();
  int status = status_of_child(runs_one_that_overflows);
  CHECK(WIFSIGNALED(status));
  CHECK_INT(WTERMSIG(status), ==, SIGSEGV);
  check_undisturbed();
}

int main(void) {
  RUN(a_child_of_a_stopped_scheduler_disturbs_nobody);
  RUN(stops_are_not_shared);
  RUN(a_child_of_a_task_disturbs_nobody);
  RUN(a_child_with_its_parents_number_disturbs_nobody);
  RUN(a_child_by_a_system_call_disturbs_nobody);
  RUN_IN_TASK(a_child_that_keeps_a_descriptor_wakes_nobody);
  RUN_IN_TASK(a_child_has_a_copy_of_what_is_collected);
  RUN_IN_TASK(a_child_without_descriptors_goes_on_when_it_has_some);
  RUN(a_child_of_another_thread_disturbs_nobody);
  RUN(guards_are_inherited);
  return 0;
}
