// The scenarios: programs in which any call may fail, and which check that a failed call behaves as
// the header says.
#ifndef SCENARIOS_H
#define SCENARIOS_H

#include "inject.h"

#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>

// ---- What happened ----

static size_t created, ended;  // tasks
static unsigned error_lines;
static char last_error_line[256];
static char last_line_end[8];
static size_t last_line_length;

static void on_line(mj_log_level level, const char* text, void* user_data) {
  (void)user_data;
  last_line_length = strlen(text);
  const char* end = text + last_line_length - (last_line_length < 7 ? last_line_length : 7);
  memcpy(last_line_end, end, strlen(end) + 1);
  if (level < MJ_LOG_ERROR) return;
  error_lines++;
  snprintf(last_error_line, sizeof last_error_line, "%s", text);
}

// Whether a result is success, or an error after a fault: the injected error, or the kernel's
// answer to what the library tries next, or EBADF for a descriptor whose registration is not there,
// since then its number is another file's.
static bool allowed(int result) {
  if (result >= 0) return true;
  int error = -result;
  bool is_replaced = error == EBADF && fault.error == ENOENT;
  return fault.failed > 0 && !fault.harmless &&
         (error == ENOMEM || error == fault.error || error == EEXIST || error == ENOENT || is_replaced);
}

#define CHECK_ALLOWED(result) \
  do { \
    int check_result = (result); \
    if (!allowed(check_result)) CHECK_INT(check_result, ==, 0); \
  } while (0)

// CHECK_ALLOWED for a wait with a timeout, which on a busy machine may pass.
static bool was_late;
#define CHECK_ALLOWED_OR_LATE(result) \
  do { \
    int limited_result = (result); \
    if (limited_result == -ETIMEDOUT) was_late = true; \
    else CHECK_ALLOWED(limited_result); \
  } while (0)

// ---- A watchdog for the runs ----

static mj_scheduler* volatile watched;
static volatile int alarms;
static volatile bool stopped;
static const char* injection = "";  // for the messages

// Ten times a second. A run that stalls for a reason that it has logged is stopped; any other run
// is stopped after 5 s; and a run that cannot even be stopped is killed.
static void on_alarm(int signal) {
  (void)signal;
  int error = errno;
  bool stalls = ++alarms >= 50 || (fault.length == ULONG_MAX && error_lines > 0);
  if (stalls && !stopped && watched != NULL) {
    stopped = true;
    mj_scheduler_stop(watched);
  } else if (alarms > 200) {
    const char* text = "\nhangs: ";
    if (write(2, text, strlen(text)) < 0 || write(2, injection, strlen(injection)) < 0) _exit(4);
    _exit(3);
  }
  errno = error;
}

static void run(mj_scheduler* scheduler) {
  struct itimerval tenth = {{0, 100000}, {0, 100000}}, never = {{0, 0}, {0, 0}};
  alarms = 0;
  stopped = false;
  watched = scheduler;
  setitimer(ITIMER_REAL, &tenth, NULL);
  mj_scheduler_run(scheduler);
  setitimer(ITIMER_REAL, &never, NULL);
  watched = NULL;
  if (stopped && (fault.length != ULONG_MAX || error_lines == 0)) {
    check_fail(__FILE__, __LINE__, "the run ends by itself, or says why it cannot");
  }
}

static mj_task* spawn(mj_scheduler* scheduler, mj_task_fn* body, size_t number) {
  size_t* state = malloc(sizeof *state);
  *state = number;
  mj_task* task = mj_create_task(scheduler, body, state);
  if (task == NULL) {
    CHECK_ALLOWED(-errno);
    free(state);
  } else {
    created++;
  }
  return task;
}

static void end(void) {
  ended++;
  mj_task_exit();
}

// ---- create ----

static void create(mj_scheduler** scheduler) {
  *scheduler = mj_scheduler_create();
  if (*scheduler == NULL) CHECK_ALLOWED(-errno);
  if (*scheduler != NULL) mj_scheduler_destroy(*scheduler);
  *scheduler = setup_scheduler_with_epoll();
  if (*scheduler == NULL) CHECK_ALLOWED(-errno);
}

// ---- spawn ----

static void yields(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_yield();
  end();
}

