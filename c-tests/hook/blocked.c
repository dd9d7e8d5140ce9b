// What is not hooked and waits for other threads, and a lock that one has: the thread stands still with all its
// tasks, and mj_scheduler_report_long_turns() tells which one it is, and where.
#define _GNU_SOURCE
#include "../watchdog.h"
#include "hooked.h"

#include <link.h>
#include <linux/futex.h>
#include <semaphore.h>
#include <sys/syscall.h>
#include <threads.h>

// ---- what the watchdog tells, on its thread

static struct {
  pthread_mutex_t lock;
  unsigned reports;
  char report[600], stack[2000];
} told = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void hears(mj_log_level level, const char* message, void* user_data) {
  (void)level;
  (void)user_data;
  pthread_mutex_lock(&told.lock);
  if (strstr(message, "without suspending") != NULL) {
    told.reports++;
    snprintf(told.report, sizeof told.report, "%s", message);
  }
  // In several lines, if it is deep.
  size_t length = strlen(told.stack);
  if (strncmp(message, "stack of task ", 14) == 0)
    snprintf(told.stack + length, sizeof told.stack - length, "%s\n", message);
  pthread_mutex_unlock(&told.lock);
}

// Where the program's addresses are relative to.
static int take_base(struct dl_phdr_info* info, size_t size, void* base) {
  (void)size;
  *(uintptr_t*)base = info->dlpi_addr;
  return 1;
}

// Whether the stack has a call of a function, which is short.
static bool is_in_the_stack(void (*function)(void)) {
  uintptr_t base = 0, first = (uintptr_t)function;
  dl_iterate_phdr(take_base, &base);
  for (const char* at = told.stack; (at = strstr(at, "+0x")) != NULL; at++) {
    uintptr_t address = base + strtoull(at + 1, NULL, 16);
    if (address >= first && address < first + 400) return true;
  }
  return false;
}

// ---- ways to wait for another thread, and what ends each

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static mtx_t c11_mutex;
static cnd_t c11_condition;
static sem_t semaphore;
static pthread_barrier_t barrier;
static unsigned word;

static void waits_for_a_condition(void) {
  CHECK_INT(pthread_mutex_lock(&mutex), ==, 0);
  while (__atomic_load_n(&word, __ATOMIC_ACQUIRE) == 0)
    CHECK_INT(pthread_cond_wait(&condition, &mutex), ==, 0);
  CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
}

static void signals_the_condition(void) {
  CHECK_INT(pthread_mutex_lock(&mutex), ==, 0);
  __atomic_store_n(&word, 1, __ATOMIC_RELEASE);
  CHECK_INT(pthread_cond_signal(&condition), ==, 0);
  CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
}

static void waits_for_one_of_c11(void) {
  CHECK_INT(mtx_lock(&c11_mutex), ==, thrd_success);
  while (__atomic_load_n(&word, __ATOMIC_ACQUIRE) == 0)
    CHECK_INT(cnd_wait(&c11_condition, &c11_mutex), ==, thrd_success);
  CHECK_INT(mtx_unlock(&c11_mutex), ==, thrd_success);
}

static void signals_that_of_c11(void) {
  CHECK_INT(mtx_lock(&c11_mutex), ==, thrd_success);
  __atomic_store_n(&word, 1, __ATOMIC_RELEASE);
  CHECK_INT(cnd_signal(&c11_condition), ==, thrd_success);
  CHECK_INT(mtx_unlock(&c11_mutex), ==, thrd_success);
}

static void waits_for_a_semaphore(void) { CHECK_INT(sem_wait(&semaphore), ==, 0); }

static void posts(void) { CHECK_INT(sem_post(&semaphore), ==, 0); }

static void waits_for_others(void) { CHECK_INT(pthread_barrier_wait(&barrier), <=, 0); }

// As locks of Rust and C++ do that are no pthread_mutex_t.
static void waits_for_a_word(void) {
  while (__atomic_load_n(&word, __ATOMIC_ACQUIRE) == 0)
    syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}

