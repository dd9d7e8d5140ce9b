// Put current task to sleep for a duration
void mj_task_sleep_ns(uint64_t nanoseconds) {
    // This must be called from within a task
    mj_scheduler* sched = get_current_scheduler(); // TLS or global
    if (sched == NULL || sched->current_task == NULL) {
        return; // Error: not called from task context
    }
    
    mj_task* task = sched->current_task;
    
    // Calculate wake time
    uint64_t now = get_monotonic_time_ns();
    task->wake_time_ns = now + nanoseconds;
    task->state = MJ_TASK_SLEEPING;
    
    // Insert into timer heap
    timer_heap_insert(sched, task);
}

// Convenience functions
void mj_task_sleep_ms(uint64_t milliseconds) {
    mj_task_sleep_ns(milliseconds * 1000000ULL);
}

void mj_task_sleep_s(uint64_t seconds) {
    mj_task_sleep_ns(seconds * 1000000000ULL);
}

// Yield control until next scheduler cycle (wake immediately)
void mj_task_yield(void) {
    mj_scheduler* sched = get_current_scheduler();
    if (sched == NULL || sched->current_task == NULL) {
        return;
    }
    
    mj_task* task = sched->current_task;
    task->state = MJ_TASK_RUNNABLE;
    
    // Add to back of runnable queue
    enqueue_runnable(sched, task);
}
