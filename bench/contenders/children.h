// Row 13: child processes. The includer says before how one runs to its end, where calls_run() runs a function:
//
//   child_run(arguments)
#ifndef CHILDREN_H
#define CHILDREN_H

#include <sys/resource.h>

#include "contender.h"

static struct {
  uint64_t count, ended;
} children;

static void run_children(void) {
  static const char *const arguments[] = {"/bin/true", NULL};
  for (; children.ended < children.count; children.ended++) child_run(arguments);
}

static uint64_t used_ns(int who) {
  struct rusage usage;
  getrusage(who, &usage);
  return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000u +
         (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000u;
}

static uint64_t used_by_all_ns(void) { return used_ns(RUSAGE_SELF) + used_ns(RUSAGE_CHILDREN); }

// The processor time of the children is in it.
static void test_children(void) {
  children.count = argument("count");
  uint64_t began = wall_ns(), cpu_began = used_by_all_ns();
  calls_run(run_children);
  report("work", (double)children.ended);
  report("ns", (double)(used_by_all_ns() - cpu_began) / (double)children.count);
  report("wall_ns", (double)(wall_ns() - began) / (double)children.count);
}

#define CHILD_TESTS {"children", test_children}

#endif
