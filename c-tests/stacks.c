// Stacks: where they are, the guards below them, and what many sizes of them take.
#define _GNU_SOURCE
#include "check.h"
#include "child.h"

#include <signal.h>

enum { KIB = 1024, MIB = 1024 * 1024 };

static void run_and_destroy(mj_scheduler* scheduler) {
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_scheduler_destroy(scheduler);
}

// ---- where they are ----

static size_t bounds_bytes;

static void knows_its_bounds(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  char variable = 1;
  void *lowest = NULL, *again = NULL;
  size_t bytes = 0;
  CHECK_INT(mj_task_stack_bounds(mj_task_current(), &lowest, &bytes), ==, 0);
  CHECK(&variable > (char*)lowest && &variable < (char*)lowest + bytes);
  CHECK(&variable > (char*)lowest + bytes - 16 * KIB || under_valgrind());
  // All of it may be used. (Valgrind reports what is below the stack pointer.)
  size_t end = under_valgrind() ? 0 : bytes - 12 * KIB;
  for (size_t i = 0; i < end; i += KIB) ((volatile char*)lowest)[i] = 1;
  mj_task_yield();
  CHECK_INT(mj_task_stack_bounds(mj_task_current(), &again, &bytes), ==, 0);
  CHECK_PTR(again, ==, lowest);
  bounds_bytes = bytes;
  mj_task_exit();
}

static void bounds_are_those_of_the_stack(void) {
  static const size_t sizes[] = {16 * KIB, 70000, 256 * KIB, 5 * MIB, 5 * MIB + 1};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    mj_scheduler* scheduler = new_scheduler();
    mj_task* task = add_task(scheduler, knows_its_bounds, NULL);
    CHECK_INT(mj_task_set_stack_size(task, sizes[i]), ==, 0);
    run_and_destroy(scheduler);
    CHECK_UINT(bounds_bytes, >=, sizes[i]);
    CHECK_UINT(bounds_bytes, <=, sizes[i] + sizes[i] / 4);
  }
  CHECK_UINT(bounds_bytes, ==, 6 * MIB);
}

static void without_a_stack_nothing_is_written(void) {
  mj_scheduler* scheduler = new_scheduler();
  mj_task* task = add_task(scheduler, knows_its_bounds, NULL);
  void* lowest = &lowest;
  size_t bytes = 7;
  CHECK_INT(mj_task_stack_bounds(task, &lowest, &bytes), ==, -EAGAIN);
  CHECK_INT(mj_task_stack_bounds(NULL, &lowest, &bytes), ==, -EINVAL);
  CHECK_INT(mj_task_stack_bounds(task, NULL, &bytes), ==, -EINVAL);
  CHECK_INT(mj_task_stack_bounds(task, &lowest, NULL), ==, -EINVAL);
  CHECK_PTR(lowest, ==, &lowest);
  CHECK_UINT(bytes, ==, 7);
  run_and_destroy(scheduler);
}

// ---- guards ----

// Whether there is memory that can be read: access() fails otherwise with EFAULT.
static bool is_readable(const char* address) {
  errno = 0;
  CHECK_INT(access(address, F_OK), ==, -1);
  return errno != EFAULT;
}

static size_t guard_bytes;

static void looks_below(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  void* lowest;
  size_t bytes;
  CHECK_INT(mj_task_stack_bounds(mj_task_current(), &lowest, &bytes), ==, 0);
  CHECK(is_readable(lowest));
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  for (size_t below = 1; below <= guard_bytes; below += page / 2) {
    CHECK(!is_readable((char*)lowest - below));
  }
  CHECK(!is_readable((char*)lowest - guard_bytes));
  CHECK_INT(mj_scheduler_set_guard_size(scheduler, MIB), ==, -EBUSY);
  mj_task_exit();
}

static void the_guard_has_the_size_that_was_set(void) {
  // Valgrind looks after stacks in its own way, and an emulator need not have guard pages.
  if (under_valgrind() || emulated()) return;
  static const size_t sizes[] = {0, 1, 40 * KIB, MIB + 1, 16 * MIB};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    mj_scheduler* scheduler = new_scheduler();
    guard_bytes = sizes[i];
    if (i == 0) {
      guard_bytes = 256 * KIB;  // Unless another size is set.
    } else {
      CHECK_INT(mj_scheduler_set_guard_size(scheduler, guard_bytes), ==, 0);
    }
    add_task(scheduler, looks_below, NULL);
    add_task(scheduler, looks_below, NULL);
    CHECK_INT(mj_run(scheduler), ==, 0);
    CHECK_INT(mj_scheduler_set_guard_size(scheduler, MIB), ==, -EBUSY);
    mj_scheduler_destroy(scheduler);
  }
}

static void with_little_address_space(void) {
  mj_scheduler* scheduler = new_scheduler();
  struct rlimit limit;
  CHECK_INT(getrlimit(RLIMIT_AS, &limit), ==, 0);
  limit.rlim_cur = 4 * MIB;  // Less than there is.
  CHECK_INT(setrlimit(RLIMIT_AS, &limit), ==, 0);
  CHECK_INT(mj_scheduler_set_guard_size(scheduler, 16 * MIB), ==, -ENOMEM);
}