static void goes(void* argument) {
  mj_task_yield();
  ++*(size_t*)argument;
}

static void spawn_100(mj_scheduler** scheduler) {
  // The run allocates an alternate signal stack, or works without.
  CHECK_INT(mj_scheduler_set_overflow_report(*scheduler, true), ==, 0);
  for (size_t i = 0; i < 100; i++) {
    mj_task* task = spawn(*scheduler, yields, i);
    if (task != NULL && i % 5 == 0) CHECK_INT(mj_task_set_stack_size(task, 32 * 1024), ==, 0);
    if (i % 5 == 1) {
      int result = mj_go(*scheduler, goes, &ended, NULL);
      CHECK_ALLOWED(result);
      if (result == 0) created++;
    }
  }
  run(*scheduler);
}

// ---- sleep ----

// The page below the running task's stack must not be accessible: a stack without a guard page is
// worse than no stack. Called by a body that runs in the stack's highest page.
static void check_guard(void) {
  char here;
  uintptr_t page = 4096, top = ((uintptr_t)&here + page - 1) / page * page;
  const char* below = (const char*)(top - 256 * 1024 - 1);
  int channel[2];
  CHECK_INT(pipe(channel), ==, 0);
  ssize_t written = write(channel[1], below, 1);
  CHECK_INT(written, ==, -1);
  CHECK_INT(errno, ==, EFAULT);
  close(channel[0]);
  close(channel[1]);
}

static void sleeps(mj_scheduler* scheduler, void* user_state) {
  size_t number = *(size_t*)user_state;
  check_guard();
  uint64_t ns = 20000 + 3000 * (uint64_t)(number % 7), began = now_ns();
  int result = number % 2 == 0 ? mj_sleep_ns(ns)
                               : mj_task_sleep_until_ns(mj_scheduler_now_ns(scheduler) + ns);
  CHECK_ALLOWED(result);
  if (result == 0) CHECK_UINT(now_ns() - began, >=, ns);
  mj_task_sleep_ns(1000);
  CHECK_INT(mj_task_set_deadline(mj_deadline_after(ns), NULL), ==, 0);
  CHECK_ALLOWED_OR_LATE(mj_task_park(MJ_FOREVER));
  end();
}

static void sleep_100(mj_scheduler** scheduler) {
  for (size_t i = 0; i < 100; i++) spawn(*scheduler, sleeps, i);
  run(*scheduler);
}

// ---- wait ----

static int near_pair[2], far_pair[2];

static void make_pairs(mj_scheduler* scheduler) {
  (void)scheduler;
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, near_pair), ==, 0);
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, far_pair), ==, 0);
  // The library's table grows with the largest descriptor.
  CHECK_INT(dup2(far_pair[0], 200), ==, 200);
  close(far_pair[0]);
  far_pair[0] = 200;
}

static void close_pairs(void) {
  for (int i = 0; i < 2; i++) {
    close(near_pair[i]);
    close(far_pair[i]);
  }
}

// Without a timeout: a lost wake-up stalls the run.
static void waits(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  int fd = *(size_t*)user_state % 2 == 0 ? near_pair[0] : far_pair[0];
  CHECK_ALLOWED(mj_task_wait_fd(fd, POLLIN, MJ_FOREVER));
  CHECK_ALLOWED(mj_task_wait_fd(fd, POLLOUT, MJ_FOREVER));
  CHECK_ALLOWED_OR_LATE(mj_task_wait_fd(fd, POLLIN, 0));
  end();
}

static void waits_with_limit(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  CHECK_ALLOWED_OR_LATE(mj_task_wait_fd(near_pair[0], POLLPRI, 300000));
  mj_task_wait_readable(near_pair[0]);
  end();
}

static void feeds(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < 3; i++) mj_task_yield();
  mj_task_sleep_ns(100000);
  CHECK_INT(write(near_pair[1], "x", 1), ==, 1);
  mj_task_sleep_ns(100000);
  CHECK_INT(write(far_pair[1], "x", 1), ==, 1);
  end();
}

static void wait_for_descriptors(mj_scheduler** scheduler) {
  for (size_t i = 0; i < 6; i++) spawn(*scheduler, waits, i);
  spawn(*scheduler, waits_with_limit, 0);
  // The data must arrive, or the waiting tasks would rightly wait for ever.
  while (spawn(*scheduler, feeds, 0) == NULL) fault.armed = false;
  run(*scheduler);
}

