// The logger's settings: mj_logger, mj_log_enabled(), and which receiver wins.
#define _GNU_SOURCE
#include "log_lines.h"
#include "log_output.h"

static const mj_log_level no_level = (mj_log_level)7;

static mj_logger config(void) {
  mj_logger logger;
  memset(&logger, 0xff, sizeof logger);  // So that a field left out shows.
  mj_log_get_config(&logger);
  return logger;
}

static void check_config(mj_log_level level, mj_log_callback callback, const void* user_data,
                         bool include_time, bool include_level) {
  mj_logger logger = config();
  CHECK_INT(logger.min_level, ==, level);
  CHECK(logger.callback == callback);
  CHECK_PTR(logger.user_data, ==, user_data);
  CHECK_INT(logger.include_time, ==, include_time);
  CHECK_INT(logger.include_level, ==, include_level);
}

static void restore(void) {
  mj_logger logger = {MJ_LOG_INFO, NULL, NULL, true, true};
  mj_log_set_callback(NULL, NULL);
  CHECK_INT(mj_log_set_config(&logger), ==, 0);
}

// A receiver other than log_lines_take(), which identifies its data.
static void counts(mj_log_level level, const char* message, void* user_data) {
  (void)level;
  (void)message;
  ++*(int*)user_data;
}

static void the_settings_at_the_start_are_the_guides(void) {
  check_config(MJ_LOG_INFO, NULL, NULL, true, true);
}

static void what_is_set_is_got(void) {
  int count = 0;
  mj_logger logger = {MJ_LOG_TRACE, counts, &count, false, true};
  CHECK_INT(mj_log_set_config(&logger), ==, 0);
  check_config(MJ_LOG_TRACE, counts, &count, false, true);
  memset(&logger, 0, sizeof logger);  // It was copied.
  MJ_TRACE("to the callback");
  CHECK_INT(count, ==, 1);

  // The older functions change parts of the same settings.
  mj_log_set_level(MJ_LOG_ERROR);
  check_config(MJ_LOG_ERROR, counts, &count, false, true);
  MJ_WARN("no");
  CHECK_INT(count, ==, 1);
  mj_log_set_callback(log_lines_take, NULL);
  check_config(MJ_LOG_ERROR, log_lines_take, NULL, false, true);
  mj_log_set_callback(NULL, &count);
  check_config(MJ_LOG_ERROR, NULL, NULL, false, true);
  mj_log_set_level(MJ_LOG_SILENT);
  check_config(MJ_LOG_SILENT, NULL, NULL, false, true);
  restore();
  check_config(MJ_LOG_INFO, NULL, NULL, true, true);
}

static void any_byte_but_zero_is_true(void) {
  mj_logger logger = config();
  memset(&logger.include_time, 0x40, sizeof(bool));
  memset(&logger.include_level, 0, sizeof(bool));
  CHECK_INT(mj_log_set_config(&logger), ==, 0);
  check_config(MJ_LOG_INFO, NULL, NULL, true, false);
  restore();
}

static void misuse_changes_nothing(void) {
  int count = 0;
  mj_logger logger = {MJ_LOG_WARN, counts, &count, true, false};
  CHECK_INT(mj_log_set_config(&logger), ==, 0);
  CHECK_INT(mj_log_set_config(NULL), ==, -EINVAL);
  mj_logger wrong = {no_level, NULL, NULL, false, true};
  CHECK_INT(mj_log_set_config(&wrong), ==, -EINVAL);
  wrong.min_level = (mj_log_level)-1;
  CHECK_INT(mj_log_set_config(&wrong), ==, -EINVAL);
  check_config(MJ_LOG_WARN, counts, &count, true, false);
  restore();
  log_lines_begin();
  CHECK_WARNS(mj_log_get_config(NULL));
  log_lines_end();
}

// ---- The prefix of a line ----

static void logs_one_of_each(void) {
  MJ_WARN("to stdout");
  MJ_FATAL("to stderr");
}

static void check_prefix(bool include_time, bool include_level) {
  mj_logger logger = {MJ_LOG_INFO, NULL, NULL, include_time, include_level};
  CHECK_INT(mj_log_set_config(&logger), ==, 0);
  output output = output_of(logs_one_of_each);
  const char* out = output.out;
  const char* err = output.err;
  if (include_time) {
    out = after_time(out);
    err = after_time(err);
    CHECK(out != NULL);
    CHECK(err != NULL);
  }
  CHECK_STR(out, include_level ? "[WARN] to stdout\n" : "to stdout\n");
  CHECK_STR(err, include_level ? "[FATAL] to stderr\n" : "to stderr\n");
  release(&output);
}

static void time_and_level_can_be_left_out(void) {
  check_prefix(true, true);
  check_prefix(true, false);
  check_prefix(false, true);
  check_prefix(false, false);
  restore();
  check_prefix(true, true);
}

static void logs_by_a_callback(void) {
  mj_logger logger = {MJ_LOG_INFO, log_lines_take, NULL, true, true};
  for (int i = 0; i < 2; i++) {
    CHECK_INT(mj_log_set_config(&logger), ==, 0);
    MJ_INFO("text");
    CHECK_STR(log_line_last, "text");
    logger.include_time = logger.include_level = false;
  }
  restore();
}

static void a_callback_gets_the_text_alone(void) {
  output output = output_of(logs_by_a_callback);
  CHECK_STR(output.out, "");
  CHECK_STR(output.err, "");
  release(&output);
}

