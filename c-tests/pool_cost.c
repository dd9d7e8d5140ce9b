// What the library's threads and posts cost: memory, and no processor time while nobody uses them.
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

// Others than the library have threads and memory there.
static bool is_measurable(void) { return !under_valgrind() && !emulated() && !sanitized(); }

static void does_nothing(void* argument) { (void)argument; }

// ---- Memory

static void a_queued_post_takes_at_most_64_bytes(void) {
  enum { QUEUED = 1000, MOST_BYTES = 64 };
  mj_scheduler* scheduler = new_scheduler();
  mj_remote* remote = mj_scheduler_remote(scheduler);
  CHECK_UINT(sizeof(mj_post_node), <=, MOST_BYTES);
  size_t before = mallinfo2().uordblks;
  for (int i = 0; i < QUEUED; i++) CHECK_INT(mj_post(remote, does_nothing, NULL, NULL), ==, 0);
  // With what C's allocator has beside each block.
  size_t bytes = mallinfo2().uordblks - before;
  if (is_measurable()) {
    CHECK_UINT(bytes, >, 0);
    CHECK_UINT(bytes, <=, QUEUED * MOST_BYTES);
  }
  mj_remote_release(remote);
  mj_scheduler_destroy(scheduler);
}

enum {
  THREADS = 33,  // Of which one is there before.
  MOST_THREAD_BYTES = 16 * 1024,
  PAGE_BYTES = 4096,
};

static atomic_int waiting, blocked;
static atomic_size_t in_stacks;
static atomic_bool may_go_on, may_end;

// How much of its stack the calling thread has used.
static size_t stack_bytes(void) {
  pthread_attr_t attributes;
  void* stack;
  size_t size, pages = 0;
  CHECK_INT(pthread_getattr_np(pthread_self(), &attributes), ==, 0);
  CHECK_INT(pthread_attr_getstack(&attributes, &stack, &size), ==, 0);
  CHECK_INT(pthread_attr_destroy(&attributes), ==, 0);
  int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  CHECK_INT(fd, >=, 0);
  for (size_t page = 0; page < size / PAGE_BYTES; page++) {
    uint64_t entry = 0;
    off_t place = (off_t)(((uintptr_t)stack / PAGE_BYTES + page) * sizeof entry);
    CHECK_INT(pread(fd, &entry, sizeof entry, place), ==, sizeof entry);
    pages += entry >> 63;  // Whether there is memory.
  }
  close(fd);
  return pages * PAGE_BYTES;
}

static void is_blocked(void* argument) {
  (void)argument;
  if (is_measurable()) atomic_fetch_add(&in_stacks, stack_bytes());
  atomic_fetch_add(&blocked, 1);
  while (!atomic_load(&may_end)) usleep(1000);
}

static void offloads_twice(void* argument) {
  (void)argument;
  // What the call itself takes is taken now.
  CHECK_INT(mj_offload_in(MJ_OFFLOAD_FILE, does_nothing, NULL, NULL, MJ_FOREVER), ==, 0);
  atomic_fetch_add(&waiting, 1);
  while (!atomic_load(&may_go_on)) mj_sleep_ns(1000000);
  CHECK_INT(mj_offload_in(MJ_OFFLOAD_FILE, is_blocked, NULL, NULL, MJ_FOREVER), ==, 0);
}

// Memory of the process that is no file's, and the page tables of it.
static size_t memory_bytes(void) {
  char line[256];
  size_t part, kib = 0;
  FILE* file = fopen("/proc/self/smaps", "r");
  CHECK(file != NULL);
  while (fgets(line, sizeof line, file) != NULL) {
    if (sscanf(line, "Anonymous: %zu kB", &part) == 1) kib += part;
  }
  fclose(file);
  file = fopen("/proc/self/status", "r");
  CHECK(file != NULL);
  while (fgets(line, sizeof line, file) != NULL) {
    if (sscanf(line, "VmPTE: %zu kB", &part) == 1) kib += part;
  }
  fclose(file);
  return kib * 1024;
}

static void compares_memory(void* argument) {
  (void)argument;
  memory_bytes();  // What it takes itself.
  while (atomic_load(&waiting) < THREADS) mj_sleep_ns(1000000);
  size_t before = memory_bytes();
  CHECK_INT(mj_offload_set_limit(MJ_OFFLOAD_FILE, THREADS), ==, 0);
  atomic_store(&may_go_on, true);
  while (atomic_load(&blocked) < THREADS) mj_sleep_ns(1000000);
  size_t bytes = memory_bytes() - before, of_stacks = atomic_load(&in_stacks);
  fprintf(stderr, "%zu bytes a thread, and %zu of its stack\n",
          (bytes - of_stacks) / (THREADS - 1), of_stacks / THREADS);
  if (is_measurable()) CHECK_UINT(bytes - of_stacks, <=, (THREADS - 1) * MOST_THREAD_BYTES);
  atomic_store(&may_end, true);
}

