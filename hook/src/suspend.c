// Suspending the running task.
#include "handler.h"
#include "hook.h"

uint64_t now_ns(void) { return calls()->scheduler_now_ns(here()->known->scheduler); }

uint64_t after_ns(uint64_t ns) {
  uint64_t now = now_ns();
  return ns > FOREVER - now ? FOREVER : now + ns;
}

uint64_t left_ns(uint64_t deadline_ns) {
  if (deadline_ns == FOREVER) return FOREVER;
  uint64_t now = now_ns();
  return deadline_ns > now ? deadline_ns - now : 0;
}

// ---- whether it may

// A child of vfork() has its parent's memory: what it did to the scheduler, the parent would find.
static bool is_other_process(void) {
  return getpid() != process_id();
}

bool is_in_its_task(void) { return !is_in_handler() && !is_other_process(); }

bool may_suspend(void) {
  if (is_in_its_task()) return true;
  count(&counts.pinned);
  return false;
}

void completed(void) {
  enum { A_TURN = 64 };
  struct thread *thread = here();
  if (++thread->completed < A_TURN) return;
  thread->completed = 0;
  int error = errno;
  if (is_in_its_task()) {
    struct kept kept;
    keep(&kept);
    calls()->yield();
    give_back(&kept);
  }
  errno = error;
}

// ---- waiting

int timed_out(uint64_t deadline_ns, int result) {
  return left_ns(deadline_ns) == 0 ? result : -ETIMEDOUT;
}

bool could_not_wait(int waited) {
  bool could_not = waited == -ENOMEM || waited == -ENOSPC || waited == -EBUSY || waited == -EPERM;
  if (could_not) count(&counts.pinned);
  return could_not;
}

static void begin_suspension(struct kept *kept) {
  keep(kept);
  here()->completed = 0;
  count(&counts.suspended);
}

// The call of the core, with what is the task's put aside meanwhile.
#define SUSPENDED(call)                             \
  struct kept kept;                                 \
  begin_suspension(&kept);                          \
  __typeof__(calls()->call) result = calls()->call; \
  give_back(&kept);                                 \
  return result

int suspend_for_fd(int fd, short events, uint64_t timeout_ns) {
  SUSPENDED(task_wait_fd(fd, events, timeout_ns));
}

int suspend_for_poll(struct pollfd *fds, unsigned long fd_count, uint64_t timeout_ns) {
  SUSPENDED(poll_until_woken(fds, fd_count, timeout_ns));
}

int suspend_for_ns(uint64_t ns) { SUSPENDED(sleep_ns(ns)); }

ssize_t suspend_for_sendfile(int fd, int file, off_t *offset, size_t bytes, uint64_t timeout_ns) {
  SUSPENDED(sendfile(fd, file, offset, bytes, timeout_ns));
}

int suspend_for_lock(const struct mj_hook_calls *of, uint64_t timeout_ns) {
  struct kept kept;
  keep(&kept);
  here()->completed = 0;
  int result = of->wait_regardless(timeout_ns);
  give_back(&kept);
  return result;
}

static int suspend_for_function(unsigned class_, void (*function)(void *), void *argument,
                                void (*abandon)(void *)) {
  SUSPENDED(offload_in(class_, function, argument, abandon, FOREVER));
}

int have_done(unsigned class_, void (*function)(void *), void *job, void (*abandon)(void *)) {
  int done = suspend_for_function(class_, function, job, abandon);
  if (done == 0) return 0;
  if (ends_call(done)) return (int)failed(-done);
  count(&counts.pinned);
  return UNDONE;
}