static void wait_by_poll(mj_scheduler** scheduler) {
  mj_scheduler_set_wait_func(*scheduler, mj_wait_poll, NULL);
  wait_for_descriptors(scheduler);
  mj_scheduler_set_wait_func(*scheduler, mj_wait_nanosleep, NULL);
  for (size_t i = 0; i < 3; i++) spawn(*scheduler, sleeps, i);
  run(*scheduler);
  mj_scheduler_set_wait_func(*scheduler, NULL, NULL);
}

// ---- a wait function that fails ----

static int waits_that_fail;

static int fails_at_first(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  if (waits_that_fail > 0) return waits_that_fail--, -1;
  return mj_wait_poll(scheduler, timeout_ns, user_data);
}

// For each wait that fails, the run pauses instead.
static void pause_instead(mj_scheduler** scheduler) {
  waits_that_fail = 5;
  mj_scheduler_set_wait_func(*scheduler, fails_at_first, NULL);
  for (size_t i = 0; i < 3; i++) spawn(*scheduler, sleeps, i);
  run(*scheduler);
  mj_scheduler_set_wait_func(*scheduler, NULL, NULL);
  if (waits_that_fail == 5) return;  // No task, no wait.
  // Logged once, however often it fails.
  CHECK_UINT(error_lines, >, 0);
  error_lines--;
}

// ---- log ----

static void log_lines(mj_scheduler** scheduler) {
  (void)scheduler;
  static char text[6000];
  for (int streams = 0; streams < 2; streams++) {
    if (streams) mj_log_set_callback(NULL, NULL);
    for (size_t length = 10; length < sizeof text; length = length * 5 + 3) {
      memset(text, 'x', length);
      text[length] = 0;
      last_line_length = 0;
      MJ_INFO("%s", text);
      mj_log((mj_log_level)77, "%s", text);
      MJ_INFO("%s", text);
      if (streams) continue;
      if (last_line_length != length) {
        CHECK(fault.failed > 0);
        CHECK_INT(last_line_length, >=, 1000);
        CHECK_STR(last_line_end, "xxxx...");
      }
    }
  }
  mj_log_set_callback(on_line, NULL);
}

static FILE* nowhere;

// ---- log to a file ----

static char log_path[64];

static void open_log(mj_scheduler* scheduler) {
  (void)scheduler;
  CHECK_INT(mj_log_to_file(log_path), ==, 0);
}

static void remove_log(void) { CHECK_INT(unlink(log_path), ==, 0); }

// Counts complete lines that begin as the library's lines do.
static unsigned lines_in_log(void) {
  static char line[7000];
  FILE* file = fopen(log_path, "r");
  CHECK(file != NULL);
  unsigned lines = 0;
  while (fgets(line, sizeof line, file) != NULL) {
    CHECK(line[0] == '[' && strchr(line, '\n') != NULL);
    CHECK(strstr(line, "xxxxxxxx") != NULL);
    lines++;
  }
  fclose(file);
  return lines;
}

// The library's messages about lost lines are discarded.
static int silence_stderr(void) {
  fflush(stderr);
  int said = dup(STDERR_FILENO);
  CHECK_INT(dup2(fileno(nowhere), STDERR_FILENO), ==, STDERR_FILENO);
  return said;
}

static void restore_stderr(int said) {
  CHECK_INT(dup2(said, STDERR_FILENO), ==, STDERR_FILENO);
  close(said);
}

static void log_to_file(mj_scheduler** scheduler) {
  (void)scheduler;
  static char text[6000];
  // Only a program that needs its lines in the file needs this call.
  if (fault.call == OPEN) fault.harmless = false;
  int said = silence_stderr();
  unsigned lines = 0;
  int reopened[2];
  uint64_t dropped = mj_log_dropped();
  for (int i = 0; i < 3; i++) {
    for (size_t length = 10; length < sizeof text; length = length * 5 + 3) {
      memset(text, 'x', length);
      text[length] = 0;
      MJ_INFO("%s", text);
      lines++;
    }
    if (i < 2) reopened[i] = mj_log_reopen();
  }
  dropped = mj_log_dropped() - dropped;
  fault.armed = false;
  restore_stderr(said);
  mj_log_set_callback(on_line, NULL);
  CHECK_ALLOWED(reopened[0]);
  CHECK_ALLOWED(reopened[1]);
  CHECK_UINT(lines_in_log() + dropped, ==, lines);
  bool cannot_write = fault.call == WRITE_TO_FILE && fault.failed > 0;
  // What is full for a moment only gets the line then.
  if (fault.error != EAGAIN || !cannot_write) CHECK((dropped > 0) == cannot_write);
}

