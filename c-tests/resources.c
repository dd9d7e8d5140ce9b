// Stacks, mappings and descriptors: what a scheduler takes from the system, and gives back.
#define _GNU_SOURCE
#include "check.h"
#include "child.h"
#include "log_lines.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

// ---- The process's mappings ----

typedef struct mappings {
  size_t count;
  size_t bytes;
} mappings;

static mappings read_mappings(void) {
  FILE* file = fopen("/proc/self/maps", "r");
  CHECK(file != NULL);
  mappings result = {0, 0};
  char line[1024];
  while (fgets(line, sizeof line, file) != NULL) {
    unsigned long start, end;
    CHECK_INT(sscanf(line, "%lx-%lx", &start, &end), ==, 2);
    result.count++;
    result.bytes += end - start;
  }
  fclose(file);
  return result;
}

// ---- Everything is given back ----

static int channel[2];
static size_t finished;

static void does_a_bit_of_everything(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_yield();
  mj_task_sleep_ns(1000);
  mj_task_wait_readable(channel[0]);
  char byte = 'x';
  CHECK_INT(mj_write(channel[1], &byte, 1, MJ_FOREVER), ==, 1);
  CHECK_INT(mj_read(channel[0], &byte, 1, MJ_FOREVER), ==, 1);
  mj_task_yield();
  finished++;
  mj_task_exit();
}

static void sleeps_for_ever(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_sleep_s(1000000);
  mj_task_exit();
}

static void stops_when_alone_with_sleepers(mj_scheduler* scheduler, void* user_state) {
  size_t sleepers = *(size_t*)user_state;
  while (mj_scheduler_get_metrics(scheduler)->current_tasks > sleepers + 1) mj_task_sleep_ms(1);
  CHECK_INT(mj_scheduler_stop(scheduler), ==, 0);
  mj_task_exit();
}

// Tasks of two kinds and two stack sizes; the sleeping ones are still there at the end.
static void one_round(bool application) {
  mj_scheduler* scheduler = application ? setup_scheduler_with_epoll() : new_scheduler();
  CHECK(scheduler != NULL);
  size_t count = times(2000, 200);
  size_t* sleepers = allocate(sizeof *sleepers);
  *sleepers = count / 2;
  finished = 0;
  for (size_t i = 0; i < count; i++) {
    mj_task* task =
        add_task(scheduler, i % 2 ? sleeps_for_ever : does_a_bit_of_everything, allocate(100));
    if (i % 3 == 0) CHECK_INT(mj_task_set_stack_size(task, 64 * 1024), ==, 0);
  }
  add_task(scheduler, stops_when_alone_with_sleepers, sleepers);
  mj_scheduler_run(scheduler);
  CHECK_UINT(finished, ==, count / 2);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->current_tasks, ==, count / 2);
  mj_scheduler_destroy(scheduler);
}

static void destroy_gives_everything_back(void) {
  CHECK_INT(pipe(channel), ==, 0);
  CHECK_INT(write(channel[1], "x", 1), ==, 1);
  // The first round fills the caches of C's allocator.
  one_round(false);
  int descriptors = open_descriptors();
  mappings before = read_mappings();
  enum { rounds = 8 };
  for (int round = 0; round < rounds; round++) {
    one_round(round % 2 == 1);
    CHECK_INT(open_descriptors(), ==, descriptors);
  }
  mappings after = read_mappings();
  // The allocator may still move a little, but nothing may grow with the rounds. Valgrind and the
  // sanitizers map memory of their own.
  if (!under_valgrind() && !sanitized()) {
    CHECK_UINT(after.count, <, before.count + rounds / 2);
    CHECK_UINT(after.bytes, <, before.bytes + ((size_t)8 << 20));
  }
  close(channel[0]);
  close(channel[1]);
}

static void schedulers_without_a_run_give_everything_back(void) {
  int descriptors = open_descriptors();
  for (int i = 0; i < 50; i++) {
    mj_scheduler* scheduler = i % 2 == 0 ? new_scheduler() : setup_scheduler_with_epoll();
    CHECK(scheduler != NULL);
    if (i % 3 == 0) add_task(scheduler, sleeps_for_ever, allocate(10));
    mj_scheduler_destroy(scheduler);
    CHECK_INT(open_descriptors(), ==, descriptors);
  }
}

