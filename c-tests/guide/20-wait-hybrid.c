// Waits for either timer expiry OR I/O events
int wait_hybrid(mj_scheduler* sched, uint64_t timeout_ns, void* user_data) {
    // Use timerfd on Linux to integrate timers into epoll
    // Or use pselect/ppoll which support both timeout and fd monitoring
}
