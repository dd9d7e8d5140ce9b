#include <sys/epoll.h>

typedef struct mj_epoll_data {
    int epoll_fd;
    
    // Map file descriptors to tasks
    // When fd becomes ready, task gets added to runnable queue
    struct {
        int fd;
        mj_task* task;
    } fd_map[MAX_FDS];
    
    size_t fd_count;
} mj_epoll_data;

static int wait_epoll(mj_scheduler* sched, uint64_t timeout_ns, void* user_data) {
    mj_epoll_data* epoll_data = (mj_epoll_data*)user_data;
    
    // Convert nanoseconds to milliseconds for epoll_wait
    int timeout_ms;
    if (timeout_ns == UINT64_MAX) {
        timeout_ms = -1; // Wait forever
    } else if (timeout_ns == 0) {
        timeout_ms = 0;  // Return immediately
    } else {
        timeout_ms = (int)(timeout_ns / 1000000ULL);
        if (timeout_ms == 0 && timeout_ns > 0) {
            timeout_ms = 1; // Round up to at least 1ms
        }
    }
    
    struct epoll_event events[32];
    int nfds = epoll_wait(epoll_data->epoll_fd, events, 32, timeout_ms);
    
    if (nfds < 0) {
        if (errno == EINTR) {
            return 0; // Interrupted, try again
        }
        MJ_ERROR("epoll_wait failed: %s", strerror(errno));
        return -1;
    }
    
    // Wake up tasks whose fds are ready
    for (int i = 0; i < nfds; i++) {
        mj_task* task = (mj_task*)events[i].data.ptr;
        if (task != NULL && task->state == MJ_TASK_WAITING_IO) {
            task->state = MJ_TASK_RUNNABLE;
            enqueue_runnable(sched, task);
            sched->metrics.io_events++;
        }
    }
    
    return nfds;
}
