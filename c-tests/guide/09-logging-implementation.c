static const char* level_strings[] = {
    "TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"
};

static void default_log_handler(mj_log_level level, const char* message, void* user_data) {
    (void)user_data;
    
    FILE* out = (level >= MJ_LOG_ERROR) ? stderr : stdout;
    
    if (global_logger.include_time) {
        time_t now = time(NULL);
        struct tm* tm_info = localtime(&now);
        char time_buf[32];
        strftime(time_buf, sizeof(time_buf), "%Y-%m-%d %H:%M:%S", tm_info);
        fprintf(out, "[%s] ", time_buf);
    }
    
    if (global_logger.include_level) {
        fprintf(out, "[%s] ", level_strings[level]);
    }
    
    fprintf(out, "%s\n", message);
    fflush(out);
}

void mj_log(mj_log_level level, const char* fmt, ...) {
    if (level < global_logger.min_level) {
        return; // Below threshold
    }
    
    char buffer[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(buffer, sizeof(buffer), fmt, args);
    va_end(args);
    
    mj_log_callback handler = global_logger.callback;
    if (handler == NULL) {
        handler = default_log_handler;
    }
    
    handler(level, buffer, global_logger.user_data);
}

// Convenience macros
#define MJ_TRACE(...) mj_log(MJ_LOG_TRACE, __VA_ARGS__)
#define MJ_DEBUG(...) mj_log(MJ_LOG_DEBUG, __VA_ARGS__)
#define MJ_INFO(...)  mj_log(MJ_LOG_INFO, __VA_ARGS__)
#define MJ_WARN(...)  mj_log(MJ_LOG_WARN, __VA_ARGS__)
#define MJ_ERROR(...) mj_log(MJ_LOG_ERROR, __VA_ARGS__)
#define MJ_FATAL(...) mj_log(MJ_LOG_FATAL, __VA_ARGS__)
