// What other threads do to a scheduler by a handle: functions that they leave for it, tasks that they
// wake and cancel, counters that they read.
#define _GNU_SOURCE
#include "check.h"
#include "log_lines.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

#define THREADS 4
#define EACH 5000

static void does_nothing(void* argument) { (void)argument; }

static void counts(void* counter) { ++*(int*)counter; }

static pthread_t start(void* (*function)(void*), void* argument) {
  pthread_t thread;
  CHECK_INT(pthread_create(&thread, NULL, function, argument), ==, 0);
  return thread;
}

static void join(pthread_t thread) { CHECK_INT(pthread_join(thread, NULL), ==, 0); }

// ---- Order

typedef struct poster {
  mj_remote* remote;
  uint64_t begun;
  uint64_t order[EACH];
} poster;

static poster posters[THREADS];

static void is_in_order(void* argument) {
  uint64_t* place = argument;
  poster* of = &posters[*place % THREADS];
  CHECK_UINT(*place / THREADS, ==, of->begun);
  of->begun++;
  if (*place % 7 == 0) mj_yield();
}

static void* posts_in_order(void* argument) {
  poster* own = argument;
  for (uint64_t i = 0; i < EACH; i++) {
    own->order[i] = i * THREADS + (uint64_t)(own - posters);
    int result;
    while ((result = mj_post(own->remote, is_in_order, &own->order[i], NULL)) == -EAGAIN) sched_yield();
    CHECK_INT(result, ==, 0);
  }
  mj_remote_release(own->remote);
  return NULL;
}

static void waits_until_all_have_begun(void* argument) {
  (void)argument;
  for (int i = 0; i < THREADS; i++) {
    while (posters[i].begun < EACH) mj_task_sleep_ns(1);
  }
}

static void posts_of_a_thread_begin_in_order(void) {
  mj_scheduler* scheduler = new_scheduler();
  pthread_t threads[THREADS];
  CHECK_INT(mj_go(scheduler, waits_until_all_have_begun, NULL, NULL), ==, 0);
  for (int i = 0; i < THREADS; i++) {
    posters[i] = (poster){.remote = mj_scheduler_remote(scheduler)};
    CHECK_INT(mj_remote_set_post_limit(posters[i].remote, 1000), ==, 0);
    threads[i] = start(posts_in_order, &posters[i]);
  }
  CHECK_INT(mj_run(scheduler), ==, 0);
  for (int i = 0; i < THREADS; i++) join(threads[i]);
  mj_scheduler_destroy(scheduler);
}

static int order[3], order_count;

static void suspends_first(void* argument) {
  mj_task_sleep_ms(20);
  order[order_count++] = *(int*)argument;
}

static void goes_on(void* argument) { order[order_count++] = *(int*)argument; }

// Without a task a run ends when there are no posts either.
static void one_that_suspends_does_not_hold_up_the_next(void) {
  mj_scheduler* scheduler = new_scheduler();
  mj_remote* remote = mj_scheduler_remote(scheduler);
  int numbers[] = {1, 2, 3};
  order_count = 0;
  CHECK_INT(mj_post(remote, suspends_first, &numbers[0], NULL), ==, 0);
  CHECK_INT(mj_post(remote, goes_on, &numbers[1], NULL), ==, 0);
  CHECK_INT(mj_post(remote, goes_on, &numbers[2], NULL), ==, 0);
  CHECK_INT(order_count, ==, 0);
  CHECK_INT(mj_run(scheduler), ==, 0);
  CHECK_INT(order_count, ==, 3);
  CHECK_INT(order[0], ==, 2);
  CHECK_INT(order[1], ==, 3);
  CHECK_INT(order[2], ==, 1);
  mj_remote_release(remote);
  mj_scheduler_destroy(scheduler);
}

static void posts_once_more(void* remote) {
  static int left = 100;
  if (--left > 0) CHECK_INT(mj_post(remote, posts_once_more, remote, NULL), ==, 0);
}

static void a_task_posts_to_its_own_scheduler(void) {
  mj_scheduler* scheduler = new_scheduler();
  mj_remote* remote = mj_scheduler_remote(scheduler);
  CHECK_INT(mj_post(remote, posts_once_more, remote, NULL), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, 0);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->tasks_created, ==, 100);
  mj_remote_release(remote);
  mj_scheduler_destroy(scheduler);
}

