// Child processes, for code that would end the test itself.
#ifndef CHILD_H
#define CHILD_H

#include "check.h"

#include <sys/resource.h>
#include <sys/wait.h>

// Forks a child that calls the function and exits with status 0; returns its pid. It writes no core
// file, and an alarm ends it if it hangs.
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

// Waits for a child process, and returns its wait status.
static inline int status_of(pid_t child) {
  int status = 0;
  CHECK_INT(waitpid(child, &status, 0), ==, child);
  return status;
}

// Forks a child that calls the function, and returns its wait status.
static inline int status_of_child(void (*function)(void)) {
  return status_of(start_child(function));
}

#endif
