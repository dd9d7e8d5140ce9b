// What a spike has taken goes back to the system some periods later: stacks and their page tables,
// task objects, and the tables of timers and descriptors. And it pins nothing that the program frees.
#define _GNU_SOURCE
#include "check.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

enum { SPIKE = 20000, STATE_BYTES = 2000 };

// A line of /proc/self/status, in KiB.
static size_t status_kib(const char* name) {
  char line[256];
  size_t kib = 0, length = strlen(name);
  FILE* file = fopen("/proc/self/status", "r");
  CHECK(file != NULL);
  while (fgets(line, sizeof line, file) != NULL) {
    if (strncmp(line, name, length) == 0 && line[length] == ':') kib = strtoul(line + length + 1, NULL, 10);
  }
  fclose(file);
  return kib;
}

static size_t allocated_bytes(mj_scheduler* scheduler) {
  return mj_scheduler_get_metrics(scheduler)->memory_allocated_bytes;
}

static bool spike_is_over;

static void is_one_of_many(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  while (!spike_is_over) mj_task_sleep_ms(50);
  mj_task_exit();
}

static void spike(mj_scheduler* scheduler) {
  spike_is_over = false;
  for (int i = 0; i < SPIKE; i++) add_task(scheduler, is_one_of_many, calloc(1, STATE_BYTES));
  mj_task_sleep_ms(1);
}

static void ends_spike(mj_scheduler* scheduler) {
  spike_is_over = true;
  while (mj_scheduler_get_metrics(scheduler)->current_tasks > 1) mj_task_sleep_ms(20);
}

// Idles until the program holds no more than this; 30 seconds at most.
static void idles(mj_scheduler* scheduler, size_t rss_kib, size_t tables_kib, size_t allocated) {
  uint64_t deadline_ns = now_ns() + 30 * UINT64_C(1000000000);
  while (now_ns() < deadline_ns && (status_kib("VmRSS") > rss_kib || status_kib("VmPTE") > tables_kib ||
                                    allocated_bytes(scheduler) > allocated)) {
    mj_task_sleep_ms(200);
  }
  CHECK_UINT(allocated_bytes(scheduler), <=, allocated);
  CHECK_UINT(status_kib("VmPTE"), <=, tables_kib);
  CHECK_UINT(status_kib("VmRSS"), <=, rss_kib);
}

static void has_two_spikes(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  size_t rss = status_kib("VmRSS"), tables = status_kib("VmPTE");
  for (int i = 0; i < 2; i++) {
    spike(scheduler);
    size_t most = allocated_bytes(scheduler);
    CHECK_UINT(most, >, SPIKE * sizeof(mj_task));
    CHECK_UINT(status_kib("VmRSS"), >, rss + SPIKE * 6);
    ends_spike(scheduler);
    // 6 MiB: 64 stacks, a chunk of tasks, and what malloc keeps.
    idles(scheduler, rss + 8 * 1024, tables + 4 * 1024, most / 4);
  }
  mj_task_exit();
}

static void a_spike_leaves_little_behind(void) {
  if (under_valgrind() || emulated() || sanitized()) return;  // Their memory is not that of the program.
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, has_two_spikes, NULL);
  mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
}

static void knows_tasks_by_their_ids(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  static mj_task_id ids[SPIKE];
  static mj_task* tasks[SPIKE];
  int count = times(SPIKE, 1000);
  for (int round = 0; round < 2; round++) {
    spike_is_over = false;
    mj_task_id before = ids[count - 1];
    for (int i = 0; i < count; i++) {
      tasks[i] = add_task(scheduler, is_one_of_many, NULL);
      CHECK(mj_task_find(scheduler, ids[i]) == NULL);
      ids[i] = mj_task_get_id(tasks[i]);
      CHECK_PTR(mj_task_find(scheduler, ids[i]), ==, tasks[i]);
    }
    CHECK(before != ids[count - 1]);
    mj_task_sleep_ms(1);
    ends_spike(scheduler);
    mj_task_sleep_ms(3000);
    // What is left of them is nobody, wherever its memory is.
    mj_log_set_level(MJ_LOG_SILENT);
    for (int i = 0; i < count; i += 7) {
      CHECK_INT(mj_task_wake(tasks[i]), ==, -EINVAL);
      CHECK(mj_task_find(scheduler, ids[i]) == NULL);
    }
    mj_log_set_level(MJ_LOG_WARN);
  }
  mj_task_exit();
}

static void ids_stay_unique_when_memory_comes_back(void) {
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, knows_tasks_by_their_ids, NULL);
  mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
}

enum { LARGE_FD = 20000 };

static void waits_for_a_large_descriptor(mj_scheduler* scheduler, void* user_state) {
  int fd = *(int*)user_state;
  for (int i = 0; i < 2; i++) {
    CHECK_INT(mj_task_wait_fd(fd, POLLIN, 1000000), ==, -ETIMEDOUT);
    size_t most = allocated_bytes(scheduler);
    CHECK_UINT(most, >, LARGE_FD * 4);
    uint64_t waits = mj_scheduler_get_metrics(scheduler)->wait_calls;
    mj_task_sleep_ms(2500);
    CHECK_UINT(allocated_bytes(scheduler), <, most / 4);
    // That took a wake-up at the end of a period, and no more.
    CHECK_UINT(mj_scheduler_get_metrics(scheduler)->wait_calls, <, waits + 20);
    // And it works as before.
    CHECK_INT(eventfd_write(fd, 1), ==, 0);
    CHECK_INT(mj_task_wait_fd(fd, POLLIN, 1000000000), ==, POLLIN);
    eventfd_t value;
    CHECK_INT(eventfd_read(fd, &value), ==, 0);
  }
  CHECK_INT(mj_fd_close(fd), ==, 0);
  mj_task_exit();
}

static void the_table_of_descriptors_shrinks(void) {
  struct rlimit limit;
  CHECK_INT(getrlimit(RLIMIT_NOFILE, &limit), ==, 0);
  if (limit.rlim_cur <= LARGE_FD) limit.rlim_cur = limit.rlim_max;
  if (limit.rlim_cur <= LARGE_FD || setrlimit(RLIMIT_NOFILE, &limit) != 0 || under_valgrind()) return;
  mj_scheduler* scheduler = new_scheduler();
  int fd = eventfd(0, 0);
  int* state = malloc(sizeof *state);
  *state = dup2(fd, LARGE_FD);
  CHECK_INT(*state, ==, LARGE_FD);
  close(fd);
  add_task(scheduler, waits_for_a_large_descriptor, state);
  mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN(a_spike_leaves_little_behind);
  RUN(ids_stay_unique_when_memory_comes_back);
  RUN(the_table_of_descriptors_shrinks);
  return 0;
}