// Besides what it has used of its stack, but with the page tables of that.
static void a_thread_of_the_pool_takes_at_most_16_kib(void) {
  CHECK_INT(mj_offload_set_limit(MJ_OFFLOAD_FILE, 1), ==, 0);
  mj_scheduler* scheduler = new_scheduler();
  for (int i = 0; i < THREADS; i++) CHECK_INT(mj_go(scheduler, offloads_twice, NULL, NULL), ==, 0);
  CHECK_INT(mj_go(scheduler, compares_memory, NULL, NULL), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_scheduler_destroy(scheduler);
}

// ---- Idleness

static int pipe_ends[2];

// How often other threads than this one have gone to sleep or been interrupted, and how many there are.
static unsigned long switches_of_others(int* threads) {
  char path[300], line[128];
  unsigned long sum = 0, count;
  DIR* directory = opendir("/proc/self/task");
  CHECK(directory != NULL);
  *threads = 0;
  for (struct dirent* entry; (entry = readdir(directory)) != NULL;) {
    if (entry->d_name[0] == '.' || atoi(entry->d_name) == (int)gettid()) continue;
    snprintf(path, sizeof path, "/proc/self/task/%s/status", entry->d_name);
    FILE* file = fopen(path, "r");
    if (file == NULL) continue;  // It has ended.
    ++*threads;
    while (fgets(line, sizeof line, file) != NULL) {
      const char* digits = strchr(line, ':');
      if (strstr(line, "ctxt_switches:") == NULL) continue;
      if (sscanf(digits, ":%lu", &count) == 1) sum += count;
    }
    fclose(file);
  }
  closedir(directory);
  return sum;
}

static uint64_t cpu_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

// Neither switches nor computing: so no system calls either. One such window is enough: while the machine is
// busy, threads may fall asleep late.
static void wait_for_a_quiet_window(int most_threads, useconds_t window_us) {
  for (int windows = 0; windows < 40; windows++) {
    int before, after;
    unsigned long switches = switches_of_others(&before);
    uint64_t all = cpu_ns(CLOCK_PROCESS_CPUTIME_ID), own = cpu_ns(CLOCK_THREAD_CPUTIME_ID);
    usleep(window_us);
    own = cpu_ns(CLOCK_THREAD_CPUTIME_ID) - own;
    all = cpu_ns(CLOCK_PROCESS_CPUTIME_ID) - all;
    bool is_quiet = switches_of_others(&after) == switches && all - own < 1000000;
    if (is_quiet && before == after && after <= most_threads) return;
  }
  CHECK(!"something wakes the process though nobody does anything");
}

// The pool's threads sleep; and then, in the long form of the test, they have ended.
static void* sees_no_switches(void* argument) {
  (void)argument;
  mj_offload_counts counts;
  CHECK_INT(mj_offload_get_counts(MJ_OFFLOAD_FILE, &counts, sizeof counts), ==, 0);
  CHECK_UINT(counts.threads, >, 0);
  uint64_t idle_since_ns = now_ns();
  wait_for_a_quiet_window(1 + (int)counts.threads, 300000);
  if (getenv("MAJJEN_TORTURE") != NULL) {
    // They stay for ten seconds.
    while (now_ns() - idle_since_ns < 8000000000) usleep(10000);
    CHECK_INT(mj_offload_get_counts(MJ_OFFLOAD_FILE, &counts, sizeof counts), ==, 0);
    if (now_ns() - idle_since_ns < 9500000000) CHECK_UINT(counts.threads, >, 0);
    while (counts.threads > 0) {
      usleep(100000);
      CHECK_INT(mj_offload_get_counts(MJ_OFFLOAD_FILE, &counts, sizeof counts), ==, 0);
    }
    wait_for_a_quiet_window(1, 3000000);
  }
  CHECK_INT(write(pipe_ends[1], "x", 1), ==, 1);
  return NULL;
}

static void offloads_once(void* argument) {
  (void)argument;
  CHECK_INT(mj_offload_in(MJ_OFFLOAD_FILE, does_nothing, NULL, NULL, MJ_FOREVER), ==, 0);
}

static void waits_for_the_end(void* argument) {
  char byte;
  for (int i = 0; i < 4; i++) CHECK_INT(mj_go(argument, offloads_once, NULL, NULL), ==, 0);
  offloads_once(NULL);
  pthread_t other;
  CHECK_INT(pthread_create(&other, NULL, sees_no_switches, NULL), ==, 0);
  CHECK_INT(mj_read(pipe_ends[0], &byte, 1, MJ_FOREVER), ==, 1);
  CHECK_INT(pthread_join(other, NULL), ==, 0);
}

// With a warm pool.
static void an_idle_process_is_not_woken(void) {
  CHECK_INT(pipe(pipe_ends), ==, 0);
  mj_scheduler* scheduler = new_scheduler();
  CHECK_INT(mj_go(scheduler, waits_for_the_end, scheduler, NULL), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_scheduler_destroy(scheduler);
  close(pipe_ends[0]);
  close(pipe_ends[1]);
}

int main(void) {
  RUN(a_queued_post_takes_at_most_64_bytes);
  RUN(a_thread_of_the_pool_takes_at_most_16_kib);
  // Their threads take turns by locks of their own, or are more than the program's.
  if (is_measurable()) RUN(an_idle_process_is_not_woken);
  return 0;
}
