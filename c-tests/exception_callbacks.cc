// C++ exceptions that leave the program's functions: a log callback's goes on to the caller of mj_log(),
// and where none can pass, std::terminate() is called after a line that says whose it was.
#include "check.h"

#include <atomic>
#include <exception>
#include <stdexcept>
#include <string>

#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
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
static int is_called_and_returns(void*) { throws_something(); }
static void* inherits(void*) { throws_something(); }

static void by_a_function_of_a_task() {
  mj_scheduler* scheduler = new_scheduler();
  mj_go(scheduler, is_called, nullptr, nullptr);
  runs(scheduler);
}

static void by_a_member_of_a_group() {
  mj_scheduler* scheduler = new_scheduler();
  mj_group* group = mj_group_create(scheduler, 0);
  mj_go(
      scheduler,
      [](void* members) {
        mj_group_go(static_cast<mj_group*>(members), is_called_and_returns, nullptr, MJ_FOREVER);
        mj_task_park(MJ_FOREVER);
      },
      group, nullptr);
  runs(scheduler);
}

static void by_a_posted_function() {
  mj_scheduler* scheduler = new_scheduler();
  mj_post(mj_scheduler_remote(scheduler), is_called, nullptr, nullptr);
  runs(scheduler);
}

static mj_post_node node;

static void by_a_function_that_is_posted_with_a_node() {
  mj_scheduler* scheduler = new_scheduler();
  mj_post_with_node(mj_scheduler_remote(scheduler), &node, is_called, nullptr, nullptr);
  runs(scheduler);
}

static void sends_a_signal(void*) {
  kill(getpid(), SIGTERM);
  mj_task_park(MJ_FOREVER);
}

static void by_a_function_that_a_signal_has_called() {
  mj_scheduler* scheduler = new_scheduler();
  mj_go(scheduler, sends_a_signal, nullptr, nullptr);
  try {
    mj_run_until_signal(scheduler, is_called, nullptr, MJ_FOREVER);
  } catch (...) {
    _exit(44);
  }
}

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

static void offloads(void*) {
  try {
    mj_offload(is_called, nullptr, nullptr, MJ_FOREVER);
  } catch (...) {
    _exit(44);
  }
}

static void by_a_function_of_the_pool() {
  mj_scheduler* scheduler = new_scheduler();
  mj_go(scheduler, offloads, nullptr, nullptr);
  runs(scheduler);
}

static void does_nothing(void*) {}

// By the thread that destroys the scheduler, before the function has begun.
static void by_an_abandon_function_of_a_post() {
  mj_scheduler* scheduler = new_scheduler();
  mj_remote* remote = mj_scheduler_remote(scheduler);
  CHECK_INT(mj_post(remote, does_nothing, nullptr, is_called), ==, 0);
  try {
    mj_scheduler_destroy(scheduler);
  } catch (...) {
    _exit(44);
  }
}

static std::atomic<bool> has_begun;

static void waits_for_a_byte(void* ends) {
  char byte;
  has_begun = true;
  if (read(static_cast<int*>(ends)[0], &byte, 1) != 1) _exit(46);
}

// The function has not begun: the one before it has the only thread.
static void offloads_in_vain(void*) {
  try {
    mj_offload(does_nothing, nullptr, is_called, 1000000);
  } catch (...) {
    _exit(44);
  }
}

static void waits_in_the_pool(void* ends) {
  mj_offload(waits_for_a_byte, ends, nullptr, MJ_FOREVER);
}

static void by_an_abandon_function_of_a_call() {
  int ends[2];
  CHECK_INT(pipe(ends), ==, 0);
  CHECK_INT(mj_offload_set_limit(MJ_OFFLOAD_CPU, 1), ==, 0);
  mj_scheduler* scheduler = new_scheduler();
  mj_go(scheduler, waits_in_the_pool, ends, nullptr);
  mj_go(scheduler, offloads_in_vain, nullptr, nullptr);
  runs(scheduler);
}

static void cancels_when_it_has_begun(void* task) {
  while (!has_begun) mj_yield();
  mj_task_cancel(static_cast<mj_task*>(task));
}

// The function has begun: its thread calls it, while this one does something else.
static void leaves_a_function(void* ends) {
  mj_go(mj_scheduler_current(), cancels_when_it_has_begun, mj_task_current(), nullptr);
  CHECK_INT(mj_offload(waits_for_a_byte, ends, is_called, MJ_FOREVER), ==, -ECANCELED);
  CHECK_INT(write(static_cast<int*>(ends)[1], "x", 1), ==, 1);
  for (;;) pause();
}

static void by_an_abandon_function_in_the_pool() {
  int ends[2];
  CHECK_INT(pipe(ends), ==, 0);
  mj_scheduler* scheduler = new_scheduler();
  mj_go(scheduler, leaves_a_function, ends, nullptr);
  runs(scheduler);
}

// Only one core throws, or there might be two lines.
static int sets_up(mj_scheduler*, size_t core, void*) {
  if (core == 0) throws_something();
  return 0;
}

