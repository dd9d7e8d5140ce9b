// Linked into a program that has no code for it: sends the log to the file that MAJJEN_LOG_FILE
// names.
#include "majjen.h"

__attribute__((constructor)) static void log_to_file(void) {
  if (mj_log_to_file(getenv("MAJJEN_LOG_FILE")) != 0) abort();
}
