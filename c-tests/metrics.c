// The metrics: the printed block byte for byte, and what each counter counts.
#define _GNU_SOURCE
#include "check.h"

// ---- The printed block ----

// The guide's own function, with the metrics as a parameter.
static void print_as_the_guide_does(const mj_metrics* m, FILE* out) {
  fprintf(out, "\n=== Majjen Scheduler Metrics ===\n");
  fprintf(out, "Tasks:\n");
  fprintf(out, "  Created:       %lu\n", m->tasks_created);
  fprintf(out, "  Exited:        %lu\n", m->tasks_exited);
  fprintf(out, "  Current:       %lu\n", m->current_tasks);
  fprintf(out, "  Peak:          %lu\n", m->peak_tasks);

  fprintf(out, "\nExecution:\n");
  fprintf(out, "  Total runs:    %lu\n", m->task_executions);

  if (m->task_executions > 0) {
    uint64_t avg_ns = m->total_execution_time_ns / m->task_executions;
    fprintf(out, "  Avg time:      %lu ns (%.3f ms)\n", avg_ns, avg_ns / 1e6);
    fprintf(out, "  Min time:      %lu ns (%.3f ms)\n", m->min_execution_time_ns,
            m->min_execution_time_ns / 1e6);
    fprintf(out, "  Max time:      %lu ns (%.3f ms)\n", m->max_execution_time_ns,
            m->max_execution_time_ns / 1e6);
  }

  fprintf(out, "\nScheduler:\n");
  fprintf(out, "  Loop cycles:   %lu\n", m->scheduler_loops);
  fprintf(out, "  Wait calls:    %lu\n", m->wait_calls);
  fprintf(out, "  I/O events:    %lu\n", m->io_events);

  fprintf(out, "\nTimers:\n");
  fprintf(out, "  Expirations:   %lu\n", m->timer_expirations);
  fprintf(out, "  Cancellations: %lu\n", m->timer_cancellations);

  fprintf(out, "================================\n\n");
}

// Prints in both ways, first by the library, which leaves the printed values in the public field.
static void check_printed(mj_scheduler* scheduler) {
  char* expected = NULL;
  char* printed = NULL;
  size_t expected_length = 0, printed_length = 0;
  FILE* stream = open_memstream(&printed, &printed_length);
  CHECK(stream != NULL);
  mj_scheduler_print_metrics(scheduler, stream);
  fclose(stream);
  stream = open_memstream(&expected, &expected_length);
  CHECK(stream != NULL);
  print_as_the_guide_does(&scheduler->metrics, stream);
  fclose(stream);
  CHECK_STR(printed, expected);
  CHECK_UINT(printed_length, ==, expected_length);
  free(printed);
  free(expected);
}

static void spends_time(uint64_t nanoseconds) {
  for (uint64_t start = now_ns(); now_ns() - start < nanoseconds;) {
  }
}

static int channel[2];

static void does_a_bit_of_everything(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_yield();
  spends_time(1500000);
  mj_task_sleep_ns(1000);
  mj_task_wait_readable(channel[0]);
  mj_task_exit();
}

static void the_printed_block_is_the_guides(void) {
  CHECK_INT(pipe(channel), ==, 0);
  CHECK_INT(write(channel[1], "x", 1), ==, 1);
  mj_scheduler* scheduler = new_scheduler();
  // Without an execution, three times are left out.
  check_printed(scheduler);
  for (int i = 0; i < 3; i++) add_task(scheduler, does_a_bit_of_everything, NULL);
  check_printed(scheduler);
  mj_scheduler_run(scheduler);
  check_printed(scheduler);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->task_executions, >, 0);
  mj_scheduler_reset_metrics(scheduler);
  check_printed(scheduler);
  mj_scheduler_destroy(scheduler);
  close(channel[0]);
  close(channel[1]);
}

// ---- Tasks and runs ----

static void a_new_scheduler_has_counted_nothing(void) {
  mj_scheduler* scheduler = new_scheduler();
  mj_metrics metrics = *mj_scheduler_get_metrics(scheduler);
  metrics.memory_allocated_bytes = 0;
  mj_metrics zero;
  memset(&zero, 0, sizeof zero);
  CHECK_INT(memcmp(&metrics, &zero, sizeof zero), ==, 0);
  // The pointer is to the public field.
  CHECK_PTR(mj_scheduler_get_metrics(scheduler), ==, &scheduler->metrics);
  mj_scheduler_destroy(scheduler);
}

static void has_four_turns(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  for (uint64_t i = 0; i < 3; i++) mj_task_yield();
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->tasks_created, ==, 5);
  mj_task_exit();
}

