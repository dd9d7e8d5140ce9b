// Mutexes that are held over a wait.
#define _GNU_SOURCE
#include "hooked.h"

#include <threads.h>

// ThreadSanitizer reports what is a mistake, though a call that fails or works all the same.
#ifdef __SANITIZE_THREAD__
enum { MISTAKES = 0 };
#else
enum { MISTAKES = 1 };
#endif

static pthread_mutex_t mutex;
static int state, order[100];
static unsigned ended, arrived;

static void init(int type) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  CHECK_INT(pthread_mutexattr_settype(&attributes, type), ==, 0);
  CHECK_INT(pthread_mutex_init(&mutex, &attributes), ==, 0);
  pthread_mutexattr_destroy(&attributes);
  ended = arrived = 0;
  state = 0;
}

static unsigned get(unsigned* number) { return __atomic_load_n(number, __ATOMIC_SEQ_CST); }
static void add(unsigned* number) { __atomic_fetch_add(number, 1, __ATOMIC_SEQ_CST); }

static void wait_for(unsigned* number, unsigned value) {
  while (get(number) < value) usleep(500);
}

static struct timespec after(clockid_t clock, long ms) {
  struct timespec time;
  clock_gettime(clock, &time);
  time.tv_nsec += ms * 1000000;
  time.tv_sec += time.tv_nsec / 1000000000;
  time.tv_nsec %= 1000000000;
  return time;
}

// ---- one after the other

static void holds_over_a_sleep(void* argument) {
  (void)argument;
  CHECK_INT(pthread_mutex_lock(&mutex), ==, 0);
  CHECK_INT(state++, ==, 0);
  add(&arrived);
  CHECK_INT(usleep(5000), ==, 0);
  CHECK_INT(--state, ==, 0);
  CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
  add(&ended);
}

static void excludes_each_other(int type) {
  init(type);
  mj_hook_counts before = hook_counts();
  for (int i = 0; i < 5; i++) start(holds_over_a_sleep, NULL);
  wait_for(&ended, 5);
  if (!in_threads()) {
    CHECK_UINT(hook_counts().lock_waits, ==, before.lock_waits + 4);
    CHECK_UINT(hook_counts().pinned, ==, before.pinned);
  }
  CHECK_INT(pthread_mutex_destroy(&mutex), ==, 0);
}

static void each_kind_is_held_over_a_wait(void) {
  excludes_each_other(PTHREAD_MUTEX_NORMAL);
  excludes_each_other(PTHREAD_MUTEX_RECURSIVE);
  excludes_each_other(PTHREAD_MUTEX_ERRORCHECK);
  excludes_each_other(PTHREAD_MUTEX_ADAPTIVE_NP);
}

static void robust_ones_and_those_with_priorities_are_held_over_a_wait(void) {
  for (int which = 0; which < 3; which++) {
    init(PTHREAD_MUTEX_NORMAL);
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    if (which != 1) CHECK_INT(pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST), ==, 0);
    if (which != 0) CHECK_INT(pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT), ==, 0);
    if (which != 0) pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    CHECK_INT(pthread_mutex_init(&mutex, &attributes), ==, 0);
    for (int i = 0; i < 3; i++) start(holds_over_a_sleep, NULL);
    wait_for(&ended, 3);
    CHECK_INT(pthread_mutex_destroy(&mutex), ==, 0);
  }
}

static void notes_its_turn(void* argument) {
  CHECK_INT(pthread_mutex_lock(&mutex), ==, 0);
  order[state++] = (int)(intptr_t)argument;
  CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
  add(&ended);
}

