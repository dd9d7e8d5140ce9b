// A program that defines functions with the library's names, as one does that pastes the guide's
// epoll section: the library itself must never call them. Only with the shared library, where the
// loader could interpose the program's functions.
#define _GNU_SOURCE
#include "../check.h"

#include <dlfcn.h>

static int calls_of_ours;

mj_scheduler* setup_scheduler_with_epoll(void) {
  calls_of_ours++;
  return NULL;
}

void mj_task_wait_readable(int fd) {
  (void)fd;
  calls_of_ours++;
}

// The library's function.
static mj_scheduler* (*library_setup)(void);
static void (*library_wait_readable)(int fd);

static int bytes_read;

static void reads(mj_scheduler* scheduler, void* user_state) {
  int fd = *(int*)user_state;
  for (int i = 0; i < 3; i++) {
    char byte;
    library_wait_readable(fd);
    CHECK_INT(read(fd, &byte, 1), ==, 1);
    bytes_read++;
  }
  enqueue_runnable(scheduler, scheduler->current_task);
  mj_task_yield();
  mj_task_exit();
}

static void writes(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  int fd = *(int*)user_state;
  for (int i = 0; i < 3; i++) {
    do {
      mj_task_sleep_ns(10000);
      mj_task_sleep_ms(1);
      mj_task_yield();
    } while (bytes_read < i);
    CHECK_INT(bytes_read, ==, i);
    CHECK_INT(write(fd, "x", 1), ==, 1);
  }
  mj_task_exit();
}

static void check_reads_and_writes(mj_scheduler* scheduler) {
  CHECK(scheduler != NULL);
  bytes_read = 0;
  int fds[2];
  CHECK_INT(pipe(fds), ==, 0);
  int* read_end = allocate(sizeof *read_end);
  int* write_end = allocate(sizeof *write_end);
  *read_end = fds[0];
  *write_end = fds[1];
  add_task(scheduler, reads, read_end);
  add_task(scheduler, writes, write_end);
  mj_scheduler_run(scheduler);
  CHECK_INT(bytes_read, ==, 3);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->tasks_exited, ==, 2);
  mj_scheduler_destroy(scheduler);
  close(fds[0]);
  close(fds[1]);
}

static void the_library_never_calls_the_programs_functions(void) {
  mj_log_set_level(MJ_LOG_ERROR);
  check_reads_and_writes(mj_scheduler_create());
  check_reads_and_writes(library_setup());
  CHECK_INT(calls_of_ours, ==, 0);
}

static void the_program_calls_its_own(void) {
  CHECK_PTR(setup_scheduler_with_epoll(), ==, NULL);
  mj_task_wait_readable(-1);
  CHECK_INT(calls_of_ours, ==, 2);
}

int main(void) {
  *(void**)&library_setup = dlsym(RTLD_NEXT, "setup_scheduler_with_epoll");
  *(void**)&library_wait_readable = dlsym(RTLD_NEXT, "mj_task_wait_readable");
  CHECK(library_setup != NULL && library_setup != setup_scheduler_with_epoll);
  CHECK(library_wait_readable != NULL && library_wait_readable != mj_task_wait_readable);
  RUN(the_library_never_calls_the_programs_functions);
  RUN(the_program_calls_its_own);
  return 0;
}
