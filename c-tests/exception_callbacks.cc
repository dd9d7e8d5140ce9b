// C++ exceptions that leave the program's functions: a log callback's goes on to the caller of mj_log(),
// and where none can pass, std::terminate() is called after a line that says whose it was.
#include "check.h"

#include <exception>
#include <stdexcept>
#include <string>

#include <pthread.h>
#include <sys/wait.h>

static void ends_at_once(mj_scheduler*, void*) { mj_task_exit(); }

// ---- A log callback's, to the caller of mj_log() ----

static int lines;
static bool throws;

static void throws_or_counts(mj_log_level, const char* message, void*) {
  lines++;
  std::string unwound = message;
  if (throws) throw std::runtime_error("out of a callback");
}

static void vlogs(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  try {
    mj_vlog(MJ_LOG_ERROR, format, arguments);
  } catch (...) {
    va_end(arguments);
    throw;
  }
  va_end(arguments);
}

static void logs_short() { MJ_ERROR("a line %d", 1); }
static void logs_long() { MJ_ERROR("%5000d", 1); }  // has a block of memory
static void vlogs_short() { vlogs("%s", "a line"); }

static void logs_in_every_way() {
  void (*const ways[])() = {logs_short, logs_long, vlogs_short};
  for (void (*log)() : ways) {
    for (int round = 0; round < 3; round++) {
      bool caught = false;
      lines = 0;
      throws = true;
      try {
        log();
      } catch (const std::runtime_error& error) {
        CHECK_STR(error.what(), "out of a callback");
        caught = true;
      }
      CHECK(caught);
      // Nothing of it is left: the callback is called, and may be canceled, as before.
      throws = false;
      log();
      CHECK_INT(lines, ==, 2);
    }
  }
}

static int finished;

static void logs_and_yields(mj_scheduler*, void*) {
  int before = -1, now = -1;
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
  logs_in_every_way();
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &now);
  CHECK_INT(now, ==, before);
  CHECK(std::current_exception() == nullptr);
  mj_task_yield();
  logs_in_every_way();
  finished++;
  mj_task_exit();
}

static void a_log_callbacks_exception_goes_on_to_who_logs() {
  mj_log_set_callback(throws_or_counts, nullptr);
  int now = -1;
  logs_in_every_way();
  pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &now);
  CHECK_INT(now, ==, PTHREAD_CANCEL_ENABLE);
  finished = 0;
  mj_scheduler* scheduler = new_scheduler();
  for (int i = 0; i < 2; i++) add_task(scheduler, logs_and_yields, nullptr);
  mj_scheduler_run(scheduler);
  CHECK_INT(finished, ==, 2);
  mj_scheduler_destroy(scheduler);
  mj_log_set_callback(nullptr, nullptr);
}

// ---- Where none can pass ----

static bool destructor_ran;

struct notes_its_end {
  ~notes_its_end() { destructor_ran = true; }
};

[[noreturn]] static void throws_something() {
  notes_its_end on_the_stack;
  throw std::runtime_error("nobody catches this");
}

// The exception is still there, and the stack as it was at the throw.
static void terminates() {
  bool as_promised = false;
  try {
    std::rethrow_exception(std::current_exception());
  } catch (const std::runtime_error& error) {
    as_promised = !destructor_ran && strcmp(error.what(), "nobody catches this") == 0;
  }
  _exit(as_promised ? 42 : 43);
}

static int wait_function(mj_scheduler*, uint64_t, void*) { throws_something(); }
static uint64_t clock_function(void*) { throws_something(); }
static void log_callback(mj_log_level, const char*, void*) { throws_something(); }
static void body(mj_scheduler*, void*) { throws_something(); }

static void sleeps(mj_scheduler*, void*) {
  mj_task_sleep_ms(100);
  mj_task_exit();
}

// Whoever called mj_scheduler_run() does not catch it either.
static void runs(mj_scheduler* scheduler) {
  try {
    mj_scheduler_run(scheduler);
  } catch (...) {
    _exit(44);
  }
}

static void by_a_wait_function() {
  mj_scheduler* scheduler = new_scheduler();
  mj_scheduler_set_wait_func(scheduler, wait_function, nullptr);
  add_task(scheduler, sleeps, nullptr);
  runs(scheduler);
}

static void by_a_clock_in_a_run() {
  mj_scheduler* scheduler = new_scheduler();
  mj_scheduler_set_clock(scheduler, clock_function, nullptr);
  add_task(scheduler, sleeps, nullptr);
  runs(scheduler);
}

static void by_a_clock() {
  mj_scheduler* scheduler = new_scheduler();
  mj_scheduler_set_clock(scheduler, clock_function, nullptr);
  try {
    mj_scheduler_now_ns(scheduler);
  } catch (...) {
    _exit(44);
  }
}

static void misuses(mj_scheduler*, void*) {
  mj_log_set_callback(log_callback, nullptr);
  try {
    mj_scheduler_destroy(nullptr);  // A WARN line.
  } catch (...) {
    _exit(44);
  }
}

static void by_a_log_callback() { misuses(nullptr, nullptr); }

static void by_a_log_callback_in_a_task() {
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, misuses, nullptr);
  runs(scheduler);
}

static void by_a_body() {
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, body, nullptr);
  runs(scheduler);
}

