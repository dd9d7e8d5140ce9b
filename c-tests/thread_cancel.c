// A thread with a pending request of pthread_cancel() that calls the library: no call is a
// cancellation point, so each does its work, leaves nothing locked, and the thread ends afterwards.
// In a run the request waits until the run is over.
#define _GNU_SOURCE
#include "child.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>

static mj_scheduler* other;  // one that does not run
static int ends[2];          // a pipe with a byte in it
static FILE* nowhere;        // without a buffer
static char log_path[] = "/tmp/majjen-cancel-XXXXXX";

static void ends_at_once(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_exit();
}

// ---- The calls ----

static uint64_t reads_clock(void* user_data) {
  (void)user_data;
  poll(NULL, 0, 0);  // A cancellation point of the program's own.
  return now_ns();
}

static void is_a_callback(mj_log_level level, const char* message, void* user_data) {
  (void)level;
  (void)message;
  (void)user_data;
  poll(NULL, 0, 0);
}

static void creates_and_destroys(void) { mj_scheduler_destroy(mj_scheduler_create()); }

static void sets_up(void) { mj_scheduler_destroy(setup_scheduler_with_epoll()); }

static void uses_a_clock(void) {
  mj_scheduler* scheduler = mj_scheduler_create();
  mj_scheduler_set_clock(scheduler, reads_clock, NULL);
  CHECK_UINT(mj_scheduler_now_ns(scheduler), >, 0);
  mj_scheduler_destroy(scheduler);
}

static void stops(void) { CHECK_INT(mj_scheduler_stop(other), ==, 0); }

static void stops_remotely(void) {
  mj_remote* remote = mj_scheduler_remote(other);
  CHECK_INT(mj_remote_stop(remote), ==, 0);
  mj_remote_release(remote);
}

static void waits_by_epoll(void) { mj_wait_epoll(other, 0, NULL); }
static void waits_by_poll(void) { mj_wait_poll(other, 0, NULL); }
static void waits_by_nanosleep(void) { mj_wait_nanosleep(other, 0, NULL); }

static void closes(void) {
  int fd = dup(ends[0]);
  CHECK_INT(mj_fd_close(fd), ==, 0);
}

static void prints(void) {
  char text[100];
  mj_scheduler_print_metrics(other, nowhere);
  CHECK_INT(mj_scheduler_write_metrics(other, text, sizeof text, MJ_METRICS_JSON), >, 0);
  mj_scheduler_dump(other, nowhere);
}

static void logs(void) {
  for (int i = 0; i < 3; i++) MJ_ERROR("a line");
  MJ_INFO("%2000d", 1);  // Needs memory.
}

static void logs_to_a_file(void) {
  CHECK_INT(mj_log_to_file(log_path), ==, 0);
  MJ_INFO("a line");
  CHECK_INT(mj_log_reopen(), ==, 0);
  mj_log_set_callback(NULL, NULL);
}

static void logs_to_the_system(void) {
  mj_log_to_syslog("majjen-test");  // There may be no daemon.
  MJ_DEBUG("nothing");
  mj_log_set_callback(NULL, NULL);
}

static void listens(void) {
  CHECK_INT(mj_listen("192.0.2.1", "0", 0, 0), ==, -EADDRNOTAVAIL);
  setenv("NOTIFY_SOCKET", "/tmp/majjen-nobody-is-told", 1);
  CHECK_INT(mj_notify("READY=1"), <, 0);
}

static void logs_to_stderr(void) {
  CHECK_INT(mj_log_to_stderr(), ==, 0);
  MJ_ERROR("a line");
  mj_log_set_callback(NULL, NULL);
}

static void logs_to_a_callback(void) {
  mj_log_set_callback(is_a_callback, NULL);
  MJ_INFO("a line");
  mj_task_yield();  // A line of the library's own, outside a task.
  mj_log_set_callback(NULL, NULL);
}

static void configures(void) {
  mj_logger logger;
  mj_log_get_config(&logger);
  CHECK_INT(mj_log_set_config(&logger), ==, 0);
  mj_log_set_escape(false);
  mj_log_set_level(MJ_LOG_INFO);
}