// ---- log to the system log ----

static int log_daemon;

static void start_log_daemon(mj_scheduler* scheduler) {
  (void)scheduler;
  struct sockaddr_un* address = &log_daemon_address;
  snprintf(address->sun_path, sizeof address->sun_path, "/tmp/majjen-sweep-log-%d", (int)getpid());
  log_daemon = socket(AF_UNIX, SOCK_DGRAM, 0);
  CHECK_INT(bind(log_daemon, (struct sockaddr*)address, sizeof *address), ==, 0);
  CHECK_INT(mj_log_to_syslog("sweep"), ==, 0);
}

static void end_log_daemon(void) {
  close(log_daemon);
  CHECK_INT(unlink(log_daemon_address.sun_path), ==, 0);
}

static void log_to_system_log(mj_scheduler** scheduler) {
  (void)scheduler;
  int said = silence_stderr();
  unsigned lines = 0, datagrams = 0;
  int results[3];
  uint64_t dropped = mj_log_dropped();
  for (int i = 0; i < 3; i++) {
    results[i] = mj_log_to_syslog("sweep");
    for (int line = 0; line < 3; line++, lines++) {
      char text[100] = "";
      MJ_INFO("%d", line);
      if (recv(log_daemon, text, sizeof text - 1, MSG_DONTWAIT) < 0) continue;
      CHECK(strstr(text, " sweep[") != NULL && text[strlen(text) - 1] == '0' + line);
      datagrams++;
    }
  }
  dropped = mj_log_dropped() - dropped;
  fault.armed = false;
  restore_stderr(said);
  mj_log_set_callback(on_line, NULL);
  for (int i = 0; i < 3; i++) CHECK_ALLOWED(results[i]);
  CHECK_UINT(datagrams + dropped, ==, lines);
  if (fault.call != SEND) CHECK_UINT(dropped, ==, 0);
}

// The settings and the descriptor numbers are kept for ever, once used.
static void use_logs_once(void) {
  snprintf(log_path, sizeof log_path, "/tmp/majjen-sweep-%d", (int)getpid());
  open_log(NULL);
  remove_log();
  start_log_daemon(NULL);
  end_log_daemon();
}

// ---- metrics ----

static void run_some(mj_scheduler* scheduler) {
  for (size_t i = 0; i < 3; i++) spawn(scheduler, sleeps, i);
  mj_scheduler_run(scheduler);
  spawn(scheduler, yields, 0);
}

static void metrics(mj_scheduler** scheduler) {
  char text[200];
  CHECK_UINT(mj_scheduler_get_metrics(*scheduler)->tasks_exited, ==, 3);
  mj_scheduler_print_metrics(*scheduler, nowhere);
  mj_scheduler_dump(*scheduler, nowhere);
  for (int format = 0; format < 3; format++) {
    CHECK_INT(mj_scheduler_write_metrics(*scheduler, text, sizeof text, (mj_metrics_format)format),
              >, (int)sizeof text);
    CHECK_INT(strlen(text), ==, sizeof text - 1);
  }
  mj_scheduler_reset_metrics(*scheduler);
  run(*scheduler);
}

// ---- wake, cancel, join ----

static mj_task_id parked_ids[3];

static void parks(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  size_t number = *(size_t*)user_state;
  int result = mj_task_park(number == 2 ? 100000 : 50000000);
  if (result != -ECANCELED && result != -ETIMEDOUT) CHECK_ALLOWED(result);
  end();
}

static void joins(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  int result = mj_task_join(parked_ids[*(size_t*)user_state], 50000000);
  if (result != -ESRCH && result != -ETIMEDOUT) CHECK_ALLOWED(result);
  end();
}

