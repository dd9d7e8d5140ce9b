// Stopping a run: from another thread, from a signal handler, before it begins, and by the signals
// that the application preset handles.
#define _GNU_SOURCE
#include "check.h"
#include "child.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/time.h>

static int channel[2];
static mj_scheduler* scheduler_to_stop;

static void waits_for_ever(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_wait_readable(channel[0]);
  CHECK(!"a task has been woken that nothing wakes");
}

static void sleeps_for_ever(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_sleep_s(1000000);
  CHECK(!"a task has been woken that nothing wakes");
}

static void yields_for_ever(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (;;) mj_task_yield();
}

static void begin(mj_scheduler* scheduler) {
  CHECK(scheduler != NULL);
  CHECK_INT(pipe(channel), ==, 0);
  scheduler_to_stop = scheduler;
}

static void end(void) {
  mj_scheduler_destroy(scheduler_to_stop);
  scheduler_to_stop = NULL;
  close(channel[0]);
  close(channel[1]);
}

static mj_scheduler* new_application(void) {
  mj_scheduler* scheduler = setup_scheduler_with_epoll();
  CHECK(scheduler != NULL);
  return scheduler;
}

// ---- From another thread ----

// Set by a task when the run has begun, for a thread that is to end it.
static atomic_bool running;

static void announces_the_run(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  atomic_store(&running, true);
  mj_task_exit();
}

static void sleep_20_ms_into_the_run(void) {
  while (!atomic_load(&running)) usleep(100);
  usleep(20000);
}

static void* stops_after_20_ms(void* argument) {
  (void)argument;
  sleep_20_ms_into_the_run();
  CHECK_INT(mj_scheduler_stop(scheduler_to_stop), ==, 0);
  return NULL;
}

// Runs while a thread, 20 ms later, does something that must end the run.
static void run_until(void* (*thread_body)(void*), const void* argument) {
  atomic_store(&running, false);
  add_task(scheduler_to_stop, announces_the_run, NULL);
  pthread_t thread;
  CHECK_INT(pthread_create(&thread, NULL, thread_body, (void*)argument), ==, 0);
  uint64_t before = now_ns();
  mj_scheduler_run(scheduler_to_stop);
  CHECK_UINT(now_ns() - before, >=, 20000000);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
}

static void stopped_by_a_thread(mj_scheduler* scheduler, mj_task_fn* const* bodies, size_t count) {
  begin(scheduler);
  for (size_t i = 0; i < count; i++) add_task(scheduler, bodies[i], NULL);
  // Twice: a stop ends one run, and has no later effect.
  for (int round = 0; round < 2; round++) {
    run_until(stops_after_20_ms, NULL);
    CHECK_UINT(mj_scheduler_get_metrics(scheduler)->current_tasks, ==, count);
  }
  end();
}

static void a_thread_stops_an_idle_run(void) {
  static mj_task_fn* const waiting[] = {waits_for_ever};
  static mj_task_fn* const sleeping[] = {sleeps_for_ever};
  static mj_task_fn* const both[] = {sleeps_for_ever, waits_for_ever};
  stopped_by_a_thread(new_scheduler(), waiting, 1);
  stopped_by_a_thread(new_scheduler(), sleeping, 1);
  stopped_by_a_thread(new_scheduler(), both, 2);
  stopped_by_a_thread(new_application(), waiting, 1);
  stopped_by_a_thread(new_application(), sleeping, 1);
  stopped_by_a_thread(new_application(), both, 2);
}

static void a_thread_stops_a_busy_run(void) {
  static mj_task_fn* const one[] = {yields_for_ever};
  static mj_task_fn* const several[] = {yields_for_ever, yields_for_ever, sleeps_for_ever};
  stopped_by_a_thread(new_scheduler(), one, 1);
  stopped_by_a_thread(new_application(), several, 3);
}

// Stops around the beginning of the wait. A lost stop hangs the test.
static void says_that_it_runs(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (;;) {
    atomic_store(&running, true);
    mj_task_wait_readable(channel[0]);
  }
}

static void* stops_in_a_moment(void* argument) {
  unsigned delay = *(unsigned*)argument;
  while (!atomic_load(&running)) {
  }
  for (volatile unsigned i = 0; i < delay; i++) {
  }
  CHECK_INT(mj_scheduler_stop(scheduler_to_stop), ==, 0);
  return NULL;
}

