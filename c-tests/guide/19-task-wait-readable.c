// User API to wait for a file descriptor to become readable
void mj_task_wait_readable(int fd) {
    mj_scheduler* sched = get_current_scheduler();
    mj_task* task = sched->current_task;
    mj_epoll_data* epoll_data = (mj_epoll_data*)sched->wait_data;
    
    // Add fd to epoll
    struct epoll_event ev = {
        .events = EPOLLIN | EPOLLET,  // Edge-triggered, readable
        .data.ptr = task
    };
    
    if (epoll_ctl(epoll_data->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
        MJ_ERROR("Failed to add fd %d to epoll: %s", fd, strerror(errno));
        return;
    }
    
    // Mark task as waiting for I/O
    task->state = MJ_TASK_WAITING_IO;
    MJ_DEBUG("Task %p waiting for fd %d to become readable", (void*)task, fd);
}
