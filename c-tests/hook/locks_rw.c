// Rwlocks that are held over a wait.
#define _GNU_SOURCE
#include "hooked.h"

static pthread_rwlock_t lock;
static unsigned readers, most_readers, writers, ended, told, looped;

static unsigned get(unsigned* number) { return __atomic_load_n(number, __ATOMIC_SEQ_CST); }
static unsigned add(unsigned* number) { return __atomic_add_fetch(number, 1, __ATOMIC_SEQ_CST); }
static unsigned take(unsigned* number) { return __atomic_sub_fetch(number, 1, __ATOMIC_SEQ_CST); }

static void wait_for(unsigned* number, unsigned value) {
  while (get(number) < value) usleep(500);
}

static void init(int kind) {
  pthread_rwlockattr_t attributes;
  pthread_rwlockattr_init(&attributes);
  CHECK_INT(pthread_rwlockattr_setkind_np(&attributes, kind), ==, 0);
  CHECK_INT(pthread_rwlock_init(&lock, &attributes), ==, 0);
  readers = most_readers = writers = ended = told = looped = 0;
}

static struct timespec after(clockid_t clock, long ms) {
  struct timespec time;
  clock_gettime(clock, &time);
  time.tv_nsec += ms * 1000000;
  time.tv_sec += time.tv_nsec / 1000000000;
  time.tv_nsec %= 1000000000;
  return time;
}

static void reads(void* argument) {
  (void)argument;
  CHECK_INT(pthread_rwlock_rdlock(&lock), ==, 0);
  CHECK_UINT(get(&writers), ==, 0);
  unsigned now = add(&readers);
  if (now > get(&most_readers)) __atomic_store_n(&most_readers, now, __ATOMIC_SEQ_CST);
  usleep(5000);
  CHECK_UINT(get(&writers), ==, 0);
  take(&readers);
  CHECK_INT(pthread_rwlock_unlock(&lock), ==, 0);
  add(&ended);
}

static void writes(void* argument) {
  (void)argument;
  CHECK_INT(pthread_rwlock_wrlock(&lock), ==, 0);
  CHECK_UINT(add(&writers), ==, 1);
  CHECK_UINT(get(&readers), ==, 0);
  usleep(2000);
  CHECK_UINT(get(&readers), ==, 0);
  CHECK_UINT(take(&writers), ==, 0);
  CHECK_INT(pthread_rwlock_unlock(&lock), ==, 0);
  add(&ended);
}

static void readers_are_together_and_writers_alone(void) {
  const int kinds[] = {PTHREAD_RWLOCK_PREFER_READER_NP, PTHREAD_RWLOCK_PREFER_WRITER_NP,
                       PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP};
  for (size_t kind = 0; kind < 3; kind++) {
    init(kinds[kind]);
    mj_hook_counts before = hook_counts();
    for (int round = 0; round < 4; round++) {
      for (int i = 0; i < 5; i++) start(reads, NULL);
      start(writes, NULL);
      start(writes, NULL);
    }
    wait_for(&ended, 28);
    if (!in_threads()) {
      CHECK_UINT(hook_counts().lock_waits, >, before.lock_waits);
      CHECK_UINT(hook_counts().pinned, ==, before.pinned);
      CHECK_UINT(most_readers, >=, 5);
    }
    CHECK_INT(pthread_rwlock_destroy(&lock), ==, 0);
  }
}

// ---- tries and limits

static void holds(void* for_reading) {
  if (for_reading) CHECK_INT(pthread_rwlock_rdlock(&lock), ==, 0);
  else CHECK_INT(pthread_rwlock_wrlock(&lock), ==, 0);
  add(&told);
  wait_for(&told, 2);
  CHECK_INT(pthread_rwlock_unlock(&lock), ==, 0);
  add(&ended);
}