static void wakes(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  for (int i = 0; i < 3; i++) mj_task_yield();
  mj_task* task = mj_task_find(scheduler, parked_ids[0]);
  if (task != NULL) CHECK_INT(mj_task_wake(task), >=, 0);
  task = mj_task_find(scheduler, parked_ids[1]);
  if (task != NULL) CHECK_INT(mj_task_cancel(task), ==, 0);
  end();
}

static void wake_cancel_join(mj_scheduler** scheduler) {
  for (size_t i = 0; i < 3; i++) {
    parked_ids[i] = mj_task_get_id(spawn(*scheduler, parks, i));
    spawn(*scheduler, joins, i);
  }
  spawn(*scheduler, wakes, 0);
  run(*scheduler);
}

// A loop around a failing wait must let others run, and must be stoppable.
static bool told_to_end;

static void waits_again_and_again(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  size_t number = *(size_t*)user_state;
  while (!told_to_end) {
    if (number == 0) mj_task_park(1000);
    if (number == 1) mj_task_wait_fd(near_pair[0], POLLIN, 1000);
    if (number == 2) mj_task_join(mj_task_get_id(mj_scheduler_current()->current_task) + 1, 1000);
    if (number == 3) mj_task_sleep_ns(1000);
    // Logs an ERROR line each time.
    if (number == 4 && !fault.harmless) mj_task_wait_readable(-1);
    if (number == 2 || number == 4) mj_task_yield();
  }
  end();
}

static void ends_them(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < 20; i++) mj_task_yield();
  told_to_end = true;
  end();
}

static void loop_around_waits(mj_scheduler** scheduler) {
  told_to_end = false;
  for (size_t i = 0; i < 5; i++) spawn(*scheduler, waits_again_and_again, i);
  if (spawn(*scheduler, ends_them, 0) == NULL) told_to_end = true;
  run(*scheduler);
  told_to_end = true;
}

// ---- mutexes, semaphores, wait groups, channels ----

static mj_mutex* mutex;
static mj_cond* cond;
static mj_sem* semaphore;
static mj_waitgroup* group;
static mj_chan* channel;

// With a timeout: another task may have failed for lack of memory.
static void takes_part(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  size_t number = *(size_t*)user_state, element = number;
  uint64_t limit = 3000000 + number;
  int result = mj_mutex_lock(mutex, limit);
  if (result == 0) {
    mj_task_yield();
    result = mj_cond_wait(cond, mutex, 100000);
    if (result != -ETIMEDOUT) CHECK_ALLOWED(result);
    // Any result is allowed.
    CHECK_INT(mj_cond_signal(cond), ==, 0);
    CHECK_INT(mj_mutex_unlock(mutex), ==, 0);
  } else if (result != -ETIMEDOUT) {
    CHECK_ALLOWED(result);
  }
  result = mj_sem_acquire(semaphore, 2, limit);
  if (result == 0) {
    mj_task_yield();
    CHECK_INT(mj_sem_release(semaphore, 2), ==, 0);
  } else if (result != -ETIMEDOUT) {
    CHECK_ALLOWED(result);
  }
  mj_select_case one = {.chan = channel, .op = MJ_SELECT_SEND, .element = &element};
  result = number % 3 == 0   ? mj_select(&one, 1, limit)
           : number % 3 == 1 ? mj_chan_send(channel, &element, limit)
                             : mj_chan_recv(channel, &element, limit);
  if (result != -ETIMEDOUT) CHECK_ALLOWED(result);
  CHECK_INT(mj_waitgroup_done(group), ==, 0);
  result = mj_waitgroup_wait(group, limit);
  if (result != -ETIMEDOUT) CHECK_ALLOWED(result);
  end();
}

static void synchronise(mj_scheduler** scheduler) {
  mutex = mj_mutex_create(*scheduler);
  if (mutex == NULL) CHECK_ALLOWED(-errno);
  cond = mj_cond_create(*scheduler);
  if (cond == NULL) CHECK_ALLOWED(-errno);
  semaphore = mj_sem_create(*scheduler, 3);
  if (semaphore == NULL) CHECK_ALLOWED(-errno);
  group = mj_waitgroup_create(*scheduler);
  if (group == NULL) CHECK_ALLOWED(-errno);
  channel = mj_chan_create(*scheduler, sizeof(size_t), 2);
  if (channel == NULL) CHECK_ALLOWED(-errno);
  if (mutex == NULL || cond == NULL || semaphore == NULL || group == NULL || channel == NULL) return;
  for (size_t i = 0; i < 9; i++) {
    if (spawn(*scheduler, takes_part, i) != NULL) CHECK_INT(mj_waitgroup_add(group, 1), ==, 0);
  }
  run(*scheduler);
}

