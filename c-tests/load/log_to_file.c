// Linked into a program that does not know of it: sends its log to the file that MAJJEN_LOG_FILE
// names.
#include "majjen.h"

__attribute__((constructor)) static void log_to_file(void) {
  if (mj_log_to_file(getenv("MAJJEN_LOG_FILE")) != 0) abort();
}
