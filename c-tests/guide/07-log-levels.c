typedef enum {
    MJ_LOG_TRACE   = 0,  // Very detailed, for debugging internal operations
    MJ_LOG_DEBUG   = 1,  // Debugging information
    MJ_LOG_INFO    = 2,  // Informational messages
    MJ_LOG_WARN    = 3,  // Warnings
    MJ_LOG_ERROR   = 4,  // Errors
    MJ_LOG_FATAL   = 5,  // Fatal errors
    MJ_LOG_SILENT  = 6   // No logging
} mj_log_level;
