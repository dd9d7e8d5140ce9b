// Waiting for child processes.
#include <sched.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "hook.h"

// What a wait looks for: which children, by the calls' own words.
struct looked_for {
  int (*look)(struct looked_for *, int flags);
  idtype_t kind;
  id_t id;
  int flags;
  int *status;
  siginfo_t *info;
  struct rusage *usage;
};

// > 0 or, of waitid, 0 with what was found; 0 for nothing; -1 with errno.
static int look_by_wait4(struct looked_for *it, int flags) {
  pid_t pid = it->kind == P_ALL ? -1 : it->kind == P_PGID ? (it->id == 0 ? 0 : -(pid_t)it->id) : (pid_t)it->id;
  return REAL(wait4)(pid, it->status, it->flags | flags, it->usage);
}

static int look_by_waitid(struct looked_for *it, int flags) {
  siginfo_t none = {0}, *info = it->info != NULL ? it->info : &none;
  info->si_pid = 0;
  int result = REAL(waitid)(it->kind, it->id, info, it->flags | flags);
  return result < 0 ? -1 : info->si_pid;
}

// A descriptor of the one child; -1 without. Linux 5.3 has them, and Valgrind has not.
static int open_child(const struct looked_for *it) {
  static bool are_there_none;
  if (it->kind == P_PIDFD) return REAL(fcntl)((int)it->id, F_DUPFD_CLOEXEC, 0);
  if (it->kind != P_PID || __atomic_load_n(&are_there_none, __ATOMIC_RELAXED)) return -1;
  int fd = (int)syscall(SYS_pidfd_open, (pid_t)it->id, 0);
  if (fd < 0 && errno == ENOSYS) __atomic_store_n(&are_there_none, true, __ATOMIC_RELAXED);
  return fd;
}

// Waits until a look finds something. A child that is known by its number is waited for by a descriptor of it,
// which tells only of its end; for others there is no event, so it looks again after pauses.
static int wait_for_child(struct looked_for *it) {
  int found = it->look(it, WNOHANG);
  if (found != 0 || it->flags & WNOHANG) return found;
  if (!may_suspend()) return it->look(it, 0);
  bool ends_only = (it->flags & (WSTOPPED | WCONTINUED)) == 0;
  int fd = ends_only ? open_child(it) : -1;
  for (uint64_t pause_ns = FIRST_PAUSE_NS; found == 0; pause_ns = longer_pause_ns(pause_ns)) {
    int waited = fd >= 0 ? suspend_for_fd(fd, POLLIN, FOREVER) : suspend_for_ns(pause_ns);
    if (waited == -ECANCELED || waited == -EINTR || waited == -ETIMEDOUT) {
      found = (int)failed(-waited);
      break;
    }
    if (waited < 0 && fd < 0) {
      count(&counts.pinned);
      found = it->look(it, 0);
      break;
    }
    if (waited < 0) { // It cannot be waited for by this.
      REAL(close)(fd);
      fd = -1;
    }
    found = it->look(it, WNOHANG);
    // It has ended, but is not this thread's to wait for yet, as one that is traced.
    if (found == 0 && fd >= 0) {
      REAL(close)(fd);
      fd = -1;
    }
  }
  if (fd >= 0) {
    int error = errno;
    REAL(close)(fd);
    errno = error;
  }
  return found;
}

static bool is_hooked(int flags) { return hooked(MJ_HOOK_CHILDREN) != NULL && (flags & WNOHANG) == 0; }

static pid_t wait_for_pid(pid_t pid, int *status, int flags, struct rusage *usage) {
  struct looked_for it = {.look = look_by_wait4, .kind = P_PID, .id = (id_t)pid, .flags = flags,
                          .status = status, .usage = usage};
  if (pid == -1) it.kind = P_ALL;
  else if (pid <= 0) it.kind = P_PGID, it.id = (id_t)-pid;
  return wait_for_child(&it);
}

EXPORT pid_t HOOK(wait4)(pid_t pid, int *status, int flags, struct rusage *usage) {
  if (!is_hooked(flags)) return REAL(wait4)(pid, status, flags, usage);
  return wait_for_pid(pid, status, flags, usage);
}

EXPORT pid_t HOOK(wait3)(int *status, int flags, struct rusage *usage) {
  if (!is_hooked(flags)) return REAL(wait3)(status, flags, usage);
  return wait_for_pid(-1, status, flags, usage);
}

EXPORT pid_t HOOK(waitpid)(pid_t pid, int *status, int flags) {
  if (!is_hooked(flags)) return REAL(waitpid)(pid, status, flags);
  return wait_for_pid(pid, status, flags, NULL);
}
ALSO(__waitpid, waitpid);