static void who_comes_first_is_served_first(void) {
  if (in_threads()) return;
  init(PTHREAD_MUTEX_NORMAL);
  CHECK_INT(pthread_mutex_lock(&mutex), ==, 0);
  for (intptr_t i = 0; i < 50; i++) start(notes_its_turn, (void*)i);
  usleep(1000);
  uint64_t timers = mj_scheduler_get_metrics(hooked_scheduler)->timer_expirations;
  // Who unlocks does not get it again before those that wait.
  CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
  CHECK_INT(pthread_mutex_lock(&mutex), ==, 0);
  CHECK_INT(state, ==, 50);
  // Each was woken by the one before, and not by its own looks.
  CHECK_UINT(mj_scheduler_get_metrics(hooked_scheduler)->timer_expirations, <, timers + 10);
  CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
  for (int i = 0; i < 50; i++) CHECK_INT(order[i], ==, i);
}

static int increments;

static void adds(void* argument) {
  (void)argument;
  for (int i = 0; i < increments; i++) {
    CHECK_INT(pthread_mutex_lock(&mutex), ==, 0);
    int seen = state;
    usleep(0);
    state = seen + 1;
    CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
  }
  add(&ended);
}

static void no_step_is_lost(void) {
  init(PTHREAD_MUTEX_NORMAL);
  increments = in_threads() ? 20 : getenv("MAJJEN_VALGRIND") ? 50 : 1000;
  for (int i = 0; i < 100; i++) start(adds, NULL);
  wait_for(&ended, 100);
  CHECK_INT(state, ==, 100 * increments);
}

// ---- recursive, error-checking

static void wants_it_too(void* argument) {
  (void)argument;
  while (get(&arrived) == 0) usleep(500);
  CHECK_INT(pthread_mutex_trylock(&mutex), ==, EBUSY);
  if (MISTAKES) CHECK_INT(pthread_mutex_unlock(&mutex), ==, EPERM);
  struct timespec time = after(CLOCK_REALTIME, 5);
  CHECK_INT(pthread_mutex_timedlock(&mutex, &time), ==, ETIMEDOUT);
  add(&arrived);
  CHECK_INT(pthread_mutex_lock(&mutex), ==, 0);
  CHECK_INT(state, ==, 2);
  CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
  add(&ended);
}

static void a_recursive_one_lets_no_other_in(void) {
  init(PTHREAD_MUTEX_RECURSIVE);
  start(wants_it_too, NULL);
  CHECK_INT(pthread_mutex_lock(&mutex), ==, 0);
  CHECK_INT(pthread_mutex_lock(&mutex), ==, 0);
  CHECK_INT(pthread_mutex_trylock(&mutex), ==, 0);
  CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
  add(&arrived);
  wait_for(&arrived, 2);
  usleep(2000);
  state = 1;
  CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
  usleep(2000);
  CHECK_INT(pthread_mutex_lock(&mutex), ==, 0);
  usleep(2000);
  state = 2;
  CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
  CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
  wait_for(&ended, 1);
  if (MISTAKES) CHECK_INT(pthread_mutex_unlock(&mutex), ==, EPERM);
}

static void one_that_checks_tells_its_owner_only(void) {
  init(PTHREAD_MUTEX_ERRORCHECK);
  start(wants_it_too, NULL);
  CHECK_INT(pthread_mutex_lock(&mutex), ==, 0);
  add(&arrived);
  wait_for(&arrived, 2);
  struct timespec time = after(CLOCK_REALTIME, 5);
  if (MISTAKES) CHECK_INT(pthread_mutex_lock(&mutex), ==, EDEADLK);
  CHECK_INT(pthread_mutex_timedlock(&mutex, &time), ==, EDEADLK);
  CHECK_INT(pthread_mutex_trylock(&mutex), ==, EBUSY);
  state = 2;
  CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
  wait_for(&ended, 1);
  if (MISTAKES) CHECK_INT(pthread_mutex_unlock(&mutex), ==, EPERM);
}

// ---- limits

static void holds_until_told(void* argument) {
  (void)argument;
  CHECK_INT(pthread_mutex_lock(&mutex), ==, 0);
  add(&arrived);
  wait_for(&arrived, 2);
  CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
  add(&ended);
}

