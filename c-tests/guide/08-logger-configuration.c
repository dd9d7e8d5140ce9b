typedef void (*mj_log_callback)(mj_log_level level, const char* message, void* user_data);

typedef struct mj_logger {
    mj_log_level     min_level;      // Minimum level to log
    mj_log_callback  callback;       // Custom log handler
    void*            user_data;      // Passed to callback
    bool             include_time;   // Include timestamps
    bool             include_level;  // Include level string
} mj_logger;

// Global logger (or per-scheduler)
static mj_logger global_logger = {
    .min_level = MJ_LOG_INFO,
    .callback = NULL,
    .user_data = NULL,
    .include_time = true,
    .include_level = true
};

// Configure logging
void mj_log_set_level(mj_log_level level) {
    global_logger.min_level = level;
}

void mj_log_set_callback(mj_log_callback callback, void* user_data) {
    global_logger.callback = callback;
    global_logger.user_data = user_data;
}
