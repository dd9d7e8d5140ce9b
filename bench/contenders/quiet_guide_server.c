// The guide's server with its log level at WARN, the only change: what its log costs is the difference.
#include "majjen.h"

#define mj_log_set_level(level) (mj_log_set_level)(MJ_LOG_WARN)
#include "../../examples-c/http_server.c"
