// Locks in what only tasks have: cancellations, deadlines, ends. And what may happen to them, and must
// not break anything: signal handlers, children, locks that are left behind.
#define _GNU_SOURCE
#include "hooked.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>

static pthread_mutex_t mutex, recursive = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static pthread_rwlock_t rwlock;
static unsigned told, ended;
static int state;

static void init(void) {
  mutex = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
  recursive = (pthread_mutex_t)PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
  rwlock = (pthread_rwlock_t)PTHREAD_RWLOCK_INITIALIZER;
  told = ended = 0;
  state = 0;
}

static void wait_for(const unsigned* number, unsigned value) {
  while (*number < value) CHECK_INT(usleep(500), ==, 0);
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

// ---- a wait that nothing ends but the lock

static void waits_though_canceled(void* argument) {
  pthread_mutex_t* which = argument;
  told++;
  CHECK_INT(pthread_mutex_lock(which), ==, 0);
  CHECK_INT(state, ==, 1);
  CHECK_INT(usleep(1000), ==, -1);
  CHECK_INT(errno, ==, ECANCELED);
  CHECK_INT(pthread_mutex_unlock(which), ==, 0);
  ended++;
}

static void a_canceled_task_gets_the_lock_or_waits(void) {
  pthread_mutex_t* both[] = {&mutex, &recursive};
  for (int i = 0; i < 2; i++) {
    init();
    CHECK_INT(pthread_mutex_lock(both[i]), ==, 0);
    mj_task_id waiting = start(waits_though_canceled, both[i]);
    mj_task_id canceled_before = start(waits_though_canceled, both[i]);
    CHECK_INT(mj_scheduler_cancel(hooked_scheduler, canceled_before), ==, 0);
    wait_for(&told, 2);
    CHECK_INT(mj_scheduler_cancel(hooked_scheduler, waiting), ==, 0);
    uint64_t before = mj_scheduler_get_metrics(hooked_scheduler)->task_executions;
    usleep(50000);
    // They do not spin.
    CHECK_UINT(mj_scheduler_get_metrics(hooked_scheduler)->task_executions, <, before + 20);
    mj_task* task = mj_task_find(hooked_scheduler, waiting);
    for (int woken = 0; woken < 5; woken++) {
      mj_task_wake(task);
      usleep(100);
    }
    CHECK_UINT(ended, ==, 0);
    state = 1;
    CHECK_INT(pthread_mutex_unlock(both[i]), ==, 0);
    wait_for(&ended, 2);
  }
}

static void waits_past_its_deadline(void* argument) {
  (void)argument;
  CHECK_INT(mj_task_set_deadline(1, NULL), ==, 0);
  told++;
  CHECK_INT(pthread_mutex_lock(&mutex), ==, 0);
  CHECK_INT(state, ==, 1);
  CHECK_INT(mj_sleep_ns(1000000), ==, -ETIMEDOUT);
  CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
  ended++;
}

static void waits_after_its_end(void* argument) {
  (void)argument;
  mj_task_exit();
  told++;
  CHECK_INT(pthread_mutex_lock(&mutex), ==, 0);
  CHECK_INT(state, ==, 1);
  CHECK_INT(mj_sleep_ns(1000000), ==, -ECANCELED);
  CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
  ended++;
}

static void neither_a_deadline_nor_an_end_is_in_the_way(void) {
  init();
  CHECK_INT(pthread_mutex_lock(&mutex), ==, 0);
  start(waits_past_its_deadline, NULL);
  start(waits_after_its_end, NULL);
  wait_for(&told, 2);
  uint64_t before = mj_scheduler_get_metrics(hooked_scheduler)->task_executions;
  usleep(50000);
  CHECK_UINT(mj_scheduler_get_metrics(hooked_scheduler)->task_executions, <, before + 20);
  CHECK_UINT(ended, ==, 0);
  state = 1;
  CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
  wait_for(&ended, 2);
}

// ---- who is not known

static void wants(void* argument) {
  CHECK_INT(pthread_mutex_lock(argument), ==, 0);
  CHECK_INT(state, ==, 1);
  CHECK_INT(pthread_mutex_unlock(argument), ==, 0);
  ended++;
}

static void a_lock_by_calls_that_are_not_hooked_is_waited_for(void) {
  init();
  mj_hook_set_enabled(false);
  CHECK_INT(pthread_mutex_lock(&mutex), ==, 0);
  mj_hook_set_enabled(true);
  uint64_t before = pinned();
  start(wants, &mutex);
  usleep(5000);
  CHECK_UINT(ended, ==, 0);
  state = 1;
  mj_hook_set_enabled(false);
  CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
  mj_hook_set_enabled(true);
  wait_for(&ended, 1);
  CHECK_UINT(pinned(), ==, before);
}

static void leaves_it_locked(void* argument) {
  CHECK_INT(pthread_mutex_lock(argument), ==, 0);
  told++;
}

static void a_task_may_end_with_a_lock(void) {
  init();
  start(leaves_it_locked, &recursive);
  start(leaves_it_locked, &mutex);
  wait_for(&told, 2);
  CHECK_INT(lock_within(&recursive, 3), ==, ETIMEDOUT);
  CHECK_INT(lock_within(&mutex, 3), ==, ETIMEDOUT);
  start(wants, &mutex);
  usleep(3000);
  state = 1;
  CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0); // Which anyone may do.
  wait_for(&ended, 1);
}