static void limits_are_kept(void) {
  const clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC};
  for (int for_reading = 0; for_reading < 2; for_reading++) {
    init(PTHREAD_RWLOCK_PREFER_READER_NP);
    start(holds, for_reading ? &lock : NULL);
    wait_for(&told, 1);
    CHECK_INT(pthread_rwlock_trywrlock(&lock), ==, EBUSY);
    CHECK_INT(pthread_rwlock_tryrdlock(&lock), ==, for_reading ? 0 : EBUSY);
    if (for_reading) CHECK_INT(pthread_rwlock_unlock(&lock), ==, 0);
    for (int i = 0; i < 2; i++) {
      struct timespec time = after(clocks[i], 10), now;
      CHECK_INT(pthread_rwlock_clockwrlock(&lock, clocks[i], &time), ==, ETIMEDOUT);
      clock_gettime(clocks[i], &now);
      CHECK(now.tv_sec > time.tv_sec || (now.tv_sec == time.tv_sec && now.tv_nsec >= time.tv_nsec));
      time = after(clocks[i], 5);
      CHECK_INT(pthread_rwlock_clockrdlock(&lock, clocks[i], &time), ==, for_reading ? 0 : ETIMEDOUT);
      if (for_reading) CHECK_INT(pthread_rwlock_unlock(&lock), ==, 0);
      time.tv_nsec = -1;
      CHECK_INT(pthread_rwlock_clockrdlock(&lock, clocks[i], &time), ==, EINVAL);
    }
    struct timespec time = after(CLOCK_REALTIME, 5);
    CHECK_INT(pthread_rwlock_timedwrlock(&lock, &time), ==, ETIMEDOUT);
    CHECK_INT(pthread_rwlock_clockwrlock(&lock, CLOCK_BOOTTIME, &time), ==, EINVAL);
    time = after(CLOCK_REALTIME, 10000);
    add(&told);
    CHECK_INT(pthread_rwlock_timedwrlock(&lock, &time), ==, 0);
    CHECK_INT(pthread_rwlock_unlock(&lock), ==, 0);
    wait_for(&ended, 1);
    CHECK_INT(pthread_rwlock_timedrdlock(&lock, &time), ==, 0);
    CHECK_INT(pthread_rwlock_unlock(&lock), ==, 0);
  }
}

// ---- one's own

static void what_one_has_oneself(void) {
  init(PTHREAD_RWLOCK_PREFER_READER_NP);
  CHECK_INT(pthread_rwlock_wrlock(&lock), ==, 0);
  CHECK_INT(pthread_rwlock_wrlock(&lock), ==, EDEADLK);
  CHECK_INT(pthread_rwlock_rdlock(&lock), ==, EDEADLK);
  CHECK_INT(pthread_rwlock_tryrdlock(&lock), ==, EBUSY);
  CHECK_INT(pthread_rwlock_unlock(&lock), ==, 0);
  CHECK_INT(pthread_rwlock_rdlock(&lock), ==, 0);
  CHECK_INT(pthread_rwlock_rdlock(&lock), ==, 0);
  struct timespec time = after(CLOCK_REALTIME, 5);
  CHECK_INT(pthread_rwlock_timedwrlock(&lock, &time), ==, ETIMEDOUT);
  CHECK_INT(pthread_rwlock_unlock(&lock), ==, 0);
  CHECK_INT(pthread_rwlock_trywrlock(&lock), ==, EBUSY);
  CHECK_INT(pthread_rwlock_unlock(&lock), ==, 0);
  CHECK_INT(pthread_rwlock_trywrlock(&lock), ==, 0);
  CHECK_INT(pthread_rwlock_unlock(&lock), ==, 0);
}

// A reader may have it once more while a writer waits.
static void reads_twice(void* argument) {
  (void)argument;
  CHECK_INT(pthread_rwlock_rdlock(&lock), ==, 0);
  add(&told);
  usleep(5000);
  CHECK_INT(pthread_rwlock_rdlock(&lock), ==, 0);
  CHECK_INT(pthread_rwlock_unlock(&lock), ==, 0);
  usleep(1000);
  CHECK_INT(pthread_rwlock_unlock(&lock), ==, 0);
  add(&ended);
}

static void a_reader_is_not_stopped_by_who_waits_for_it(void) {
  init(PTHREAD_RWLOCK_PREFER_READER_NP);
  start(reads_twice, NULL);
  start(reads_twice, NULL);
  wait_for(&told, 2);
  start(writes, NULL);
  wait_for(&ended, 3);
}

// ---- whose turn it is

static void reads_again_and_again(void* argument) {
  (void)argument;
  while (get(&ended) == 0) {
    CHECK_INT(pthread_rwlock_rdlock(&lock), ==, 0);
    add(&looped);
    usleep(1000);
    CHECK_INT(pthread_rwlock_unlock(&lock), ==, 0);
  }
}

