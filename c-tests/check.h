// Checks for the test programs. A failed check prints both values and its place, and ends the
// process with status 1. Each program tests one area, in functions that main() passes to RUN().
#ifndef CHECK_H
#define CHECK_H

#ifndef _GNU_SOURCE
#error "define _GNU_SOURCE before the first include"
#endif

#include "majjen.h"

#include <dirent.h>
#include <unistd.h>

// The function that RUN() is running, for the messages.
static const char* check_running = "main";

static inline void check_fail(const char* file, int line, const char* text) {
  fflush(stdout);
  fprintf(stderr, "%s:%d: in %s: does not hold: %s\n", file, line, check_running, text);
  fflush(NULL);
  // Not exit(): a leak report at exit would bury the message.
  _exit(1);
}

#define CHECK(condition) \
  do { \
    if (!(condition)) check_fail(__FILE__, __LINE__, #condition); \
  } while (0)

// For numbers; `op` is a comparison: CHECK_INT(entries, ==, 1).
#define CHECK_INT(left, op, right) \
  do { \
    long long check_left = (long long)(left); \
    long long check_right = (long long)(right); \
    if (!(check_left op check_right)) { \
      char check_text[256]; \
      snprintf(check_text, sizeof check_text, "%s: %lld %s %lld", #left " " #op " " #right, \
               check_left, #op, check_right); \
      check_fail(__FILE__, __LINE__, check_text); \
    } \
  } while (0)

// For times and other unsigned 64-bit numbers.
#define CHECK_UINT(left, op, right) \
  do { \
    unsigned long long check_left = (left); \
    unsigned long long check_right = (right); \
    if (!(check_left op check_right)) { \
      char check_text[256]; \
      snprintf(check_text, sizeof check_text, "%s: %llu %s %llu", #left " " #op " " #right, \
               check_left, #op, check_right); \
      check_fail(__FILE__, __LINE__, check_text); \
    } \
  } while (0)

#define CHECK_PTR(left, op, right) \
  do { \
    const void* check_left = (const void*)(left); \
    const void* check_right = (const void*)(right); \
    if (!(check_left op check_right)) { \
      char check_text[256]; \
      snprintf(check_text, sizeof check_text, "%s: %p %s %p", #left " " #op " " #right, \
               check_left, #op, check_right); \
      check_fail(__FILE__, __LINE__, check_text); \
    } \
  } while (0)

// For strings that must be equal.
#define CHECK_STR(left, right) \
  do { \
    const char* check_left = (left); \
    const char* check_right = (right); \
    if (strcmp(check_left, check_right) != 0) { \
      fprintf(stderr, "left:  \"%s\"\nright: \"%s\"\n", check_left, check_right); \
      check_fail(__FILE__, __LINE__, #left " equals " #right); \
    } \
  } while (0)

// How many file descriptors the process has open.
static inline int open_descriptors(void) {
  DIR* directory = opendir("/proc/self/fd");
  CHECK(directory != NULL);
  int count = 0;
  while (readdir(directory) != NULL) count++;
  closedir(directory);
  return count - 3;  // ".", ".." and the directory's own
}

// The exit status of a program that cannot run here. It prints the reason first.
enum { check_skipped = 77 };

// Set when the test that MAJJEN_TEST names exists in this program.
static bool check_found;
static inline void check_was_found(void) {
  if (check_found) return;
  // Programs leave out some tests under valgrind.
  const char* valgrind = getenv("MAJJEN_VALGRIND");
  fprintf(stderr, "%s has no test %s%s\n", __BASE_FILE__, getenv("MAJJEN_TEST"),
          valgrind ? " under valgrind" : "");
  _exit(valgrind ? check_skipped : 1);
}

// Whether a test is to run: all are, unless MAJJEN_TEST names one.
static inline bool check_is_wanted(const char* name) {
  static bool asked;
  const char* wanted = getenv("MAJJEN_TEST");
  if (wanted == NULL || *wanted == '\0') return true;
  if (!asked) atexit(check_was_found);
  asked = true;
  if (strcmp(wanted, name) != 0) return false;
  return check_found = true;
}

// Runs one test, and checks that it closed all descriptors that it opened.
#define RUN(test) check_run(#test, test)
static inline void check_run(const char* name, void (*test)(void)) {
  if (!check_is_wanted(name)) return;
  // The name is printed first, so that a test that hangs can be identified.
  fprintf(stderr, "%s\n", name);
  int before = open_descriptors();
  check_running = name;
  test();
  CHECK_INT(open_descriptors(), ==, before);
  check_running = "main";
}

// Whether the program runs under valgrind, which is some 50 times slower and has few stacks.
static inline bool under_valgrind(void) { return getenv("MAJJEN_VALGRIND") != NULL; }

// Whether the program runs under a user-mode emulator, whose kernel interface is a subset.
static inline bool emulated(void) { return getenv("MAJJEN_EMULATED") != NULL; }

// Whether the program is built with one of the compiler's sanitizers, which are some 10 times slower.
static inline bool sanitized(void) { return getenv("MAJJEN_SANITIZER") != NULL; }

// ThreadSanitizer keeps signals back, lets no child of a process with threads start one, and in such a child it does
// not see that a switch orders what two tasks do, if one of them has forked.
static inline bool under_tsan(void) {
  return sanitized() && strcmp(getenv("MAJJEN_SANITIZER"), "thread") == 0;
}

// The number of repetitions: the second value where the program runs slowly.
static inline size_t times(size_t native, size_t slow) {
  return under_valgrind() || emulated() || sanitized() ? slow : native;
}

// A timeout longer than any test runs.
#define LONG_NS UINT64_C(1000000000000)

static inline uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

// A small pseudo-random generator, so that each run of a program is the same.
static inline uint64_t next_random(uint64_t* state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

// Zeroed memory, for the state of tasks.
static inline void* allocate(size_t bytes) {
  void* block = calloc(1, bytes);
  CHECK(block != NULL);
  return block;
}

static inline mj_scheduler* new_scheduler(void) {
  mj_scheduler* scheduler = mj_scheduler_create();
  CHECK(scheduler != NULL);
  return scheduler;
}

static inline uint64_t program_clock(void* user_data) {
  (void)user_data;
  return now_ns();
}

// Gives a scheduler the clock that it has by itself as the program's. Then the budget of a turn is a
// number of calls, and no time: so none is spent because the machine is busy.
static inline void count_calls_only(mj_scheduler* scheduler) {
  CHECK_INT(mj_scheduler_set_clock(scheduler, program_clock, NULL), ==, 0);
}

static inline mj_task* add_task(mj_scheduler* scheduler, mj_task_fn* body, void* user_state) {
  mj_task* task = mj_create_task(scheduler, body, user_state);
  CHECK(task != NULL);
  return task;
}

#endif  // CHECK_H