static void limits_are_kept(void) {
  init(PTHREAD_MUTEX_NORMAL);
  start(holds_until_told, NULL);
  wait_for(&arrived, 1);
  const clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC};
  for (size_t i = 0; i < 2; i++) {
    struct timespec time = after(clocks[i], 20), now;
    CHECK_INT(pthread_mutex_clocklock(&mutex, clocks[i], &time), ==, ETIMEDOUT);
    clock_gettime(clocks[i], &now);
    CHECK(now.tv_sec > time.tv_sec || (now.tv_sec == time.tv_sec && now.tv_nsec >= time.tv_nsec));
    CHECK_INT(pthread_mutex_clocklock(&mutex, clocks[i], &time), ==, ETIMEDOUT);  // It is over.
    time = (struct timespec){-1, 0};
    CHECK_INT(pthread_mutex_clocklock(&mutex, clocks[i], &time), ==, ETIMEDOUT);
    time = (struct timespec){0, 1000000000};
    CHECK_INT(pthread_mutex_clocklock(&mutex, clocks[i], &time), ==, EINVAL);
  }
  struct timespec time = after(CLOCK_REALTIME, 10000);
  CHECK_INT(pthread_mutex_clocklock(&mutex, CLOCK_BOOTTIME, &time), ==, EINVAL);
  add(&arrived);
  errno = 77;
  CHECK_INT(pthread_mutex_timedlock(&mutex, &time), ==, 0);
  CHECK_INT(errno, ==, 77);
  CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
  time = (struct timespec){0, 0};
  CHECK_INT(pthread_mutex_timedlock(&mutex, &time), ==, 0);  // It need not wait.
  CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
}

// One that gives up does not keep those behind it.
static void gives_up(void* argument) {
  (void)argument;
  struct timespec time = after(CLOCK_MONOTONIC, 5);
  CHECK_INT(pthread_mutex_clocklock(&mutex, CLOCK_MONOTONIC, &time), ==, ETIMEDOUT);
  add(&ended);
}

static void who_gives_up_leaves_the_list(void) {
  init(PTHREAD_MUTEX_NORMAL);
  start(holds_until_told, NULL);
  wait_for(&arrived, 1);
  start(gives_up, NULL);
  start(notes_its_turn, (void*)1);
  start(gives_up, NULL);
  start(notes_its_turn, (void*)2);
  start(gives_up, NULL);
  wait_for(&ended, 3);
  CHECK_INT(state, ==, 0);
  add(&arrived);
  wait_for(&ended, 6);
  CHECK_INT(state, ==, 2);
}

// ---- C11

static mtx_t c11;

static void wants_c11(void* argument) {
  (void)argument;
  wait_for(&arrived, 1);
  CHECK_INT(mtx_trylock(&c11), ==, thrd_busy);
  struct timespec time = after(CLOCK_REALTIME, 5);
  CHECK_INT(mtx_timedlock(&c11, &time), ==, thrd_timedout);
  add(&arrived);
  CHECK_INT(mtx_lock(&c11), ==, thrd_success);
  CHECK_INT(state, ==, 1);
  CHECK_INT(mtx_unlock(&c11), ==, thrd_success);
  add(&ended);
}

static void those_of_c11_are_the_same(void) {
  const int types[] = {mtx_plain, mtx_timed, mtx_plain | mtx_recursive, mtx_timed | mtx_recursive};
  for (size_t i = 0; i < 4; i++) {
    init(PTHREAD_MUTEX_NORMAL);
    CHECK_INT(mtx_init(&c11, types[i]), ==, thrd_success);
    start(wants_c11, NULL);
    CHECK_INT(mtx_lock(&c11), ==, thrd_success);
    if (types[i] & mtx_recursive) CHECK_INT(mtx_trylock(&c11), ==, thrd_success);
    if (types[i] & mtx_recursive) CHECK_INT(mtx_unlock(&c11), ==, thrd_success);
    add(&arrived);
    wait_for(&arrived, 2);
    usleep(2000);
    state = 1;
    CHECK_INT(mtx_unlock(&c11), ==, thrd_success);
    wait_for(&ended, 1);
    mtx_destroy(&c11);
  }
}