static void destroy_objects(void) {
  if (mutex != NULL) CHECK_INT(mj_mutex_destroy(mutex), ==, 0);
  if (cond != NULL) CHECK_INT(mj_cond_destroy(cond), ==, 0);
  if (semaphore != NULL) CHECK_INT(mj_sem_destroy(semaphore), ==, 0);
  if (group != NULL) CHECK_INT(mj_waitgroup_destroy(group), ==, 0);
  if (channel != NULL) CHECK_INT(mj_chan_destroy(channel), ==, 0);
}

// ---- groups ----

static mj_group* members;
static size_t member_starts, member_ends;

static int is_member(void* argument) {
  size_t number = (size_t)argument;
  int result = mj_task_park(number % 2 == 0 ? 50000000 : 100000);
  if (result != -ECANCELED && result != -ETIMEDOUT) CHECK_ALLOWED(result);
  member_ends++;
  return result;
}

// Whatever fails, each member that was added ends, and nobody waits for good.
static void has_a_group(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  members = mj_group_create(scheduler, 5);
  if (members == NULL) CHECK_ALLOWED(-errno);
  for (size_t i = 0; i < 20 && members != NULL; i++) {
    int result = mj_group_go(members, is_member, (void*)i, 1000000);
    if (result == 0) member_starts++;
    CHECK_ALLOWED_OR_LATE(result);
  }
  if (members != NULL) {
    CHECK_ALLOWED_OR_LATE(mj_group_wait(members, 200000));
    CHECK_INT(mj_group_end(members, 200000), ==, 0);
    CHECK_UINT(mj_group_count(members), ==, 0);
    CHECK_UINT(member_ends, ==, member_starts);
  }
  end();
}

static void destroy_group(void) {
  if (members != NULL) CHECK_INT(mj_group_destroy(members), ==, 0);
  members = NULL;
}

static void group_members(mj_scheduler** scheduler) {
  member_starts = member_ends = 0;
  spawn(*scheduler, has_a_group, 0);
  run(*scheduler);
}

// ---- stop, from another thread ----

static void* stops(void* scheduler) {
  struct timespec soon = {0, 1000000};
  nanosleep(&soon, NULL);
  CHECK_INT(mj_scheduler_stop(scheduler), ==, 0);
  return NULL;
}

static void sleeps_for_long(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_sleep_s(1000000);
  end();
}

static void stop(mj_scheduler** scheduler) {
  if (spawn(*scheduler, sleeps_for_long, 0) == NULL) return;
  pthread_t thread;
  CHECK_INT(pthread_create(&thread, NULL, stops, *scheduler), ==, 0);
  run(*scheduler);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
  // The thread may have been late, so that its stop applies to the next run.
  CHECK_INT(mj_scheduler_stop(*scheduler), ==, 0);
  run(*scheduler);
}

// ---- destroy ----

static void stops_soon(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  for (int i = 0; i < 5; i++) mj_task_yield();
  mj_scheduler_stop(scheduler);
  end();
}

static void fill(mj_scheduler* scheduler) {
  make_pairs(scheduler);
  for (size_t i = 0; i < 50; i++) {
    spawn(scheduler, i % 2 == 0 ? sleeps_for_long : waits, i);
    spawn(scheduler, yields, i);
  }
  spawn(scheduler, stops_soon, 0);
  mj_scheduler_run(scheduler);
  spawn(scheduler, yields, 0);
}

static void destroy(mj_scheduler** scheduler) {
  mj_scheduler_destroy(*scheduler);
  *scheduler = NULL;
}

// ---- child of fork ----

