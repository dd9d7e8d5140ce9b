void mj_scheduler_run(mj_scheduler* sched) {
    MJ_INFO("Scheduler starting with %zu runnable tasks, %zu sleeping",
            sched->runnable_count, sched->timer_count);
    
    while (sched->runnable_count > 0 || sched->timer_count > 0) {
        MJ_TRACE("Loop iteration: runnable=%zu, sleeping=%zu",
                 sched->runnable_count, sched->timer_count);
        
        // ... run tasks ...
        
        if (task->state == MJ_TASK_EXITED) {
            MJ_DEBUG("Task %p exited", (void*)task);
        }
    }
    
    MJ_INFO("Scheduler stopped: all tasks completed");
}