static void guards_of_no_use_are_refused(void) {
  mj_scheduler* scheduler = new_scheduler();
  CHECK_INT(mj_scheduler_set_guard_size(NULL, MIB), ==, -EINVAL);
  CHECK_INT(mj_scheduler_set_guard_size(scheduler, 0), ==, -EINVAL);
  CHECK_INT(mj_scheduler_set_guard_size(scheduler, 16 * MIB + 1), ==, -EINVAL);
  CHECK_INT(mj_scheduler_set_guard_size(scheduler, SIZE_MAX), ==, -EINVAL);
  mj_scheduler_destroy(scheduler);
  bool limited = !under_valgrind() && !emulated() && !sanitized();
  if (limited) CHECK_INT(status_of_child(with_little_address_space), ==, 0);
}

// Of which only the far end is touched, as by code that is not compiled to touch each page.
#define FRAME(bytes)                                                 \
  __attribute__((noinline)) static void frame_of_##bytes##_kib(void) { \
    volatile char frame[bytes * KIB];                                \
    for (int i = 0; i < 64; i++) frame[i] = (char)i;                 \
    frame[64] = frame[1];                                            \
  }
FRAME(240)
FRAME(900)

static void (*large_frame)(void);
static size_t set_guard_bytes;

static void steps_far(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_set_name(mj_task_current(), "steps far");
  large_frame();
  mj_task_exit();
}

static void runs_one_that_steps_far(void) {
  mj_scheduler* scheduler = setup_scheduler_with_epoll();
  if (set_guard_bytes > 0) {
    CHECK_INT(mj_scheduler_set_guard_size(scheduler, set_guard_bytes), ==, 0);
  }
  mj_task* task = add_task(scheduler, steps_far, NULL);
  CHECK_INT(mj_task_set_stack_size(task, 64 * KIB), ==, 0);
  mj_run(scheduler);
}

// The report goes to stderr, which is a pipe meanwhile.
static void check_report(void) {
  int pipe_ends[2], own_stderr = dup(STDERR_FILENO);
  CHECK_INT(pipe(pipe_ends), ==, 0);
  CHECK_INT(dup2(pipe_ends[1], STDERR_FILENO), ==, STDERR_FILENO);
  int status = status_of_child(runs_one_that_steps_far);
  CHECK_INT(dup2(own_stderr, STDERR_FILENO), ==, STDERR_FILENO);
  close(pipe_ends[1]);
  close(own_stderr);
  char text[4096] = "";
  CHECK_INT(read(pipe_ends[0], text, sizeof text - 1), >, 0);
  close(pipe_ends[0]);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
  CHECK(strstr(text, "\"steps far\" has overflowed its stack of 65536 bytes") != NULL);
}

static void a_frame_larger_than_the_stack_meets_the_guard(void) {
  if (under_valgrind() || emulated() || sanitized()) return;
  large_frame = frame_of_240_kib;
  check_report();
  large_frame = frame_of_900_kib;
  set_guard_bytes = MIB;
  check_report();
}

// ---- many sizes ----

enum { SIZES = 3000 };

static long address_space_mib(void) {
  long pages = 0;
  FILE* file = fopen("/proc/self/statm", "r");
  CHECK(file != NULL && fscanf(file, "%ld", &pages) == 1);
  fclose(file);
  return pages * (sysconf(_SC_PAGESIZE) / KIB) / KIB;
}

static void ends(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_exit();
}

static void adds_one_of_each_size(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  long before = address_space_mib();
  for (int i = 0; i < SIZES; i++) {
    mj_task* task = add_task(scheduler, ends, NULL);
    CHECK_INT(mj_task_set_stack_size(task, 16384 + (size_t)i * 4096), ==, 0);
    mj_task_yield();
  }
  long most = address_space_mib() - before;
  CHECK_INT(most, <, 4096);
  // And it does not stay: half of it at most after some periods.
  uint64_t deadline_ns = mj_scheduler_now_ns(scheduler) + 30 * UINT64_C(1000000000);
  while (address_space_mib() - before > most / 2 && mj_scheduler_now_ns(scheduler) < deadline_ns) {
    mj_task_sleep_ms(200);
  }
  CHECK_INT(address_space_mib() - before, <=, most / 2);
  mj_task_exit();
}

static void many_sizes_take_little_address_space(void) {
  if (under_valgrind() || emulated()) return;  // Their address space is not that of the program.
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, adds_one_of_each_size, NULL);
  run_and_destroy(scheduler);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN(bounds_are_those_of_the_stack);
  RUN(without_a_stack_nothing_is_written);
  RUN(the_guard_has_the_size_that_was_set);
  RUN(guards_of_no_use_are_refused);
  RUN(a_frame_larger_than_the_stack_meets_the_guard);
  RUN(many_sizes_take_little_address_space);
  return 0;
}
