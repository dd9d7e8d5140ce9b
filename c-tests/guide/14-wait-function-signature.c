// Called when scheduler needs to wait
// timeout_ns: Maximum time to wait (0 = return immediately, UINT64_MAX = wait forever)
// user_data: Custom data provided during registration
// Returns: Number of events that occurred (0 on timeout)
typedef int (*mj_wait_fn)(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data);
