// Writing to a FILE*, which Rust has no type for.
#define _DEFAULT_SOURCE  // for fwrite_unlocked and its like
#include <stdio.h>
#include <stdio_ext.h>

#include "shim.h"

// Writes text. Returns 0, or -1 with the stream's error indicator set.
int majjen_shim_write(FILE *out, const char *text, size_t length) {
  size_t *own_calls = majjen_shim_own_calls();
  (*own_calls)++;  // A stream's write may be a function of the program, and the stream is locked.
  int written = fwrite(text, 1, length, out) == length;
  (*own_calls)--;
  return written ? 0 : -1;
}

FILE *majjen_shim_lock_stream(int to_stderr, int *fd, size_t *buffered) {
  FILE *out = to_stderr ? stderr : stdout;
  flockfile(out);
  *fd = fileno_unlocked(out);
  *buffered = __fpending(out);
  return out;
}

int majjen_shim_flush_stream(FILE *out, const char *text, size_t length) {
  size_t *own_calls = majjen_shim_own_calls();
  (*own_calls)++;
  int written = fwrite_unlocked(text, 1, length, out) == length;
  int flushed = fflush_unlocked(out) == 0;
  (*own_calls)--;
  return written && flushed ? 0 : -1;
}

void majjen_shim_unlock_stream(FILE *out) { funlockfile(out); }