EXPORT pid_t HOOK(wait)(int *status) {
  if (!is_hooked(0)) return REAL(wait)(status);
  return wait_for_pid(-1, status, 0, NULL);
}
ALSO(__wait, wait);

EXPORT int HOOK(waitid)(idtype_t kind, id_t id, siginfo_t *info, int flags) {
  if (!is_hooked(flags)) return REAL(waitid)(kind, id, info, flags);
  struct looked_for it = {.look = look_by_waitid, .kind = kind, .id = id, .flags = flags, .info = info};
  return wait_for_child(&it) < 0 ? -1 : 0;
}

// ---- system(3), pclose(3)

// While any command runs, SIGINT and SIGQUIT are the command's: what system(3) does, but that SIGCHLD is not
// blocked, since the mask is the thread's, and other tasks run.
static struct {
  char locked;
  unsigned commands;
  struct sigaction interrupt, quit;
} ignored;

static void change_ignored(int by) {
  while (__atomic_test_and_set(&ignored.locked, __ATOMIC_ACQUIRE)) sched_yield();
  struct sigaction ignore = {.sa_handler = SIG_IGN};
  if (by > 0 && ignored.commands++ == 0) {
    sigaction(SIGINT, &ignore, &ignored.interrupt);
    sigaction(SIGQUIT, &ignore, &ignored.quit);
  } else if (by < 0 && --ignored.commands == 0) {
    sigaction(SIGINT, &ignored.interrupt, NULL);
    sigaction(SIGQUIT, &ignored.quit, NULL);
  }
  __atomic_clear(&ignored.locked, __ATOMIC_RELEASE);
}

// As it was before the first command.
static void reset_in_child(posix_spawnattr_t *attributes) {
  sigset_t defaults;
  sigemptyset(&defaults);
  if (ignored.interrupt.sa_handler != SIG_IGN) sigaddset(&defaults, SIGINT);
  if (ignored.quit.sa_handler != SIG_IGN) sigaddset(&defaults, SIGQUIT);
  posix_spawnattr_setsigdefault(attributes, &defaults);
  posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGDEF);
}

// A child of fork() has no task that waits for a command.
static void forget_commands(void) {
  __atomic_clear(&ignored.locked, __ATOMIC_RELEASE);
  if (ignored.commands == 0) return;
  ignored.commands = 1;
  change_ignored(-1);
}

__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(NULL, NULL, forget_commands); }

// Waits for a command. If the task is canceled meanwhile, or its deadline passes, the shell is killed, as the
// C library does for a thread that is canceled: nobody else waits for it.
static int wait_for_command(pid_t pid) {
  int status;
  struct looked_for it = {.look = look_by_wait4, .kind = P_PID, .id = (id_t)pid, .status = &status};
  int found;
  do found = wait_for_child(&it);
  while (found < 0 && errno == EINTR);
  if (found == pid) return status;
  int error = errno;
  if (error == ECANCELED || error == ETIMEDOUT) {
    kill(pid, SIGKILL);
    while (it.look(&it, 0) < 0 && errno == EINTR) {}
  }
  return (int)failed(error);
}

EXPORT int HOOK(system)(const char *command) {
  enum { NOT_RUN = 127 << 8 };
  if (hooked(MJ_HOOK_CHILDREN) == NULL || command == NULL || !may_suspend()) return REAL(system)(command);
  const char *const arguments[] = {"sh", "-c", command, NULL};
  posix_spawnattr_t attributes;
  int error = posix_spawnattr_init(&attributes);
  if (error != 0) return (int)failed(error);
  change_ignored(1);
  reset_in_child(&attributes);
  pid_t pid;
  error = posix_spawn(&pid, "/bin/sh", NULL, &attributes, (char *const *)arguments, environ);
  posix_spawnattr_destroy(&attributes);
  int status = error == 0 ? wait_for_command(pid) : NOT_RUN;
  if (error == 0) error = errno;
  change_ignored(-1);
  errno = error;
  return status;
}

// What the stream holds is known to the C library only.
struct closing {
  FILE *stream;
  int result, error;
};

static void close_stream(void *argument) {
  struct closing *closing = argument;
  closing->result = REAL(pclose)(closing->stream);
  closing->error = errno;
}

EXPORT int HOOK(pclose)(FILE *stream) {
  enum { OFFLOAD_FILE = 1 };
  if (hooked(MJ_HOOK_CHILDREN) == NULL || !may_suspend()) return REAL(pclose)(stream);
  struct closing closing = {stream, -1, 0};
  if (suspend_for_function(OFFLOAD_FILE, close_stream, &closing, NULL) != 0) {
    count(&counts.pinned);
    close_stream(&closing);
  }
  errno = closing.error;
  return closing.result;
}
