// The library's one thread-local variable. In C, because stable Rust cannot choose the TLS model, and a
// shared library's default model costs a function call on each access. "initial-exec" costs a load, and
// takes 64 bytes of the static TLS space that the loader reserves for libraries opened by dlopen().
#include "shim.h"

__attribute__((visibility("hidden"), tls_model("initial-exec")))
__thread struct {
  void *scheduler;  // The scheduler that is running on this thread, or NULL.
  void *current_task;  // Address of its field current_task, or NULL.
  void *yield_at;  // Address of its field yield_at_ticks, or NULL.
  void *in_callback;  // Non-NULL while a log callback runs on this thread outside any task.
  void *job;  // The job whose function runs on this thread, or NULL.
  size_t own_calls;  // How many calls of the C library that may block this library is in.
  size_t passed[2];  // The signal that its handler hands on now.
} majjen_thread;

size_t *majjen_shim_own_calls(void) { return &majjen_thread.own_calls; }