static void tears_down(mj_scheduler*, size_t core, void*) {
  if (core == 0) throws_something();
}

static void has_a_cluster(mj_core_set_up_fn set_up, mj_core_tear_down_fn tear_down) {
  mj_cluster_options options = mj_cluster_options();
  options.cores = 2;
  options.set_up = set_up;
  options.tear_down = tear_down;
  try {
    mj_cluster* cluster = mj_cluster_create(&options);
    CHECK(cluster != nullptr);
    CHECK_INT(mj_cluster_start(cluster), ==, 0);
    mj_cluster_join(cluster);
  } catch (...) {
    _exit(44);
  }
}

static void by_a_function_of_a_core() {
  mj_cluster* cluster = mj_cluster_create(nullptr);
  CHECK(cluster != nullptr);
  CHECK_INT(mj_cluster_go(cluster, 0, is_called, nullptr, nullptr), ==, 0);
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  mj_cluster_join(cluster);
}

static void calls_a_core(void* cluster) {
  auto callee = static_cast<mj_cluster*>(cluster);
  try {
    mj_cluster_call(callee, 1, is_called_and_returns, nullptr, MJ_FOREVER, nullptr);
  } catch (...) {
    _exit(44);
  }
}

static void has_a_member_on_a_core(void* cluster) {
  auto callee = static_cast<mj_cluster*>(cluster);
  mj_group* group = mj_group_create(mj_scheduler_current(), 0);
  try {
    mj_cluster_group_go(callee, 1, group, is_called_and_returns, nullptr, MJ_FOREVER);
    mj_task_park(MJ_FOREVER);
  } catch (...) {
    _exit(44);
  }
}

// A task of the first core has the second one call what throws.
static void runs_on_two_cores(mj_go_fn function) {
  mj_cluster_options options = mj_cluster_options();
  options.cores = 2;
  mj_cluster* cluster = mj_cluster_create(&options);
  CHECK(cluster != nullptr);
  CHECK_INT(mj_cluster_go(cluster, 0, function, cluster, nullptr), ==, 0);
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  mj_cluster_join(cluster);
}

static void by_a_function_that_a_core_is_to_call() { runs_on_two_cores(calls_a_core); }
static void by_a_member_on_a_core() { runs_on_two_cores(has_a_member_on_a_core); }

static void* makes_a_state(int, void*) { throws_something(); }

// A connection is made, which a core accepts.
static void serves(mj_task_fn* handler, mj_connection_fn connection) {
  mj_service what = mj_service();
  what.handler = handler;
  what.connection = connection;
  mj_cluster* cluster = mj_cluster_create(nullptr);
  CHECK(cluster != nullptr);
  sockaddr_in at = sockaddr_in();
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int port = mj_cluster_listen(cluster, "127.0.0.1", "0", &what);
  CHECK_INT(port, >, 0);
  at.sin_port = htons(static_cast<uint16_t>(port));
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK_INT(connect(fd, reinterpret_cast<sockaddr*>(&at), sizeof at), ==, 0);
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  mj_cluster_join(cluster);
}

static void by_the_handler_of_a_service() { serves(body, nullptr); }
static void by_the_connection_function_of_a_service() { serves(body, makes_a_state); }

static void by_the_set_up_of_a_core() { has_a_cluster(sets_up, nullptr); }
static void by_the_tear_down_of_a_core() { has_a_cluster(nullptr, tears_down); }

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
      {by_a_function_of_a_task, "the body of a task"},
      {by_a_member_of_a_group, "the body of a task"},
      {by_a_posted_function, "the body of a task"},
      {by_a_function_that_is_posted_with_a_node, "the body of a task"},
      {by_a_function_that_a_signal_has_called, "the body of a task"},
      {by_a_function_of_a_core, "the body of a task"},
      {by_a_function_that_a_core_is_to_call, "the body of a task"},
      {by_a_member_on_a_core, "the body of a task"},
      {by_the_handler_of_a_service, "the body of a task"},
      {by_the_connection_function_of_a_service, "the body of a task"},
      {by_a_deferred_function, "a deferred function"},
      {by_a_deferred_function_at_the_end, "a deferred function"},
      {by_a_destroy_function, "a destroy function"},
      {by_an_inherit_function, "an inherit function"},
      {by_a_function_of_the_pool, "a function that was given to the pool"},
      {by_an_abandon_function_of_a_post, "an abandon function"},
      {by_an_abandon_function_of_a_call, "an abandon function"},
      {by_an_abandon_function_in_the_pool, "an abandon function"},
      {by_the_set_up_of_a_core, "the set-up of a core"},
      {by_the_tear_down_of_a_core, "the tear-down of a core"},
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
  // Not under valgrind, which counts what a child has allocated when it ends as lost, and not where a child may have
  // no threads.
  if (!under_valgrind() && !under_tsan()) RUN(where_none_can_pass_the_program_terminates_after_a_line);
  return 0;
}
