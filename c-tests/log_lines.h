// Counts the library's log lines by level, instead of writing them.
#ifndef LOG_LINES_H
#define LOG_LINES_H

#include "check.h"

static size_t log_line_counts[MJ_LOG_SILENT];
static char log_line_last[512];
static char log_line_warning[512];  // The last one of WARN or above.

static inline void log_lines_take(mj_log_level level, const char* message, void* user_data) {
  (void)user_data;
  CHECK_INT(level, >=, MJ_LOG_TRACE);
  CHECK_INT(level, <, MJ_LOG_SILENT);
  __atomic_fetch_add(&log_line_counts[level], 1, __ATOMIC_RELAXED);
  snprintf(log_line_last, sizeof log_line_last, "%s", message);
  if (level >= MJ_LOG_WARN) {
    snprintf(log_line_warning, sizeof log_line_warning, "%s", message);
  }
}

// Starts counting from 0.
static inline void log_lines_begin(void) {
  memset(log_line_counts, 0, sizeof log_line_counts);
  log_line_last[0] = log_line_warning[0] = '\0';
  mj_log_set_callback(log_lines_take, NULL);
}

// Sends lines to the streams again.
static inline void log_lines_end(void) { mj_log_set_callback(NULL, NULL); }

// The number of lines of this level or above since log_lines_begin(). On any thread.
static inline size_t log_lines_from(mj_log_level level) {
  size_t count = 0;
  for (int i = (int)level; i < MJ_LOG_SILENT; i++) {
    count += __atomic_load_n(&log_line_counts[i], __ATOMIC_RELAXED);
  }
  return count;
}

// Runs a statement, which must log at least one line of WARN or above.
#define CHECK_WARNS(statement) \
  do { \
    size_t check_lines_before = log_lines_from(MJ_LOG_WARN); \
    statement; \
    CHECK_INT(log_lines_from(MJ_LOG_WARN), >, check_lines_before); \
  } while (0)

#endif  // LOG_LINES_H
