// Fails the n-th call of each function of the C library that can fail, for n = 1, 2, ... until a
// run completes without meeting the fault, in each scenario. After each fault: no crash, a
// documented error or none, every task ran to its end, nothing leaked, and the scheduler still runs
// an ordinary task.
//
//   sweep allocations          memory and mappings
//   sweep system-calls         the others, with one errno value each, and only some of the many
//                              readings of the clock
//   sweep system-calls long    with each plausible errno value
//   sweep children             no call fails, but at the n-th one there is a child of fork(), which
//                              ends at once: all is as if there had been none
//   sweep one SCENARIO CALL ERRNO FIRST LENGTH    one run again, in this process; ERRNO 0: with a
//                              child
//
// Each run is a process of its own, since the library caches some state for the whole process.
#define _GNU_SOURCE
#include "scenarios.h"

// How long a fault lasts, besides "once".
typedef enum lasting {
  EVER,
  STORM,  // 60 times: no progress while these calls fail, but recovery once they succeed
} lasting;

// Whether the library works without the call: then no function of it fails, and no ERROR line is
// logged.
typedef enum effect {
  HARMFUL,
  HARMLESS,
} effect;

typedef struct target {
  call call;
  const char* name;
  lasting lasting;
  effect effect;
  int errors[8];  // the short form uses the first one
} target;

static const target allocations[] = {
    {MEMORY, "malloc", EVER, HARMFUL, {ENOMEM}},
    {MMAP, "mmap", EVER, HARMFUL, {ENOMEM, EAGAIN}},
    {0, NULL, EVER, HARMFUL, {0}},
};

