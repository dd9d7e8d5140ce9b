void mj_scheduler_run(mj_scheduler* sched) {
    while (sched->runnable_count > 0 || sched->timer_count > 0) {
        
        // Phase 1: Run all immediately runnable tasks
        while (sched->runnable_count > 0) {
            mj_task* task = dequeue_runnable(sched);
            sched->current_task = task;
            
            // Execute task
            uint64_t start = get_monotonic_time_ns();
            task->task_function(sched, task->user_state);
            uint64_t end = get_monotonic_time_ns();
            
            // Update metrics
            sched->metrics.task_executions++;
            sched->metrics.total_execution_time_ns += (end - start);
            
            sched->current_task = NULL;
            
            // If task exited, free it
            if (task->state == MJ_TASK_EXITED) {
                free(task->user_state);  // User data
                free(task);              // Task struct
            }
        }
        
        // Phase 2: Check for expired timers
        uint64_t now = get_monotonic_time_ns();
        while (sched->timer_count > 0) {
            mj_task* next_timer = timer_heap_peek(sched);
            
            if (next_timer->wake_time_ns <= now) {
                // Timer expired, wake the task
                timer_heap_pop(sched);
                next_timer->state = MJ_TASK_RUNNABLE;
                enqueue_runnable(sched, next_timer);
            } else {
                // No more expired timers
                break;
            }
        }
        
        // Phase 3: Wait for next event or timer
        if (sched->runnable_count == 0 && sched->timer_count > 0) {
            // Calculate timeout until next timer
            mj_task* next_timer = timer_heap_peek(sched);
            now = get_monotonic_time_ns();
            
            uint64_t timeout_ns = 0;
            if (next_timer->wake_time_ns > now) {
                timeout_ns = next_timer->wake_time_ns - now;
            }
            
            // Call wait function (blocks until timeout or I/O event)
            if (sched->wait_func != NULL) {
                sched->wait_func(sched, timeout_ns, sched->wait_data);
            } else {
                // Default: just sleep
                struct timespec ts = {
                    .tv_sec = timeout_ns / 1000000000ULL,
                    .tv_nsec = timeout_ns % 1000000000ULL
                };
                nanosleep(&ts, NULL);
            }
        }
    }
}
