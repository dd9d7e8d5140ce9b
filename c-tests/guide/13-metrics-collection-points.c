void mj_scheduler_run(mj_scheduler* sched) {
    uint64_t loop_start = get_monotonic_time_ns();
    
    while (sched->runnable_count > 0 || sched->timer_count > 0) {
        sched->metrics.scheduler_loops++;
        
        while (sched->runnable_count > 0) {
            mj_task* task = dequeue_runnable(sched);
            
            uint64_t task_start = get_monotonic_time_ns();
            task->task_function(sched, task->user_state);
            uint64_t task_end = get_monotonic_time_ns();
            
            uint64_t duration = task_end - task_start;
            
            // Update metrics
            sched->metrics.task_executions++;
            sched->metrics.total_execution_time_ns += duration;
            
            if (duration < sched->metrics.min_execution_time_ns || 
                sched->metrics.min_execution_time_ns == 0) {
                sched->metrics.min_execution_time_ns = duration;
            }
            
            if (duration > sched->metrics.max_execution_time_ns) {
                sched->metrics.max_execution_time_ns = duration;
            }
            
            if (task->state == MJ_TASK_EXITED) {
                sched->metrics.tasks_exited++;
                sched->metrics.current_tasks--;
            }
        }
        
        // Check timers
        while (sched->timer_count > 0) {
            mj_task* next = timer_heap_peek(sched);
            if (next->wake_time_ns <= get_monotonic_time_ns()) {
                timer_heap_pop(sched);
                sched->metrics.timer_expirations++;
                // ...
            } else {
                break;
            }
        }
        
        // Wait phase
        if (sched->runnable_count == 0 && sched->timer_count > 0) {
            uint64_t wait_start = get_monotonic_time_ns();
            sched->metrics.wait_calls++;
            
            // ... wait logic ...
            
            uint64_t wait_end = get_monotonic_time_ns();
            sched->metrics.total_wait_time_ns += (wait_end - wait_start);
        }
    }
    
    uint64_t loop_end = get_monotonic_time_ns();
    sched->metrics.total_loop_time_ns = loop_end - loop_start;
}
