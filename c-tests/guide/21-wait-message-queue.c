// For inter-process communication
int wait_message_queue(mj_scheduler* sched, uint64_t timeout_ns, void* user_data) {
    // Block on message queue (e.g., POSIX mq_timedreceive)
    // Wake tasks when messages arrive
}
