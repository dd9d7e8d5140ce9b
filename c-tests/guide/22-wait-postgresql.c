// For PostgreSQL LISTEN/NOTIFY
int wait_postgresql(mj_scheduler* sched, uint64_t timeout_ns, void* user_data) {
    // Use PQconsumeInput / PQnotifies
    // Block with select() on connection socket
}