// When no descriptor is left, creating a scheduler fails, says why, and leaks nothing.
static void a_scheduler_needs_descriptors(void) {
  // Valgrind keeps some above the limit for itself.
  if (under_valgrind()) return;
  struct rlimit limit;
  CHECK_INT(getrlimit(RLIMIT_NOFILE, &limit), ==, 0);
  struct rlimit low = limit;
  int descriptors = open_descriptors();
  for (int left = 0; left < 2; left++) {
    // The lowest free descriptor; the one after it is the first beyond the limit.
    int lowest = dup(0);
    CHECK_INT(lowest, >=, 0);
    int next = dup(0);
    CHECK_INT(next, >=, 0);
    close(lowest);
    close(next);
    low.rlim_cur = (rlim_t)(left == 0 ? lowest : next);
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &low), ==, 0);
    errno = 0;
    mj_scheduler* scheduler = mj_scheduler_create();
    int error = errno;
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);
    CHECK_PTR(scheduler, ==, NULL);
    CHECK_INT(error, ==, EMFILE);
    CHECK_INT(open_descriptors(), ==, descriptors);
  }
}

// ---- Stacks ----

// Uses that much stack, a page at a time, and suspends at the deepest point.
static unsigned use_stack(size_t bytes) {
  volatile char frame[4000];
  for (size_t i = 0; i < sizeof frame; i += 500) frame[i] = (char)i;
  unsigned below = 0;
  if (bytes > 4096) {
    below = use_stack(bytes - 4096);
  } else {
    mj_task_yield();
  }
  for (size_t i = 0; i < sizeof frame; i += 500) CHECK_INT(frame[i], ==, (char)i);
  return below + 1;
}

static void uses_stack(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  size_t bytes = *(size_t*)user_state;
  CHECK_UINT(use_stack(bytes), ==, (bytes + 4095) / 4096);
  finished++;
  mj_task_exit();
}

static mj_task* add_stack_user(mj_scheduler* scheduler, size_t bytes) {
  size_t* state = allocate(sizeof *state);
  *state = bytes;
  return add_task(scheduler, uses_stack, state);
}

static void stacks_have_the_size_that_was_set(void) {
  finished = 0;
  mj_scheduler* scheduler = new_scheduler();
  // A frame of use_stack() takes a little more than it counts; an eighth is left for that and for
  // the task and the library themselves.
  add_stack_user(scheduler, 256 * 1024 / 8 * 7);
  mj_task* large = add_stack_user(scheduler, 8 * 1024 * 1024 / 8 * 7);
  CHECK_INT(mj_task_set_stack_size(large, 8 * 1024 * 1024), ==, 0);
  mj_task* small = add_stack_user(scheduler, 8 * 1024);
  CHECK_INT(mj_task_set_stack_size(small, 16 * 1024), ==, 0);
  mj_scheduler_run(scheduler);
  CHECK_UINT(finished, ==, 3);
  // Applies to all tasks of the scheduler without a size of their own, created before or after.
  add_stack_user(scheduler, 1024 * 1024 / 8 * 7);
  CHECK_INT(mj_scheduler_set_stack_size(scheduler, 1024 * 1024), ==, 0);
  add_stack_user(scheduler, 1024 * 1024 / 8 * 7);
  large = add_stack_user(scheduler, 2 * 1024 * 1024 / 8 * 7);
  CHECK_INT(mj_task_set_stack_size(large, 2 * 1024 * 1024), ==, 0);
  mj_scheduler_run(scheduler);
  CHECK_UINT(finished, ==, 6);
  mj_scheduler_destroy(scheduler);
}

static void finishes(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  finished++;
  mj_task_exit();
}

static mappings at_the_end;

static void reads_the_mappings(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  at_the_end = read_mappings();
  mj_task_exit();
}

// A task gets a stack when it first runs and releases it at its end, so tasks that run one after
// the other share one stack, however many are waiting to start.
static void short_tasks_share_a_stack(void) {
  size_t count = times(100000, 2000);
  finished = 0;
  mj_scheduler* scheduler = new_scheduler();
  for (size_t i = 0; i < count; i++) add_task(scheduler, finishes, NULL);
  add_task(scheduler, reads_the_mappings, NULL);
  mappings before = read_mappings();
  mj_scheduler_run(scheduler);
  CHECK_UINT(finished, ==, count);
  // 256 KiB each would be 24 GiB.
  if (!under_valgrind()) CHECK_UINT(at_the_end.bytes, <, before.bytes + ((size_t)64 << 20));
  mj_scheduler_destroy(scheduler);
}

// More tasks than there is memory for stacks: the rest starts when others end.
enum { tasks_without_room = 8192 };

static void has_four_turns(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < 3; i++) mj_task_yield();
  finished++;
  mj_task_exit();
}

static void set_limit(int resource, rlim_t bytes) {
  struct rlimit limit;
  CHECK_INT(getrlimit(resource, &limit), ==, 0);
  limit.rlim_cur = bytes;
  CHECK_INT(setrlimit(resource, &limit), ==, 0);
}