static void tasks_and_turns_are_counted(void) {
  mj_scheduler* scheduler = new_scheduler();
  for (int i = 0; i < 5; i++) add_task(scheduler, has_four_turns, NULL);
  const mj_metrics* metrics = mj_scheduler_get_metrics(scheduler);
  CHECK_UINT(metrics->tasks_created, ==, 5);
  CHECK_UINT(metrics->current_tasks, ==, 5);
  CHECK_UINT(metrics->peak_tasks, ==, 5);
  CHECK_UINT(metrics->tasks_exited, ==, 0);
  CHECK_UINT(metrics->task_executions, ==, 0);
  CHECK_UINT(metrics->memory_allocated_bytes, >, 0);
  mj_scheduler_run(scheduler);
  // The public field is up to date after a run, even without a call.
  CHECK_UINT(scheduler->metrics.tasks_exited, ==, 5);
  CHECK_UINT(scheduler->metrics.current_tasks, ==, 0);
  CHECK_UINT(scheduler->metrics.peak_tasks, ==, 5);
  CHECK_UINT(scheduler->metrics.tasks_created, ==, 5);
  CHECK_UINT(scheduler->metrics.task_executions, ==, 20);
  CHECK_UINT(scheduler->metrics.scheduler_loops, >=, 1);
  CHECK_UINT(scheduler->metrics.timer_expirations, ==, 0);
  CHECK_UINT(scheduler->metrics.heap_operations, ==, 0);
  CHECK_UINT(scheduler->metrics.io_events, ==, 0);
  metrics = mj_scheduler_get_metrics(scheduler);
  CHECK_UINT(metrics->task_executions, ==, 20);
  CHECK_UINT(metrics->min_execution_time_ns * 20, <=, metrics->total_execution_time_ns);
  // Both may have been rounded down.
  CHECK_UINT((metrics->max_execution_time_ns + 1) * 20, >=, metrics->total_execution_time_ns);
  CHECK_UINT(metrics->max_execution_time_ns, >, 0);
  mj_scheduler_destroy(scheduler);
}

static void creates_and_ends(mj_scheduler* scheduler, void* user_state) {
  int depth = *(int*)user_state;
  if (depth > 0) {
    for (int i = 0; i < 2; i++) {
      int* next = allocate(sizeof *next);
      *next = depth - 1;
      add_task(scheduler, creates_and_ends, next);
    }
  }
  mj_task_exit();
}

static void the_peak_is_the_most_at_one_time(void) {
  mj_scheduler* scheduler = new_scheduler();
  int* depth = allocate(sizeof *depth);
  *depth = 4;
  add_task(scheduler, creates_and_ends, depth);
  mj_scheduler_run(scheduler);
  const mj_metrics* metrics = mj_scheduler_get_metrics(scheduler);
  CHECK_UINT(metrics->tasks_created, ==, 31);
  CHECK_UINT(metrics->tasks_exited, ==, 31);
  CHECK_UINT(metrics->current_tasks, ==, 0);
  // Each task that ends leaves two: after the last of a generation its children are alone. The
  // last one of the eight is alive with all sixteen.
  CHECK_UINT(metrics->peak_tasks, ==, 17);
  mj_scheduler_destroy(scheduler);
}

// ---- Times ----

static void works_for_5_ms(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_yield();
  spends_time(5000000);
  mj_task_exit();
}

static void times_are_measured(void) {
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, works_for_5_ms, NULL);
  add_task(scheduler, works_for_5_ms, NULL);
  uint64_t before = now_ns();
  mj_scheduler_run(scheduler);
  uint64_t elapsed = now_ns() - before;
  const mj_metrics* metrics = mj_scheduler_get_metrics(scheduler);
  CHECK_UINT(metrics->task_executions, ==, 4);
  // The run times may be measured with another clock than the test's: one percent of tolerance.
  CHECK_UINT(metrics->max_execution_time_ns, >=, 4950000);
  CHECK_UINT(metrics->total_execution_time_ns, >=, 9900000);
  CHECK_UINT(metrics->total_execution_time_ns, <=, elapsed + elapsed / 100);
  CHECK_UINT(metrics->min_execution_time_ns, <=, metrics->total_execution_time_ns / 4);
  CHECK_UINT(metrics->total_loop_time_ns, >=, 9900000);
  CHECK_UINT(metrics->total_loop_time_ns, <=, elapsed + elapsed / 100);
  mj_scheduler_destroy(scheduler);
}

static void sleeps_20_ms(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_sleep_ms(20);
  mj_task_exit();
}

static void waiting_is_measured(void) {
  // On a busy machine time may pass outside the wait; the best of a few attempts counts.
  uint64_t best_ns = 0, calls = 0;
  for (int attempt = 0; attempt < 5; attempt++) {
    mj_scheduler* scheduler = new_scheduler();
    add_task(scheduler, sleeps_20_ms, NULL);
    mj_scheduler_run(scheduler);
    const mj_metrics* metrics = mj_scheduler_get_metrics(scheduler);
    calls += metrics->wait_calls;
    CHECK_UINT(metrics->total_wait_time_ns, <=,
               metrics->total_loop_time_ns + metrics->total_loop_time_ns / 100);
    // Sleeping does not count as executing.
    CHECK_UINT(metrics->total_loop_time_ns, >=, 19800000);
    if (metrics->total_wait_time_ns > best_ns) best_ns = metrics->total_wait_time_ns;
    mj_scheduler_destroy(scheduler);
  }
  CHECK_UINT(calls, >=, 1);
  CHECK_UINT(best_ns, >=, 10000000);
}

