// What the contenders written in C and C++ share: how they are told what to do and say what they measured.
//
// A contender is a program. The driver starts it as `contender TEST name=number...`, pinned to one processor, and
// reads `name=number` lines from its standard output. Each test counts the work it has done and reports it as
// `work`, which the driver compares with what it asked for.
//
// Time is the processor time of the whole process, helper threads included, so that what else runs on the
// machine is not counted; each contender has one processor, so it is also the time that the work takes on
// an idle machine.
#ifndef CONTENDER_H
#define CONTENDER_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int argument_count;
static char **argument_values;

static inline uint64_t clock_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline uint64_t cpu_ns(void) { return clock_ns(CLOCK_PROCESS_CPUTIME_ID); }
static inline uint64_t wall_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

static inline void fail(const char *what) {
  fprintf(stderr, "%s: %s\n", argument_values[0], what);
  _exit(1);  // Not exit(): destructors may wait for tasks.
}

// The number given as `name=number`.
static inline uint64_t argument(const char *name) {
  size_t length = strlen(name);
  for (int i = 2; i < argument_count; i++) {
    if (strncmp(argument_values[i], name, length) == 0 && argument_values[i][length] == '=') {
      return strtoull(argument_values[i] + length + 1, NULL, 10);
    }
  }
  fail(name);
  return 0;
}

static inline void report(const char *name, double value) { printf("%s=%.17g\n", name, value); }

// Bytes of memory the process holds, and bytes of page tables that the kernel holds for it.
static inline void resident_bytes(uint64_t *memory, uint64_t *page_tables) {
  char text[4096];
  unsigned long long size = 0, resident = 0, tables = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (file == NULL || fscanf(file, "%llu %llu", &size, &resident) != 2) fail("/proc/self/statm");
  fclose(file);
  file = fopen("/proc/self/status", "r");
  if (file == NULL) fail("/proc/self/status");
  while (fgets(text, sizeof text, file) != NULL) {
    if (sscanf(text, "VmPTE: %llu kB", &tables) == 1) break;
  }
  fclose(file);
  *memory = resident * (uint64_t)sysconf(_SC_PAGESIZE);
  *page_tables = tables * 1024;
}

// xorshift64* (Vigna): the same numbers for every contender.
static inline uint64_t next_random(uint64_t *state) {
  *state ^= *state >> 12;
  *state ^= *state << 25;
  *state ^= *state >> 27;
  return *state * 0x2545F4914F6CDD1Du;
}

// Random delays of at least `least_ns`, less than `least_ns + spread_ns`.
static inline uint64_t *random_delays(uint64_t count, uint64_t least_ns, uint64_t spread_ns) {
  uint64_t *delays = (uint64_t *)malloc(count * sizeof *delays);
  uint64_t state = 88172645463325252u;
  if (delays == NULL) fail("memory");
  for (uint64_t i = 0; i < count; i++) delays[i] = least_ns + next_random(&state) % spread_ns;
  return delays;
}

// 0 to count - 1 in random order.
static inline uint32_t *random_order(uint64_t count) {
  uint32_t *order = (uint32_t *)malloc(count * sizeof *order);
  uint64_t state = 1442695040888963407u;
  if (order == NULL) fail("memory");
  for (uint64_t i = 0; i < count; i++) order[i] = (uint32_t)i;
  for (uint64_t i = count; i > 1; i--) {
    uint64_t other = next_random(&state) % i;
    uint32_t swapped = order[i - 1];
    order[i - 1] = order[other];
    order[other] = swapped;
  }
  return order;
}

// Passes time without letting anybody else run. The program that counts instructions has a clock of its own, and
// its own way to pass time.
#ifndef PASS_TIME
#define PASS_TIME(ns) usleep((useconds_t)((ns) / 1000 + 1))
#endif

// How late a sleep was. Every lateness is kept, and reported as quantiles.
static inline int compare_lateness(const void *left, const void *right) {
  int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
  return (a > b) - (a < b);
}

static inline void report_lateness(int64_t *lateness_ns, uint64_t count) {
  qsort(lateness_ns, count, sizeof *lateness_ns, compare_lateness);
  report("work", (double)count);
  report("min_ns", (double)lateness_ns[0]);
  report("p50_ns", (double)lateness_ns[count / 2]);
  report("p99_ns", (double)lateness_ns[count * 99 / 100]);
  report("max_ns", (double)lateness_ns[count - 1]);
}

// Sleeps of 50 us to 20 ms, as many short as long ones on a logarithmic scale: the same for every contender.
static inline uint64_t sleep_length_ns(uint64_t index) {
  uint64_t state = 0x9E3779B97F4A7C15u + index;
  next_random(&state);
  double part = (double)(next_random(&state) >> 11) / 9007199254740992.0;
  double length = 50e3;
  // 50 us * 400^part, without libm: 400 = 2^8.643856...
  double power = part * 8.643856189774724;
  while (power >= 1.0) {
    length *= 2.0;
    power -= 1.0;
  }
  return (uint64_t)(length * (1.0 + power));
}

// `main` of a contender: finds the test by name.
struct test {
  const char *name;
  void (*run)(void);
};

static inline int run_test(int argc, char **argv, const struct test *tests) {
  argument_count = argc;
  argument_values = argv;
  for (const struct test *test = tests; argc > 1 && test->name != NULL; test++) {
    if (strcmp(test->name, argv[1]) == 0) {
      test->run();
      fflush(stdout);
      return 0;
    }
  }
  fprintf(stderr, "usage: %s TEST name=number...; tests:", argv[0]);
  for (const struct test *test = tests; test->name != NULL; test++) fprintf(stderr, " %s", test->name);
  fprintf(stderr, "\n");
  return 2;
}

#endif
