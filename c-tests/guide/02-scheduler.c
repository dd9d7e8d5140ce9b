typedef struct mj_scheduler {
    // Runnable queue (linked list for O(1) enqueue/dequeue)
    mj_task*   runnable_head;
    mj_task*   runnable_tail;
    size_t     runnable_count;
    
    // Timer heap (min-heap sorted by wake_time_ns)
    mj_task**  timer_heap;
    size_t     timer_count;
    size_t     timer_capacity;
    
    // Currently executing task (for context-aware APIs)
    mj_task*   current_task;
    
    // Wait function hook (explained later)
    mj_wait_fn* wait_func;
    void*       wait_data;
    
    // Metrics
    mj_metrics  metrics;
} mj_scheduler;
