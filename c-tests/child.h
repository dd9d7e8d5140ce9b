// Child processes, for what would end the test itself.
#ifndef CHILD_H
#define CHILD_H

#include "check.h"

#include <sys/resource.h>
#include <sys/wait.h>

// Starts a child process that calls the function and ends with status 0; its id. What it says of
// its end goes to no core file, and if it hangs, it ends all the same.
static inline pid_t start_child(void (*function)(void)) {
  fflush(NULL);
  pid_t child = fork();
  CHECK_INT(child, >=, 0);
  if (child == 0) {
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    alarm(50);
    function();
    fflush(NULL);
    _exit(0);
  }
  return child;
}

// How a child process has ended: waits for it.
static inline int status_of(pid_t child) {
  int status = 0;
  CHECK_INT(waitpid(child, &status, 0), ==, child);
  return status;
}

// How a child process ends that calls the function.
static inline int status_of_child(void (*function)(void)) {
  return status_of(start_child(function));
}

#endif
