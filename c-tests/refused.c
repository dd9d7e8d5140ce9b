// What a sandbox refuses: a filter of system calls (seccomp(2)) that answers one call, or all that have
// a fallback, with one of the four errors that say "not here" or "not for you", before or after the
// scheduler was made; and a limit of descriptors that is lower than what is open, as in a program that
// has given up its privileges. In children, since neither can be taken back. In contrast to the
// fallbacks of the table in docs/platforms.md, which are forced by preloading, this also works where
// the library is linked statically.
#define _GNU_SOURCE
#include "child.h"
#include "pipes.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define MS UINT64_C(1000000)

// ---- What is refused ----

static const int errors[] = {ENOSYS, EPERM, EACCES, EINVAL};

typedef struct refusal {
  const char* name;
  long calls[4];  // ended by -1
  int request;    // of a call that is refused with this second argument only; 0: with any
} refusal;

static const refusal refusals[] = {
    {"epoll_pwait2", {SYS_epoll_pwait2, -1}, 0},
    {"madvise", {SYS_madvise, -1}, 0},
    {"process_madvise", {SYS_process_madvise, -1}, 0},
#ifdef SYS_poll
    {"poll", {SYS_poll, SYS_ppoll, -1}, 0},
#else
    {"poll", {SYS_ppoll, -1}, 0},
#endif
    {"open", {SYS_openat, -1}, 0},
    {"prctl", {SYS_prctl, -1}, 0},
    {"marks", {SYS_fcntl, -1}, F_SETSIG},
    {"looks at marks", {SYS_fcntl, -1}, F_GETSIG},
    {"pidfd_open", {SYS_pidfd_open, -1}, 0},
    {"pidfd_send_signal", {SYS_pidfd_send_signal, -1}, 0},
    {"preadv2", {SYS_preadv2, SYS_pwritev2, -1}, 0},
    {"all", {-1}, 0},
};

enum { REFUSALS = sizeof refusals / sizeof *refusals, ALL = REFUSALS - 1 };

// The low half of a word of the call's description.
static struct sock_filter load(size_t offset) {
  return (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (__u32)offset);
}

static struct sock_filter load_number(void) { return load(offsetof(struct seccomp_data, nr)); }

static size_t add_to(struct sock_filter* filter, size_t length, const refusal* refused, int error) {
  for (const long* call = refused->calls; *call >= 0; call++) {
    __u8 others = refused->request == 0 ? 1 : 4;
    filter[length++] =
        (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (__u32)*call, 0, others);
    if (refused->request != 0) {
      filter[length++] = load(offsetof(struct seccomp_data, args[1]));
      filter[length++] =
          (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (__u32)refused->request, 0, 1);
    }
    filter[length++] =
        (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (__u32)error);
    if (refused->request != 0) filter[length++] = load_number();
  }
  return length;
}

static bool refuse(size_t which, int error) {
  struct sock_filter filter[64];
  size_t length = 0;
  filter[length++] = load_number();
  for (size_t i = 0; i < ALL; i++) {
    if (which == i || which == ALL) length = add_to(filter, length, &refusals[i], error);
  }
  filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  struct sock_fprog program = {(unsigned short)length, filter};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

// ---- What must work all the same ----

static unsigned complaints;
static char fallbacks[128];

static void takes_lines(mj_log_level level, const char* message, void* user_data) {
  static const char start[] = "Fallbacks in use: ";
  (void)user_data;
  if (level >= MJ_LOG_WARN) {
    complaints++;
    if (strstr(message, "cannot wait for fd") == NULL) fprintf(stderr, "%s\n", message);
  }
  if (strncmp(message, start, strlen(start)) == 0) {
    snprintf(fallbacks, sizeof fallbacks, "%s", message + strlen(start));
  }
}

// Opened before anything is refused.
static int ends[2], regular_file, null_device;
static unsigned done;
static bool may_write;
static bool has_descriptors = true;  // for more than what is open
static bool has_programs = true;     // that can be loaded

static void sleeps(mj_scheduler* scheduler, void* user_state) {
  static const uint64_t times[] = {0, 1, 300000, 2 * MS};
  (void)scheduler;
  (void)user_state;
  for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
    uint64_t begin = now_ns();
    CHECK_INT(mj_sleep_ns(times[i]), ==, 0);
    CHECK_UINT(now_ns() - begin, >=, times[i]);
  }
  done++;
  mj_task_exit();
}