// One task may run several, one behind the other: each under an id of its own.
static mj_task_id ids[3];
static int id_count;

static void notes_its_id(void* argument) {
  (void)argument;
  ids[id_count++] = mj_task_get_id(mj_task_current());
}

static void each_post_is_a_task_of_its_own(void) {
  mj_scheduler* scheduler = new_scheduler();
  mj_remote* remote = mj_scheduler_remote(scheduler);
  for (int i = 0; i < 3; i++) CHECK_INT(mj_post(remote, notes_its_id, NULL, NULL), ==, 0);
  mj_remote_release(remote);
  CHECK_INT(mj_run(scheduler), ==, 0);
  CHECK_INT(id_count, ==, 3);
  CHECK(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
  mj_scheduler_destroy(scheduler);
}

// It owns what it sets as its task's state, and the library frees that, and nothing else in its place.
static void sets_its_state(void* argument) {
  mj_task* task = mj_task_current();
  free(task->user_state);
  task->user_state = malloc(1);  // Where the other has been, perhaps.
  *(char*)task->user_state = 'x';
  counts(argument);
}

static void a_post_may_set_its_tasks_state(void) {
  int count = 0;
  mj_scheduler* scheduler = new_scheduler();
  mj_remote* remote = mj_scheduler_remote(scheduler);
  for (int i = 0; i < 4; i++) CHECK_INT(mj_post(remote, sets_its_state, &count, NULL), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, 0);
  for (int i = 0; i < 4; i++) CHECK_INT(mj_post(remote, counts, &count, NULL), ==, 0);
  mj_remote_release(remote);
  CHECK_INT(mj_run(scheduler), ==, 0);
  CHECK_INT(count, ==, 8);
  mj_scheduler_destroy(scheduler);
}

// ---- Limits and ends

static void more_than_the_limit_are_refused(void) {
  mj_scheduler* scheduler = new_scheduler();
  mj_remote* remote = mj_scheduler_remote(scheduler);
  int count = 0;
  CHECK_INT(mj_remote_set_post_limit(remote, 0), ==, -EINVAL);
  CHECK_INT(mj_remote_set_post_limit(NULL, 1), ==, -EINVAL);
  CHECK_INT(mj_remote_set_post_limit(remote, 2), ==, 0);
  for (int round = 1; round <= 3; round++) {
    CHECK_INT(mj_post(remote, counts, &count, NULL), ==, 0);
    CHECK_INT(mj_post(remote, counts, &count, NULL), ==, 0);
    CHECK_INT(mj_post(remote, counts, &count, NULL), ==, -EAGAIN);
    CHECK_INT(mj_remote_wake(remote, 1), ==, -EAGAIN);
    CHECK_INT(mj_run(scheduler), ==, 0);
    CHECK_INT(count, ==, 2 * round);
  }
  mj_remote_release(remote);
  mj_scheduler_destroy(scheduler);
}

static int abandoned[3], has_run[3];

static void is_abandoned(void* which) { ++*(int*)which; }

static void runs(void* which) { ++has_run[(int*)which - abandoned]; }

static void stops_then_waits(void* remote) {
  mj_remote_stop(remote);
  mj_yield();
  CHECK(false);
}

// Of those that a run has taken, too, and those that have a task, which had no turn.
static void what_has_not_begun_is_abandoned_once(void) {
  mj_scheduler* scheduler = new_scheduler();
  mj_remote* remote = mj_scheduler_remote(scheduler);
  memset(abandoned, 0, sizeof abandoned);
  memset(has_run, 0, sizeof has_run);
  CHECK_INT(mj_post(remote, stops_then_waits, remote, is_abandoned), ==, 0);
  // More than are begun at a time.
  for (int i = 0; i < 500; i++) {
    CHECK_INT(mj_post(remote, runs, &abandoned[0], is_abandoned), ==, 0);
  }
  CHECK_INT(mj_run(scheduler), ==, MJ_RUN_STOPPED);
  CHECK_INT(has_run[0], <, 500);
  mj_post_node node;
  CHECK_INT(mj_post_with_node(remote, &node, does_nothing, &abandoned[1], is_abandoned), ==, 0);
  CHECK_INT(mj_post(remote, does_nothing, NULL, NULL), ==, 0);
  CHECK_INT(mj_remote_wake(remote, 1), ==, 0);
  mj_scheduler_destroy(scheduler);
  CHECK_INT(has_run[0] + abandoned[0], ==, 500);
  CHECK_INT(abandoned[1], ==, 1);

  CHECK_INT(mj_post(remote, does_nothing, &abandoned[2], is_abandoned), ==, -EPIPE);
  CHECK_INT(mj_post_with_node(remote, &node, does_nothing, &abandoned[2], is_abandoned), ==, -EPIPE);
  CHECK_INT(mj_remote_wake(remote, 1), ==, -EPIPE);
  CHECK_INT(mj_remote_cancel(remote, 1), ==, -EPIPE);
  mj_metrics metrics;
  CHECK_INT(mj_remote_metrics(remote, &metrics, sizeof metrics), ==, -EPIPE);
  CHECK_INT(abandoned[2], ==, 0);
  mj_remote_release(remote);
}

static int called;

static void is_called(void* which) {
  (void)which;
  called++;
}

static void stops_beside_others(void* remote) {
  mj_yield();  // So that what comes later has tasks already.
  mj_remote_stop(remote);
  mj_yield();
  CHECK(false);
}

// Of those that have tasks, too, whose turn has not come.
static void what_had_no_turn_is_abandoned_once(void) {
  mj_scheduler* scheduler = new_scheduler();
  mj_remote* remote = mj_scheduler_remote(scheduler);
  static mj_post_node nodes[20];
  called = 0;
  memset(abandoned, 0, sizeof abandoned);
  CHECK_INT(mj_go(scheduler, stops_beside_others, remote, NULL), ==, 0);
  CHECK_INT(mj_post(remote, stops_then_waits, remote, is_abandoned), ==, 0);
  for (int i = 0; i < 20; i++) {
    CHECK_INT(mj_post(remote, is_called, &abandoned[0], is_abandoned), ==, 0);
    CHECK_INT(mj_post_with_node(remote, &nodes[i], is_called, &abandoned[0], is_abandoned), ==, 0);
  }
  CHECK_INT(mj_run(scheduler), ==, MJ_RUN_STOPPED);
  mj_scheduler_destroy(scheduler);
  CHECK_INT(called + abandoned[0], ==, 40);
  CHECK_INT(abandoned[0], >, 0);
  mj_remote_release(remote);
}

static void bad_arguments_are_refused(void) {
  mj_scheduler* scheduler = new_scheduler();
  mj_remote* remote = mj_scheduler_remote(scheduler);
  mj_post_node node;
  CHECK_INT(mj_post(NULL, does_nothing, NULL, NULL), ==, -EINVAL);
  CHECK_INT(mj_post(remote, NULL, NULL, NULL), ==, -EINVAL);
  CHECK_INT(mj_post_with_node(NULL, &node, does_nothing, NULL, NULL), ==, -EINVAL);
  CHECK_INT(mj_post_with_node(remote, NULL, does_nothing, NULL, NULL), ==, -EINVAL);
  CHECK_INT(mj_post_with_node(remote, &node, NULL, NULL, NULL), ==, -EINVAL);
  CHECK_INT(mj_remote_wake(NULL, 1), ==, -EINVAL);
  CHECK_INT(mj_remote_cancel(remote, 0), ==, -EINVAL);
  mj_metrics metrics;
  CHECK_INT(mj_remote_metrics(NULL, &metrics, sizeof metrics), ==, -EINVAL);
  CHECK_INT(mj_remote_metrics(remote, NULL, sizeof metrics), ==, -EINVAL);
  char text[10];
  CHECK_INT(mj_remote_write_metrics(NULL, text, sizeof text, MJ_METRICS_JSON), ==, -EINVAL);
  CHECK_INT(mj_remote_write_metrics(remote, NULL, sizeof text, MJ_METRICS_JSON), ==, -EINVAL);
  CHECK_INT(mj_remote_write_metrics(remote, text, sizeof text, (mj_metrics_format)77), ==, -EINVAL);
  mj_remote_release(remote);
  mj_scheduler_destroy(scheduler);
}

// ---- Nodes

static struct {
  mj_post_node node;
  mj_remote* remote;
  int left;
} reposted;

// The node is the function's.
static void posts_its_node_again(void* argument) {
  memset(&reposted.node, 0xAB, sizeof reposted.node);
  if (--reposted.left == 0) return;
  CHECK_INT(mj_post_with_node(reposted.remote, &reposted.node, posts_its_node_again, argument, NULL), ==, 0);
}

static void a_node_may_be_posted_again_by_its_function(void) {
  mj_scheduler* scheduler = new_scheduler();
  reposted.remote = mj_scheduler_remote(scheduler);
  reposted.left = 10;
  CHECK_INT(mj_post_with_node(reposted.remote, &reposted.node, posts_its_node_again, NULL, NULL), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, 0);
  CHECK_INT(reposted.left, ==, 0);
  mj_remote_release(reposted.remote);
  mj_scheduler_destroy(scheduler);
}

static mj_remote* signaled_remote;
static mj_post_node signaled_nodes[1000];
static int signals, all_signals;

static void handle(int signal) {
  (void)signal;
  const int before = errno, which = __atomic_load_n(&signals, __ATOMIC_ACQUIRE);
  CHECK_INT(mj_post_with_node(signaled_remote, &signaled_nodes[which], counts, &order_count, NULL), ==, 0);
  CHECK_INT(errno, ==, before);
  __atomic_store_n(&signals, which + 1, __ATOMIC_RELEASE);
}

static void* raises(void* thread) {
  for (int i = 0; i < all_signals; i++) {
    CHECK_INT(pthread_kill(*(pthread_t*)thread, SIGUSR1), ==, 0);
    while (__atomic_load_n(&signals, __ATOMIC_ACQUIRE) == i) sched_yield();
  }
  return NULL;
}

static void waits_until_all_are_counted(void* argument) {
  (void)argument;
  while (order_count < all_signals) mj_task_sleep_ns(1);
}

// On the thread of the scheduler itself, whatever it is doing.
static void a_signal_handler_posts_nodes(void) {
  signals = 0;
  all_signals = (int)times(1000, 50);
  mj_scheduler* scheduler = new_scheduler();
  signaled_remote = mj_scheduler_remote(scheduler);
  order_count = 0;
  struct sigaction action = {.sa_handler = handle};
  CHECK_INT(sigaction(SIGUSR1, &action, NULL), ==, 0);
  pthread_t self = pthread_self(), thread = start(raises, &self);
  CHECK_INT(mj_go(scheduler, waits_until_all_are_counted, NULL, NULL), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, 0);
  join(thread);
  CHECK_INT(order_count, ==, all_signals);
  mj_remote_release(signaled_remote);
  mj_scheduler_destroy(scheduler);
}

// ---- Many at once

enum { MANY_POSTERS = 8 };

static int posts_of_many;  // Counted by the scheduler's thread.
static int of_each;
static atomic_int many_have_ended;

static void* posts_many(void* remote) {
  for (int i = 0; i < of_each; i++) {
    int result;
    while ((result = mj_post(remote, counts, &posts_of_many, NULL)) == -EAGAIN) sched_yield();
    CHECK_INT(result, ==, 0);
  }
  atomic_fetch_add(&many_have_ended, 1);
  return NULL;
}

// A node of each signal; one that finds no room is not posted.
static void posts_beside(int signal) {
  (void)signal;
  int which = __atomic_load_n(&signals, __ATOMIC_ACQUIRE);
  if (which == 1000) return;
  mj_post_node* node = &signaled_nodes[which];
  int result = mj_post_with_node(signaled_remote, node, counts, &posts_of_many, NULL);
  CHECK(result == 0 || result == -EAGAIN);
  if (result == 0) __atomic_store_n(&signals, which + 1, __ATOMIC_RELEASE);
}

// As long as they do, and until one has found room.
static void* raises_beside(void* thread) {
  while (atomic_load(&many_have_ended) < MANY_POSTERS || __atomic_load_n(&signals, __ATOMIC_ACQUIRE) == 0) {
    CHECK_INT(pthread_kill(*(pthread_t*)thread, SIGUSR1), ==, 0);
    usleep(200);
  }
  atomic_fetch_add(&many_have_ended, 1);
  return NULL;
}

static void waits_for_many(void* unused) {
  (void)unused;
  while (atomic_load(&many_have_ended) <= MANY_POSTERS ||
         posts_of_many < MANY_POSTERS * of_each + __atomic_load_n(&signals, __ATOMIC_ACQUIRE)) {
    mj_task_sleep_ns(1);
  }
}

// A million in `make torture`, and a signal handler at any moment of the loop: none is lost or run twice.
static void many_threads_and_a_handler_post(void) {
  of_each = getenv("MAJJEN_TORTURE") != NULL && !sanitized() ? 125000 : (int)times(10000, 500);
  posts_of_many = signals = 0;
  atomic_store(&many_have_ended, 0);
  mj_scheduler* scheduler = new_scheduler();
  signaled_remote = mj_scheduler_remote(scheduler);
  struct sigaction action = {.sa_handler = posts_beside, .sa_flags = SA_RESTART};
  CHECK_INT(sigaction(SIGUSR1, &action, NULL), ==, 0);
  pthread_t self = pthread_self(), threads[MANY_POSTERS];
  for (int i = 0; i < MANY_POSTERS; i++) threads[i] = start(posts_many, signaled_remote);
  pthread_t raiser = start(raises_beside, &self);
  CHECK_INT(mj_go(scheduler, waits_for_many, NULL, NULL), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, 0);
  join(raiser);
  for (int i = 0; i < MANY_POSTERS; i++) join(threads[i]);
  CHECK_INT(signals, >, 0);
  CHECK_INT(posts_of_many, ==, MANY_POSTERS * of_each + signals);
  mj_scheduler_destroy(scheduler);
  // None after that.
  CHECK_INT(mj_post(signaled_remote, counts, &posts_of_many, NULL), ==, -EPIPE);
  mj_remote_release(signaled_remote);
  CHECK_INT(posts_of_many, ==, MANY_POSTERS * of_each + signals);
}

// ---- Handles of schedulers that are gone

static int answers[4];

static void asks_an_ended_one(int signal) {
  (void)signal;
  static mj_metrics metrics;
  mj_post_node* node = &signaled_nodes[0];
  answers[0] = mj_post_with_node(signaled_remote, node, does_nothing, NULL, NULL);
  answers[1] = mj_remote_stop(signaled_remote);
  answers[2] = mj_remote_metrics(signaled_remote, &metrics, sizeof metrics);
  answers[3] = mj_post_with_node(signaled_remote, node, NULL, NULL, NULL);
}

static void a_handler_is_told_that_a_scheduler_is_gone(void) {
  mj_scheduler* scheduler = new_scheduler();
  signaled_remote = mj_scheduler_remote(scheduler);
  mj_scheduler_destroy(scheduler);
  struct sigaction action = {.sa_handler = asks_an_ended_one};
  CHECK_INT(sigaction(SIGUSR1, &action, NULL), ==, 0);
  CHECK_INT(raise(SIGUSR1), ==, 0);
  for (int i = 0; i < 3; i++) CHECK_INT(answers[i], ==, -EPIPE);
  CHECK_INT(answers[3], ==, -EINVAL);
  mj_remote_release(signaled_remote);
}

// ---- Waking and canceling

typedef struct target {
  mj_remote* remote;
  mj_task_id id;
  int result;
} target;

static void sleeps_until_it_is_ended(void* argument) {
  target* own = argument;
  own->result = mj_sleep_ns(MJ_FOREVER);
}

static void* wakes_target(void* argument) {
  target* of = argument;
  CHECK_INT(mj_remote_wake(of->remote, of->id), ==, 0);
  return NULL;
}

static void* cancels_target(void* argument) {
  target* of = argument;
  // A task that is not there is not told of.
  CHECK_INT(mj_remote_cancel(of->remote, of->id + 1000), ==, 0);
  CHECK_INT(mj_remote_cancel(of->remote, of->id), ==, 0);
  return NULL;
}

static void makes_a_thread_wake_it(void* argument) {
  target* own = argument;
  own->id = mj_task_get_id(mj_task_current());
  pthread_t thread = start(wakes_target, own);
  sleeps_until_it_is_ended(own);
  CHECK_INT(own->result, ==, -EINTR);
  join(thread);
  thread = start(cancels_target, own);
  sleeps_until_it_is_ended(own);
  CHECK_INT(own->result, ==, -ECANCELED);
  join(thread);
}

static void a_thread_wakes_and_cancels_a_task(void) {
  mj_scheduler* scheduler = new_scheduler();
  target own = {.remote = mj_scheduler_remote(scheduler)};
  CHECK_INT(mj_go(scheduler, makes_a_thread_wake_it, &own, NULL), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_remote_release(own.remote);
  mj_scheduler_destroy(scheduler);
}

static void acts_by_the_handle(void* argument) {
  target* other = argument;
  CHECK_INT(mj_remote_wake(other->remote, other->id + 1000), ==, -ESRCH);
  CHECK_INT(mj_remote_cancel(other->remote, other->id + 1000), ==, -ESRCH);
  CHECK_INT(mj_remote_cancel(other->remote, other->id), ==, 0);
}

static void on_its_own_thread_it_acts_at_once(void) {
  mj_scheduler* scheduler = new_scheduler();
  target other = {.remote = mj_scheduler_remote(scheduler)};
  CHECK_INT(mj_go(scheduler, sleeps_until_it_is_ended, &other, &other.id), ==, 0);
  CHECK_INT(mj_go(scheduler, acts_by_the_handle, &other, NULL), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, 0);
  CHECK_INT(other.result, ==, -ECANCELED);
  mj_remote_release(other.remote);
  mj_scheduler_destroy(scheduler);
}

// ---- Deadlocks

static void parks(void* argument) {
  (void)argument;
  mj_task_park(MJ_FOREVER);
}

static void* releases_in_a_while(void* remote) {
  usleep(20000);
  mj_remote_release(remote);
  return NULL;
}

// It ends by deadlock once nobody is left who could wake the task.
static void a_run_waits_while_there_is_a_handle(void) {
  mj_scheduler* scheduler = new_scheduler();
  mj_task_id id;
  CHECK_INT(mj_go(scheduler, parks, NULL, &id), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, -EDEADLK);
  mj_remote* remote = mj_scheduler_remote(scheduler);
  CHECK_PTR(mj_remote_retain(remote), ==, remote);
  const uint64_t began = now_ns();
  pthread_t threads[] = {start(releases_in_a_while, remote), start(releases_in_a_while, remote)};
  log_lines_begin();
  CHECK_INT(mj_run(scheduler), ==, -EDEADLK);
  CHECK_UINT(now_ns() - began, >=, 15000000);
  CHECK_UINT(log_line_counts[MJ_LOG_WARN], ==, 1);
  CHECK_UINT(log_line_counts[MJ_LOG_ERROR], ==, 1);
  log_lines_end();
  join(threads[0]);
  join(threads[1]);
  CHECK_INT(mj_scheduler_cancel(scheduler, id), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_scheduler_destroy(scheduler);
}

// ---- Counters

static void* reads_counters(void* remote) {
  mj_metrics before, now;
  memset(&before, 0, sizeof before);
  do {
    CHECK_INT(mj_remote_metrics(remote, &now, sizeof now), ==, 0);
    CHECK_UINT(now.task_executions, >=, before.task_executions);
    CHECK_UINT(now.scheduler_loops, >=, before.scheduler_loops);
    CHECK_UINT(now.total_loop_time_ns, >=, before.total_loop_time_ns);
    CHECK_UINT(now.total_execution_time_ns, >=, before.total_execution_time_ns);
    CHECK_UINT(now.tasks_created, >=, before.tasks_created);
    before = now;
  } while (now.task_executions < 100000);
  // What it does not know is 0, and what is not asked for is left alone.
  struct {
    mj_metrics metrics;
    uint64_t more;
  } larger = {.more = 1};
  CHECK_INT(mj_remote_metrics(remote, &larger.metrics, sizeof larger), ==, 0);
  CHECK_UINT(larger.more, ==, 0);
  memset(&now, 0xFF, sizeof now);
  CHECK_INT(mj_remote_metrics(remote, &now, sizeof(uint64_t)), ==, 0);
  CHECK_UINT(now.task_executions, >=, 100000);
  CHECK_UINT(now.total_execution_time_ns, ==, UINT64_MAX);
  mj_remote_stop(remote);
  return NULL;
}

// As the scheduler's own thread writes them, but for what only that knows.
static void the_counters_are_written_as_text(void) {
  static char own[10000], text[10000];
  mj_scheduler* scheduler = new_scheduler();
  mj_remote* remote = mj_scheduler_remote(scheduler);
  for (int i = 0; i < 3; i++) CHECK_INT(mj_go(scheduler, does_nothing, NULL, NULL), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, 0);
  for (int format = MJ_METRICS_TEXT; format <= MJ_METRICS_JSON; format++) {
    mj_metrics_format as = (mj_metrics_format)format;
    CHECK_INT(mj_scheduler_write_metrics(scheduler, own, sizeof own, as), >, 0);
    int length = mj_remote_write_metrics(remote, NULL, 0, as);
    CHECK_INT(mj_remote_write_metrics(remote, text, sizeof text, as), ==, length);
    CHECK_INT(strlen(text), ==, length);
    // JSON ends with a brace, before which the distributions are.
    size_t common = (size_t)length - (format == MJ_METRICS_JSON ? 2 : 0);
    CHECK_INT(memcmp(text, own, common), ==, 0);
    CHECK(strlen(own) > strlen(text) && (format != MJ_METRICS_JSON || text[common] == '}'));
    CHECK_INT(mj_remote_write_metrics(remote, text, 10, as), ==, length);
    CHECK_INT(strlen(text), ==, 9);
  }
  mj_remote_release(remote);
  mj_scheduler_destroy(scheduler);
}

static void yields_for_ever(void* argument) {
  (void)argument;
  for (;;) mj_yield();
}

static void a_thread_reads_the_counters_of_a_busy_scheduler(void) {
  mj_scheduler* scheduler = new_scheduler();
  mj_remote* remote = mj_scheduler_remote(scheduler);
  CHECK_INT(mj_go(scheduler, yields_for_ever, NULL, NULL), ==, 0);
  pthread_t thread = start(reads_counters, remote);
  CHECK_INT(mj_run(scheduler), ==, MJ_RUN_STOPPED);
  join(thread);
  mj_remote_release(remote);
  mj_scheduler_destroy(scheduler);
}

static atomic_int counted;

static void counts_atomically(void* unused) {
  (void)unused;
  atomic_fetch_add(&counted, 1);
}

static void* reads_what_is_asleep(void* remote) {
  for (int i = 1; i <= 20; i++) {
    CHECK_INT(mj_post(remote, counts_atomically, NULL, NULL), ==, 0);
    while (atomic_load(&counted) < i) usleep(100);
    // It may be in that very iteration still.
    mj_metrics now;
    for (int ms = 0; ms < 20000; ms++) {
      CHECK_INT(mj_remote_metrics(remote, &now, sizeof now), ==, 0);
      if (now.tasks_exited == (uint64_t)i) break;
      usleep(1000);
    }
    CHECK_UINT(now.tasks_exited, ==, i);
    CHECK_UINT(now.tasks_created, ==, i + 1);  // And one that is parked.
    CHECK_UINT(now.current_tasks, ==, 1);
  }
  mj_remote_stop(remote);
  return NULL;
}

// Nothing makes it write them but the end of the last iteration before it fell asleep.
static void the_counters_of_a_scheduler_that_is_asleep_are_true(void) {
  mj_scheduler* scheduler = new_scheduler();
  mj_remote* remote = mj_scheduler_remote(scheduler);
  CHECK_INT(mj_go(scheduler, parks, NULL, NULL), ==, 0);
  pthread_t thread = start(reads_what_is_asleep, remote);
  CHECK_INT(mj_run(scheduler), ==, MJ_RUN_STOPPED);
  join(thread);
  mj_remote_release(remote);
  mj_scheduler_destroy(scheduler);
}

int main(void) {
  RUN(more_than_the_limit_are_refused);  // First: others wait for ever if the limit does not hold.
  RUN(posts_of_a_thread_begin_in_order);
  RUN(one_that_suspends_does_not_hold_up_the_next);
  RUN(a_task_posts_to_its_own_scheduler);
  RUN(each_post_is_a_task_of_its_own);
  RUN(a_post_may_set_its_tasks_state);
  RUN(what_has_not_begun_is_abandoned_once);
  RUN(what_had_no_turn_is_abandoned_once);
  RUN(bad_arguments_are_refused);
  RUN(a_node_may_be_posted_again_by_its_function);
  RUN(a_signal_handler_posts_nodes);
  RUN(many_threads_and_a_handler_post);
  RUN(a_handler_is_told_that_a_scheduler_is_gone);
  RUN(a_thread_wakes_and_cancels_a_task);
  RUN(on_its_own_thread_it_acts_at_once);
  RUN(a_run_waits_while_there_is_a_handle);
  RUN(a_thread_reads_the_counters_of_a_busy_scheduler);
  RUN(the_counters_of_a_scheduler_that_is_asleep_are_true);
  RUN(the_counters_are_written_as_text);
  return 0;
}
