// Tasks that wait while an exception is in flight, and in the handler of one.
#include "majjen.h"

#include <cstdio>
#include <initializer_list>

static void waits() { mj_task_sleep_s(1000); }

struct Guard {
  __attribute__((noinline)) ~Guard() { waits(); }
};

static void throws(void*) {
  mj_task_set_name(mj_task_current(), "throws");
  try {
    Guard guard;
    throw 1;
  } catch (int) {
  }
}

static void catches(void*) {
  mj_task_set_name(mj_task_current(), "catches");
  try {
    throw 1;
  } catch (int) {
    waits();
  }
}

static void ready(void*) {
  mj_task_sleep_ms(20);
  std::puts("ready");
  std::fflush(stdout);
}

int main() {
  mj_scheduler* scheduler = mj_scheduler_create();
  for (mj_go_fn function : {throws, catches, ready}) mj_go(scheduler, function, nullptr, nullptr);
  mj_scheduler_run(scheduler);
}