static void writes_later(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  while (!may_write) mj_task_yield();
  CHECK_INT(mj_sleep_ns(MS), ==, 0);
  put_byte(ends[1]);
  done++;
  mj_task_exit();
}

static void waits(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  CHECK_INT(mj_task_wait_fd(ends[0], POLLIN, 0), ==, -ETIMEDOUT);
  CHECK_INT(mj_task_wait_fd(ends[0], POLLIN, MS / 10), ==, -ETIMEDOUT);
  may_write = true;
  CHECK_INT(mj_task_wait_fd(ends[0], POLLIN, LONG_NS), ==, POLLIN);
  CHECK_INT(mj_task_wait_fd(ends[0], POLLIN, 0), ==, POLLIN);
  take_byte(ends[0]);
  CHECK_INT(mj_task_wait_fd(ends[1], POLLOUT, 0), ==, POLLOUT);
  int always[] = {regular_file, null_device};
  for (size_t i = 0; i < 2; i++) {
    CHECK_INT(mj_task_wait_fd(always[i], POLLIN, 0), ==, POLLIN);
    CHECK_INT(mj_task_wait_fd(always[i], POLLIN, LONG_NS), ==, POLLIN);
  }
  CHECK_INT(mj_task_wait_fd(ends[1] + 100, POLLIN, LONG_NS), ==, -EBADF);
  complaints--;  // That was one.
  done++;
  mj_task_exit();
}

static void uses_its_stack(mj_scheduler* scheduler, void* user_state) {
  volatile char bytes[20000];
  (void)scheduler;
  (void)user_state;
  memset((char*)bytes, 1, sizeof bytes);
  mj_task_yield();
  CHECK_INT(bytes[5], ==, 1);
  done++;
  mj_task_exit();
}

// By the calls that read and write too, where nothing is to be read at first.
static void reads_and_writes(mj_scheduler* scheduler, void* user_state) {
  char byte;
  int fds[2];
  (void)scheduler;
  (void)user_state;
  CHECK_INT(pipe2(fds, O_CLOEXEC), ==, 0);
  CHECK_INT(mj_read(fds[0], &byte, 1, MS), ==, -ETIMEDOUT);
  CHECK_INT(mj_write(fds[1], "ab", 2, LONG_NS), ==, 2);
  CHECK_INT(mj_read(fds[0], &byte, 1, LONG_NS), ==, 1);
  CHECK_INT(byte, ==, 'a');
  CHECK_INT(mj_read(fds[0], &byte, 1, LONG_NS), ==, 1);
  CHECK_INT(mj_fd_close(fds[1]), ==, 0);
  CHECK_INT(mj_read(fds[0], &byte, 1, LONG_NS), ==, 0);
  CHECK_INT(mj_fd_close(fds[0]), ==, 0);
  done++;
  mj_task_exit();
}

static void ends_a_child(mj_scheduler* scheduler, void* user_state) {
  int status;
  (void)scheduler;
  (void)user_state;
  mj_process* process = mj_process_spawn((const char* const[]){"sleep", "1000", NULL}, NULL);
  CHECK(process != NULL);
  CHECK_INT(mj_process_wait(process, &status, MS), ==, -ETIMEDOUT);
  CHECK_INT(mj_process_kill(process, 0), ==, 0);
  CHECK_INT(mj_process_kill(process, 1000), ==, -EINVAL);
  CHECK_INT(mj_process_end(process, LONG_NS, &status), ==, 0);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
  done++;
  mj_task_exit();
}

enum { STACKS = 200 };