static const target system_calls[] = {
    {EPOLL_CREATE1, "epoll_create1", EVER, HARMFUL, {EMFILE, ENFILE, ENOMEM}},
    {EVENTFD, "eventfd", EVER, HARMFUL, {EMFILE, ENFILE, ENOMEM, ENODEV}},
    {EPOLL_CTL, "epoll_ctl", EVER, HARMFUL, {ENOSPC, ENOMEM, EBADF, ENOENT, EEXIST, EPERM, EINVAL}},
    {EPOLL_PWAIT2, "epoll_pwait2", EVER, HARMLESS, {ENOSYS, EPERM, EACCES, EINVAL}},
    {EPOLL_PWAIT2, "epoll_pwait2", EVER, HARMFUL, {EBADF}},
    {EPOLL_PWAIT2, "epoll_pwait2", STORM, HARMLESS, {EINTR}},
    {EPOLL_WAIT, "epoll_wait", EVER, HARMFUL, {EBADF, EINVAL}},
    {EPOLL_WAIT, "epoll_wait", STORM, HARMLESS, {EINTR}},
    {MADVISE, "madvise", EVER, HARMLESS, {EINVAL, EPERM, ENOSYS, EACCES}},
    {MADVISE, "madvise", EVER, HARMFUL, {ENOMEM, EAGAIN}},
    {MPROTECT, "mprotect", EVER, HARMFUL, {ENOMEM, EACCES, EINVAL}},
    {MUNMAP, "munmap", EVER, HARMLESS, {ENOMEM, EINVAL}},
    {WRITE, "write", STORM, HARMLESS, {EINTR}},
    {WRITE_TO_FILE, "write to a file", EVER, HARMFUL, {ENOSPC, EIO, EDQUOT, EFBIG, EAGAIN}},
    {READ, "read", STORM, HARMLESS, {EINTR, EAGAIN}},
    {FCNTL, "fcntl", EVER, HARMFUL, {EINVAL, EPERM, EACCES, ENOSYS, ENOMEM, EINTR}},
    {POLL, "poll", EVER, HARMLESS, {EINVAL, ENOSYS, EPERM, EACCES, ENOMEM, EINTR}},
    {PPOLL, "ppoll", EVER, HARMLESS, {EINVAL, ENOSYS, EPERM, EACCES}},
    {PPOLL, "ppoll", EVER, HARMFUL, {ENOMEM}},
    {PPOLL, "ppoll", STORM, HARMLESS, {EINTR}},
    {OPEN, "open", EVER, HARMLESS, {ENOENT, EACCES, EMFILE}},
    {NANOSLEEP, "nanosleep", STORM, HARMLESS, {EINTR}},
    {DUP3, "dup3", EVER, HARMFUL, {EMFILE, EBUSY, EBADF}},
    {DUP3, "dup3", STORM, HARMLESS, {EINTR}},
    {SOCKET, "socket", EVER, HARMFUL, {EMFILE, ENFILE, ENOMEM, EACCES}},
    {CONNECT, "connect", EVER, HARMFUL, {ECONNREFUSED, ENOENT, EACCES}},
    {SEND, "send", EVER, HARMFUL, {ENOBUFS, EAGAIN, ECONNREFUSED, ENOTCONN}},
    {SEND, "send", STORM, HARMLESS, {EINTR}},
    {RECVFROM, "recvfrom", EVER, HARMFUL, {ENOMEM, EIO, EAGAIN, ECONNRESET}},
    {RECVFROM, "recvfrom", STORM, HARMLESS, {EINTR}},
    {SENDTO, "sendto", EVER, HARMFUL, {ENOMEM, ENOBUFS, EAGAIN, EPIPE}},
    {SENDTO, "sendto", STORM, HARMLESS, {EINTR}},
    {PREADV2, "preadv2", EVER, HARMLESS, {EOPNOTSUPP, ENOSYS, EPERM, EACCES, EINVAL}},
    {PREADV2, "preadv2", EVER, HARMFUL, {EIO, EAGAIN}},
    {PREADV2, "preadv2", STORM, HARMLESS, {EINTR}},
    {PWRITEV2, "pwritev2", EVER, HARMLESS, {EOPNOTSUPP, ENOSYS, EPERM, EACCES, EINVAL}},
    {PWRITEV2, "pwritev2", EVER, HARMFUL, {EIO, EAGAIN}},
    {PWRITEV2, "pwritev2", STORM, HARMLESS, {EINTR}},
    {ACCEPT4, "accept4", EVER, HARMFUL, {EMFILE, ENFILE, ENOBUFS, ENOMEM, EAGAIN, EINVAL}},
    {ACCEPT4, "accept4", STORM, HARMLESS, {ECONNABORTED, EPROTO, EINTR}},
    {CONNECT_TCP, "connect by TCP", EVER, HARMFUL, {ECONNREFUSED, ENETUNREACH, EADDRNOTAVAIL}},
    {GETSOCKOPT, "getsockopt", EVER, HARMFUL, {ENOPROTOOPT, EINVAL}},
    {RECVMSG, "recvmsg", EVER, HARMFUL, {ENOMEM, EIO, EAGAIN, ECONNRESET}},
    {RECVMSG, "recvmsg", STORM, HARMLESS, {EINTR}},
    {SENDMSG, "sendmsg", EVER, HARMFUL, {ENOMEM, ENOBUFS, EAGAIN, EPIPE}},
    {SENDMSG, "sendmsg", STORM, HARMLESS, {EINTR}},
    {SENDFILE, "sendfile", EVER, HARMFUL, {EIO, ENOMEM, EAGAIN, EPIPE}},
    {SENDFILE, "sendfile", STORM, HARMLESS, {EINTR}},
    {SHUTDOWN, "shutdown", EVER, HARMFUL, {ENOTCONN, ENOBUFS}},
    {SETSOCKOPT, "setsockopt", EVER, HARMFUL, {ENOMEM, ENOPROTOOPT}},
    {BIND, "bind", EVER, HARMFUL, {EADDRINUSE, EACCES}},
    {LISTEN, "listen", EVER, HARMFUL, {EADDRINUSE}},
    {PTHREAD_CREATE, "pthread_create", EVER, HARMLESS, {EAGAIN, ENOMEM, EPERM}},
    {CLOCK_GETTIME, "clock_gettime", STORM, HARMLESS, {EINVAL, EPERM, ENOSYS}},
    {READV, "readv", EVER, HARMFUL, {EIO, EISDIR, ENOMEM}},
    {READV, "readv", STORM, HARMLESS, {EINTR}},
    {PREAD, "pread", EVER, HARMFUL, {EIO, ENXIO, ENOMEM}},
    {PREAD, "pread", STORM, HARMLESS, {EINTR}},
    {PIPE2, "pipe2", EVER, HARMFUL, {EMFILE, ENFILE}},
    {PIDFD_OPEN, "pidfd_open", EVER, HARMLESS, {ENOSYS, EPERM, EACCES, EINVAL, EMFILE, ENOMEM}},
    {POSIX_SPAWNP, "posix_spawnp", EVER, HARMFUL, {EAGAIN, ENOMEM, ENOENT}},
    {0, NULL, EVER, HARMFUL, {0}},
};

