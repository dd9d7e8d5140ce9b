// Printing the metrics to a FILE*. The text is the guide's, byte for byte; programs parse it.
#include <inttypes.h>
#include <stdio.h>

#include "../../include/majjen.h"

void majjen_shim_print_metrics(const mj_metrics *metrics, FILE *out);

static void print_time(FILE *out, const char *label, uint64_t ns) {
  fprintf(out, "  %s %" PRIu64 " ns (%.3f ms)\n", label, ns, (double)ns / 1e6);
}

void majjen_shim_print_metrics(const mj_metrics *m, FILE *out) {
  fprintf(out,
          "\n=== Majjen Scheduler Metrics ===\n"
          "Tasks:\n"
          "  Created:       %" PRIu64 "\n"
          "  Exited:        %" PRIu64 "\n"
          "  Current:       %" PRIu64 "\n"
          "  Peak:          %" PRIu64 "\n"
          "\nExecution:\n"
          "  Total runs:    %" PRIu64 "\n",
          m->tasks_created, m->tasks_exited, m->current_tasks, m->peak_tasks, m->task_executions);
  if (m->task_executions > 0) {
    print_time(out, "Avg time:     ", m->total_execution_time_ns / m->task_executions);
    print_time(out, "Min time:     ", m->min_execution_time_ns);
    print_time(out, "Max time:     ", m->max_execution_time_ns);
  }
  fprintf(out,
          "\nScheduler:\n"
          "  Loop cycles:   %" PRIu64 "\n"
          "  Wait calls:    %" PRIu64 "\n"
          "  I/O events:    %" PRIu64 "\n"
          "\nTimers:\n"
          "  Expirations:   %" PRIu64 "\n"
          "  Cancellations: %" PRIu64 "\n"
          "================================\n\n",
          m->scheduler_loops, m->wait_calls, m->io_events, m->timer_expirations,
          m->timer_cancellations);
}