// A scheduler with waiting tasks, in a child: its descriptors are the parent's, which only waits for the
// child and ends as it does.
static void inherit(mj_scheduler* scheduler) {
  make_pairs(scheduler);
  for (size_t i = 0; i < 6; i++) spawn(scheduler, waits, i);
  spawn(scheduler, waits_with_limit, 0);
  spawn(scheduler, stops_soon, 0);
  mj_scheduler_run(scheduler);
  pid_t child = fork();
  CHECK_INT(child, >=, 0);
  if (child == 0) return;
  int status = 0;
  CHECK_INT(waitpid(child, &status, 0), ==, child);
  if (WIFSIGNALED(status)) raise(WTERMSIG(status));
  _exit(WEXITSTATUS(status));
}

static void run_in_child(mj_scheduler** scheduler) {
  unsigned long sets_before = sets_made;
  CHECK_INT(write(near_pair[1], "x", 1), ==, 1);
  CHECK_INT(write(far_pair[1], "x", 1), ==, 1);
  run(*scheduler);
  // It does not use its parent's.
  if (fault.failed == 0 || fault.harmless) CHECK_UINT(sets_made, ==, sets_before + 1);
}

// ---- set_callback ----

static void set_callback(mj_scheduler** scheduler) {
  (void)scheduler;
  static int user_data;
  unsigned errors_before = error_lines;
  mj_log_set_callback(on_line, &user_data);
  CHECK_UINT(error_lines - errors_before, ==, fault.failed > 0 ? 1u : 0u);
  MJ_INFO("%s", "to the new one or the old one");
  mj_log_set_callback(on_line, NULL);
}

// ---- the guide's server, with a client ----

static int server_fds[64];

static int remember(int fd) {
  for (int i = 0; fd >= 0 && i < 64; i++) {
    if (server_fds[i] == 0) return server_fds[i] = fd;
  }
  return fd;
}

static int forget(int fd) {
  for (int i = 0; i < 64; i++) {
    if (server_fds[i] == fd) server_fds[i] = 0;
  }
  return close(fd);
}

// The guide's server does not handle three errors, which are not the library's: a wait that fails
// before a blocking call, no memory for a connection, and no memory for its task.
static mj_task* create_or_close(mj_scheduler* scheduler, mj_task_fn* body, void* user_state);

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wunused-result"
#pragma GCC diagnostic ignored "-Wunused-function"
#define main server_main
#define accept(fd, address, length) remember(accept4(fd, address, length, SOCK_NONBLOCK))
#define close(fd) forget(fd)
#define mj_create_task create_or_close
#include "../../examples-c/http_server.c"
#undef mj_create_task
#undef close
#undef accept
#undef main
#pragma GCC diagnostic pop

static mj_task* create_or_close(mj_scheduler* scheduler, mj_task_fn* body, void* user_state) {
  mj_task* task = mj_create_task(scheduler, body, user_state);
  if (task == NULL) {
    CHECK_ALLOWED(-errno);
    forget(((http_connection*)user_state)->socket_fd);
    free(user_state);
  }
  return task;
}

static struct sockaddr_in server_address;
static int server_fd;

