void mj_scheduler_set_wait_func(mj_scheduler* sched, mj_wait_fn func, void* user_data) {
    sched->wait_func = func;
    sched->wait_data = user_data;
}