// The number of bytes behind a name in a file of the process.
static size_t bytes_in(const char* path, const char* name) {
  FILE* file = fopen(path, "r");
  CHECK(file != NULL);
  unsigned long kib = 0;
  char line[256];
  while (kib == 0 && fgets(line, sizeof line, file) != NULL) {
    if (strncmp(line, name, strlen(name)) == 0) sscanf(line + strlen(name), ": %lu kB", &kib);
  }
  fclose(file);
  CHECK_UINT(kib, >, 0);
  return kib * 1024;
}

// What counts for RLIMIT_DATA.
static size_t data_bytes(void) { return bytes_in("/proc/self/status", "VmData"); }

// Before Linux 4.7, and with ignore_rlimit_data, mappings do not count.
static bool data_is_limited(void) {
  const int protection = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS;
  void* memory = mmap(NULL, (size_t)4 << 30, protection, flags | MAP_NORESERVE, -1, 0);
  if (memory != MAP_FAILED) munmap(memory, (size_t)4 << 30);
  return memory == MAP_FAILED;
}

static int limited_resource;

static void runs_out_of_stacks(void) {
  finished = 0;
  log_lines_begin();
  mj_scheduler* scheduler = new_scheduler();
  // The task objects themselves fit in any case.
  for (int i = 0; i < tasks_without_room; i++) add_task(scheduler, has_four_turns, NULL);
  bool all = limited_resource == RLIMIT_AS;
  size_t there = all ? read_mappings().bytes : data_bytes();
  set_limit(limited_resource, there + ((size_t)1 << 30));
  if (!all && !data_is_limited()) _exit(0);
  mj_scheduler_run(scheduler);
  CHECK_UINT(finished, ==, tasks_without_room);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->tasks_exited, ==, tasks_without_room);
  // Logged, but not once for each task.
  CHECK_INT(log_lines_from(MJ_LOG_ERROR), >=, 1);
  CHECK_INT(log_lines_from(MJ_LOG_ERROR), <, 100);
  mj_scheduler_destroy(scheduler);
  log_lines_end();
}

static void a_task_without_a_stack_waits_until_there_is_one(void) {
  // The limit would also apply to valgrind, the emulator or the sanitizer.
  if (under_valgrind() || emulated() || sanitized()) return;
  const int resources[] = {RLIMIT_AS, RLIMIT_DATA};
  for (size_t i = 0; i < 2; i++) {
    limited_resource = resources[i];
    int status = status_of_child(runs_out_of_stacks);
    CHECK(WIFEXITED(status));
    CHECK_INT(WEXITSTATUS(status), ==, 0);
  }
}

// Makes tasks until there is no memory for another one. Returns how many.
static size_t fill_with_tasks(mj_scheduler* scheduler) {
  size_t count = 0;
  errno = 0;
  while (mj_create_task(scheduler, has_four_turns, NULL) != NULL) {
    CHECK_UINT(++count, <, 10000000);
  }
  CHECK_INT(errno, ==, ENOMEM);
  return count;
}

static void goes(void* argument) {
  (void)argument;
  finished++;
}