static void listens(mj_scheduler* scheduler) {
  (void)scheduler;
  socklen_t length = sizeof server_address;
  server_fd = remember(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
  server_address.sin_family = AF_INET;
  server_address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK_INT(bind(server_fd, (struct sockaddr*)&server_address, length), ==, 0);
  CHECK_INT(listen(server_fd, 10), ==, 0);
  CHECK_INT(getsockname(server_fd, (struct sockaddr*)&server_address, &length), ==, 0);
}

static bool ask_server(void) {
  const char* request = "GET / HTTP/1.1\r\n\r\n";
  char answer[200] = "";
  int fd = remember(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
  CHECK_INT(fd, >=, 0);
  if (connect(fd, (struct sockaddr*)&server_address, sizeof server_address) < 0) {
    CHECK_INT(errno, ==, EINPROGRESS);
    CHECK_ALLOWED_OR_LATE(mj_task_wait_fd(fd, POLLOUT, 50000000));
  }
  ssize_t length = write(fd, request, strlen(request));
  CHECK_ALLOWED_OR_LATE(mj_task_wait_fd(fd, POLLIN, fault.failed > 0 ? 5000000 : MJ_FOREVER));
  length = read(fd, answer, sizeof answer - 1);
  forget(fd);
  return length > 0 && strstr(answer, "Hello, World!") != NULL;
}

static void asks(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  for (int i = 0; i < 3; i++) {
    if (!ask_server()) CHECK(fault.failed > 0 && !fault.harmless);
  }
  mj_scheduler_stop(scheduler);
  end();
}

static void serve(mj_scheduler** scheduler) {
  int* fd = malloc(sizeof *fd);
  *fd = server_fd;
  if (mj_create_task(*scheduler, accept_task, fd) == NULL) free(fd);
  spawn(*scheduler, asks, 0);
  run(*scheduler);
}

static void close_server(void) {
  for (int i = 0; i < 64; i++) {
    if (server_fds[i] != 0) close(server_fds[i]);
  }
}

// ---- reading, writing, accepting, connecting ----

#include "streams.h"

// ---- logs with little room, runs that handle signals ----

#include "log_room.h"
#include "signal_table.h"

// ---- between threads ----

#include "posts.h"
#include "xchans.h"

// ---- on the pool ----

#include "pool.h"

// ---- signals, children ----

#include "signals.h"
#include "children.h"

// ---- what belongs to tasks ----

#include "belongings.h"

// ---- clusters ----

#include "clusters.h"

// ---- records ----

#include "records.h"

// ---- All of them ----

typedef struct scenario {
  const char* name;
  void (*arrange)(mj_scheduler* scheduler);  // before faults are armed, or NULL
  void (*act)(mj_scheduler** scheduler);     // may leave NULL
  void (*tidy)(void);                        // after the scheduler is destroyed, or NULL
  bool leaves_tasks;
} scenario;

static const scenario scenarios[] = {
    {"create", NULL, create, NULL, false},
    {"spawn", NULL, spawn_100, NULL, false},
    {"sleep", NULL, sleep_100, NULL, false},
    {"wait for descriptors", make_pairs, wait_for_descriptors, close_pairs, false},
    {"wait by poll", make_pairs, wait_by_poll, close_pairs, false},
    {"pause instead of a wait", NULL, pause_instead, NULL, false},
    {"loop around waits", make_pairs, loop_around_waits, close_pairs, false},
    {"log long lines", NULL, log_lines, NULL, false},
    {"log to a file", open_log, log_to_file, remove_log, false},
    {"log to the system log", start_log_daemon, log_to_system_log, end_log_daemon, false},
    {"log past the limit", open_log, log_past_the_limit, remove_log, false},
    {"log without blocking", open_full_streams, log_without_blocking, NULL, false},
    {"metrics", run_some, metrics, NULL, false},
    {"wake, cancel, join", NULL, wake_cancel_join, NULL, false},
    {"synchronise", NULL, synchronise, destroy_objects, false},
    {"groups", NULL, group_members, destroy_group, false},
    {"stop from a thread", NULL, stop, NULL, true},
    {"destroy", fill, destroy, close_pairs, true},
    {"child of fork", inherit, run_in_child, close_pairs, false},
    {"set_callback", NULL, set_callback, NULL, false},
    {"one run more", fill_table, run_one_more, empty_table, false},
    {"transfers", open_transfers, transfer_all, close_transfers, false},
    {"streams", open_streams, use_streams, close_streams, false},
    {"posts", prepare_posts, post_and_run, all_have_run, false},
    {"posts, and destroy", prepare_posts, post_and_destroy, all_have_run_or_were_abandoned, true},
    {"channels between threads", NULL, cross, release_channels, false},
    {"a channel to a thread", NULL, cross_to_thread, release_channels, false},
    {"what belongs to tasks", NULL, have_belongings, NULL, true},
    {"the pool", write_whole_file, use_pool, remove_whole_file, false},
    {"wait for signals", handle_signals, wait_for_signals, none_was_lost, false},
    {"a run until a signal", handle_signals, run_until_a_signal, none_was_lost, false},
    {"children", NULL, use_children, no_children_are_left, false},
    {"records", ask_for_records, record_and_write, remove_records, false},
    {"clusters", NULL, use_cluster, NULL, false},
    {"a core that stops", NULL, use_cluster_that_loses_a_core, NULL, false},
    {"a cluster that is run", NULL, run_cluster, NULL, false},
    {"the guide's server", listens, serve, close_server, true},
};
enum { SCENARIOS = sizeof scenarios / sizeof scenarios[0] };

#endif  // SCENARIOS_H