// ---- as a semaphore

static void unlocks_for_another(void* argument) {
  (void)argument;
  wait_for(&arrived, 1);
  usleep(3000);
  state = 1;
  CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
}

// What the C library allows with a normal mutex.
static void another_may_unlock_a_normal_one(void) {
  init(PTHREAD_MUTEX_NORMAL);
  mj_log_set_level(MJ_LOG_FATAL);  // It is taken for a mistake.
  start(unlocks_for_another, NULL);
  CHECK_INT(pthread_mutex_lock(&mutex), ==, 0);
  struct timespec time = after(CLOCK_REALTIME, 5);
  CHECK_INT(pthread_mutex_timedlock(&mutex, &time), ==, ETIMEDOUT);
  add(&arrived);
  CHECK_INT(pthread_mutex_lock(&mutex), ==, 0);
  CHECK_INT(state, ==, 1);
  CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
  mj_log_set_level(MJ_LOG_WARN);
}

// ---- with threads

static void* holds_in_a_thread(void* argument) {
  (void)argument;
  pthread_mutex_lock(&mutex);
  add(&arrived);
  struct timespec time = {0, 20000000};
  nanosleep(&time, NULL);
  state = 1;
  pthread_mutex_unlock(&mutex);
  return NULL;
}

static void one_of_another_thread_blocks_the_thread(void) {
  init(PTHREAD_MUTEX_NORMAL);
  pthread_t thread;
  CHECK_INT(pthread_create(&thread, NULL, holds_in_a_thread, NULL), ==, 0);
  wait_for(&arrived, 1);
  uint64_t before = pinned();
  struct timespec time = after(CLOCK_REALTIME, 2);
  CHECK_INT(pthread_mutex_timedlock(&mutex, &time), ==, ETIMEDOUT);
  CHECK_INT(pthread_mutex_lock(&mutex), ==, 0);
  CHECK_INT(state, ==, 1);
  if (!in_threads()) CHECK_UINT(pinned(), ==, before + 2);
  start(holds_over_a_sleep, NULL);
  usleep(2000);
  state = 0;
  CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
  wait_for(&ended, 1);
  if (!in_threads()) CHECK_UINT(pinned(), ==, before + 2);
  pthread_join(thread, NULL);
}

static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;

static void* signals(void* argument) {
  (void)argument;
  pthread_mutex_lock(&mutex);
  state = 1;
  pthread_cond_signal(&condition);
  pthread_mutex_unlock(&mutex);
  return NULL;
}

static void conditions_are_as_ever(void) {
  init(PTHREAD_MUTEX_NORMAL);
  pthread_t thread;
  CHECK_INT(pthread_mutex_lock(&mutex), ==, 0);
  CHECK_INT(pthread_create(&thread, NULL, signals, NULL), ==, 0);
  while (state == 0) CHECK_INT(pthread_cond_wait(&condition, &mutex), ==, 0);
  state = 0;
  start(holds_over_a_sleep, NULL);
  usleep(3000);
  CHECK_UINT(get(&arrived), ==, 0);
  CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
  wait_for(&ended, 1);
  pthread_join(thread, NULL);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN_HOOKED(each_kind_is_held_over_a_wait);
  RUN_HOOKED(robust_ones_and_those_with_priorities_are_held_over_a_wait);
  RUN_HOOKED(who_comes_first_is_served_first);
  RUN_HOOKED(no_step_is_lost);
  RUN_HOOKED(a_recursive_one_lets_no_other_in);
  RUN_HOOKED(one_that_checks_tells_its_owner_only);
  RUN_HOOKED(limits_are_kept);
  RUN_HOOKED(who_gives_up_leaves_the_list);
  RUN_HOOKED(those_of_c11_are_the_same);
  if (MISTAKES) RUN_HOOKED(another_may_unlock_a_normal_one);
  RUN_HOOKED(one_of_another_thread_blocks_the_thread);
  RUN_HOOKED(conditions_are_as_ever);
  return 0;
}
