// Formatting of log messages: the part of the logger that takes a variable argument list.
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shim.h"

// Most messages fit; longer ones are formatted twice.
enum { ON_STACK = 1024 };

// Runs also when an exception of the log callback passes through here.
static void release(char **block) { free(*block); }

void majjen_shim_vlog(unsigned level, const char *format, va_list arguments) {
  int errno_before = errno;
  char line[MAJJEN_LOG_HEADROOM + ON_STACK];
  char *text = line + MAJJEN_LOG_HEADROOM;
  va_list again;

  if (format == NULL || level > 5) {
    majjen_log_misuse(level, format);
    errno = errno_before;
    return;
  }
  va_copy(again, arguments);
  int length = majjen_shim_format(text, ON_STACK, format, arguments);
  if (length < 0) length = vsnprintf(text, ON_STACK, format, arguments);
  if (length < 0) {
    majjen_log_misuse(level, format);
  } else if (length < ON_STACK) {
    majjen_log_emit(level, line, (size_t)length);
  } else {
    size_t bytes = (size_t)length + 1;
    char *heap __attribute__((cleanup(release))) = malloc(MAJJEN_LOG_HEADROOM + bytes);
    if (heap != NULL) {
      errno = errno_before;  // for %m
      vsnprintf(heap + MAJJEN_LOG_HEADROOM, bytes, format, again);
      majjen_log_emit(level, heap, (size_t)length);
    } else {
      memcpy(text + ON_STACK - 4, "...", 4);
      majjen_log_emit(level, line, ON_STACK - 1);
    }
  }
  va_end(again);
  errno = errno_before;
}

void majjen_shim_log(unsigned level, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  majjen_shim_vlog(level, format, arguments);
  va_end(arguments);
}
