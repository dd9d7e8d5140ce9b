// A correct program that a sanitizer which does not follow the tasks' stacks would complain about:
// variables on several stacks, deep calls, threads that share data under a lock.
#define _GNU_SOURCE
#include "../check.h"

#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <unistd.h>

enum { tasks = 50, rounds = 20 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int shared;

static int sum_deep(int depth, const int* above) {
  int values[16];
  for (int i = 0; i < 16; i++) values[i] = above[i] + depth;
  if (depth % 3 == 0) mj_task_yield();
  return depth == 0 ? values[15] : sum_deep(depth - 1, values);
}

// A longjmp() makes the sanitizer examine the whole stack, whose bounds it must know.
static void jumps(jmp_buf* back) {
  volatile char frame[500];
  frame[0] = 1;
  longjmp(*back, frame[0]);
}

static void comes_back(void) {
  jmp_buf back;
  if (setjmp(back) == 0) jumps(&back);
}

static void works(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  int values[16] = {0};
  for (int round = 0; round < rounds; round++) {
    CHECK_INT(sum_deep(round, values), ==, round * (round + 1) / 2);
    if (round % 5 == 0) mj_task_sleep_ns(1000);
    if (round == 7) comes_back();
    pthread_mutex_lock(&lock);
    shared++;
    pthread_mutex_unlock(&lock);
  }
  mj_task_exit();
}

static void parks(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  char text[64];
  snprintf(text, sizeof text, "%p", user_state);
  mj_sleep_ns(MJ_FOREVER);
}

static void stops(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  mj_task_sleep_ms(20);
  mj_scheduler_stop(scheduler);
  mj_task_exit();
}

static void* run_scheduler(void* unused) {
  (void)unused;
  for (int i = 0; i < 3; i++) {
    mj_scheduler* scheduler = mj_scheduler_create();
    for (int j = 0; j < tasks; j++) CHECK(mj_create_task(scheduler, works, NULL) != NULL);
    mj_scheduler_run(scheduler);
    // New tasks on reused stacks, and some that are destroyed with live variables on theirs.
    for (int j = 0; j < tasks; j++) {
      CHECK(mj_create_task(scheduler, j % 2 == 0 ? works : parks, NULL) != NULL);
    }
    CHECK(mj_create_task(scheduler, stops, NULL) != NULL);
    mj_scheduler_run(scheduler);
    mj_scheduler_destroy(scheduler);
  }
  return NULL;
}

// Where a destroyed task had its variables is the memory of others: what AddressSanitizer has noted there
// must be gone.
static void memory_of_stacks_has_other_uses(void) {
  mj_scheduler* scheduler = mj_scheduler_create();
  mj_task* parked = mj_create_task(scheduler, parks, NULL);
  CHECK(parked != NULL);
  CHECK(mj_create_task(scheduler, stops, NULL) != NULL);
  mj_scheduler_run(scheduler);
  void* lowest;
  size_t bytes;
  CHECK_INT(mj_task_stack_bounds(parked, &lowest, &bytes), ==, 0);
  mj_scheduler_destroy(scheduler);
  char* memory = mmap(lowest, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK_PTR(memory, !=, MAP_FAILED);
  const char* sanitizer = getenv("MAJJEN_SANITIZER");
  if (sanitizer != NULL && strcmp(sanitizer, "address") == 0) CHECK_PTR(memory, ==, lowest);
  memset(memory, 'x', bytes);
  for (size_t i = 0; i < bytes; i++) CHECK_INT(memory[i], ==, 'x');
  munmap(memory, bytes);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  pthread_t threads[2];
  for (int i = 0; i < 2; i++) CHECK_INT(pthread_create(&threads[i], NULL, run_scheduler, NULL), ==, 0);
  // Also on the main thread, whose stack is far from the tasks' stacks.
  run_scheduler(NULL);
  for (int i = 0; i < 2; i++) CHECK_INT(pthread_join(threads[i], NULL), ==, 0);
  CHECK_INT(shared, >=, 3 * 3 * tasks * rounds);
  memory_of_stacks_has_other_uses();
  return 0;
}
