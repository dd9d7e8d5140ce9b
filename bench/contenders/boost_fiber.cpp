// Boost.Fiber: tasks with stacks, in C++. It has no sockets of its own, so it has no server here.
#include <boost/fiber/all.hpp>
#include <boost/version.hpp>

#include "contender.h"

static uint64_t alive;
static boost::fibers::mutex mutex;
static boost::fibers::condition_variable all_ended;

#define TASK(name) static void name()
#define TASK_END \
  do { \
    if (--alive == 0) all_ended.notify_one(); \
    return; \
  } while (0)
// A sleep cannot be ended early.
#define CAN_WAKE 0
typedef void task_body();
typedef int task_handle;
// Stacks are reused, as the other contenders do; the default allocator maps and unmaps each.
static boost::fibers::pooled_fixedsize_stack &stacks() {
  static boost::fibers::pooled_fixedsize_stack pool;
  return pool;
}
static inline task_handle task_spawn(task_body *body) {
  alive++;
  boost::fibers::fiber(std::allocator_arg, stacks(), body).detach();
  return 0;
}
static inline void task_yield() { boost::this_fiber::yield(); }
static inline void task_sleep(uint64_t ns) { boost::this_fiber::sleep_for(std::chrono::nanoseconds(ns)); }
static inline void task_wake(task_handle) {}

static void run_tasks(task_body *first) {
  task_spawn(first);
  std::unique_lock<boost::fibers::mutex> lock(mutex);
  all_ended.wait(lock, [] { return alive == 0; });
}

#include "tasks.h"

static void test_version() { printf("version=%s\n", BOOST_LIB_VERSION); }

int main(int argc, char **argv) {
  static const struct test tests[] = {TASK_TESTS, {"version", test_version}, {nullptr, nullptr}};
  return run_test(argc, argv, tests);
}
