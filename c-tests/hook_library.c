// What Majjen tells libmajjen-hook of its runs. The program stands in for it.
#define _GNU_SOURCE
#include "bodies.h"
#include "check.h"

static const void* known;      // of the run on this thread, if there is one
static const void* forgotten;  // the scheduler that is no more
static int times_told;

const void* mj_hook_attach(const void* library);
void mj_hook_forget(const void* scheduler);

const void* mj_hook_attach(const void* library) {
  const void* before = known;
  times_told++;
  known = library;
  return before;
}

void mj_hook_forget(const void* scheduler) { forgotten = scheduler; }

static const void* known_in_task;
static int ran;

static void looks(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  known_in_task = known;
  ran++;
  mj_task_exit();
}

static void run_one(mj_scheduler* scheduler) {
  times_told = ran = 0;
  known_in_task = NULL;
  add_task(scheduler, looks, NULL);
  CHECK_INT(mj_run(scheduler), ==, 0);
  CHECK_INT(ran, ==, 1);
}

static void it_is_told_of_a_run_and_of_its_end(void) {
  mj_scheduler* scheduler = new_scheduler();
  run_one(scheduler);
  CHECK_INT(times_told, ==, 2);
  CHECK(known_in_task != NULL);
  CHECK_PTR(known, ==, NULL);
  CHECK_PTR(forgotten, ==, NULL);
  mj_scheduler_destroy(scheduler);
  CHECK_PTR(forgotten, ==, scheduler);
}

int main(void) {
  RUN(it_is_told_of_a_run_and_of_its_end);
  return 0;
}
