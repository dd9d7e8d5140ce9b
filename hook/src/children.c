// Waiting for child processes.
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

// ---- what a wait holds on to
//
// The task may go with its scheduler, and never come back.

// A descriptor of a child; or, without, that a command runs.
struct held {
  struct held *next;
  const void *scheduler;
  int fd;
};

static struct {
  char locked;
  struct held *first;
} all;

// While any command runs, SIGINT and SIGQUIT are the command's: what system(3) does, but that SIGCHLD is not
// blocked, since the mask is the thread's, and other tasks run.
//
// The count and the actions change together: fork() waits for the lock, so a child of it finds what belongs together.
// Who has the lock blocks all signals, since a handler may call fork().
static struct {
  char locked;
  unsigned count;
  struct sigaction interrupt, quit;
  sigset_t mask_before;  // The lock's holder's.
} commands;

static void lock_commands(void) {
  sigset_t every, before;
  sigfillset(&every);
  REAL(pthread_sigmask)(SIG_BLOCK, &every, &before);
  spin_lock(&commands.locked);
  commands.mask_before = before;
}

static void unlock_commands(void) {
  sigset_t before = commands.mask_before;
  spin_unlock(&commands.locked);
  REAL(pthread_sigmask)(SIG_SETMASK, &before, NULL);
}

static void begin_command(void) {
  lock_commands();
  if (commands.count++ == 0) {
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGINT, &ignore, &commands.interrupt);
    sigaction(SIGQUIT, &ignore, &commands.quit);
  }
  unlock_commands();
}

// Unless the program has set another action meanwhile.
static void take_back(int signal, const struct sigaction *before) {
  struct sigaction now;
  if (sigaction(signal, NULL, &now) == 0 && now.sa_handler == SIG_IGN) sigaction(signal, before, NULL);
}

static void take_signals_back(void) {
  take_back(SIGINT, &commands.interrupt);
  take_back(SIGQUIT, &commands.quit);
}

static void end_commands(unsigned count) {
  if (count == 0) return;
  lock_commands();
  commands.count -= count;
  if (commands.count == 0) take_signals_back();
  unlock_commands();
}

static struct held *hold(int fd) {
  struct held *held = malloc(sizeof *held);
  if (held == NULL) return NULL;
  held->scheduler = here()->known->scheduler;
  held->fd = fd;
  if (fd < 0) begin_command();
  spin_lock(&all.locked);
  held->next = all.first;
  all.first = held;
  spin_unlock(&all.locked);
  return held;
}

// Lets go of one, or, with NULL, of all of a scheduler. One that is not there, as in a child of fork(), is let be.
static void let_go(const struct held *one, const void *scheduler) {
  int error = errno;
  unsigned ended = 0;
  spin_lock(&all.locked);
  for (struct held **at = &all.first; *at != NULL;) {
    struct held *held = *at;
    if (one != NULL ? held != one : held->scheduler != scheduler) {
      at = &held->next;
      continue;
    }
    *at = held->next;
    if (held->fd >= 0) REAL(close)(held->fd);
    else ended++;
    free(held);
  }
  spin_unlock(&all.locked);
  end_commands(ended);
  errno = error;
}

void forget_children_of(const void *scheduler) { let_go(NULL, scheduler); }

// A child of fork() has no task that waits for a command. It may not call free().
static void forget_all(void) {
  if (commands.count > 0) take_signals_back();
  commands.count = 0;
  all.first = NULL;
  spin_unlock(&all.locked);
  unlock_commands();
}

__attribute__((constructor)) static void watch_forks(void) {
  pthread_atfork(lock_commands, unlock_commands, forget_all);
}

// ---- waiting

// A descriptor of the one child; NULL without. Linux 5.3 has them, and Valgrind has not.
static struct held *open_child(const struct looked_for *it) {
  static bool are_there_none;
  int fd = -1;
  if (it->kind == P_PIDFD) {
    fd = REAL(fcntl)((int)it->id, F_DUPFD_CLOEXEC, 0);
  } else if (it->kind == P_PID && !__atomic_load_n(&are_there_none, __ATOMIC_RELAXED)) {
    fd = (int)syscall(SYS_pidfd_open, (pid_t)it->id, 0);
    if (fd < 0 && errno == ENOSYS) __atomic_store_n(&are_there_none, true, __ATOMIC_RELAXED);
  }
  struct held *held = fd < 0 ? NULL : hold(fd);
  if (fd >= 0 && held == NULL) REAL(close)(fd);
  return held;
}

// Waits until a look finds something. A child that is known by its number is waited for by a descriptor of it,
// which tells only of its end; for others there is no event, so it looks again after pauses.
static int wait_for_child(struct looked_for *it) {
  int found = it->look(it, WNOHANG);
  if (found != 0 || it->flags & WNOHANG) {
    completed();
    return found;
  }
  if (!may_suspend()) return it->look(it, 0);
  bool ends_only = (it->flags & (WSTOPPED | WCONTINUED)) == 0;
  struct held *child = ends_only ? open_child(it) : NULL;
  for (uint64_t pause_ns = FIRST_PAUSE_NS; found == 0; pause_ns = longer_pause_ns(pause_ns)) {
    int waited = child != NULL ? suspend_for_fd(child->fd, POLLIN, FOREVER) : suspend_for_ns(pause_ns);
    if (ends_call(waited)) {
      found = (int)failed(-waited);
    } else if (waited < 0 && child == NULL) {
      count(&counts.pinned);
      found = it->look(it, 0);
    } else {
      found = it->look(it, WNOHANG);
    }
    // It cannot be waited for by this; or it has ended, but is not this thread's to wait for yet, as one
    // that is traced.
    if (child != NULL) let_go(child, NULL);
    child = NULL;
  }
  return found;
}