static void creates_objects(void) {
  mj_scheduler* running = mj_scheduler_current();
  mj_scheduler* scheduler = running != NULL ? running : other;
  mj_create_task(scheduler, ends_at_once, NULL);
  mj_mutex_destroy(mj_mutex_create(scheduler));
  mj_cond_destroy(mj_cond_create(scheduler));
  mj_sem_destroy(mj_sem_create(scheduler, 1));
  mj_waitgroup_destroy(mj_waitgroup_create(scheduler));
  mj_chan* chan = mj_chan_create(scheduler, 1, 1);
  char element = 'x';
  CHECK_INT(mj_chan_try_send(chan, &element), ==, 0);
  CHECK_INT(mj_chan_try_recv(chan, &element), ==, 0);
  mj_chan_close(chan);
  mj_chan_destroy(chan);
}

typedef void a_call(void);

static a_call* const calls[] = {
    creates_and_destroys, sets_up,        uses_a_clock,       stops,          stops_remotely,
    waits_by_epoll,       waits_by_poll,  waits_by_nanosleep, closes,         prints,
    logs,                 logs_to_a_file, logs_to_the_system, logs_to_stderr, logs_to_a_callback,
    configures,           creates_objects, listens,
};
enum { call_count = sizeof calls / sizeof calls[0] };

// ---- Outside a run ----

static void* calls_with_a_request(void* index) {
  pthread_cancel(pthread_self());
  calls[*(int*)index]();
  __atomic_store_n((int*)index, -1, __ATOMIC_SEQ_CST);  // It has returned.
  pthread_testcancel();
  return NULL;
}

// After the thread has ended: nothing is locked.
static void check_nothing_is_locked(void) {
  alarm(20);
  for (int i = 0; i < call_count; i++) calls[i]();
  fprintf(nowhere, "prints\n");
  printf("prints\n");
  fprintf(stderr, "prints\n");
}

static void call_outside_a_run(void) {
  for (int i = 0; i < call_count; i++) {
    pthread_t thread;
    void* result;
    int index = i;
    CHECK_INT(pthread_create(&thread, NULL, calls_with_a_request, &index), ==, 0);
    CHECK_INT(pthread_join(thread, &result), ==, 0);
    CHECK_INT(index, ==, -1);
    CHECK(result == PTHREAD_CANCELED);
  }
  check_nothing_is_locked();
}

// ---- In a run ----

static int type;
static int reached;

static void waits_in_every_way(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  int before;
  CHECK_INT(pthread_setcanceltype(type, &before), ==, 0);
  pthread_cancel(pthread_self());
  mj_task_yield();
  CHECK_INT(mj_sleep_ns(1000000), ==, 0);
  CHECK_INT(mj_task_wait_fd(ends[0], POLLIN, 0), ==, POLLIN);
  CHECK_INT(mj_task_wait_fd(ends[0], POLLIN, MJ_FOREVER), ==, POLLIN);
  CHECK_INT(mj_task_wait_fd(ends[0], POLLPRI, 1000000), ==, -ETIMEDOUT);
  CHECK_INT(mj_task_park(1000000), ==, -ETIMEDOUT);
  mj_task* task = add_task(scheduler, ends_at_once, NULL);
  CHECK_INT(mj_task_join(mj_task_get_id(task), MJ_FOREVER), ==, 0);
  for (int i = 0; i < call_count; i++) calls[i]();
  // The program's own cancellation points are none here either.
  poll(NULL, 0, 0);
  pthread_testcancel();
  reached++;
  mj_task_exit();
}

static void* runs(void* scheduler) {
  int before;
  mj_scheduler_run(scheduler);
  reached++;
  pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &before);
  CHECK_INT(before, ==, PTHREAD_CANCEL_ENABLE);
  pthread_testcancel();
  reached++;
  return NULL;
}

static void* runs_with_state_disabled(void* scheduler) {
  int before;
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
  mj_scheduler_run(scheduler);
  reached++;
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
  CHECK_INT(before, ==, PTHREAD_CANCEL_DISABLE);
  return NULL;
}