// ---- Timers and descriptors ----

static void sleeps_three_times(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < 3; i++) mj_task_sleep_ns(100000);
  mj_task_exit();
}

static void sleeps_long(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_sleep_s(1000000);
  mj_task_exit();
}

static void cancels(mj_scheduler* scheduler, void* user_state) {
  mj_task* sleeper = *(mj_task**)user_state;
  while (sleeper->state != MJ_TASK_SLEEPING) mj_task_yield();
  mj_scheduler_enqueue(scheduler, sleeper);
  mj_task_exit();
}

static void timers_are_counted(void) {
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, sleeps_three_times, NULL);
  mj_task** state = allocate(sizeof *state);
  *state = add_task(scheduler, sleeps_long, NULL);
  add_task(scheduler, cancels, state);
  mj_scheduler_run(scheduler);
  const mj_metrics* metrics = mj_scheduler_get_metrics(scheduler);
  CHECK_UINT(metrics->timer_expirations, ==, 3);
  CHECK_UINT(metrics->timer_cancellations, ==, 1);
  CHECK_UINT(metrics->heap_operations, ==, 8);
  mj_scheduler_destroy(scheduler);
}

static void reads_four_bytes(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < 4; i++) {
    char byte;
    mj_task_wait_readable(channel[0]);
    CHECK_INT(read(channel[0], &byte, 1), ==, 1);
  }
  mj_task_exit();
}

static void writes_four_bytes(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  mj_task* other = *(mj_task**)user_state;
  for (int i = 0; i < 4; i++) {
    while (other->state != MJ_TASK_WAITING_IO) mj_task_yield();
    CHECK_INT(write(channel[1], "x", 1), ==, 1);
    // Until the other task has been woken for it; after the last one it ends.
    while (i < 3 && other->state == MJ_TASK_WAITING_IO) mj_task_yield();
  }
  mj_task_exit();
}

static void io_events_are_counted(void) {
  CHECK_INT(pipe(channel), ==, 0);
  mj_scheduler* scheduler = new_scheduler();
  mj_task** state = allocate(sizeof *state);
  *state = add_task(scheduler, reads_four_bytes, NULL);
  add_task(scheduler, writes_four_bytes, state);
  mj_scheduler_run(scheduler);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->io_events, ==, 4);
  mj_scheduler_destroy(scheduler);
  close(channel[0]);
  close(channel[1]);
}

// ---- Reset ----

static void stops_with_three_left(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  mj_task_yield();
  CHECK_INT(mj_scheduler_stop(scheduler), ==, 0);
  mj_task_exit();
}

static void a_reset_keeps_the_current_values(void) {
  mj_scheduler* scheduler = new_scheduler();
  for (int i = 0; i < 3; i++) add_task(scheduler, sleeps_long, NULL);
  add_task(scheduler, stops_with_three_left, NULL);
  mj_scheduler_run(scheduler);
  const mj_metrics* metrics = mj_scheduler_get_metrics(scheduler);
  CHECK_UINT(metrics->current_tasks, ==, 3);
  CHECK_UINT(metrics->peak_tasks, ==, 4);
  CHECK_UINT(metrics->total_execution_time_ns, >, 0);
  size_t memory = metrics->memory_allocated_bytes;
  mj_scheduler_reset_metrics(scheduler);
  mj_metrics after = *mj_scheduler_get_metrics(scheduler);
  CHECK_UINT(after.current_tasks, ==, 3);
  CHECK_UINT(after.peak_tasks, ==, 3);
  CHECK_UINT(after.memory_allocated_bytes, ==, memory);
  after.current_tasks = 0;
  after.peak_tasks = 0;
  after.memory_allocated_bytes = 0;
  mj_metrics zero;
  memset(&zero, 0, sizeof zero);
  CHECK_INT(memcmp(&after, &zero, sizeof zero), ==, 0);
  mj_scheduler_destroy(scheduler);
}

int main(void) {
  RUN(the_printed_block_is_the_guides);
  RUN(a_new_scheduler_has_counted_nothing);
  RUN(tasks_and_turns_are_counted);
  RUN(the_peak_is_the_most_at_one_time);
  RUN(times_are_measured);
  RUN(waiting_is_measured);
  RUN(timers_are_counted);
  RUN(io_events_are_counted);
  RUN(a_reset_keeps_the_current_values);
  return 0;
}