static void logs_itself(mj_log_level level, const char* message, void* user_data) {
  (void)level;
  if (++*(int*)user_data > 3) return;  // Enough to fail the check that follows.
  MJ_INFO("about: %s", message);
}

static void logs_to_one_that_logs(void) {
  int calls = 0;
  mj_logger logger = {MJ_LOG_INFO, logs_itself, &calls, false, true};
  CHECK_INT(mj_log_set_config(&logger), ==, 0);
  MJ_INFO("first");
  MJ_INFO("second");
  CHECK_INT(calls, ==, 2);
  restore();
}

static void the_lines_of_a_callback_have_the_prefix_that_is_set(void) {
  output output = output_of(logs_to_one_that_logs);
  CHECK_STR(output.out, "[INFO] about: first\n[INFO] about: second\n");
  release(&output);
}

// ---- Which level is written ----

static void enabled_agrees_with_the_level(void) {
  log_lines_begin();
  for (mj_log_level least = MJ_LOG_TRACE; least <= MJ_LOG_SILENT; least++) {
    mj_log_set_level(least);
    for (mj_log_level level = MJ_LOG_TRACE; level < MJ_LOG_SILENT; level++) {
      size_t before = log_line_counts[level];
      mj_log(level, "line");
      CHECK_INT(mj_log_enabled(level), ==, log_line_counts[level] > before);
      CHECK_INT(mj_log_enabled(level), ==, level >= least);
    }
    CHECK(!mj_log_enabled(MJ_LOG_SILENT));
    CHECK(!mj_log_enabled(no_level));
    CHECK(!mj_log_enabled((mj_log_level)-1));
  }
  log_lines_end();
  restore();
}

static void the_level_of_the_settings_filters(void) {
  log_lines_begin();
  mj_logger logger = config();
  logger.min_level = MJ_LOG_SILENT;
  CHECK_INT(mj_log_set_config(&logger), ==, 0);
  MJ_FATAL("no");
  CHECK_INT(log_lines_from(MJ_LOG_TRACE), ==, 0);
  logger.min_level = MJ_LOG_DEBUG;
  CHECK_INT(mj_log_set_config(&logger), ==, 0);
  MJ_TRACE("no");
  MJ_DEBUG("yes");
  CHECK_INT(log_lines_from(MJ_LOG_TRACE), ==, 1);
  log_lines_end();
  restore();
}

// ---- Who receives the lines ----

static int received;

static void logs_to_each_in_turn(void) {
  mj_log_set_callback(counts, &received);
  CHECK_INT(mj_log_to_file("log"), ==, 0);
  check_config(MJ_LOG_INFO, NULL, NULL, true, true);
  MJ_INFO("to the file");

  // A callback takes precedence over the file; NULL removes both.
  mj_log_set_callback(counts, &received);
  MJ_INFO("to the callback");
  CHECK_INT(received, ==, 1);
  mj_log_set_callback(NULL, NULL);
  MJ_INFO("to stdout");

  // NULL restores the streams, also after a file.
  CHECK_INT(mj_log_to_file("log"), ==, 0);
  mj_log_set_callback(NULL, NULL);
  MJ_ERROR("to stderr");

  // Of the streams, stderr alone stays when a callback ends by the settings.
  CHECK_INT(mj_log_to_stderr(), ==, 0);
  mj_log_set_callback(counts, &received);
  mj_logger no_callback = {MJ_LOG_INFO, NULL, NULL, true, true};
  CHECK_INT(mj_log_set_config(&no_callback), ==, 0);
  MJ_INFO("to stderr alone");
  mj_log_set_callback(NULL, NULL);

  // Settings that were read can be changed and set again, and the file stays.
  CHECK_INT(mj_log_to_file("log"), ==, 0);
  mj_logger logger = config();
  logger.min_level = MJ_LOG_WARN;
  CHECK_INT(mj_log_set_config(&logger), ==, 0);
  MJ_INFO("no");
  MJ_WARN("to the file again");

  // A callback in them takes precedence over the file; without one, lines go to the streams.
  logger.callback = counts;
  logger.user_data = &received;
  CHECK_INT(mj_log_set_config(&logger), ==, 0);
  MJ_WARN("to the callback");
  CHECK_INT(received, ==, 2);
  logger.callback = NULL;
  CHECK_INT(mj_log_set_config(&logger), ==, 0);
  MJ_WARN("to stdout again");
  restore();
}

static void the_receiver_set_last_wins(void) {
  output output = output_of(logs_to_each_in_turn);
  CHECK_LINES(output.out, "[INFO] to stdout", "[WARN] to stdout again");
  CHECK_LINES(output.err, "[ERROR] to stderr", "[INFO] to stderr alone");
  CHECK_FILE("log", "[INFO] to the file", "[WARN] to the file again");
  CHECK_INT(received, ==, 2);
  release(&output);
}

int main(void) {
  test_directory_begin();
  // The library keeps the descriptor number once it has had a file.
  CHECK_INT(mj_log_to_file("/dev/null"), ==, 0);
  mj_log_set_callback(NULL, NULL);
  RUN(the_settings_at_the_start_are_the_guides);
  RUN(what_is_set_is_got);
  RUN(any_byte_but_zero_is_true);
  RUN(misuse_changes_nothing);
  RUN(time_and_level_can_be_left_out);
  RUN(a_callback_gets_the_text_alone);
  RUN(the_lines_of_a_callback_have_the_prefix_that_is_set);
  RUN(enabled_agrees_with_the_level);
  RUN(the_level_of_the_settings_filters);
  RUN(the_receiver_set_last_wins);
  test_directory_end();
  return 0;
}