enum { MOST_TARGETS = sizeof system_calls / sizeof system_calls[0] };

enum { CLEAN = 77 };  // the exit code of a run in which the fault was not met

// ---- One run ----

static bool ordinary_ended;
static int ordinary_fd;

static void ordinary(mj_scheduler* scheduler, void* user_state) {
  bool stop_then = *(size_t*)user_state != 0;
  mj_task_yield();
  CHECK_INT(mj_sleep_ns(1000), ==, 0);
  CHECK_INT(mj_task_wait_fd(ordinary_fd, POLLIN, MJ_FOREVER), ==, POLLIN);
  ordinary_ended = true;
  if (stop_then) mj_scheduler_stop(scheduler);
  end();
}

// The scheduler works, and tasks that the fault had delayed continue.
static void check_usable(mj_scheduler* scheduler, bool leaves_tasks) {
  int channel[2];
  CHECK_INT(pipe(channel), ==, 0);
  CHECK_INT(write(channel[1], "x", 1), ==, 1);
  ordinary_fd = channel[0];
  CHECK(spawn(scheduler, ordinary, leaves_tasks) != NULL);
  fault.length = 0;  // a run that stalls now is an error
  run(scheduler);
  // One of the remaining tasks may have stopped the run.
  if (!ordinary_ended && leaves_tasks) run(scheduler);
  CHECK(ordinary_ended);
  if (!leaves_tasks) {
    CHECK_UINT(mj_scheduler_get_metrics(scheduler)->current_tasks, ==, 0);
    CHECK_UINT(ended, ==, created);
  }
  close(channel[0]);
  close(channel[1]);
}

static int run_scenario(const scenario* scenario) {
  int descriptors = open_descriptors();
  check_running = injection;
  mj_scheduler* scheduler = NULL;
  if (scenario->act != create) scheduler = new_scheduler();
  if (scenario->arrange != NULL) scenario->arrange(scheduler);

  fault.armed = true;
  scenario->act(&scheduler);
  fault.armed = false;
  if (fault.harmless && error_lines > 0) check_fail(__FILE__, __LINE__, last_error_line);

  if (scheduler == NULL) scheduler = new_scheduler();
  check_usable(scheduler, scenario->leaves_tasks);
  mj_scheduler_destroy(scheduler);
  if (scenario->tidy != NULL) scenario->tidy();
  // A child that cannot tell whether a number is still what its parent has opened leaves it open.
  bool cannot_tell = scenario->act == run_in_child && fault.call == FCNTL && fault.failed > 0;
  CHECK_INT(open_descriptors(), >=, descriptors);
  CHECK_INT(open_descriptors(), <=, descriptors + (cannot_tell ? 2 : 0));
  CHECK_INT(live_blocks, ==, 0);
  CHECK_INT(live_mappings, ==, fault.call == MUNMAP ? (long)fault.failed : 0);
  return fault.failed > 0 || fault.forked > 0 ? 0 : CLEAN;
}