static void no_stop_is_lost(void) {
  uint64_t random_state = 88172645463325252u;
  begin(new_scheduler());
  mj_task* task = add_task(scheduler_to_stop, says_that_it_runs, NULL);
  for (size_t round = 0, rounds = times(1000, 50); round < rounds; round++) {
    atomic_store(&running, false);
    unsigned delay = (unsigned)(next_random(&random_state) % 20000);
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, stops_in_a_moment, &delay), ==, 0);
    if (round > 0) mj_scheduler_enqueue(scheduler_to_stop, task);
    mj_scheduler_run(scheduler_to_stop);
    CHECK_INT(pthread_join(thread, NULL), ==, 0);
  }
  end();
}

// ---- From a signal handler ----

static void stops_from_a_handler(int number) {
  (void)number;
  int saved = errno;
  mj_scheduler_stop(scheduler_to_stop);
  errno = saved;
}

static struct sigaction handle(int number, void (*handler)(int)) {
  struct sigaction action, before;
  memset(&action, 0, sizeof action);
  action.sa_handler = handler;
  CHECK_INT(sigaction(number, &action, &before), ==, 0);
  return before;
}

static void put_back(int number, const struct sigaction* action) {
  CHECK_INT(sigaction(number, action, NULL), ==, 0);
}

static void alarm_after_ms(long milliseconds) {
  struct itimerval alarm;
  memset(&alarm, 0, sizeof alarm);
  alarm.it_value.tv_usec = milliseconds * 1000;
  CHECK_INT(setitimer(ITIMER_REAL, &alarm, NULL), ==, 0);
}

static void stopped_by_an_alarm(mj_scheduler* scheduler, mj_task_fn* body) {
  begin(scheduler);
  struct sigaction before = handle(SIGALRM, stops_from_a_handler);
  add_task(scheduler, body, NULL);
  for (int round = 0; round < 2; round++) {
    alarm_after_ms(20);
    mj_scheduler_run(scheduler);
  }
  put_back(SIGALRM, &before);
  end();
}

static void a_signal_handler_stops_a_run(void) {
  stopped_by_an_alarm(new_scheduler(), waits_for_ever);
  stopped_by_an_alarm(new_scheduler(), sleeps_for_ever);
  stopped_by_an_alarm(new_scheduler(), yields_for_ever);
  stopped_by_an_alarm(new_application(), waits_for_ever);
}

// A signal that interrupts the wait without stopping anything wakes no task.
static volatile sig_atomic_t alarms;

static void counts_alarms(int number) {
  (void)number;
  alarms++;
}

static void sleeps_through_an_alarm(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  alarm_after_ms(5);
  uint64_t before = now_ns();
  mj_task_sleep_ms(30);
  CHECK_UINT(now_ns() - before, >=, 30000000);
  CHECK_INT(alarms, ==, 1);
  mj_task_exit();
}

static void an_interrupted_wait_goes_on(void) {
  alarms = 0;
  begin(new_scheduler());
  struct sigaction before = handle(SIGALRM, counts_alarms);
  add_task(scheduler_to_stop, sleeps_through_an_alarm, NULL);
  mj_scheduler_run(scheduler_to_stop);
  CHECK_INT(alarms, ==, 1);
  put_back(SIGALRM, &before);
  end();
}

// ---- Before the run ----

static int turns;

static void ends_after_three_turns(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < 3; i++) {
    turns++;
    mj_task_yield();
  }
  mj_task_exit();
}

static void a_stop_before_the_run_ends_that_run_only(void) {
  turns = 0;
  begin(new_scheduler());
  add_task(scheduler_to_stop, yields_for_ever, NULL);
  add_task(scheduler_to_stop, ends_after_three_turns, NULL);
  // Two stops before a run count as one.
  CHECK_INT(mj_scheduler_stop(scheduler_to_stop), ==, 0);
  CHECK_INT(mj_scheduler_stop(scheduler_to_stop), ==, 0);
  mj_scheduler_run(scheduler_to_stop);
  CHECK_INT(turns, <=, 1);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler_to_stop)->current_tasks, ==, 2);
  run_until(stops_after_20_ms, NULL);
  CHECK_INT(turns, ==, 3);
  end();
}

// ---- The application preset ----

static const int stop_signals[] = {SIGINT, SIGTERM};

