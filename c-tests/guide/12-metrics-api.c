// Get current metrics snapshot
const mj_metrics* mj_scheduler_get_metrics(mj_scheduler* sched) {
    return &sched->metrics;
}

// Reset all metrics
void mj_scheduler_reset_metrics(mj_scheduler* sched) {
    memset(&sched->metrics, 0, sizeof(mj_metrics));
}

// Print metrics in human-readable format
void mj_scheduler_print_metrics(mj_scheduler* sched, FILE* out) {
    const mj_metrics* m = &sched->metrics;
    
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
        fprintf(out, "  Min time:      %lu ns (%.3f ms)\n", 
                m->min_execution_time_ns, m->min_execution_time_ns / 1e6);
        fprintf(out, "  Max time:      %lu ns (%.3f ms)\n", 
                m->max_execution_time_ns, m->max_execution_time_ns / 1e6);
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
