// C++ exceptions in tasks: thrown and caught, also when a task suspends inside a catch block or in
// a destructor that an exception runs, while other tasks do the same.
#include "check.h"
#include "child.h"

#include <exception>
#include <stdexcept>
#include <string>

#include <sys/wait.h>

static const int task_count = 5;
static int finished;

// Ways to suspend: the first mostly switches from task to task, the second always goes through the
// loop.
static void by_yielding() { mj_task_yield(); }
static void by_sleeping() { mj_task_sleep_ns(1000000); }
typedef void suspension();
static suspension* suspend = by_yielding;

struct state {
  int number;
};

static void run_tasks(mj_task_fn* body) {
  suspension* const suspensions[] = {by_yielding, by_sleeping};
  for (suspension* way : suspensions) {
    suspend = way;
    finished = 0;
    mj_scheduler* scheduler = new_scheduler();
    for (int number = 0; number < task_count; number++) {
      state* own = static_cast<state*>(allocate(sizeof(state)));
      own->number = number;
      add_task(scheduler, body, own);
    }
    mj_scheduler_run(scheduler);
    CHECK_INT(finished, ==, task_count);
    mj_scheduler_destroy(scheduler);
    CHECK(std::current_exception() == nullptr);
  }
}

static std::string text_of(int task, int round) {
  return "task " + std::to_string(task) + ", round " + std::to_string(round);
}

static const char* text_of(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const std::exception& error) {
    return error.what();
  }
}

// ---- caught, without a suspension ----

static void throws_through(int depth) {
  if (depth == 0) throw std::runtime_error("from below");
  std::string unwound = "a destructor to run";
  throws_through(depth - 1);
  CHECK(unwound.empty());
}

static void throws_and_catches(mj_scheduler*, void*) {
  for (int round = 0; round < 10; round++) {
    bool caught = false;
    try {
      throws_through(20);
    } catch (const std::runtime_error& error) {
      CHECK_STR(error.what(), "from below");
      caught = true;
    }
    CHECK(caught);
    suspend();
  }
  finished++;
  mj_task_exit();
}

static void exceptions_are_caught_in_the_task() { run_tasks(throws_and_catches); }

// ---- a suspension inside a catch block ----

static void suspends_in_handlers(mj_scheduler*, void* user_state) {
  int number = static_cast<state*>(user_state)->number;
  for (int round = 0; round < 50; round++) {
    std::string text = text_of(number, round);
    CHECK(std::current_exception() == nullptr);
    try {
      throw std::runtime_error(text);
    } catch (const std::exception& outer) {
      // Tasks stay in their handlers for different numbers of yields, so that handlers overlap in
      // many ways.
      for (int i = 0; i <= number; i++) {
        suspend();
        CHECK_STR(outer.what(), text.c_str());
        CHECK_STR(text_of(std::current_exception()), text.c_str());
      }
      std::string nested = text + ", nested";
      try {
        throw std::logic_error(nested);
      } catch (const std::exception& inner) {
        suspend();
        CHECK_STR(text_of(std::current_exception()), nested.c_str());
        CHECK_STR(inner.what(), nested.c_str());
      }
      suspend();
      CHECK_STR(text_of(std::current_exception()), text.c_str());
    }
    CHECK(std::current_exception() == nullptr);
    suspend();
    CHECK(std::current_exception() == nullptr);
  }
  finished++;
  mj_task_exit();
}

static void handlers_of_many_tasks_interleave() { run_tasks(suspends_in_handlers); }

// ---- throwing again ----

static void throws_again(mj_scheduler*, void* user_state) {
  int number = static_cast<state*>(user_state)->number;
  for (int round = 0; round < 50; round++) {
    std::string text = text_of(number, round);
    int caught = 0;
    try {
      try {
        throw std::runtime_error(text);
      } catch (const std::exception&) {
        caught++;
        suspend();
        throw;
      }
    } catch (const std::runtime_error& error) {
      caught++;
      CHECK_STR(error.what(), text.c_str());
      suspend();
      CHECK_STR(text_of(std::current_exception()), text.c_str());
    }
    CHECK_INT(caught, ==, 2);
  }
  finished++;
  mj_task_exit();
}

static void an_exception_is_thrown_again_after_a_suspension() { run_tasks(throws_again); }

// ---- a suspension while an exception is on its way ----

// std::uncaught_exceptions() is not in C++11 yet.
static bool unwinding() { return std::uncaught_exception(); }

struct suspends_at_its_end {
  bool expected;
  ~suspends_at_its_end() {
    CHECK(unwinding() == expected);
    suspend();
    CHECK(unwinding() == expected);
    // An exception may be thrown and caught here if it does not leave the destructor.
    try {
      throw 1;
    } catch (int) {
      suspend();
    }
    CHECK(unwinding() == expected);
  }
};

static void unwinds(mj_scheduler*, void* user_state) {
  int number = static_cast<state*>(user_state)->number;
  for (int round = 0; round < 20; round++) {
    CHECK(!unwinding());
    if ((round + number) % 2 == 0) {
      suspends_at_its_end without_an_exception = {false};
      suspend();
    } else {
      std::string text = text_of(number, round);
      try {
        suspends_at_its_end unwound = {true};
        throw std::runtime_error(text);
      } catch (const std::exception& error) {
        CHECK_STR(error.what(), text.c_str());
        CHECK(!unwinding());
      }
    }
  }
  finished++;
  mj_task_exit();
}