static void run_all(mj_scheduler* scheduler) {
  static const mj_wait_fn functions[] = {mj_wait_epoll, mj_wait_poll, mj_wait_nanosleep};
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    mj_scheduler_set_wait_func(scheduler, functions[i], NULL);
    done = 0;
    may_write = false;
    add_task(scheduler, sleeps, NULL);
    add_task(scheduler, waits, NULL);
    add_task(scheduler, writes_later, NULL);
    unsigned tasks = 3 + STACKS;
    if (has_descriptors) add_task(scheduler, reads_and_writes, NULL), tasks++;
    if (i == 0 && has_descriptors && has_programs) add_task(scheduler, ends_a_child, NULL), tasks++;
    for (int j = 0; j < STACKS; j++) add_task(scheduler, uses_its_stack, NULL);
    CHECK_INT(mj_run(scheduler), ==, 0);
    CHECK_UINT(done, ==, tasks);
  }
}

// What is not marked counts as the library's, but in a child as the parent's.
static void keeps_its_descriptors(mj_scheduler* scheduler, bool was_marked) {
  CHECK_INT(mj_log_to_file("/dev/null"), ==, 0);
  MJ_INFO("line");
  CHECK_INT(mj_log_reopen(), ==, 0);
  MJ_INFO("line");
  mj_log_set_callback(takes_lines, NULL);
  CHECK_UINT(mj_log_dropped(), ==, 0);
  int backend = mj_scheduler_backend_fd(scheduler);
  pid_t child = fork();
  CHECK_INT(child, >=, 0);
  if (child == 0) {
    CHECK((mj_scheduler_backend_fd(scheduler) == backend) == was_marked);
    run_all(scheduler);
    mj_scheduler_destroy(scheduler);
    _exit(0);
  }
  CHECK_INT(status_of(child), ==, 0);
}

// What the child is to do.
static struct {
  size_t refused;
  int error;
  bool later;  // after a run
} plan;

static void lives_with_it(void) {
  mj_log_set_level(MJ_LOG_DEBUG);
  mj_scheduler* scheduler = NULL;
  if (plan.later) {
    scheduler = new_scheduler();
    run_all(scheduler);
    complaints = 0;
    fallbacks[0] = '\0';
  }
  bool had_pwait2 = syscall(SYS_epoll_pwait2, -1, NULL, 1, NULL, NULL, 0) == -1 && errno == EBADF;
  if (!refuse(plan.refused, plan.error)) _exit(check_skipped);
  has_programs = plan.refused != ALL && strcmp(refusals[plan.refused].name, "open") != 0;
  if (scheduler == NULL) scheduler = new_scheduler();
  run_all(scheduler);
  CHECK_UINT(complaints, ==, 0);
  // Whoever looks is told.
  bool tells = plan.refused == 0 || plan.refused == ALL;
  if (tells && had_pwait2) CHECK(strstr(fallbacks, "pwait2") != NULL);
  if (!plan.later && strcmp(refusals[plan.refused].name, "poll") == 0) {
    CHECK(strstr(fallbacks, "poll") != NULL);
  }
  if (strcmp(refusals[plan.refused].name, "marks") == 0) {
    keeps_its_descriptors(scheduler, plan.later);
  }
  mj_scheduler_destroy(scheduler);
}

static void open_all(void) {
  open_pipe(ends);
  regular_file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  null_device = open("/dev/null", O_RDWR | O_CLOEXEC);
  CHECK(regular_file >= 0 && null_device >= 0);
}

static void close_all(void) {
  close_both(ends);
  close(regular_file);
  close(null_device);
}

static void check_ended_well(int status) {
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
  fprintf(stderr, "%s refused with errno %d%s\n", refusals[plan.refused].name, plan.error,
          plan.later ? ", after a run" : "");
  CHECK(WIFEXITED(status));
  CHECK_INT(WEXITSTATUS(status), ==, 0);
}

static bool can_refuse;

static void asks(void) { _exit(refuse(0, ENOSYS) ? 0 : check_skipped); }

static void what_a_filter_refuses_is_done_without(void) {
  open_all();
  for (int later = 0; later < 2; later++) {
    for (size_t refused = 0; refused < REFUSALS; refused++) {
      for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        plan.refused = refused;
        plan.error = errors[i];
        plan.later = later;
        check_ended_well(status_of_child(lives_with_it));
      }
    }
  }
  close_all();
}

