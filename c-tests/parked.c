// Many parked tasks, each with a stack of its own: `parked 1000000` parks that many, instead of the
// number for a quick test. Where each guard page needs a mapping, more tasks than the system's
// limit of mappings allows must give an error that names the limit, and no task may be lost.
#define _GNU_SOURCE
#include "check.h"
#include "log_lines.h"

#include <sys/mman.h>

enum { usual_limit = 65530 };  // The default of vm.max_map_count.

// Whether the kernel has guard pages without mappings (Linux 6.13). Without them the process's
// limit of mappings limits the number of guarded stacks.
static bool light_guards(void) {
  enum { install_guard = 102 };
  void* page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(page != MAP_FAILED);
  bool installed = madvise(page, 4096, install_guard) == 0;
  munmap(page, 4096);
  return installed;
}

// Where the system's limit is above the default, the difference is used up.
static void use_up_mappings(void) {
  FILE* file = fopen("/proc/sys/vm/max_map_count", "r");
  CHECK(file != NULL);
  size_t limit = 0;
  CHECK_INT(fscanf(file, "%zu", &limit), ==, 1);
  fclose(file);
  if (limit <= usual_limit) return;
  // Each protected page splits off two mappings.
  size_t pages = limit - usual_limit;
  char* memory = mmap(NULL, pages * 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  for (size_t i = 1; i < pages; i += 2) CHECK_INT(mprotect(memory + i * 4096, 4096, 0), ==, 0);
}

static size_t resident_bytes(void) {
  FILE* file = fopen("/proc/self/statm", "r");
  CHECK(file != NULL);
  size_t pages = 0;
  CHECK_INT(fscanf(file, "%*s %zu", &pages), ==, 1);
  fclose(file);
  return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static size_t count;
static size_t finished;
static size_t most_parked;
static size_t most_resident_bytes;

static void parks(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_sleep_s(1000000);
  finished++;
  mj_task_exit();
}

// The first task, which always gets a stack. Each time it runs, the others have parked, except
// those that wait for a stack.
static void wakes_all(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  mj_task_sleep_ms(1);
  most_parked = scheduler->timer_count;
  most_resident_bytes = resident_bytes();
  CHECK_UINT(finished, ==, 0);
  while (finished < count) {
    while (scheduler->timer_count > 0) mj_scheduler_enqueue(scheduler, scheduler->timer_heap[0]);
    mj_task_sleep_ms(1);
  }
  mj_task_exit();
}

static void many_tasks_are_parked(void) {
  bool enough_mappings = light_guards() || count < usual_limit / 2 - 1000;
  if (!enough_mappings) use_up_mappings();
  log_lines_begin();
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, wakes_all, NULL);
  for (size_t i = 0; i < count; i++) add_task(scheduler, parks, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(finished, ==, count);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->peak_tasks, ==, count + 1);
  if (enough_mappings) {
    CHECK_UINT(most_parked, ==, count);
    CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, 0);
  } else {
    CHECK_UINT(most_parked, <, usual_limit / 2);
    CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, 1);
    CHECK(strstr(log_line_warning, "vm.max_map_count") != NULL);
  }
  mj_scheduler_destroy(scheduler);
  log_lines_end();
  printf("%zu tasks, %zu of them parked at one time: %zu MiB\n", count, most_parked,
         most_resident_bytes >> 20);
}

int main(int argument_count, char** arguments) {
  count = times(light_guards() ? 100000 : 20000, 2000);
  if (argument_count > 1) count = strtoul(arguments[1], NULL, 10);
  RUN(many_tasks_are_parked);
  return 0;
}