static void check_same_mask(const sigset_t* before) {
  sigset_t now;
  CHECK_INT(pthread_sigmask(SIG_SETMASK, NULL, &now), ==, 0);
  for (int number = 1; number < 32; number++) {
    CHECK_INT(sigismember(&now, number), ==, sigismember(before, number));
  }
}

static void check_default(int number) {
  struct sigaction action;
  CHECK_INT(sigaction(number, NULL, &action), ==, 0);
  CHECK(action.sa_handler == SIG_DFL);
}

static void raises(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  int number = *(int*)user_state;
  mj_task_yield();
  CHECK_INT(raise(number), ==, 0);
  turns++;
  for (;;) mj_task_sleep_ms(1);
}

static void* raises_after_20_ms(void* argument) {
  sleep_20_ms_into_the_run();
  CHECK_INT(kill(getpid(), *(const int*)argument), ==, 0);
  return NULL;
}

static void sigint_and_sigterm_stop_an_application(void) {
  sigset_t mask;
  CHECK_INT(pthread_sigmask(SIG_SETMASK, NULL, &mask), ==, 0);
  for (int i = 0; i < 2; i++) {
    check_default(stop_signals[i]);
    // While a task runs, and then, in a second run, while all wait.
    turns = 0;
    begin(new_application());
    int* number = allocate(sizeof *number);
    *number = stop_signals[i];
    add_task(scheduler_to_stop, raises, number);
    CHECK_INT(mj_scheduler_signal(scheduler_to_stop), ==, 0);
    CHECK_INT(mj_run(scheduler_to_stop), ==, MJ_RUN_SIGNAL);
    CHECK_INT(mj_scheduler_signal(scheduler_to_stop), ==, stop_signals[i]);
    CHECK_INT(turns, ==, 1);
    check_default(stop_signals[i]);
    check_same_mask(&mask);
    add_task(scheduler_to_stop, waits_for_ever, NULL);
    run_until(raises_after_20_ms, &stop_signals[i]);
    CHECK_INT(mj_scheduler_signal(scheduler_to_stop), ==, stop_signals[i]);
    CHECK_UINT(mj_scheduler_get_metrics(scheduler_to_stop)->current_tasks, ==, 2);
    // The next run only reports how it ended itself.
    CHECK_INT(mj_scheduler_stop(scheduler_to_stop), ==, 0);
    CHECK_INT(mj_run(scheduler_to_stop), ==, MJ_RUN_STOPPED);
    CHECK_INT(mj_scheduler_signal(scheduler_to_stop), ==, 0);
    check_default(SIGINT);
    check_default(SIGTERM);
    check_default(SIGPIPE);
    check_same_mask(&mask);
    end();
  }
}

static void stops_and_raises(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  CHECK_INT(mj_scheduler_stop(scheduler), ==, 0);
  CHECK_INT(raise(SIGTERM), ==, 0);
  CHECK_INT(raise(SIGINT), ==, 0);
  CHECK_INT(mj_scheduler_signal(scheduler), ==, 0);
  mj_task_yield();
  CHECK_INT(mj_run(scheduler), ==, -EBUSY);
  mj_task_exit();
}

static void a_signal_counts_for_more_than_a_stop(void) {
  CHECK_INT(mj_run(NULL), ==, -EINVAL);
  CHECK_INT(mj_scheduler_signal(NULL), ==, -EINVAL);
  begin(new_application());
  add_task(scheduler_to_stop, stops_and_raises, NULL);
  CHECK_INT(mj_run(scheduler_to_stop), ==, MJ_RUN_SIGNAL);
  CHECK_INT(mj_scheduler_signal(scheduler_to_stop), ==, SIGTERM);
  CHECK_INT(mj_run(scheduler_to_stop), ==, 0);
  CHECK_INT(mj_scheduler_signal(scheduler_to_stop), ==, 0);
  end();
}

static volatile sig_atomic_t handled;

static void handles(int number) {
  (void)number;
  handled++;
}

static void raises_both_and_ends(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < 2; i++) {
    CHECK_INT(raise(stop_signals[i]), ==, 0);
    mj_task_yield();
    mj_task_sleep_ms(1);
  }
  turns++;
  mj_task_exit();
}

