// What the files of this library share.
//
// A function here has the name of the one that it stands in for, and is found before it. Outside tasks it
// goes on to that one at once: a load and a jump. In a task it tries without waiting; where it would have to
// wait it asks the kernel how the descriptor is set (nothing is kept of descriptors), and then suspends the
// task. Where it must not suspend it is *pinned*: it blocks the thread, as without this library, and is
// counted.
#ifndef MAJJEN_HOOK_HOOK_H
#define MAJJEN_HOOK_HOOK_H

#include <errno.h>
#include <locale.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

#include "../majjen-hook.h"
#include "core.h"
#include "kept.h"
#include "real.h"

enum { NS_PER_US = 1000, NS_PER_MS = 1000 * 1000, NS_PER_S = 1000 * 1000 * 1000 };
#define FOREVER UINT64_MAX

// ---- thread.c: which task runs

// This thread's. A task that has suspended may go on on another thread: what has taken its address asks
// again by here().
struct thread {
  const struct mj_hook_run *run;  // NULL where no scheduler runs, and where nothing is hooked.
  // The same, but also in a child of fork(), where tasks go on that were in the middle of a hooked call.
  const struct mj_hook_run *known;
  unsigned completed;  // How many calls have not suspended since one did.
  struct locks *locks;  // Of the scheduler that runs, if its tasks have locked anything: locks.h.
  locale_t locale;  // kept.c: what tasks have that have not set one.
  struct mask_change mask;
  bool unwinds;  // handler.c: it is looking for a handler's frame.
};
extern __thread struct thread this_thread
    __attribute__((tls_model("initial-exec"), visibility("hidden")));
struct thread *here(void);

// Nor is the address of errno kept, which compilers take for the same in all of a function.
int *errno_here(void);
#undef errno
#define errno (*errno_here())

// The running task, if its calls of this kind are to be hooked. Else NULL. Only before the first wait of a
// function, see here(); after it is_hooked().
static inline struct mj_task *hooked(unsigned kind) {
  const struct mj_hook_run *run = this_thread.run;
  if (__builtin_expect(run == NULL, 1)) return NULL;
  struct mj_task *task = *run->current_task;
  if (task == NULL || (run->kinds & kind) == 0 || *run->own_calls != 0) return NULL;
  return ((const bool *)task)[run->unhooked_offset] ? NULL : task;
}

bool is_hooked(unsigned kind);

static inline const struct mj_hook_calls *calls(void) { return here()->known->calls; }

// children.c: a scheduler is no more.
void forget_children_of(const void *scheduler);

// Locks that are held for a few instructions, and around no call that is hooked. A child of fork() opens them.
static inline void spin_lock(char *lock) {
  while (__atomic_test_and_set(lock, __ATOMIC_ACQUIRE)) sched_yield();
}

static inline void spin_unlock(char *lock) { __atomic_clear(lock, __ATOMIC_RELEASE); }

extern mj_hook_counts counts;
void count(uint64_t *which);

// ---- suspend.c: whether and how a task waits

// Whether the running task may suspend here: not in a signal handler, not in a child of vfork(). If it may
// not, the call is counted as pinned.
bool may_suspend(void);

// The same for what does not suspend, and so is not counted.
bool is_in_its_task(void);

// Pauses between two looks for what there is no event for, up to 20 ms.
enum { FIRST_PAUSE_NS = 50 * 1000, LONGEST_PAUSE_NS = 20 * 1000 * 1000 };
static inline uint64_t longer_pause_ns(uint64_t ns) {
  return ns * 2 < LONGEST_PAUSE_NS ? ns * 2 : LONGEST_PAUSE_NS;
}

// Ends a call that has not waited. One in 64 lets the other tasks have a turn, also those that one asks for again
// and again.
void completed(void);

// A call that does not wait, whatever it finds.
#define AT_ONCE(call)              \
  ({                               \
    __typeof__(call) made_ = call; \
    completed();                   \
    made_;                         \
  })

