// Locks that are held from one run to the next, and by tasks whose scheduler is destroyed.
#define _GNU_SOURCE
#include "hooked.h"

static pthread_mutex_t mutex;
static pthread_rwlock_t rwlock;
static unsigned ended;
static int state;

static void init(void) {
  mutex = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
  rwlock = (pthread_rwlock_t)PTHREAD_RWLOCK_INITIALIZER;
  ended = 0;
  state = 0;
}

static struct timespec in_ms(long ms) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  time.tv_nsec += ms * 1000000;
  time.tv_sec += time.tv_nsec / 1000000000;
  time.tv_nsec %= 1000000000;
  return time;
}

static int lock_within(pthread_mutex_t* which, long ms) {
  struct timespec time = in_ms(ms);
  return pthread_mutex_clocklock(which, CLOCK_MONOTONIC, &time);
}

static void stops(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  CHECK_INT(usleep(3000), ==, 0);
  mj_scheduler_stop(scheduler);
  mj_task_exit();
}

// To the C library an rwlock is the thread's that has locked it for writing: another one cannot unlock it.
static bool will_move, goes_on;

static void locks_both(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  CHECK_INT(pthread_mutex_lock(&mutex), ==, 0);
  if (!will_move) CHECK_INT(pthread_rwlock_wrlock(&rwlock), ==, 0);
  do usleep(1000);
  while (!goes_on);
  if (!will_move) CHECK_INT(pthread_rwlock_unlock(&rwlock), ==, 0);
  CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
  mj_task_exit();
}

static void wants_one(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  CHECK_INT(pthread_mutex_lock(&mutex), ==, 0);
  state++;
  CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
  mj_task_exit();
}

static void reads_one(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  CHECK_INT(pthread_rwlock_rdlock(&rwlock), ==, 0);
  state++;
  CHECK_INT(pthread_rwlock_unlock(&rwlock), ==, 0);
  mj_task_exit();
}

static void tries_both(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  CHECK_INT(lock_within(&mutex, 5), ==, ETIMEDOUT);
  struct timespec time = in_ms(5);
  CHECK_INT(pthread_rwlock_clockwrlock(&rwlock, CLOCK_MONOTONIC, &time), ==, ETIMEDOUT);
  ended++;
  mj_task_exit();
}

static mj_scheduler* stopped_with_waiting_tasks(void) {
  init();
  goes_on = false;
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, locks_both, NULL);
  for (int i = 0; i < 3; i++) {
    add_task(scheduler, wants_one, NULL);
    add_task(scheduler, reads_one, NULL);
  }
  add_task(scheduler, stops, NULL);
  CHECK_INT(mj_run(scheduler), ==, MJ_RUN_STOPPED);
  return scheduler;
}

static void run_and_destroy(mj_scheduler* scheduler) {
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_scheduler_destroy(scheduler);
}

static void waiting_tasks_go_on_in_the_next_run(void) {
  mj_scheduler* scheduler = stopped_with_waiting_tasks();
  goes_on = true;
  run_and_destroy(scheduler);
  CHECK_INT(state, ==, 6);
}

static void* runs_and_destroys(void* scheduler) {
  goes_on = true;
  run_and_destroy(scheduler);
  return NULL;
}

static void the_next_run_may_be_on_another_thread(void) {
  mj_log_set_level(MJ_LOG_ERROR);
  will_move = true;
  pthread_t thread;
  CHECK_INT(pthread_create(&thread, NULL, runs_and_destroys, stopped_with_waiting_tasks()), ==, 0);
  pthread_join(thread, NULL);
  CHECK_INT(state, ==, 6);
  will_move = false;
  mj_log_set_level(MJ_LOG_WARN);
}

static pthread_mutex_t recursive = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static pthread_mutex_t checking = PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP;

// To the C library another thread has them now. The task does not get them, but holds up nobody.
static void wants_its_own_again(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  CHECK_INT(pthread_mutex_lock(&recursive), ==, 0);
  CHECK_INT(pthread_mutex_lock(&checking), ==, 0);
  CHECK_INT(pthread_rwlock_wrlock(&rwlock), ==, 0);
  mj_scheduler_stop(scheduler);
  usleep(1000);
  CHECK_INT(pthread_mutex_lock(&checking), ==, EDEADLK);
  CHECK_INT(pthread_rwlock_rdlock(&rwlock), ==, EDEADLK);
  CHECK_INT(pthread_rwlock_wrlock(&rwlock), ==, EDEADLK);
  CHECK_INT(lock_within(&recursive, 5), ==, ETIMEDOUT);
  ended++;
  mj_task_exit();
}

