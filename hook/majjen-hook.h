// Majjen's hooks: blocking calls of the C library suspend the task that makes them, and not its thread.
//
// A program gets them by being linked with -lmajjen-hook before -lmajjen and the C library, or with
// LD_PRELOAD=libmajjen-hook.so.0. Code that knows nothing of Majjen, such as a database's driver, then waits
// as a task does. docs/hook.md says which calls these are, and what else there is to know.
//
// Functions return 0, or a negative number of errno; none suspends, and none logs.
#ifndef MAJJEN_HOOK_H
#define MAJJEN_HOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct mj_scheduler;

// ---- Hooks --------------------------------------------------------------------------------------

// Kinds of calls that are hooked, to be added up.
typedef enum mj_hook_kind {
  // poll(2), select(2), epoll_wait(2) and their kin.
  MJ_HOOK_POLL = 1,
  // Reading and writing of what can be waited for: sockets, pipes, terminals; connect(2), accept(2).
  MJ_HOOK_SOCKETS = 2,
  // sleep(3), nanosleep(2) and their kin.
  MJ_HOOK_SLEEP = 4,
  // getaddrinfo(3), getnameinfo(3), gethostbyname(3) and their kin.
  MJ_HOOK_NAMES = 8,
  // Mutexes and rwlocks of pthreads and C11 that another task of the thread holds.
  MJ_HOOK_LOCKS = 16,
  // Reading and writing of regular files that takes the time of a disk, and waiting for locks of files.
  MJ_HOOK_FILES = 32,
  // waitpid(2) and its kin, system(3), pclose(3).
  MJ_HOOK_CHILDREN = 64,
  // Those that are hooked unless mj_hook_set() says otherwise: all but files and children.
  MJ_HOOK_DEFAULT = 31,
  MJ_HOOK_ALL = 127,
} mj_hook_kind;

// Sets which kinds of calls are hooked in the tasks of a scheduler: a sum of kinds of mj_hook_kind, or 0.
// Callable from any thread while the scheduler does not run, and from its tasks. Does not suspend.
//
// Returns 0. Errors:
//   -EINVAL  `scheduler` is NULL, or `kinds` has others than these
//   -ENOMEM  out of memory
int mj_hook_set(struct mj_scheduler *scheduler, unsigned kinds);

// Sets whether calls of the running task are hooked, which they are at first. Those that are not block the
// thread, as without this library. Does not suspend.
//
// Returns 0. Errors:
//   -EPERM  not called from a task of a scheduler that runs
int mj_hook_set_enabled(bool enabled);

// What has been hooked in this process; mj_hook_get_counts() tells.
typedef struct mj_hook_counts {
  // Calls that have suspended their task.
  uint64_t suspended;
  // Calls that have blocked the thread though they are hooked: docs/hook.md says when.
  uint64_t pinned;
  // Waits for a lock that another task of the thread held.
  uint64_t lock_waits;
} mj_hook_counts;

// Tells what has been hooked so far. `bytes` is sizeof(mj_hook_counts): what the library does not know is 0.
// Callable from any thread. Does not suspend.
//
// Returns 0. Errors:
//   -EINVAL  `counts` is NULL
int mj_hook_get_counts(mj_hook_counts *counts, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
