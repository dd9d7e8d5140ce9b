mj_scheduler* setup_scheduler_with_epoll(void) {
    mj_scheduler* sched = mj_scheduler_create();
    
    // Create epoll instance
    mj_epoll_data* epoll_data = calloc(1, sizeof(mj_epoll_data));
    epoll_data->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    
    if (epoll_data->epoll_fd < 0) {
        MJ_ERROR("Failed to create epoll fd");
        free(epoll_data);
        mj_scheduler_destroy(sched);
        return NULL;
    }
    
    // Register the wait function
    mj_scheduler_set_wait_func(sched, wait_epoll, epoll_data);
    
    MJ_INFO("Scheduler created with epoll integration");
    return sched;
}