static void what_is_locked_does_not_move(void) {
  init();
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, wants_its_own_again, NULL);
  CHECK_INT(mj_run(scheduler), ==, MJ_RUN_STOPPED);
  pthread_t thread;
  CHECK_INT(pthread_create(&thread, NULL, runs_and_destroys, scheduler), ==, 0);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
  CHECK_UINT(ended, ==, 1);
  // Now they are this thread's, which has locked them.
  CHECK_INT(pthread_mutex_unlock(&recursive), ==, 0);
  CHECK_INT(pthread_mutex_unlock(&checking), ==, 0);
  CHECK_INT(pthread_rwlock_unlock(&rwlock), ==, 0);
}

static void holds_recursive(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  CHECK_INT(pthread_mutex_lock(&recursive), ==, 0);
  mj_scheduler_stop(scheduler);
  do usleep(1000);
  while (ended == 0);
  CHECK_INT(pthread_mutex_unlock(&recursive), ==, 0);
  mj_task_exit();
}

static void tries_recursive(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  CHECK_INT(pthread_mutex_trylock(&recursive), ==, EBUSY);
  ended++;
  CHECK_INT(pthread_mutex_lock(&recursive), ==, 0);
  CHECK_INT(pthread_mutex_unlock(&recursive), ==, 0);
  mj_task_exit();
}

static void owners_are_known_in_the_next_run(void) {
  init();
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, holds_recursive, NULL);
  CHECK_INT(mj_run(scheduler), ==, MJ_RUN_STOPPED);
  // Between two runs the calls are those of the thread.
  CHECK_INT(pthread_mutex_trylock(&recursive), ==, 0);
  CHECK_INT(pthread_mutex_unlock(&recursive), ==, 0);
  CHECK_INT(pthread_rwlock_rdlock(&rwlock), ==, 0);
  CHECK_INT(pthread_rwlock_unlock(&rwlock), ==, 0);
  add_task(scheduler, tries_recursive, NULL);
  run_and_destroy(scheduler);
  CHECK_UINT(ended, ==, 1);
}

static void two_schedulers_on_a_thread(void) {
  mj_scheduler* first = stopped_with_waiting_tasks();
  mj_scheduler* second = new_scheduler();
  add_task(second, tries_both, NULL);
  run_and_destroy(second);
  CHECK_UINT(ended, ==, 1);
  goes_on = true;
  run_and_destroy(first);
  CHECK_INT(state, ==, 6);
  second = new_scheduler();
  add_task(second, wants_one, NULL);
  run_and_destroy(second);
  CHECK_INT(state, ==, 7);
}

static void a_scheduler_goes_with_those_that_wait(void) {
  for (int i = 0; i < 3; i++) {
    mj_scheduler_destroy(stopped_with_waiting_tasks());
    mj_scheduler* next = new_scheduler();  // Probably where that one was.
    add_task(next, tries_both, NULL);
    run_and_destroy(next);
    CHECK_UINT(ended, ==, 1);
    CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
    CHECK_INT(pthread_rwlock_unlock(&rwlock), ==, 0);
    goes_on = true;
    next = new_scheduler();
    add_task(next, locks_both, NULL);
    add_task(next, wants_one, NULL);
    run_and_destroy(next);
    CHECK_INT(state, ==, 1);
  }
}

// Where the lock is locked before the run, and unlocked by code outside tasks in it.
static int unlocks_it(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  (void)user_data;
  if (state == 0) {
    CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
    state = 1;
  }
  struct timespec time = {0, timeout_ns > 1000000 ? 1000000 : (long)timeout_ns};
  nanosleep(&time, NULL);
  (void)scheduler;
  return 0;
}

static void the_threads_own_is_waited_for(void) {
  init();
  mj_scheduler* scheduler = new_scheduler();
  CHECK_INT(pthread_mutex_lock(&mutex), ==, 0);
  mj_scheduler_set_wait_func(scheduler, unlocks_it, NULL);
  add_task(scheduler, wants_one, NULL);
  run_and_destroy(scheduler);
  CHECK_INT(state, ==, 2);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  if (in_threads()) return 0;
#ifdef __SANITIZE_THREAD__
  fprintf(stderr, "ThreadSanitizer reports locks that are left behind, and knows 64 at a time\n");
  return check_skipped;
#endif
  RUN(waiting_tasks_go_on_in_the_next_run);
  RUN(the_next_run_may_be_on_another_thread);
  RUN(what_is_locked_does_not_move);
  RUN(owners_are_known_in_the_next_run);
  RUN(two_schedulers_on_a_thread);
  RUN(a_scheduler_goes_with_those_that_wait);
  RUN(the_threads_own_is_waited_for);
  return 0;
}
