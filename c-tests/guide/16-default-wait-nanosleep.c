static int default_wait_nanosleep(mj_scheduler* sched, uint64_t timeout_ns, void* user_data) {
    (void)sched;
    (void)user_data;
    
    if (timeout_ns == 0) {
        return 0; // Don't wait
    }
    
    struct timespec ts = {
        .tv_sec = timeout_ns / 1000000000ULL,
        .tv_nsec = timeout_ns % 1000000000ULL
    };
    
    nanosleep(&ts, NULL);
    return 0; // No events, just timeout
}
