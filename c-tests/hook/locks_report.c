// What is told of waits for locks that are long, or have no end.
#define _GNU_SOURCE
#include "hooked.h"

static pthread_mutex_t mutex;
static pthread_rwlock_t rwlock;
static char warning[600], error[600];
static unsigned warnings, errors, ended;
static uint64_t warned_at_ns;

static void hears(mj_log_level level, const char* message, void* user_data) {
  (void)user_data;
  if (level == MJ_LOG_WARN) {
    snprintf(warning, sizeof warning, "%s", message);
    warnings++;
    warned_at_ns = now_ns();
  }
  if (level == MJ_LOG_ERROR) {
    snprintf(error, sizeof error, "%s", message);
    errors++;
  }
}

static void init(void) {
  mutex = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
  rwlock = (pthread_rwlock_t)PTHREAD_RWLOCK_INITIALIZER;
  warnings = errors = ended = 0;
  *warning = *error = '\0';
}

static void name_me(const char* name) { mj_task_set_name(mj_task_current(), name); }

static void has(const char* text, const char* part) {
  if (strstr(text, part) != NULL) return;
  fprintf(stderr, "\"%s\"\n", text);
  check_fail(__FILE__, __LINE__, part);
}

static void has_address(const char* text, const void* address) {
  char part[32];
  snprintf(part, sizeof part, "%p", address);
  has(text, part);
}

static __attribute__((noinline)) void lock_it(void) { CHECK_INT(pthread_mutex_lock(&mutex), ==, 0); }

static void wants(void* name) {
  name_me(name);
  lock_it();
  CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
  ended++;
}

static void both_tasks_are_named_once_for_each_place(void) {
  init();
  name_me("the holder");
  CHECK_INT(pthread_mutex_lock(&mutex), ==, 0);
  uint64_t began = now_ns();
  start(wants, "one who waits");
  while (warnings == 0) usleep(10000);
  CHECK_UINT(warned_at_ns - began, >=, 1000000000);
  CHECK_UINT(warnings, ==, 1);
  has(warning, "\"one who waits\" has waited");
  has(warning, "\"the holder\" has locked");
  has(warning, "mj_hook_set_enabled(false)");
  has(warning, "the mutex");
  // Linked with nothing shared there is only an address.
  if (strstr(warning, "wanted at 0x") == NULL) has(warning, program_invocation_short_name);
  has_address(warning, &mutex);
  usleep(1100000);
  CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
  while (ended < 1) usleep(1000);
  // The same place again.
  CHECK_INT(pthread_mutex_lock(&mutex), ==, 0);
  start(wants, "another one");
  usleep(1200000);
  CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
  while (ended < 2) usleep(1000);
  CHECK_UINT(warnings, ==, 1);
  CHECK_UINT(errors, ==, 0);
}

static void writes(void* name) {
  name_me(name);
  CHECK_INT(pthread_rwlock_wrlock(&rwlock), ==, 0);
  CHECK_INT(pthread_rwlock_unlock(&rwlock), ==, 0);
  ended++;
}

static void a_reader_is_named(void) {
  init();
  name_me("a reader");
  CHECK_INT(pthread_rwlock_rdlock(&rwlock), ==, 0);
  start(writes, "a writer");
  while (warnings == 0) usleep(10000);
  has(warning, "\"a writer\" has waited");
  has(warning, "\"a reader\" has locked");
  has(warning, "the rwlock");
  has_address(warning, &rwlock);
  CHECK_INT(pthread_rwlock_unlock(&rwlock), ==, 0);
  while (ended == 0) usleep(1000);
}

static void locks_and_ends(void* argument) {
  (void)argument;
  CHECK_INT(pthread_mutex_lock(&mutex), ==, 0);
}

static void one_that_has_ended_is_told(void) {
  init();
  name_me("");
  start(locks_and_ends, NULL);
  usleep(1000);
  char id[40];
  snprintf(id, sizeof id, "task %#llx has waited", (unsigned long long)mj_task_get_id(mj_task_current()));
  struct timespec time;
  clock_gettime(CLOCK_REALTIME, &time);
  time.tv_sec += 2;
  CHECK_INT(pthread_mutex_timedlock(&mutex, &time), ==, ETIMEDOUT);
  CHECK_UINT(warnings, ==, 1);
  has(warning, id);
  has(warning, "when it ended");
}

static void the_threads_own_is_told(void) {
  init();
  mj_hook_set_enabled(false);
  CHECK_INT(pthread_mutex_lock(&mutex), ==, 0);
  mj_hook_set_enabled(true);
  struct timespec time;
  clock_gettime(CLOCK_REALTIME, &time);
  time.tv_sec += 2;
  CHECK_INT(pthread_mutex_timedlock(&mutex, &time), ==, ETIMEDOUT);
  CHECK_UINT(warnings, ==, 1);
  has(warning, "not hooked");
  has_address(warning, &mutex);
}

static void locks_twice(void* argument) {
  (void)argument;
  name_me("a self-made knot");
  CHECK_INT(pthread_mutex_lock(&mutex), ==, 0);
  CHECK_INT(pthread_mutex_lock(&mutex), ==, 0);
  ended++;
}

static void has_a_limit(void* argument) {
  (void)argument;
  CHECK_INT(pthread_mutex_lock(&mutex), ==, 0);
  struct timespec time;
  clock_gettime(CLOCK_REALTIME, &time);
  time.tv_nsec += 10000000;
  if (time.tv_nsec >= 1000000000) time.tv_nsec -= 1000000000, time.tv_sec++;
  CHECK_INT(pthread_mutex_timedlock(&mutex, &time), ==, ETIMEDOUT);
  CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
  ended++;
}

static void reads_and_writes(void* argument) {
  (void)argument;
  CHECK_INT(pthread_rwlock_rdlock(&rwlock), ==, 0);
  CHECK_INT(pthread_rwlock_wrlock(&rwlock), ==, 0);
  ended++;
}

static void a_limit_is_no_knot_but_a_reader_that_writes_is(void) {
  init();
  start(has_a_limit, NULL);
  while (ended == 0) usleep(1000);
  CHECK_UINT(errors, ==, 0);
  start(reads_and_writes, NULL);
  while (errors == 0) usleep(1000);
  has(error, "has locked the rwlock");
  CHECK_INT(pthread_rwlock_unlock(&rwlock), ==, 0);
  while (ended == 1) usleep(1000);
}

static void who_waits_for_itself_is_told_at_once(void) {
  init();
  start(locks_twice, NULL);
  while (errors == 0) usleep(100);
  has(error, "\"a self-made knot\" has locked the mutex");
  has_address(error, &mutex);
  usleep(1200000);  // The others go on.
  CHECK_UINT(ended, ==, 0);
  CHECK_UINT(errors, ==, 1);
  CHECK_UINT(warnings, ==, 0);
  CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
  while (ended == 0) usleep(1000);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  if (in_threads()) return 0;
  mj_log_set_callback(hears, NULL);
  RUN_HOOKED(both_tasks_are_named_once_for_each_place);
  RUN_HOOKED(a_reader_is_named);
  RUN_HOOKED(one_that_has_ended_is_told);
  RUN_HOOKED(the_threads_own_is_told);
  RUN_HOOKED(a_limit_is_no_knot_but_a_reader_that_writes_is);
  RUN_HOOKED(who_waits_for_itself_is_told_at_once);
  return 0;
}