static void a_handler_of_the_program_is_left_alone(void) {
  handled = 0;
  turns = 0;
  struct sigaction interrupt = handle(SIGINT, handles);
  struct sigaction terminate = handle(SIGTERM, SIG_IGN);
  begin(new_application());
  add_task(scheduler_to_stop, raises_both_and_ends, NULL);
  mj_scheduler_run(scheduler_to_stop);
  // The run was not stopped: the task ended by itself.
  CHECK_INT(turns, ==, 1);
  CHECK_INT(handled, ==, 1);
  struct sigaction now;
  CHECK_INT(sigaction(SIGINT, NULL, &now), ==, 0);
  CHECK(now.sa_handler == handles);
  CHECK_INT(sigaction(SIGTERM, NULL, &now), ==, 0);
  CHECK(now.sa_handler == SIG_IGN);
  put_back(SIGINT, &interrupt);
  put_back(SIGTERM, &terminate);
  end();
}

static void raises_twice(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  raise(SIGINT);
  raise(SIGINT);
  _exit(3);
}

static void runs_an_application_with_two_signals(void) {
  mj_scheduler* scheduler = setup_scheduler_with_epoll();
  mj_create_task(scheduler, raises_twice, NULL);
  mj_scheduler_run(scheduler);
}

static void raises_once(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  raise(SIGINT);
  _exit(3);
}

static void runs_a_plain_scheduler_with_a_signal(void) {
  mj_scheduler* scheduler = mj_scheduler_create();
  mj_create_task(scheduler, raises_once, NULL);
  mj_scheduler_run(scheduler);
}

static void raises_between_runs(void) {
  mj_scheduler* scheduler = setup_scheduler_with_epoll();
  mj_create_task(scheduler, ends_after_three_turns, NULL);
  mj_scheduler_run(scheduler);
  raise(SIGINT);
  _exit(3);
}

static void check_killed_by(int status, int number) {
  if (!WIFSIGNALED(status)) CHECK_INT(WEXITSTATUS(status), ==, -1);
  CHECK_INT(WTERMSIG(status), ==, number);
}

static void raises_and_exits(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  CHECK_INT(raise(SIGTERM), ==, 0);
  mj_task_exit();
}

// No task is left to stop, so all have ended; that a signal came is not forgotten.
static void a_signal_in_the_last_turn_is_told(void) {
  begin(new_application());
  add_task(scheduler_to_stop, raises_and_exits, NULL);
  CHECK_INT(mj_run(scheduler_to_stop), ==, 0);
  CHECK_INT(mj_scheduler_signal(scheduler_to_stop), ==, SIGTERM);
  CHECK_INT(mj_run(scheduler_to_stop), ==, 0);
  CHECK_INT(mj_scheduler_signal(scheduler_to_stop), ==, 0);
  end();
}

static void raises_when_the_run_is_over(mj_log_level level, const char* message, void* user_data) {
  (void)level;
  (void)user_data;
  if (strncmp(message, "Scheduler stopped", 17) == 0) raise(SIGTERM);
}

static void runs_with_a_late_signal(void) {
  begin(new_application());
  add_task(scheduler_to_stop, ends_after_three_turns, NULL);
  mj_log_set_level(MJ_LOG_INFO);
  mj_log_set_callback(raises_when_the_run_is_over, NULL);
  mj_run(scheduler_to_stop);
}

// It has the effect that it has outside a run, instead of none.
static void a_signal_at_the_end_of_a_run_is_not_lost(void) {
  check_killed_by(status_of_child(runs_with_a_late_signal), SIGTERM);
}

static void a_second_sigint_kills(void) {
  check_killed_by(status_of_child(runs_an_application_with_two_signals), SIGINT);
}

static void sigint_kills_where_the_preset_does_not_run(void) {
  check_killed_by(status_of_child(runs_a_plain_scheduler_with_a_signal), SIGINT);
  check_killed_by(status_of_child(raises_between_runs), SIGINT);
}

// ---- SIGPIPE ----

static void writes_to_nobody(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < 3; i++) {
    int fds[2];
    CHECK_INT(pipe(fds), ==, 0);
    close(fds[0]);
    errno = 0;
    CHECK_INT(write(fds[1], "x", 1), ==, -1);
    CHECK_INT(errno, ==, EPIPE);
    close(fds[1]);
    mj_task_yield();
  }
  turns++;
  mj_task_exit();
}

