// What a task has in the thread's state, and keeps while it waits.
#ifndef MAJJEN_HOOK_KEPT_H
#define MAJJEN_HOOK_KEPT_H

#include <locale.h>
#include <signal.h>
#include <stdbool.h>

struct kept {
  locale_t locale;
  int h_errno_;
  bool has_mask;
  sigset_t mask;
  struct tls_errors *errors;  // OpenSSL's queue; NULL for an empty one.
};

// Takes the running task's, and leaves the others what the thread had.
void keep(struct kept *kept);
void give_back(struct kept *kept);

// Looks for libraries that have such a state. At the start of each run.
void find_libraries(void);

#endif