static void runs_out_of_data(void) {
  mj_log_set_level(MJ_LOG_SILENT);
  mj_scheduler* scheduler = new_scheduler();
  // Some stacks are there before: the tasks take all that is left.
  for (int i = 0; i < 10; i++) add_task(scheduler, has_four_turns, NULL);
  mj_scheduler_run(scheduler);
  set_limit(RLIMIT_DATA, data_bytes() + ((size_t)8 << 20));
  if (!data_is_limited()) _exit(0);
  size_t first = 0;
  for (int round = 0; round < 3; round++) {
    size_t count = fill_with_tasks(scheduler);
    CHECK_INT(mj_go(scheduler, goes, NULL, NULL), ==, -ENOMEM);
    CHECK_PTR(mj_create_task(scheduler, has_four_turns, NULL), ==, NULL);
    CHECK_UINT(mj_scheduler_get_metrics(scheduler)->current_tasks, ==, count);
    CHECK_UINT(count, >, 1000);
    // What those that have ended took is there again.
    if (round == 0) first = count;
    CHECK_UINT(count, >=, first / 2);
    finished = 0;
    CHECK_INT(mj_run(scheduler), ==, 0);
    CHECK_UINT(finished, ==, count);
  }
  CHECK_INT(mj_go(scheduler, goes, NULL, NULL), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_scheduler_destroy(scheduler);
}

static void tasks_for_which_there_is_no_memory_are_refused(void) {
  if (under_valgrind() || emulated() || sanitized()) return;  // As above.
  int status = status_of_child(runs_out_of_data);
  CHECK(WIFEXITED(status));
  CHECK_INT(WEXITSTATUS(status), ==, 0);
}

static size_t overflow_frame_bytes;

// The condition is never false, but the compiler cannot prove that.
static unsigned overflow(volatile unsigned* limit, unsigned depth) {
  volatile char frame[512];
  frame[0] = (char)depth;
  return depth < *limit ? overflow(limit, depth + 1) + (unsigned)frame[0] : 0;
}

// Touches each frame only at its far end, as code without stack probes does.
static unsigned overflow_by_leaps(volatile unsigned* limit, unsigned depth) {
  volatile char frame[24 * 1024];
  frame[0] = (char)depth;
  return depth < *limit ? overflow_by_leaps(limit, depth + 1) + (unsigned)frame[0] : 0;
}

static void overflows_its_stack(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  volatile unsigned limit = UINT32_MAX;
  mj_task_yield();
  unsigned sum = overflow_frame_bytes == 512 ? overflow(&limit, 0) : overflow_by_leaps(&limit, 0);
  // Not reached: status 3 would mean that the stack had no end.
  _exit(sum == 0 ? 3 : 4);
}

static void yields_for_ever(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (;;) mj_task_yield();
}

static void runs_one_that_overflows(void) {
  mj_scheduler* scheduler = new_scheduler();
  // On a stack that was used before, with other stacks on both sides.
  for (int i = 0; i < 10; i++) add_task(scheduler, has_four_turns, NULL);
  mj_scheduler_run(scheduler);
  for (int i = 0; i < 10; i++) {
    add_task(scheduler, i == 5 ? overflows_its_stack : yields_for_ever, NULL);
  }
  mj_scheduler_run(scheduler);
}

// ---- Idle stacks ----

enum { BURST = 300, DEEP_BYTES = 64 * 1024 };

static size_t resident_bytes(void) { return bytes_in("/proc/self/smaps_rollup", "Rss"); }

static void uses_its_stack(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  volatile char deep[DEEP_BYTES];
  for (size_t i = 0; i < sizeof deep; i += 512) deep[i] = 1;
  mj_task_yield();
  CHECK_INT(deep[512], ==, 1);
  mj_task_exit();
}

static void burst(mj_scheduler* scheduler) {
  for (int i = 0; i < BURST; i++) add_task(scheduler, uses_its_stack, NULL);
  while (mj_scheduler_get_metrics(scheduler)->current_tasks > 1) mj_task_yield();
}

static void makes_bursts(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  size_t before = resident_bytes();
  burst(scheduler);
  // A burst that follows soon reuses the memory of this one.
  mj_task_sleep_ms(1);
  CHECK_UINT(resident_bytes(), >, before + BURST * DEEP_BYTES * 9 / 10);
  burst(scheduler);
  size_t most = resident_bytes();
  // Then nothing happens for two periods: at most 64 stacks keep their memory.
  uint64_t waits = mj_scheduler_get_metrics(scheduler)->wait_calls;
  uint64_t deadline_ns = now_ns() + 30 * UINT64_C(1000000000);
  size_t given_back = (BURST - 64) * DEEP_BYTES * 9 / 10;
  mj_task_sleep_ms(2500);
  while (resident_bytes() > most - given_back && now_ns() < deadline_ns) mj_task_sleep_ms(500);
  CHECK_UINT(resident_bytes(), <=, most - given_back);
  // That took one wake-up at the end of each period, and some iterations of the loop.
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->wait_calls, <, waits + 200);
  mj_task_exit();
}

static void stacks_give_their_memory_back_in_time(void) {
  if (under_valgrind() || emulated()) return;  // Their memory is not that of the program.
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, makes_bursts, NULL);
  mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
}

static void an_overflow_ends_the_process(void) {
  // Valgrind handles stacks in its own way, and an emulator need not have guard pages.
  if (under_valgrind() || emulated()) return;
  static const size_t frames[] = {512, 24 * 1024};
  for (size_t i = 0; i < 2; i++) {
    overflow_frame_bytes = frames[i];
    int status = status_of_child(runs_one_that_overflows);
    CHECK(WIFSIGNALED(status));
    CHECK_INT(WTERMSIG(status), ==, SIGSEGV);
  }
}

// A line at DEBUG names what the system lacks, so each feature is tried for it.
static void what_is_lacking_is_tried(void) {
  mj_log_set_level(MJ_LOG_DEBUG);
  mj_scheduler_destroy(mj_scheduler_create());
  mj_log_set_level(MJ_LOG_INFO);
}

int main(void) {
  RUN(what_is_lacking_is_tried);
  RUN(destroy_gives_everything_back);
  RUN(schedulers_without_a_run_give_everything_back);
  RUN(a_scheduler_needs_descriptors);
  RUN(stacks_have_the_size_that_was_set);
  RUN(short_tasks_share_a_stack);
  RUN(a_task_without_a_stack_waits_until_there_is_one);
  RUN(tasks_for_which_there_is_no_memory_are_refused);
  RUN(stacks_give_their_memory_back_in_time);
  RUN(an_overflow_ends_the_process);
  return 0;
}
