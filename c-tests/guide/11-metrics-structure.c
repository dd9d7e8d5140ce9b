typedef struct mj_metrics {
    // Task execution
    uint64_t task_executions;           // Total times tasks have run
    uint64_t total_execution_time_ns;   // Cumulative task execution time
    uint64_t min_execution_time_ns;     // Fastest task execution
    uint64_t max_execution_time_ns;     // Slowest task execution
    
    // Scheduler cycles
    uint64_t scheduler_loops;           // Main loop iterations
    uint64_t total_loop_time_ns;        // Time spent in scheduler
    
    // Timers
    uint64_t timer_expirations;         // Times timers woke tasks
    uint64_t timer_cancellations;       // Times timers were cancelled
    
    // Wait function
    uint64_t wait_calls;                // Times wait function was called
    uint64_t total_wait_time_ns;        // Time spent in wait function
    uint64_t io_events;                 // I/O events received (if applicable)
    
    // Task lifecycle
    uint64_t tasks_created;             // Total tasks created
    uint64_t tasks_exited;              // Total tasks completed
    uint64_t current_tasks;             // Currently active tasks
    uint64_t peak_tasks;                // Maximum concurrent tasks
    
    // Memory
    uint64_t heap_operations;           // Timer heap operations count
    size_t   memory_allocated_bytes;    // Tracked memory usage
} mj_metrics;
