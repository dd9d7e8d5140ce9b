// What a task has in the thread's state, and keeps while it waits.
#ifndef MAJJEN_HOOK_KEPT_H
#define MAJJEN_HOOK_KEPT_H

#include <locale.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

// A change that a task has made to the thread's mask of signals.
struct mask_change {
  uint64_t task;  // 0: there is none.
  const void *scheduler;
  sigset_t before;
};

struct kept {
  locale_t locale;  // 0 for the thread's.
  int h_errno_;
  bool has_mask;
  sigset_t mask;
  bool has_broken_pipe;  // SIGPIPE, which a call of the task has raised and the mask keeps out.
  struct tls_errors *errors;  // OpenSSL's queue; NULL for an empty one.
};

// Takes the running task's, and leaves the others what the thread had.
void keep(struct kept *kept);
void give_back(struct kept *kept);

// As the kernel does it for a call of the running task.
void raise_broken_pipe(void);

// Before another run, or none, takes the place of the one that the thread has. What the tasks of one that is
// over have left is undone.
void leave_run(void);

// Looks for libraries that have such a state. At the start of each run.
void find_libraries(void);

#endif