static void* (*runner)(void*) = runs;
static mj_scheduler* (*maker)(void) = mj_scheduler_create;

static void call_in_a_run(void) {
  pthread_t thread;
  void* result;
  reached = 0;
  mj_scheduler* scheduler = maker();
  add_task(scheduler, waits_in_every_way, NULL);
  CHECK_INT(pthread_create(&thread, NULL, runner, scheduler), ==, 0);
  CHECK_INT(pthread_join(thread, &result), ==, 0);
  // With the asynchronous type mj_scheduler_run() itself is where it takes effect.
  bool async = type == PTHREAD_CANCEL_ASYNCHRONOUS && runner == runs;
  CHECK_INT(reached, ==, async ? 1 : 2);
  // Where pthread_setcancelstate() ends a thread, older C libraries do not set its result.
  if (!async) CHECK(runner == runs ? result == PTHREAD_CANCELED : result == NULL);
  check_nothing_is_locked();
  // The run was over: the scheduler can run again, on another thread, and be destroyed.
  add_task(scheduler, ends_at_once, NULL);
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_scheduler_destroy(scheduler);
}

// ---- Tests ----

static void in_a_child(void (*function)(void)) {
  int status = status_of_child(function);
  if (WIFSIGNALED(status)) fprintf(stderr, "killed by signal %d\n", WTERMSIG(status));
  CHECK_INT(status, ==, 0);
}

static void no_call_is_a_cancellation_point(void) { in_a_child(call_outside_a_run); }

static void a_run_is_over_before_its_thread_is_canceled(void) {
  for (int i = 0; i < 4; i++) {
    maker = i % 2 == 0 ? mj_scheduler_create : setup_scheduler_with_epoll;
    type = i / 2 == 0 ? PTHREAD_CANCEL_DEFERRED : PTHREAD_CANCEL_ASYNCHRONOUS;
    in_a_child(call_in_a_run);
  }
}

static void a_thread_that_holds_off_cancellation_goes_on_doing_so(void) {
  runner = runs_with_state_disabled;
  in_a_child(call_in_a_run);
  runner = runs;
}

// Another thread cancels one that logs as fast as it can.
static void* logs_for_ever(void* argument) {
  for (;;) {
    logs();
    pthread_testcancel();
  }
  return argument;
}

static void cancel_loggers(void) {
  dup2(fileno(nowhere), 1);
  dup2(fileno(nowhere), 2);
  for (int i = 0; i < 50; i++) {
    pthread_t threads[2];
    for (int j = 0; j < 2; j++) pthread_create(&threads[j], NULL, logs_for_ever, NULL);
    usleep((useconds_t)(i * 20));
    for (int j = 0; j < 2; j++) pthread_cancel(threads[j]);
    for (int j = 0; j < 2; j++) pthread_join(threads[j], NULL);
    check_nothing_is_locked();
  }
}

static void threads_that_log_can_be_canceled_at_any_moment(void) { in_a_child(cancel_loggers); }

int main(void) {
  int file = mkstemp(log_path);
  CHECK_INT(file, >=, 0);
  close(file);
  CHECK_INT(pipe(ends), ==, 0);
  CHECK_INT(write(ends[1], "x", 1), ==, 1);
  nowhere = fopen("/dev/null", "w");
  CHECK(nowhere != NULL);
  setvbuf(nowhere, NULL, _IONBF, 0);
  other = new_scheduler();
  add_task(other, ends_at_once, NULL);  // For the dump.
  if (!under_valgrind()) {  // Children end with what others have allocated.
    RUN(no_call_is_a_cancellation_point);
    RUN(a_run_is_over_before_its_thread_is_canceled);
    RUN(a_thread_that_holds_off_cancellation_goes_on_doing_so);
    RUN(threads_that_log_can_be_canceled_at_any_moment);
  }
  mj_scheduler_destroy(other);
  fclose(nowhere);
  close(ends[0]);
  close(ends[1]);
  unlink(log_path);
  return 0;
}