// ---- A limit of descriptors below those that are open ----

static void lives_without_new_descriptors(void) {
  has_descriptors = false;
  mj_log_set_level(MJ_LOG_INFO);
  for (rlim_t limit = 0; limit <= 4; limit += 4) {
    mj_scheduler* scheduler = setup_scheduler_with_epoll();
    CHECK(scheduler != NULL);
    struct rlimit before, lower;
    CHECK_INT(getrlimit(RLIMIT_NOFILE, &before), ==, 0);
    lower = before;
    lower.rlim_cur = limit;
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &lower), ==, 0);
    run_all(scheduler);
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &before), ==, 0);
    mj_scheduler_destroy(scheduler);
    CHECK_UINT(complaints, ==, 0);
  }
}

// There are two left, so that it cannot be asked what needs a third.
static void takes_the_last_two(void) {
  has_descriptors = false;
  mj_log_set_level(MJ_LOG_DEBUG);
  int lowest = dup(null_device);
  CHECK_INT(lowest, >=, 0);
  close(lowest);
  struct rlimit few = {(rlim_t)lowest + 2, (rlim_t)lowest + 2};
  CHECK_INT(setrlimit(RLIMIT_NOFILE, &few), ==, 0);
  mj_scheduler* scheduler = setup_scheduler_with_epoll();
  CHECK(scheduler != NULL);
  CHECK_UINT(strlen(fallbacks), >, 0);
  CHECK(strstr(fallbacks, "nowait") == NULL && strstr(fallbacks, "nosignal") == NULL);
  run_all(scheduler);
  CHECK_UINT(complaints, ==, 0);
  mj_scheduler_destroy(scheduler);
}

static int pairs[20][2];
static unsigned found;

static void waits_for_a_pair(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  int* pair = pairs[*(int*)user_state];
  CHECK_INT(mj_task_wait_fd(pair[0], POLLIN, LONG_NS), ==, POLLIN);
  found++;
  mj_task_exit();
}

// More descriptors are looked at together than the limit says.
static void waits_for_many(void) {
  enum { PAIRS = sizeof pairs / sizeof *pairs };
  mj_scheduler* scheduler = new_scheduler();
  for (int i = 0; i < PAIRS; i++) {
    open_pair(pairs[i]);
    put_byte(pairs[i][1]);
    int* number = allocate(sizeof *number);
    *number = i;
    add_task(scheduler, waits_for_a_pair, number);
  }
  struct rlimit few = {7, 7};
  CHECK_INT(setrlimit(RLIMIT_NOFILE, &few), ==, 0);
  uint64_t polls_before = mj_scheduler_get_metrics(scheduler)->io_events;
  CHECK_INT(mj_run(scheduler), ==, 0);
  CHECK_UINT(found, ==, PAIRS);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->io_events - polls_before, ==, PAIRS);
  mj_scheduler_destroy(scheduler);
}

static void descriptors_beyond_the_limit_are_waited_for(void) {
  open_all();
  plan.refused = ALL;
  check_ended_well(status_of_child(lives_without_new_descriptors));
  if (!under_valgrind()) check_ended_well(status_of_child(takes_the_last_two));
  // Valgrind has a limit of its own.
  if (!under_valgrind()) check_ended_well(status_of_child(waits_for_many));
  close_all();
}

int main(void) {
  mj_log_set_callback(takes_lines, NULL);
  // Sanitizers open files of their own.
  if (!sanitized()) RUN(descriptors_beyond_the_limit_are_waited_for);
  // The runtimes of the sanitizers, emulators and valgrind make calls of their own.
  if (sanitized() || emulated() || under_valgrind()) return 0;
  can_refuse = status_of_child(asks) == 0;
  if (!can_refuse) {
    puts("system calls cannot be refused here: seccomp(2) is");
    return check_skipped;
  }
  RUN(what_a_filter_refuses_is_done_without);
  return 0;
}