static void is_called(void*) { throws_something(); }
static void* inherits(void*) { throws_something(); }

static void defers(void*) { mj_task_defer(is_called, nullptr); }

static void by_a_deferred_function() {
  mj_scheduler* scheduler = new_scheduler();
  mj_go(scheduler, defers, nullptr, nullptr);
  runs(scheduler);
}

static void parks_with_a_deferred_function(void*) {
  defers(nullptr);
  mj_task_park(MJ_FOREVER);
}

static void by_a_deferred_function_at_the_end() {
  mj_scheduler* scheduler = new_scheduler();
  mj_go(scheduler, parks_with_a_deferred_function, nullptr, nullptr);
  mj_log_set_level(MJ_LOG_SILENT);
  mj_scheduler_run(scheduler);
  try {
    mj_scheduler_destroy(scheduler);
  } catch (...) {
    _exit(44);
  }
}

static mj_task_key key;

static void sets_a_value(void*) {
  mj_task_key_create(&key, is_called, nullptr);
  mj_task_set_value(key, &key);
}

static void by_a_destroy_function() {
  mj_scheduler* scheduler = new_scheduler();
  mj_go(scheduler, sets_a_value, nullptr, nullptr);
  runs(scheduler);
}

static void sets_an_inherited_value(void*) {
  mj_task_key_create(&key, nullptr, inherits);
  mj_task_set_value(key, &key);
  try {
    mj_go(mj_scheduler_current(), defers, nullptr, nullptr);
  } catch (...) {
    _exit(44);
  }
}

static void by_an_inherit_function() {
  mj_scheduler* scheduler = new_scheduler();
  mj_go(scheduler, sets_an_inherited_value, nullptr, nullptr);
  runs(scheduler);
}

// What a child writes to stderr until it ends, and how it ends.
static std::string said_by(void (*function)(), bool handled, int* status) {
  int channel[2];
  CHECK_INT(pipe(channel), ==, 0);
  fflush(nullptr);
  pid_t child = fork();
  CHECK_INT(child, >=, 0);
  if (child == 0) {
    dup2(channel[1], 2);
    destructor_ran = false;
    if (handled) std::set_terminate(terminates);
    function();
    _exit(45);
  }
  close(channel[1]);
  std::string text;
  char bytes[256];
  for (ssize_t length; (length = read(channel[0], bytes, sizeof bytes)) > 0;) {
    text.append(bytes, static_cast<size_t>(length));
  }
  close(channel[0]);
  CHECK_INT(waitpid(child, status, 0), ==, child);
  return text;
}

static void where_none_can_pass_the_program_terminates_after_a_line() {
  struct {
    void (*function)();
    const char* whose;
  } const ways[] = {
      {by_a_wait_function, "a wait function"},
      {by_a_clock, "a clock"},
      {by_a_clock_in_a_run, "a clock"},
      {by_a_log_callback, "a log callback"},
      {by_a_log_callback_in_a_task, "a log callback"},
      {by_a_body, "the body of a task"},
      {by_a_deferred_function, "a deferred function"},
      {by_a_deferred_function_at_the_end, "a deferred function"},
      {by_a_destroy_function, "a destroy function"},
      {by_an_inherit_function, "an inherit function"},
  };
  for (const auto& way : ways) {
    int status = 0;
    std::string expected = std::string("majjen: an exception leaves ") + way.whose + ",";
    std::string text = said_by(way.function, true, &status);
    if (text.compare(0, expected.size(), expected) != 0) CHECK_STR(text.c_str(), expected.c_str());
    CHECK_INT(text.find('\n'), ==, text.size() - 1);
    CHECK(WIFEXITED(status));
    CHECK_INT(WEXITSTATUS(status), ==, 42);
    // Without a handler of the program's, the C++ runtime says what was thrown.
    text = said_by(way.function, false, &status);
    CHECK(text.find("nobody catches this") != std::string::npos);
    CHECK(text.find("panic") == std::string::npos);
    CHECK(WIFSIGNALED(status));
    CHECK_INT(WTERMSIG(status), ==, 6);
  }
}

// ---- Functions that catch their own ----

static int catches_in_wait(mj_scheduler* scheduler, uint64_t timeout_ns, void* data) {
  try {
    throws_something();
  } catch (const std::exception&) {
    return mj_wait_epoll(scheduler, timeout_ns, data);
  }
}

static uint64_t catches_in_clock(void*) {
  try {
    throws_something();
  } catch (const std::exception&) {
    return now_ns();
  }
}

static void functions_may_throw_and_catch() {
  mj_scheduler* scheduler = new_scheduler();
  mj_scheduler_set_wait_func(scheduler, catches_in_wait, nullptr);
  mj_scheduler_set_clock(scheduler, catches_in_clock, nullptr);
  add_task(scheduler, sleeps, nullptr);
  add_task(scheduler, ends_at_once, nullptr);
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_scheduler_destroy(scheduler);
}

int main() {
  mj_log_set_level(MJ_LOG_WARN);
  RUN(a_log_callbacks_exception_goes_on_to_who_logs);
  RUN(functions_may_throw_and_catch);
  // Not under valgrind, which counts what a child has allocated when it ends as lost.
  if (!under_valgrind()) RUN(where_none_can_pass_the_program_terminates_after_a_line);
  return 0;
}
