// The scenarios of signals that tasks wait for. One that was sent is told to a task or handled by the program, whatever
// fails.
#ifndef SIGNALS_H
#define SIGNALS_H

static volatile sig_atomic_t handled_signals;
static size_t told_signals, sent_signals;

static void handles(int number) {
  (void)number;
  handled_signals++;
}

static void handle_signals(mj_scheduler* scheduler) {
  (void)scheduler;
  CHECK(signal(SIGUSR1, handles) != SIG_ERR);
  CHECK(signal(SIGUSR2, handles) != SIG_ERR);
}

static void wait_for_some(const int* signals, size_t count, uint64_t timeout_ns) {
  mj_signal_info info;
  int result = mj_signal_wait(signals, count, &info, timeout_ns);
  CHECK_ALLOWED_OR_LATE(result);
  if (result <= 0) return;
  CHECK_INT(info.signal, ==, result);
  CHECK_INT(info.pid, ==, getpid());
  told_signals++;
}

// With one set, with another one, and with none.
static void waits_for_signals(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  const int both[] = {SIGUSR1, SIGUSR2};
  size_t number = *(size_t*)user_state;
  wait_for_some(both, 1 + number % 2, 0);
  wait_for_some(both, 1 + number % 2, 20000000);
  wait_for_some(&both[number % 2], 1, 0);
  if (number == 2) CHECK_INT(mj_signal_release(), ==, 0);
  mj_task_yield();
  end();
}

static void send_one(int number) {
  CHECK_INT(kill(getpid(), number), ==, 0);
  sent_signals++;
}

static void sends_signals(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_yield();
  send_one(SIGUSR1);
  send_one(SIGUSR2);
  mj_task_yield();
  send_one(SIGUSR1);
  end();
}

static void wait_for_signals(mj_scheduler** scheduler) {
  for (size_t i = 0; i < 4; i++) spawn(*scheduler, waits_for_signals, i);
  spawn(*scheduler, sends_signals, 0);
  run(*scheduler);
}

static bool ends_in_order;

static void ends_the_run(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  CHECK_INT(mj_yield(), ==, 0);
  if (ends_in_order) send_one(SIGTERM); // Else it would end the process.
  end();
}

static void sleeps_until_canceled(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  int result = mj_sleep_ns(20000000);
  if (result != -ECANCELED) CHECK_ALLOWED(result);
  end();
}

static void lets_nothing_in(void* argument) { (*(size_t*)argument)++; }

// A run that does not begin for want of memory, or goes on since it cannot be ended in order, is run again.
static void run_until_a_signal(mj_scheduler** scheduler) {
  size_t stops = 0;
  mj_log_set_level(MJ_LOG_FATAL);
  for (size_t i = 0; i < 3; i++) spawn(*scheduler, sleeps_until_canceled, i);
  spawn(*scheduler, ends_the_run, 0);
  ends_in_order = true;
  int result = mj_run_until_signal(*scheduler, lets_nothing_in, &stops, 1000000);
  ends_in_order = false;
  if (result < 0) CHECK_ALLOWED(result);
  CHECK_UINT(stops, <=, 1);
  told_signals += stops;
  if (mj_scheduler_signal(*scheduler) == SIGTERM && stops == 0) told_signals++;
  mj_log_set_level(MJ_LOG_INFO);
  run(*scheduler);
}

static void none_was_lost(void) {
  if (sent_signals > 0) CHECK_UINT(told_signals + (size_t)handled_signals, >, 0);
  if (fault.failed == 0) CHECK_UINT(told_signals, >=, 1);
  struct sigaction now;
  const int all[] = {SIGUSR1, SIGUSR2, SIGTERM};
  for (size_t i = 0; i < 3; i++) {
    CHECK_INT(sigaction(all[i], NULL, &now), ==, 0);
    CHECK(now.sa_handler == (i < 2 ? handles : SIG_DFL));
  }
}

#endif  // SIGNALS_H