// Runs a scenario with a fault in this process. Error 0: with a child in its place.
static int run_with_fault(const scenario* scenario, const target* target, int error,
                          unsigned long first, unsigned long length) {
  memset(&fault, 0, sizeof fault);
  fault.call = target->call;
  fault.error = error;
  fault.first = first;
  fault.length = length;
  fault.has_child = error == 0;
  fault.harmless = fault.has_child || target->effect == HARMLESS;
  if (target->call == CLOCK_GETTIME && length == ULONG_MAX) fault.harmless = false;
  // Interrupted each time, it never tells that a connection is there.
  if (target->call == PPOLL && length > 1) fault.harmless = false;
  no_guards = target->call == MPROTECT;
  no_pwait2 = target->call == EPOLL_WAIT;
  live_blocks = live_mappings = 0;
  return run_scenario(scenario);
}

// Runs a scenario in a child process. Returns whether the fault was met; ends the sweep when
// something is wrong.
static bool inject(const scenario* scenario, const target* target, int error, unsigned long first,
                   unsigned long length) {
  static char words[200];
  if (error == 0) {
    snprintf(words, sizeof words, "%s, a child at call %lu of %s", scenario->name, first,
             target->name);
  } else {
    snprintf(words, sizeof words, "%s, call %lu of %s fails %s with %s", scenario->name, first,
             target->name, length == 1 ? "once" : "from then on", strerrorname_np(error));
  }
  injection = words;
  pid_t child = fork();
  CHECK_INT(child, >=, 0);
  if (child == 0) _exit(run_with_fault(scenario, target, error, first, length));
  int status = 0;
  CHECK_INT(waitpid(child, &status, 0), ==, child);
  if (WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == CLEAN)) {
    return WEXITSTATUS(status) == 0;
  }
  if (WIFSIGNALED(status)) {
    fprintf(stderr, "killed by signal %d: %s\n", WTERMSIG(status), words);
  } else {
    fprintf(stderr, "failed: %s\n", words);
  }
  fprintf(stderr, "for a debugger: sweep one \"%s\" %s %d %lu %lu\n", scenario->name, target->name,
          error, first, length);
  _exit(1);
}

// Repeats one run, in this process.
static int repeat(char** words) {
  const target* lists[] = {allocations, system_calls};
  for (int list = 0; list < 2; list++) {
    for (const target* target = lists[list]; target->name != NULL; target++) {
      for (int i = 0; i < SCENARIOS; i++) {
        if (strcmp(words[0], scenarios[i].name) != 0) continue;
        if (strcmp(words[1], target->name) != 0) continue;
        // A list of errors that is not full ends with 0.
        for (int e = 0; e < 8; e++) {
          if (target->errors[e] != atoi(words[2])) continue;
          return run_with_fault(&scenarios[i], target, target->errors[e],
                                strtoul(words[3], NULL, 10), strtoul(words[4], NULL, 10));
        }
      }
    }
  }
  return 2;
}

// ---- All runs ----

static void sweep(const char* what, const target* targets, bool all_errors) {
  unsigned long points = 0, runs = 0;
  unsigned long points_of[MOST_TARGETS] = {0};
  for (int i = 0; i < SCENARIOS; i++) {
    unsigned long points_before = points, runs_before = runs;
    for (const target* target = targets; target->name != NULL; target++) {
      unsigned long most = 0;
      for (int e = 0; e < 8 && target->errors[e] != 0 && (e == 0 || all_errors); e++) {
        bool ever = target->lasting == EVER ||
                    (target->call == CLOCK_GETTIME && scenarios[i].act == create);
        unsigned long lengths[] = {1, ever ? ULONG_MAX : 60};
        for (int mode = 0; mode < 2; mode++) {
          unsigned long n = 1;
          unsigned long met = 0;
          while (inject(&scenarios[i], target, target->errors[e], n, lengths[mode])) {
            // Only the clock is read so often that most readings are skipped.
            n += all_errors || n < 16 ? 1 : n / 8;
            met++;
            CHECK_UINT(n, <, 10000);
          }
          runs += met;
          if (met > most) most = met;
        }
      }
      points += most;
      points_of[target - targets] += most;
    }
    fprintf(stderr, "%-22s %5lu injection points, %5lu runs\n", scenarios[i].name,
            points - points_before, runs - runs_before);
  }
  fprintf(stderr, "%s: %d scenarios x %lu injection points, %lu runs\n", what, (int)SCENARIOS,
          points, runs);
  for (const target* target = targets; target->name != NULL; target++) {
    if (points_of[target - targets] > 0) continue;
    fprintf(stderr, "no scenario calls %s\n", target->name);
    _exit(1);
  }
}

