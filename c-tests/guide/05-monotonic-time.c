#include <time.h>

// Get current time in nanoseconds (monotonic clock)
static uint64_t get_monotonic_time_ns(void) {
    struct timespec ts;
    
#ifdef CLOCK_MONOTONIC
    clock_gettime(CLOCK_MONOTONIC, &ts);
#else
    clock_gettime(CLOCK_REALTIME, &ts); // Fallback
#endif
    
    return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}
