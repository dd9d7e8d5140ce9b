// Writing to a FILE*, which Rust has no type for.
#define _DEFAULT_SOURCE  // for fwrite_unlocked and fflush_unlocked
#include <stdio.h>

#include "shim.h"

// Writes text. Returns 0, or -1 with the stream's error indicator set.
int majjen_shim_write(FILE *out, const char *text, size_t length) {
  return fwrite(text, 1, length, out) == length ? 0 : -1;
}

// Writes and flushes a whole log line under one lock, so that lines of threads do not mix; one lock is
// also faster than two. Returns 0, or -1 with errno.
int majjen_shim_write_line(int to_stderr, const char *line, size_t length) {
  FILE *out = to_stderr ? stderr : stdout;
  flockfile(out);
  int written = fwrite_unlocked(line, 1, length, out) == length;
  int flushed = fflush_unlocked(out) == 0;
  funlockfile(out);
  return written && flushed ? 0 : -1;
}
