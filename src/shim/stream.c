// Writing to a FILE*, which Rust has no type for.
#include <stdio.h>

#include "shim.h"

// Writes text. Returns 0, or -1 with the stream's error indicator set.
int majjen_shim_write(FILE *out, const char *text, size_t length) {
  return fwrite(text, 1, length, out) == length ? 0 : -1;
}

// Writes a whole log line with one call, so that it is never mixed with another thread's, and pushes
// it out. Returns 0, or -1 with errno.
int majjen_shim_write_line(int to_stderr, const char *line, size_t length) {
  FILE *out = to_stderr ? stderr : stdout;
  int written = majjen_shim_write(out, line, length) == 0;
  return fflush(out) == 0 && written ? 0 : -1;
}
