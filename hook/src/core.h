// What this library and the core tell each other: `src/engine/scheduler/hook_library.rs` and
// `src/ffi/hook_calls.rs` declare the same in Rust. It is an interface between versions: fields are added at the
// end, and `bytes` says which there are.
#ifndef MAJJEN_HOOK_CORE_H
#define MAJJEN_HOOK_CORE_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct mj_scheduler;
struct mj_task;

// Functions of the copy of Majjen that runs the task; majjen.h says what they do.
struct mj_hook_calls {
  size_t bytes;
  // Of a newer or older core, too.
  void (*log)(unsigned level, const char *format, ...) __attribute__((format(printf, 2, 3)));
  int (*yield)(void);
  int (*sleep_ns)(uint64_t ns);
  int (*scheduler_wake)(struct mj_scheduler *scheduler, uint64_t id);
  struct mj_task *(*task_find)(struct mj_scheduler *scheduler, uint64_t id);
  uint64_t (*task_get_id)(const struct mj_task *task);
  const char *(*task_get_name)(const struct mj_task *task);
  int (*task_wait_fd)(int fd, short events, uint64_t timeout_ns);
  // As mj_poll(), but that a wake-up ends it: -EINTR.
  int (*poll_until_woken)(struct pollfd *fds, unsigned long count, uint64_t timeout_ns);
  int (*fd_close)(int fd);
  int (*offload_in)(unsigned class_, void (*function)(void *), void *argument, void (*abandon)(void *),
                    uint64_t timeout_ns);
  ssize_t (*sendfile)(int fd, int file, off_t *offset, size_t bytes, uint64_t timeout_ns);
  uint64_t (*scheduler_now_ns)(struct mj_scheduler *scheduler);
  // These neither wait nor suspend, whatever the descriptor's flags are, and raise no signal.
  // Of what is no socket, more may come than one that need not wait has read.
  ssize_t (*try_readv)(int fd, const struct iovec *buffers, int count, bool *is_socket);
  ssize_t (*try_writev)(int fd, const struct iovec *buffers, int count);
  // Looks in the running task's stack, from an address in it on, for a word from `first` up to `width - 1`
  // more. NULL if there is none; the address itself if it is not in that stack.
  const uintptr_t *(*find_on_stack)(const uintptr_t *from, uintptr_t first, uintptr_t width);
  // Suspends until the task is woken, for a call that cannot fail: neither a cancellation nor the task's deadline ends it, and a
  // task that is marked as ended waits, too. -ECANCELED only if the scheduler is being destroyed.
  int (*wait_regardless)(uint64_t timeout_ns);
};

// A scheduler that runs on this thread.
struct mj_hook_run {
  size_t bytes;
  const struct mj_hook_calls *calls;
  struct mj_scheduler *scheduler;
  struct mj_task *const *current_task;  // NULL there outside tasks.
  const size_t *own_calls;  // Not 0 there while the core makes a call that is not to be hooked.
  size_t unhooked_offset;  // Where in a task the byte is by which its calls are left alone.
  size_t kinds;  // This library's own.
};

// Called by the core at the start of each run on the thread that runs, and at the run's end with what it
// has returned at the start. Returns what the thread was told before.
const void *mj_hook_attach(const void *run);

// Called by the core: a scheduler is no more.
void mj_hook_forget(const void *scheduler);

#endif