static pid_t wait_for_pid(pid_t pid, int *status, int flags, struct rusage *usage) {
  struct looked_for it = {.look = look_by_wait4, .kind = P_PID, .id = (id_t)pid, .flags = flags,
                          .status = status, .usage = usage};
  if (pid == -1) it.kind = P_ALL;
  else if (pid <= 0) it.kind = P_PGID, it.id = (id_t)-pid;
  return wait_for_child(&it);
}

EXPORT pid_t HOOK(wait4)(pid_t pid, int *status, int flags, struct rusage *usage) {
  if (hooked(MJ_HOOK_CHILDREN) == NULL) return REAL(wait4)(pid, status, flags, usage);
  return wait_for_pid(pid, status, flags, usage);
}

EXPORT pid_t HOOK(wait3)(int *status, int flags, struct rusage *usage) {
  if (hooked(MJ_HOOK_CHILDREN) == NULL) return REAL(wait3)(status, flags, usage);
  return wait_for_pid(-1, status, flags, usage);
}

EXPORT pid_t HOOK(waitpid)(pid_t pid, int *status, int flags) {
  if (hooked(MJ_HOOK_CHILDREN) == NULL) return REAL(waitpid)(pid, status, flags);
  return wait_for_pid(pid, status, flags, NULL);
}
ALSO(__waitpid, waitpid);

EXPORT pid_t HOOK(wait)(int *status) {
  if (hooked(MJ_HOOK_CHILDREN) == NULL) return REAL(wait)(status);
  return wait_for_pid(-1, status, 0, NULL);
}
ALSO(__wait, wait);

EXPORT int HOOK(waitid)(idtype_t kind, id_t id, siginfo_t *info, int flags) {
  if (hooked(MJ_HOOK_CHILDREN) == NULL) return REAL(waitid)(kind, id, info, flags);
  struct looked_for it = {.look = look_by_waitid, .kind = kind, .id = id, .flags = flags, .info = info};
  return wait_for_child(&it) < 0 ? -1 : 0;
}

// ---- system(3), pclose(3)

// As it was before the first command.
static void reset_in_child(posix_spawnattr_t *attributes) {
  sigset_t defaults;
  sigemptyset(&defaults);
  if (commands.interrupt.sa_handler != SIG_IGN) sigaddset(&defaults, SIGINT);
  if (commands.quit.sa_handler != SIG_IGN) sigaddset(&defaults, SIGQUIT);
  posix_spawnattr_setsigdefault(attributes, &defaults);
  posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGDEF);
}

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
  struct held *running = hold(-1);
  if (running == NULL) {
    posix_spawnattr_destroy(&attributes);
    return (int)failed(ENOMEM);
  }
  reset_in_child(&attributes);
  pid_t pid;
  error = posix_spawn(&pid, "/bin/sh", NULL, &attributes, (char *const *)arguments, environ);
  posix_spawnattr_destroy(&attributes);
  int status = error == 0 ? wait_for_command(pid) : NOT_RUN;
  if (error == 0) error = errno;
  let_go(running, NULL);
  errno = error;
  return status;
}

// What the stream holds is known to the C library only: a thread closes it. If the task is canceled it
// leaves, and the stream is closed all the same.
struct closing {
  FILE *stream;
  bool has_begun;
  int result, error;
};

static void close_stream(void *argument) {
  struct closing *closing = argument;
  closing->has_begun = true;
  closing->result = REAL(pclose)(closing->stream);
  closing->error = errno;
}

static void *close_unseen(void *argument) {
  close_stream(argument);
  free(argument);
  return NULL;
}

// Nobody wants the result.
static void abandon_closing(void *argument) {
  const struct closing *closing = argument;
  pthread_t thread;
  if (closing->has_begun) free(argument);
  else if (pthread_create(&thread, NULL, close_unseen, argument) == 0) pthread_detach(thread);
  else close_unseen(argument);
}

EXPORT int HOOK(pclose)(FILE *stream) {
  if (hooked(MJ_HOOK_CHILDREN) == NULL || !may_suspend()) return REAL(pclose)(stream);
  struct closing *closing = calloc(1, sizeof *closing);
  if (closing == NULL) return REAL(pclose)(stream);
  closing->stream = stream;
  int done = have_done(OFFLOAD_FILE, close_stream, closing, abandon_closing);
  if (done == -1) return -1;
  if (done == UNDONE) close_stream(closing);
  int result = closing->result, error = closing->error;
  free(closing);
  if (result < 0) errno = error;
  return result;
}