static void changes_the_word(void) {
  __atomic_store_n(&word, 1, __ATOMIC_RELEASE);
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

// The other thread has it from the beginning.
static void waits_for_a_lock(void) {
  CHECK_INT(pthread_mutex_lock(&mutex), ==, 0);
  CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
}

static void locks(void) { CHECK_INT(pthread_mutex_lock(&mutex), ==, 0); }
static void unlocks(void) { CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0); }

static const struct way {
  const char* name;
  void (*wait)(void);
  void (*release)(void);
  void (*begin)(void);
  unsigned pinned;
} ways[] = {
    {"of a condition", waits_for_a_condition, signals_the_condition, NULL, 0},
    {"of C11", waits_for_one_of_c11, signals_that_of_c11, NULL, 0},
    {"of a semaphore", waits_for_a_semaphore, posts, NULL, 0},
    {"of a barrier", waits_for_others, waits_for_others, NULL, 0},
    {"of a futex", waits_for_a_word, changes_the_word, NULL, 0},
    {"of a lock", waits_for_a_lock, unlocks, locks, 1},
};

// ---- the test

static const struct way* way;
static unsigned begun;

static bool is_told(void) {
  // Valgrind and ThreadSanitizer give the thread its signal late, so its stack may not be seen.
  bool is_late = under_valgrind() || under_tsan();
  pthread_mutex_lock(&told.lock);
  bool is_it = told.reports > 0 && (is_late || is_in_the_stack(way->wait));
  pthread_mutex_unlock(&told.lock);
  return is_it;
}

static void* ends_the_wait(void* unused) {
  (void)unused;
  if (way->begin != NULL) way->begin();
  __atomic_store_n(&begun, 1, __ATOMIC_RELEASE);
  if (in_threads()) usleep(20000);
  // There is no other way out: it waits until all is told.
  else while (!is_told()) usleep(1000);
  way->release();
  return NULL;
}

static void others_run(void* unused) {
  (void)unused;
  usleep(1000);
  add_one(&begun);
}

static void who_stands_still_is_told(void) {
  if (!in_threads()) CHECK_INT(mj_scheduler_report_long_turns(hooked_scheduler, 20000000), ==, 0);
  for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
    way = &ways[i];
    pthread_mutex_lock(&told.lock);
    told.reports = 0;
    *told.report = *told.stack = '\0';
    pthread_mutex_unlock(&told.lock);
    begun = 0;
    __atomic_store_n(&word, 0, __ATOMIC_RELEASE);
    char name[40];
    snprintf(name, sizeof name, "a waiter %s", way->name);
    if (!in_threads()) mj_task_set_name(mj_task_current(), name);
    uint64_t pinned_before = pinned();
    pthread_t other;
    CHECK_INT(pthread_create(&other, NULL, ends_the_wait, NULL), ==, 0);
    wait_until(&begun, 1);
    way->wait();
    CHECK_INT(pthread_join(other, NULL), ==, 0);
    if (!in_threads()) {
      CHECK_UINT(pinned() - pinned_before, ==, way->pinned);
      if (!under_valgrind() && !under_tsan()) {
        CHECK_UINT(told.reports, >=, 1);  // A busy machine may have held it up before.
        CHECK(strstr(told.report, name) != NULL);
      }
    }
    // The thread goes on with the others.
    start(others_run, NULL);
    wait_until(&begun, 2);
  }
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  mj_log_set_callback(hears, NULL);
  CHECK_INT(sem_init(&semaphore, 0, 0), ==, 0);
  CHECK_INT(pthread_barrier_init(&barrier, NULL, 2), ==, 0);
  CHECK_INT(mtx_init(&c11_mutex, mtx_plain), ==, thrd_success);
  CHECK_INT(cnd_init(&c11_condition), ==, thrd_success);
  RUN_HOOKED(who_stands_still_is_told);
  wait_until_it_is_gone();
  return 0;
}