// Another lock may be where one was that is not unlocked any more.
static void memory_of_a_lock_is_used_again(void) {
  for (int i = 0; i < 20; i++) {
    init();
    union {
      pthread_mutex_t mutex;
      pthread_rwlock_t rwlock;
    }* memory = allocate(sizeof *memory);
    CHECK_INT(pthread_mutex_init(&memory->mutex, NULL), ==, 0);
    start(leaves_it_locked, &memory->mutex);
    wait_for(&told, 1);
    CHECK_INT(pthread_rwlock_init(&memory->rwlock, NULL), ==, 0);
    CHECK_INT(pthread_rwlock_rdlock(&memory->rwlock), ==, 0);
    CHECK_INT(pthread_rwlock_tryrdlock(&memory->rwlock), ==, 0);
    memory->mutex = (pthread_mutex_t)PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
    CHECK_INT(pthread_mutex_lock(&memory->mutex), ==, 0);
    CHECK_INT(pthread_mutex_lock(&memory->mutex), ==, 0);
    start(wants, &memory->mutex);
    usleep(1000);
    state = 1;
    CHECK_INT(pthread_mutex_unlock(&memory->mutex), ==, 0);
    CHECK_INT(pthread_mutex_unlock(&memory->mutex), ==, 0);
    wait_for(&ended, 1);
    CHECK_INT(pthread_rwlock_init(&memory->rwlock, NULL), ==, 0);
    CHECK_INT(pthread_rwlock_wrlock(&memory->rwlock), ==, 0);
    CHECK_INT(pthread_rwlock_unlock(&memory->rwlock), ==, 0);
    free(memory);
  }
}

// ---- many

enum { MUTEXES = 700, TAKERS = 4 };
static pthread_mutex_t many[MUTEXES];
static int depths[MUTEXES], owners[MUTEXES];

static void takes_and_leaves(void* argument) {
  int self = (int)(intptr_t)argument;
  uint64_t random = 88172645463325252u + (uint64_t)self;
  for (size_t step = 0; step < times(20000, 2000); step++) {
    int i = (int)(next_random(&random) % MUTEXES);
    bool is_own = depths[i] > 0 && owners[i] == self, is_others = depths[i] > 0 && owners[i] != self;
    if (is_own && next_random(&random) % 2 == 0) {
      CHECK_INT(pthread_mutex_unlock(&many[i]), ==, 0);
      depths[i]--;
    } else {
      CHECK_INT(pthread_mutex_trylock(&many[i]), ==, is_others ? EBUSY : 0);
      if (!is_others) owners[i] = self, depths[i]++;
    }
    if (step % 100 == 0) usleep(0);
  }
  told++;
  wait_for(&told, TAKERS);
  for (int i = 0; i < MUTEXES; i++) {
    CHECK_INT(pthread_mutex_trylock(&many[i]), ==, depths[i] > 0 && owners[i] != self ? EBUSY : 0);
    if (depths[i] == 0 || owners[i] == self) CHECK_INT(pthread_mutex_unlock(&many[i]), ==, 0);
  }
  ended++;
  wait_for(&ended, TAKERS);
  for (int i = 0; i < MUTEXES; i++)
    for (; owners[i] == self && depths[i] > 0; depths[i]--) CHECK_INT(pthread_mutex_unlock(&many[i]), ==, 0);
}