static void a_reader_in_a_loop_does_not_keep_writers_out(void) {
  init(PTHREAD_RWLOCK_PREFER_READER_NP);
  start(reads_again_and_again, NULL);
  wait_for(&looped, 1);
  start(writes, NULL);
  wait_for(&ended, 1);
}

static void where_writers_are_preferred_readers_wait(void) {
  if (in_threads()) return;
  init(PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
  start(holds, &lock);
  wait_for(&told, 1);
  start(writes, NULL);
  usleep(1000);
  start(reads, NULL);
  usleep(3000);
  CHECK_UINT(readers, ==, 0);
  add(&told);
  wait_for(&ended, 3);
}

static void reads_without_a_timer(void* argument) {
  (void)argument;
  CHECK_INT(pthread_rwlock_rdlock(&lock), ==, 0);
  unsigned now = add(&readers);
  if (now > most_readers) most_readers = now;
  for (int i = 0; i < 20; i++) mj_yield();
  take(&readers);
  CHECK_INT(pthread_rwlock_unlock(&lock), ==, 0);
  add(&ended);
}

// Each lets the next one in.
static void readers_follow_each_other_at_once(void) {
  if (in_threads()) return;
  init(PTHREAD_RWLOCK_PREFER_READER_NP);
  CHECK_INT(pthread_rwlock_wrlock(&lock), ==, 0);
  for (int i = 0; i < 10; i++) start(reads_without_a_timer, NULL);
  usleep(1000);
  uint64_t timers = mj_scheduler_get_metrics(hooked_scheduler)->timer_expirations;
  CHECK_INT(pthread_rwlock_unlock(&lock), ==, 0);
  while (get(&ended) < 10) mj_yield();
  CHECK_UINT(most_readers, ==, 10);
  CHECK_UINT(mj_scheduler_get_metrics(hooked_scheduler)->timer_expirations, <, timers + 5);
}

static unsigned has_given_up;
static uint64_t pinned_before;

// Until the other one has given up once, and waits for good. In threads nothing tells the latter.
static void* writes_in_a_thread(void* argument) {
  CHECK_INT(pthread_rwlock_wrlock(&lock), ==, 0);
  add(&writers);
  wait_for(&has_given_up, 1);
  while (!in_threads() && pinned() < pinned_before + 2) usleep(500);
  usleep(10000);
  take(&writers);
  CHECK_INT(pthread_rwlock_unlock(&lock), ==, 0);
  return argument;
}

static void one_of_another_thread_blocks_the_thread(void) {
  init(PTHREAD_RWLOCK_PREFER_READER_NP);
  pthread_t thread;
  has_given_up = 0;
  pinned_before = pinned();
  CHECK_INT(pthread_create(&thread, NULL, writes_in_a_thread, NULL), ==, 0);
  wait_for(&writers, 1);
  struct timespec time = after(CLOCK_MONOTONIC, 2);
  CHECK_INT(pthread_rwlock_clockrdlock(&lock, CLOCK_MONOTONIC, &time), ==, ETIMEDOUT);
  add(&has_given_up);
  CHECK_INT(pthread_rwlock_rdlock(&lock), ==, 0);
  CHECK_UINT(get(&writers), ==, 0);
  if (!in_threads()) CHECK_UINT(pinned(), ==, pinned_before + 2);
  start(writes, NULL);
  usleep(3000);
  CHECK_UINT(get(&writers), ==, 0);
  CHECK_INT(pthread_rwlock_unlock(&lock), ==, 0);
  wait_for(&ended, 1);
  pthread_join(thread, NULL);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN_HOOKED(readers_are_together_and_writers_alone);
  RUN_HOOKED(limits_are_kept);
  RUN_HOOKED(what_one_has_oneself);
  RUN_HOOKED(a_reader_is_not_stopped_by_who_waits_for_it);
  RUN_HOOKED(a_reader_in_a_loop_does_not_keep_writers_out);
  RUN_HOOKED(where_writers_are_preferred_readers_wait);
  RUN_HOOKED(readers_follow_each_other_at_once);
  RUN_HOOKED(one_of_another_thread_blocks_the_thread);
  return 0;
}