// By the scheduler's clock.
uint64_t now_ns(void);
// The moment after so many ns; FOREVER stays that.
uint64_t after_ns(uint64_t ns);
uint64_t left_ns(uint64_t deadline_ns);

// A time of a caller. NULL is no limit.
static inline bool is_valid_time(const struct timespec *time) {
  return time->tv_sec >= 0 && time->tv_nsec >= 0 && time->tv_nsec < NS_PER_S;
}

static inline uint64_t ns_of_time(const struct timespec *time) {
  uint64_t ns;
  if (time == NULL || __builtin_mul_overflow((uint64_t)time->tv_sec, (uint64_t)NS_PER_S, &ns) ||
      __builtin_add_overflow(ns, (uint64_t)time->tv_nsec, &ns))
    return FOREVER;
  return ns;
}

// What a wait comes to that the core has ended with -ETIMEDOUT: `result` if the call's own time is over, else
// it was the deadline of the task (mj_task_set_deadline()), and no call may take that for its own.
int timed_out(uint64_t deadline_ns, int result);

// What ends a wait for the caller to see.
static inline bool ends_call(int waited) {
  return waited == -ECANCELED || waited == -EINTR || waited == -ETIMEDOUT;
}

// Whether the core could not wait: the call is made as it is, then, and counted as pinned.
bool could_not_wait(int waited);

// As the functions of the core, with what the task has in the thread's state kept for it.
int suspend_for_fd(int fd, short events, uint64_t timeout_ns);
int suspend_for_poll(struct pollfd *fds, unsigned long count, uint64_t timeout_ns);
int suspend_for_ns(uint64_t ns);
ssize_t suspend_for_sendfile(int fd, int file, off_t *offset, size_t bytes, uint64_t timeout_ns);
// As wait_regardless(), also where no run is known any more. Counted by the caller.
int suspend_for_lock(const struct mj_hook_calls *of, uint64_t timeout_ns);
// Has a job done by a thread of a class. Without `abandon` it waits until the function has ended. 0 when the job
// is done; -1 with errno: the task is canceled or has no time left, and the job is gone, or, without `abandon`, has
// not begun; UNDONE, counted as pinned: no thread does it, and it is the caller's.
enum { OFFLOAD_FILE = 1, OFFLOAD_NAMES = 2, UNDONE = -2 };
int have_done(unsigned class_, void (*function)(void *), void *job, void (*abandon)(void *));

// ---- retry.c: calls that are tried until they need not wait

struct file_id {
  dev_t device;
  ino_t number;
};

struct attempt {
  int fd;
  short events;
  bool has_begun;
  unsigned futile;  // How often it was woken for nothing.
  struct file_id file;  // Which it was when it began.
  uint64_t limit_ns;  // The socket's own.
  uint64_t deadline_ns;
};

// Not an error: the call is to be made as it is, and may block.
enum { PINNED = 1 };

// The limit that a socket has for calls of this direction; none for what is no socket.
uint64_t limit_ns(int fd, short events);

// After a try that has found nothing: 0 to try again, PINNED, or a negative errno.
int wait_to_retry(struct attempt *attempt);

// There is more to be written: local sockets have their limit for each piece.
void has_written_some(struct attempt *attempt);

static inline ssize_t failed(int error) {
  errno = error;
  return -1;
}

// Tries `once`, which neither waits nor suspends, until it need not wait; or makes the call `real`.
#define UNTIL_DONE(attempt, once, real)                                \
  ({                                                                   \
    __typeof__(once) result_;                                          \
    for (;;) {                                                         \
      result_ = (once);                                                \
      if (result_ >= 0 || errno != EAGAIN) {                           \
        completed();                                                   \
        break;                                                         \
      }                                                                \
      int waited_ = wait_to_retry(attempt);                            \
      if (waited_ == 0) continue;                                      \
      result_ = waited_ == PINNED ? (real) : failed(-waited_);         \
      break;                                                           \
    }                                                                  \
    result_;                                                           \
  })

#endif