static void many_are_known(void) {
  init();
  for (int i = 0; i < MUTEXES; i++) many[i] = recursive, depths[i] = 0;
  for (intptr_t i = 0; i < TAKERS; i++) start(takes_and_leaves, (void*)i);
  while (ended < TAKERS) usleep(2000);
  usleep(2000);
  for (int i = 0; i < MUTEXES; i++) CHECK_INT(pthread_mutex_lock(&many[i]), ==, 0);
  for (int i = 0; i < MUTEXES; i++) CHECK_INT(pthread_mutex_unlock(&many[i]), ==, 0);
}

static size_t mapped_pages(void) {
  size_t pages = 0;
  FILE* file = fopen("/proc/self/statm", "r");
  CHECK(file != NULL);
  CHECK_INT(fscanf(file, "%zu", &pages), ==, 1);
  fclose(file);
  return pages;
}

static pthread_mutex_t once[100000];

static void what_is_unlocked_is_forgotten(void) {
  init();
  pthread_mutex_lock(&mutex);
  pthread_mutex_unlock(&mutex);
  for (size_t i = 0; i < 100000; i++) once[i] = recursive;
  size_t before = mapped_pages();
  for (size_t i = 0; i < 100000; i++) {
    CHECK_INT(pthread_mutex_lock(&once[i]), ==, 0);
    CHECK_INT(pthread_mutex_lock(&once[i]), ==, 0);
    CHECK_INT(pthread_mutex_unlock(&once[i]), ==, 0);
    CHECK_INT(pthread_mutex_unlock(&once[i]), ==, 0);
  }
  memset(once, 0, sizeof once);
  pthread_rwlock_t* rwlocks = (pthread_rwlock_t*)once;
  for (size_t i = 0; i < 70000; i++) {
    CHECK_INT(pthread_rwlock_rdlock(&rwlocks[i]), ==, 0);
    CHECK_INT(pthread_rwlock_rdlock(&rwlocks[i]), ==, 0);
    CHECK_INT(pthread_rwlock_unlock(&rwlocks[i]), ==, 0);
    CHECK_INT(pthread_rwlock_unlock(&rwlocks[i]), ==, 0);
  }
  memset(once, 0, sizeof once);
  if (!sanitized()) CHECK_UINT(mapped_pages(), <, before + 256);
}

// A lock is one of the thread then, as without the library.
static void take_without_memory(bool has_table) {
  if (under_valgrind() || sanitized()) return;
  init();
  if (has_table) {
    CHECK_INT(pthread_mutex_lock(&once[200]), ==, 0);
    CHECK_INT(pthread_mutex_unlock(&once[200]), ==, 0);
  }
  struct rlimit none = {1 << 20, RLIM_INFINITY}, before;
  CHECK_INT(getrlimit(RLIMIT_AS, &before), ==, 0);
  none.rlim_max = before.rlim_max;
  CHECK_INT(setrlimit(RLIMIT_AS, &none), ==, 0);
  for (int i = 0; i < 200; i++) {
    CHECK_INT(pthread_mutex_lock(&once[i]), ==, 0);
    CHECK_INT(pthread_rwlock_rdlock(&rwlock), ==, 0);
  }
  CHECK_INT(pthread_mutex_trylock(&once[199]), ==, EBUSY);
  CHECK_INT(setrlimit(RLIMIT_AS, &before), ==, 0);
  for (int i = 0; i < 200; i++) {
    CHECK_INT(pthread_mutex_unlock(&once[i]), ==, 0);
    CHECK_INT(pthread_rwlock_unlock(&rwlock), ==, 0);
  }
  CHECK_INT(pthread_rwlock_trywrlock(&rwlock), ==, 0);
  CHECK_INT(pthread_rwlock_unlock(&rwlock), ==, 0);
}

static void without_memory_locks_are_not_known(void) { take_without_memory(false); }
static void nor_are_those_that_the_table_has_no_room_for(void) { take_without_memory(true); }

// ---- signal handlers

static volatile sig_atomic_t handled;
static pthread_mutex_t of_handler = PTHREAD_MUTEX_INITIALIZER;

// Nothing that a handler may do, but some do it.
static void handler(int number) {
  (void)number;
  CHECK_INT(pthread_mutex_trylock(&mutex), ==, EBUSY);
  CHECK_INT(lock_within(&recursive, 0), ==, ETIMEDOUT);
  if (pthread_mutex_trylock(&of_handler) == 0) pthread_mutex_unlock(&of_handler);
  handled++;
}