static bool sigpipe_is_pending(void) {
  sigset_t pending;
  CHECK_INT(sigpending(&pending), ==, 0);
  return sigismember(&pending, SIGPIPE) == 1;
}

static void an_application_outlives_a_closed_connection(void) {
  sigset_t mask;
  CHECK_INT(pthread_sigmask(SIG_SETMASK, NULL, &mask), ==, 0);
  turns = 0;
  begin(new_application());
  for (int round = 0; round < 2; round++) {
    add_task(scheduler_to_stop, writes_to_nobody, NULL);
    mj_scheduler_run(scheduler_to_stop);
    // No signal is pending that would kill the process now.
    CHECK(!sigpipe_is_pending());
    check_same_mask(&mask);
    check_default(SIGPIPE);
  }
  CHECK_INT(turns, ==, 2);
  end();
}

static void a_sigpipe_handler_of_the_program_is_called(void) {
  handled = 0;
  turns = 0;
  struct sigaction before = handle(SIGPIPE, handles);
  begin(new_application());
  add_task(scheduler_to_stop, writes_to_nobody, NULL);
  mj_scheduler_run(scheduler_to_stop);
  CHECK_INT(turns, ==, 1);
  CHECK_INT(handled, ==, 3);
  put_back(SIGPIPE, &before);
  end();
}

static void a_sigpipe_that_the_program_blocks_stays_blocked(void) {
  sigset_t pipe_signal, mask, blocked;
  sigemptyset(&pipe_signal);
  sigaddset(&pipe_signal, SIGPIPE);
  CHECK_INT(pthread_sigmask(SIG_BLOCK, &pipe_signal, &mask), ==, 0);
  CHECK_INT(pthread_sigmask(SIG_SETMASK, NULL, &blocked), ==, 0);
  turns = 0;
  begin(new_application());
  add_task(scheduler_to_stop, writes_to_nobody, NULL);
  mj_scheduler_run(scheduler_to_stop);
  CHECK_INT(turns, ==, 1);
  check_same_mask(&blocked);
  // The signal is left pending for the program, as it would be without the library.
  CHECK(sigpipe_is_pending());
  struct timespec now = {0, 0};
  CHECK_INT(sigtimedwait(&pipe_signal, NULL, &now), ==, SIGPIPE);
  CHECK_INT(pthread_sigmask(SIG_SETMASK, &mask, NULL), ==, 0);
  end();
}

static void writes_to_a_closed_pipe(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  int fds[2];
  if (pipe(fds) != 0) _exit(4);
  close(fds[0]);
  ssize_t written = write(fds[1], "x", 1);
  _exit(written < 0 ? 3 : 5);
}

static void runs_a_plain_scheduler_with_sigpipe(void) {
  mj_scheduler* scheduler = mj_scheduler_create();
  mj_create_task(scheduler, writes_to_a_closed_pipe, NULL);
  mj_scheduler_run(scheduler);
}

static void a_plain_scheduler_leaves_sigpipe_alone(void) {
  check_killed_by(status_of_child(runs_a_plain_scheduler_with_sigpipe), SIGPIPE);
}

int main(void) {
  // Whatever the parent process had set.
  for (int i = 0; i < 2; i++) signal(stop_signals[i], SIG_DFL);
  signal(SIGPIPE, SIG_DFL);
  RUN(a_thread_stops_an_idle_run);
  RUN(a_thread_stops_a_busy_run);
  RUN(no_stop_is_lost);
  RUN(a_signal_handler_stops_a_run);
  RUN(an_interrupted_wait_goes_on);
  RUN(a_stop_before_the_run_ends_that_run_only);
  RUN(sigint_and_sigterm_stop_an_application);
  RUN(a_signal_counts_for_more_than_a_stop);
  RUN(a_handler_of_the_program_is_left_alone);
  RUN(a_signal_in_the_last_turn_is_told);
  RUN(a_signal_at_the_end_of_a_run_is_not_lost);
  RUN(a_second_sigint_kills);
  RUN(sigint_kills_where_the_preset_does_not_run);
  RUN(an_application_outlives_a_closed_connection);
  RUN(a_sigpipe_handler_of_the_program_is_called);
  RUN(a_sigpipe_that_the_program_blocks_stays_blocked);
  RUN(a_plain_scheduler_leaves_sigpipe_alone);
  return 0;
}
