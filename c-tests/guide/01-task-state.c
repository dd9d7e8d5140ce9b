typedef enum {
    MJ_TASK_RUNNABLE,    // Ready to run immediately
    MJ_TASK_SLEEPING,    // Waiting for timer to expire
    MJ_TASK_WAITING_IO,  // Waiting for I/O event (future)
    MJ_TASK_EXITED       // Task has finished
} mj_task_state;

typedef struct mj_task {
    mj_task_fn*    task_function;
    void*          user_state;
    
    // State management
    mj_task_state  state;
    uint64_t       wake_time_ns;   // When to wake (in nanoseconds since epoch or monotonic)
    
    // Heap management (for timer queue)
    size_t         heap_index;     // Position in the heap (for quick updates)
    
    // Internal linkage
    struct mj_task* next;          // For runnable queue or free list
} mj_task;