// Whether an earlier target of its list has the same call.
static bool comes_again(const target* targets, const target* which) {
  for (const target* other = targets; other != which; other++) {
    if (other->call == which->call) return true;
  }
  return false;
}

// Of the many readings of the clock some are skipped.
static unsigned long step(const target* target, unsigned long n) {
  return target->call != CLOCK_GETTIME || n < 16 ? 1 : n / 8;
}

static void sweep_with_children(void) {
  const target* lists[] = {allocations, system_calls};
  unsigned long points = 0;
  for (int i = 0; i < SCENARIOS; i++) {
    for (int list = 0; list < 2; list++) {
      for (const target* target = lists[list]; target->name != NULL; target++) {
        if (comes_again(lists[list], target)) continue;
        for (unsigned long n = 1; inject(&scenarios[i], target, 0, n, 1); n += step(target, n)) {
          points++;
          CHECK_UINT(n, <, 10000);
        }
      }
    }
  }
  fprintf(stderr, "children: %d scenarios x %lu points\n", (int)SCENARIOS, points);
}

static void* waits_for_all(void* barrier) {
  pthread_barrier_wait(barrier);
  return NULL;
}

// As many threads at a time as a scenario has: the C library keeps some of their memory.
static void use_threads_once(void) {
  pthread_t threads[RUNS_OF_A_TABLE];
  pthread_barrier_t barrier;
  CHECK_INT(pthread_barrier_init(&barrier, NULL, RUNS_OF_A_TABLE), ==, 0);
  for (int i = 0; i < RUNS_OF_A_TABLE; i++) {
    CHECK_INT(pthread_create(&threads[i], NULL, waits_for_all, &barrier), ==, 0);
  }
  for (int i = 0; i < RUNS_OF_A_TABLE; i++) CHECK_INT(pthread_join(threads[i], NULL), ==, 0);
  CHECK_INT(pthread_barrier_destroy(&barrier), ==, 0);
}

int main(int argc, char** argv) {
  // Log lines on the streams are discarded; the sweep's own output goes to stderr.
  CHECK(freopen("/dev/null", "w", stdout) != NULL);
  nowhere = fopen("/dev/null", "w");
  CHECK(nowhere != NULL);
  CHECK_INT(putenv(no_records), ==, 0);
  CHECK_INT(fputc('x', nowhere), ==, 'x');
  CHECK_INT(printf("x"), ==, 1);
  fflush(stdout);
  use_logs_once();
  mj_log_set_callback(on_line, NULL);
  signal(SIGALRM, on_alarm);
  // Makes the libraries allocate what they keep for ever.
  CHECK_INT(mj_fd_adopt(fileno(nowhere)), ==, 0);
  CHECK_INT(mj_fd_release(fileno(nowhere)), ==, 0);
  use_threads_once();
  prepare_pool();
  time_t now = time(NULL);
  struct tm parts;
  localtime_r(&now, &parts);

  if (argc == 7 && strcmp(argv[1], "one") == 0) return repeat(argv + 2);
  if (argc > 1 && strcmp(argv[1], "allocations") == 0) {
    sweep("allocations", allocations, true);
  } else if (argc > 1 && strcmp(argv[1], "children") == 0) {
    sweep_with_children();
  } else {
    sweep("system calls", system_calls, argc > 2);
  }
  return 0;
}