static void waits_for_three(void* argument) {
  (void)argument;
  CHECK_INT(pthread_mutex_lock(&mutex), ==, 0);
  CHECK_INT(pthread_mutex_lock(&recursive), ==, 0);
  told++;
  wait_for(&told, 2);
  CHECK_INT(pthread_mutex_unlock(&recursive), ==, 0);
  CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
  ended++;
}

static void handlers_do_not_wait(void) {
  // A timed lock of what the thread has would end; one without a limit would block the thread for ever.
  init();
  recursive = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
  start(waits_for_three, NULL);
  wait_for(&told, 1);
  handled = 0;
  struct sigaction action = {.sa_handler = handler}, before;
  sigaction(SIGUSR1, &action, &before);
  uint64_t pinned_before = pinned();
  raise(SIGUSR1);
  CHECK_INT(handled, ==, 1);
  CHECK_UINT(pinned(), >, pinned_before);
  sigaction(SIGUSR1, &before, NULL);
  told++;
  wait_for(&ended, 1);
}

static void counts_up(int number) {
  (void)number;
  for (int i = 0; i < 3; i++)
    if (pthread_mutex_trylock(&many[i]) == 0) pthread_mutex_unlock(&many[i]);
  handled++;
}

static void handlers_at_any_moment(void) {
  init();
  for (int i = 0; i < MUTEXES; i++) many[i] = recursive;
  struct sigaction action = {.sa_handler = counts_up};
  sigaction(SIGALRM, &action, NULL);
  handled = 0;
  struct itimerval timer = {{0, 200}, {0, 200}}, none = {{0, 0}, {0, 0}};
  setitimer(ITIMER_REAL, &timer, NULL);
  while (handled < 200) {
    for (int i = 0; i < MUTEXES; i++) CHECK_INT(pthread_mutex_lock(&many[i]), ==, 0);
    for (int i = 0; i < MUTEXES; i++) CHECK_INT(pthread_mutex_unlock(&many[i]), ==, 0);
  }
  setitimer(ITIMER_REAL, &none, NULL);
  signal(SIGALRM, SIG_IGN); // The last one may still be on its way.
}

// ---- children

static void a_child_goes_on_with_its_locks(void) {
  init();
  CHECK_INT(pthread_mutex_lock(&mutex), ==, 0);
  start(wants, &mutex);
  usleep(1000);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    alarm(20);
    if (pthread_mutex_unlock(&mutex) != 0 || pthread_mutex_lock(&mutex) != 0) _exit(1);
    if (pthread_rwlock_wrlock(&rwlock) != 0 || pthread_rwlock_unlock(&rwlock) != 0) _exit(2);
    if (pthread_mutex_unlock(&mutex) != 0) _exit(3);
    state = 1;
    for (int i = 0; ended == 0 && i < 10000; i++) mj_sleep_ns(1000000); // Its copy of the other task.
    _exit(ended == 1 ? 0 : 4);
  }
  int status;
  while (waitpid(child, &status, WNOHANG) == 0) usleep(1000);
  CHECK_INT(status, ==, 0);
  CHECK_UINT(ended, ==, 0);
  state = 1;
  CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
  wait_for(&ended, 1);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  if (in_threads()) return 0;
#ifdef __SANITIZE_THREAD__
  fprintf(stderr, "ThreadSanitizer reports locks that are left behind, and knows 64 at a time\n");
  return check_skipped;
#endif
  RUN_HOOKED(a_canceled_task_gets_the_lock_or_waits);
  RUN_HOOKED(neither_a_deadline_nor_an_end_is_in_the_way);
  RUN_HOOKED(a_lock_by_calls_that_are_not_hooked_is_waited_for);
  RUN_HOOKED(a_task_may_end_with_a_lock);
  RUN_HOOKED(memory_of_a_lock_is_used_again);
  RUN_HOOKED(many_are_known);
  RUN_HOOKED(handlers_at_any_moment);
  RUN_HOOKED(what_is_unlocked_is_forgotten);
  RUN_HOOKED(without_memory_locks_are_not_known);
  RUN_HOOKED(nor_are_those_that_the_table_has_no_room_for);
  RUN_HOOKED(handlers_do_not_wait);
  RUN_HOOKED(a_child_goes_on_with_its_locks);
  return 0;
}