static void uncaught_exceptions_are_counted_for_each_task() { run_tasks(unwinds); }

// ---- tasks begin without an exception ----

static mj_task_fn begins_clean;

// Makes more tasks start, and others end, while this one is in a handler.
static void begins_others(mj_scheduler* scheduler, void*) {
  try {
    throw std::runtime_error("of the first task");
  } catch (const std::exception&) {
    for (int i = 0; i < 3; i++) add_task(scheduler, begins_clean, nullptr);
    suspend();
    CHECK_STR(text_of(std::current_exception()), "of the first task");
  }
  finished++;
  mj_task_exit();
}

static void begins_clean(mj_scheduler*, void*) {
  CHECK(std::current_exception() == nullptr);
  CHECK(!unwinding());
  mj_task_exit();
}

static void tasks_begin_without_an_exception() { run_tasks(begins_others); }

// ---- a run inside a handler, and a task that goes on in a later run ----

static void stops_in_a_handler(mj_scheduler* scheduler, void*) {
  try {
    throw std::runtime_error("of the task");
  } catch (const std::exception&) {
    mj_scheduler_stop(scheduler);
    mj_task_yield();
    CHECK_STR(text_of(std::current_exception()), "of the task");
  }
  CHECK(std::current_exception() == nullptr);
  finished++;
  mj_task_exit();
}

static int wait_function(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  CHECK_STR(text_of(std::current_exception()), "of main");
  return mj_wait_epoll(scheduler, timeout_ns, user_data);
}

static void sleeps_in_a_handler(mj_scheduler*, void*) {
  try {
    throw std::runtime_error("of the sleeper");
  } catch (const std::exception&) {
    mj_task_sleep_ms(1);
    CHECK_STR(text_of(std::current_exception()), "of the sleeper");
  }
  finished++;
  mj_task_exit();
}

static void the_thread_keeps_its_own_exceptions() {
  finished = 0;
  mj_scheduler* scheduler = new_scheduler();
  mj_scheduler_set_wait_func(scheduler, wait_function, nullptr);
  try {
    throw std::runtime_error("of main");
  } catch (const std::exception&) {
    add_task(scheduler, stops_in_a_handler, nullptr);
    mj_scheduler_run(scheduler);
    CHECK_INT(finished, ==, 0);
    CHECK_STR(text_of(std::current_exception()), "of main");
    add_task(scheduler, sleeps_in_a_handler, nullptr);
    mj_scheduler_run(scheduler);
    CHECK_STR(text_of(std::current_exception()), "of main");
  }
  CHECK_INT(finished, ==, 2);
  CHECK(std::current_exception() == nullptr);
  mj_scheduler_destroy(scheduler);
}

// ---- an uncaught exception ----

static bool destructor_ran;

struct notes_its_end {
  ~notes_its_end() { destructor_ran = true; }
};

static void throws_out_of_its_function(void*) {
  notes_its_end on_the_stack;
  throw std::runtime_error("nobody catches this");
}

static void throws_out_of_its_body(mj_scheduler*, void*) { throws_out_of_its_function(nullptr); }

// In the terminate handler the exception can still be examined, and the stack is that of the throw.
static void terminates() {
  bool as_promised = mj_task_current() != nullptr && !destructor_ran &&
                     strcmp(text_of(std::current_exception()), "nobody catches this") == 0;
  _exit(as_promised ? 42 : 43);
}

static void (*adds_what_throws)(mj_scheduler*);

static void runs_what_throws() {
  std::set_terminate(terminates);
  mj_scheduler* scheduler = new_scheduler();
  adds_what_throws(scheduler);
  try {
    mj_scheduler_run(scheduler);
  } catch (...) {
    // Not caught by the caller of mj_scheduler_run() either: its frames are on another stack.
    _exit(44);
  }
  _exit(45);
}

static void an_exception_that_leaves_a_task_terminates(void (*add)(mj_scheduler*)) {
  adds_what_throws = add;
  int status = status_of_child(runs_what_throws);
  CHECK(WIFEXITED(status));
  CHECK_INT(WEXITSTATUS(status), ==, 42);
}

static void adds_a_body(mj_scheduler* scheduler) {
  add_task(scheduler, throws_out_of_its_body, nullptr);
}

static void goes(mj_scheduler* scheduler) {
  CHECK_INT(mj_go(scheduler, throws_out_of_its_function, nullptr, nullptr), ==, 0);
}

static void an_exception_that_leaves_the_body_terminates() {
  an_exception_that_leaves_a_task_terminates(adds_a_body);
  an_exception_that_leaves_a_task_terminates(goes);
}

int main() {
  mj_log_set_level(MJ_LOG_WARN);
  RUN(exceptions_are_caught_in_the_task);
  RUN(handlers_of_many_tasks_interleave);
  RUN(an_exception_is_thrown_again_after_a_suspension);
  RUN(uncaught_exceptions_are_counted_for_each_task);
  RUN(tasks_begin_without_an_exception);
  RUN(the_thread_keeps_its_own_exceptions);
  // Not under valgrind, which reports what the child had allocated when it ended as lost.
  if (!under_valgrind()) RUN(an_exception_that_leaves_the_body_terminates);
  return 0;
}
