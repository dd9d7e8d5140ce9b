// C++ objects on the stacks of tasks: destroyed where their scope ends, and only there.
#include "check.h"

#include <memory>
#include <vector>

static int alive;

struct counted {
  counted() { alive++; }
  ~counted() { alive--; }
  counted(const counted&) = delete;
  counted& operator=(const counted&) = delete;
};

static void holds_objects(mj_scheduler*, void*) {
  counted on_the_stack;
  std::unique_ptr<counted> on_the_heap(new counted);
  std::vector<std::unique_ptr<counted>> many;
  for (int i = 0; i < 10; i++) {
    many.emplace_back(new counted);
    mj_task_yield();
  }
  // It only marks the task: the destructors run at the end of the scope, as always.
  mj_task_exit();
  CHECK_INT(alive, >=, 12);
}

static void objects_end_with_the_scope() {
  mj_scheduler* scheduler = new_scheduler();
  for (int i = 0; i < 4; i++) add_task(scheduler, holds_objects, nullptr);
  mj_scheduler_run(scheduler);
  CHECK_INT(alive, ==, 0);
  mj_scheduler_destroy(scheduler);
}

static void throws_past_objects(mj_scheduler*, void*) {
  try {
    counted on_the_stack;
    mj_task_sleep_ns(1000);
    throw 1;
  } catch (int) {
    mj_task_exit();
  }
}

static void objects_end_with_an_exception() {
  mj_scheduler* scheduler = new_scheduler();
  for (int i = 0; i < 4; i++) add_task(scheduler, throws_past_objects, nullptr);
  mj_scheduler_run(scheduler);
  CHECK_INT(alive, ==, 0);
  mj_scheduler_destroy(scheduler);
}

static void stops_its_scheduler(mj_scheduler* scheduler, void*) {
  counted on_the_stack;
  mj_scheduler_stop(scheduler);
  mj_task_park(MJ_FOREVER);
  mj_task_exit();
}

// The stack is released as it is: running code on it would continue the task.
static void objects_of_a_task_that_never_ends_are_not_destroyed() {
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, stops_its_scheduler, nullptr);
  mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
  CHECK_INT(alive, ==, 1);
  alive = 0;
}

// The way to end tasks with their destructors: cancel them, and run until they have ended.
static void canceled_tasks_destroy_their_objects() {
  mj_scheduler* scheduler = new_scheduler();
  mj_task_id id = mj_task_get_id(add_task(scheduler, stops_its_scheduler, nullptr));
  mj_scheduler_run(scheduler);
  CHECK_INT(alive, ==, 1);
  add_task(scheduler, [](mj_scheduler* own, void* target) {
    CHECK_INT(mj_task_cancel(mj_task_find(own, *static_cast<mj_task_id*>(target))), ==, 0);
    mj_task_exit();
  }, new (allocate(sizeof id)) mj_task_id(id));
  mj_scheduler_run(scheduler);
  CHECK_INT(alive, ==, 0);
  mj_scheduler_destroy(scheduler);
}

int main() {
  mj_log_set_level(MJ_LOG_WARN);
  RUN(objects_end_with_the_scope);
  RUN(objects_end_with_an_exception);
  RUN(objects_of_a_task_that_never_ends_are_not_destroyed);
  RUN(canceled_tasks_destroy_their_objects);
  return 0;
}
