// Task ids, and waiting for a task to end.
#define _GNU_SOURCE
#include "check.h"
#include "bodies.h"
#include "log_lines.h"

static void sleeps_long(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_sleep_ns(LONG_NS);
  mj_task_exit();
}

// ---- Ids ----

static void check_unknown(mj_scheduler* scheduler, mj_task_id id) {
  errno = 0;
  CHECK_PTR(mj_task_find(scheduler, id), ==, NULL);
  CHECK_INT(errno, ==, ESRCH);
  if (mj_task_current() != NULL) CHECK_INT(mj_task_join(id, MJ_FOREVER), ==, -ESRCH);
}

static mj_task_id* ids;
static size_t id_count, id_capacity, slots_used_again;

static void keep_id(mj_task* task) {
  CHECK_UINT(id_count, <, id_capacity);
  ids[id_count++] = mj_task_get_id(task);
}

static void creates_many(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  mj_task* latest = NULL;
  while (id_count < id_capacity) {
    // One task at a time, which all get the same slot, and now and then a batch. The capacity is in
    // thousands.
    size_t batch = id_count % 1000 == 0 ? 100 : 1;
    size_t first = id_count;
    for (size_t i = 0; i < batch; i++) {
      mj_task* task = add_task(scheduler, ends_at_once, NULL);
      slots_used_again += task == latest;
      latest = task;
      keep_id(task);
      CHECK_PTR(mj_task_find(scheduler, ids[id_count - 1]), ==, task);
      CHECK_UINT(mj_task_get_id(task), ==, ids[id_count - 1]);
    }
    mj_task_yield();
    for (size_t i = first; i < id_count; i++) check_unknown(scheduler, ids[i]);
  }
  mj_task_exit();
}

static int compare_ids(const void* left, const void* right) {
  mj_task_id a = *(const mj_task_id*)left, b = *(const mj_task_id*)right;
  return (a > b) - (a < b);
}

static void no_two_tasks_have_the_same_id(void) {
  log_lines_begin();
  id_capacity = times(100000, 3000);
  ids = allocate(id_capacity * sizeof *ids);
  id_count = slots_used_again = 0;
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, creates_many, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(id_count, ==, id_capacity);
  CHECK_UINT(slots_used_again, >, id_count / 2);
  for (size_t i = 0; i < id_count; i++) check_unknown(scheduler, ids[i]);
  qsort(ids, id_count, sizeof *ids, compare_ids);
  CHECK_UINT(ids[0], >, 0);
  for (size_t i = 1; i < id_count; i++) CHECK_UINT(ids[i - 1], <, ids[i]);
  // Ids near those that were used, and arbitrary ones: not found, and no crash.
  mj_task_id first = ids[0], last = ids[id_count - 1];
  uint64_t random = 88172645463325252u;
  size_t found = 0;
  for (size_t i = 0; i < times(100000, 3000); i++) {
    found += mj_task_find(scheduler, first - 1000 + i) != NULL;
    found += mj_task_find(scheduler, last - 1000 + i) != NULL;
    found += mj_task_find(scheduler, next_random(&random)) != NULL;
  }
  CHECK_UINT(found, ==, 0);
  check_unknown(scheduler, 0);
  check_unknown(scheduler, MJ_FOREVER);
  CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, 0);
  mj_scheduler_destroy(scheduler);
  free(ids);
  log_lines_end();
}

static void finds_itself(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  mj_task* self = scheduler->current_task;
  mj_task_id id = mj_task_get_id(self);
  for (int i = 0; i < 3; i++) {
    CHECK_UINT(mj_task_get_id(mj_task_current()), ==, id);
    CHECK_PTR(mj_task_find(scheduler, id), ==, self);
    mj_task_sleep_ns(1000);
  }
  keep_id(self);
  mj_task_exit();
}

static void an_id_finds_its_task_as_long_as_it_lives(void) {
  log_lines_begin();
  mj_task_id mine[3];
  ids = mine;
  id_count = 0;
  id_capacity = 3;
  mj_scheduler* scheduler = new_scheduler();
  mj_scheduler* empty = new_scheduler();
  mj_task_id expected_ids[3];
  for (int i = 0; i < 3; i++) {
    mj_task* task = add_task(scheduler, finds_itself, NULL);
    expected_ids[i] = mj_task_get_id(task);
    CHECK_UINT(expected_ids[i], !=, 0);
    CHECK_PTR(mj_task_find(scheduler, expected_ids[i]), ==, task);
    check_unknown(empty, expected_ids[i]);
  }
  mj_scheduler_run(scheduler);
  CHECK_UINT(id_count, ==, 3);
  for (int i = 0; i < 3; i++) {
    CHECK_UINT(ids[i], ==, expected_ids[i]);
    check_unknown(scheduler, ids[i]);
  }
  CHECK_UINT(mj_task_get_id(NULL), ==, 0);
  errno = 0;
  CHECK_PTR(mj_task_find(NULL, expected_ids[0]), ==, NULL);
  CHECK_INT(errno, !=, 0);
  mj_scheduler_destroy(empty);
  mj_scheduler_destroy(scheduler);
  log_lines_end();
}

// ---- Joining ----

static mj_task_id target_id;
static int join_results[8];
static size_t joined;

// A joiner's index and its timeout.
typedef struct joiner {
  size_t index;
  uint64_t timeout_ns;
} joiner;

static void joins_the_target(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  joiner* self = user_state;
  uint64_t before = now_ns();
  int status = mj_task_join(target_id, self->timeout_ns);
  if (status == -ETIMEDOUT) CHECK_UINT(now_ns() - before, >=, self->timeout_ns);
  join_results[self->index] = status;
  joined++;
  mj_task_exit();
}

static mj_task* add_joiner(mj_scheduler* scheduler, size_t index, uint64_t timeout_ns) {
  joiner* state = allocate(sizeof *state);
  state->index = index;
  state->timeout_ns = timeout_ns;
  join_results[index] = 1000;
  return add_task(scheduler, joins_the_target, state);
}

static void is_joined_by_many(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  target_id = mj_task_get_id(scheduler->current_task);
  mj_task* waiting[8];
  for (size_t i = 0; i < 8; i++) {
    waiting[i] = add_joiner(scheduler, i, i == 6 ? 1000000 : i == 7 ? LONG_NS : MJ_FOREVER);
  }
  mj_task_yield();
  for (int i = 0; i < 8; i++) {
    // One of the timeouts may have passed by now.
    if (i != 6) CHECK_INT(waiting[i]->state, ==, MJ_TASK_WAITING_IO);
  }
  CHECK_INT(mj_task_wake(waiting[0]), ==, 1);
  CHECK_INT(mj_task_cancel(waiting[3]), ==, 0);
  CHECK_INT(mj_scheduler_enqueue(scheduler, waiting[5]), ==, 0);
  while (joined < 4) CHECK_INT(mj_sleep_ns(1000000), ==, 0);
  // Long after some have timed out, the rest still waits.
  mj_task_yield();
  CHECK_UINT(joined, ==, 4);
  CHECK_INT(join_results[0], ==, -EINTR);
  CHECK_INT(join_results[3], ==, -ECANCELED);
  CHECK_INT(join_results[5], ==, -EINTR);
  CHECK_INT(join_results[6], ==, -ETIMEDOUT);
  mj_task_exit();
  CHECK_UINT(joined, ==, 4);
}

static void all_joiners_learn_of_the_end_of_a_task(void) {
  joined = 0;
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, is_joined_by_many, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(joined, ==, 8);
  for (int i = 1; i < 8; i++) {
    if (i != 3 && i != 5 && i != 6) CHECK_INT(join_results[i], ==, 0);
  }
  const mj_metrics* metrics = mj_scheduler_get_metrics(scheduler);
  CHECK_UINT(metrics->tasks_exited, ==, 9);
  // The timer of the joiner with the long timeout was canceled.
  CHECK_UINT(metrics->timer_cancellations, ==, 1);
  CHECK_UINT(metrics->io_events, ==, 0);
  mj_scheduler_destroy(scheduler);
}

static void refuses_to_be_joined(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  mj_task_id self = mj_task_get_id(scheduler->current_task);
  CHECK_INT(mj_task_join(self, MJ_FOREVER), ==, -EDEADLK);
  CHECK_INT(mj_task_join(self, 0), ==, -EDEADLK);
  CHECK_INT(mj_task_join(0, MJ_FOREVER), ==, -ESRCH);
  CHECK_INT(mj_task_join(MJ_FOREVER, MJ_FOREVER), ==, -ESRCH);
  mj_task* child = add_task(scheduler, ends_at_once, NULL);
  mj_task_id id = mj_task_get_id(child);
  CHECK_INT(mj_task_join(id, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_task_join(id, MJ_FOREVER), ==, -ESRCH);
  CHECK_INT(mj_task_join(id, 0), ==, -ESRCH);
  // A task that reuses the slot has another id.
  mj_task* next = add_task(scheduler, ends_at_once, NULL);
  CHECK_PTR(next, ==, child);
  CHECK_INT(mj_task_join(id, MJ_FOREVER), ==, -ESRCH);
  CHECK_INT(mj_task_join(mj_task_get_id(next), LONG_NS), ==, 0);
  joined++;
  mj_task_exit();
}

static void joining_nobody_or_oneself_is_an_error(void) {
  joined = 0;
  mj_scheduler* scheduler = new_scheduler();
  // By the system's clock a join that need not wait could yield, if the machine is busy.
  count_calls_only(scheduler);
  add_task(scheduler, refuses_to_be_joined, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(joined, ==, 1);
  mj_scheduler_destroy(scheduler);
}

static void looks_whether_it_has_ended(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  mj_task* sleeper = add_task(scheduler, sleeps_long, NULL);
  mj_task_id id = mj_task_get_id(sleeper);
  uint64_t before = watcher_turns;
  for (uint64_t i = 1; i <= 100; i++) {
    CHECK_INT(mj_task_join(id, 0), ==, -ETIMEDOUT);
    // The other tasks have run.
    CHECK_UINT(watcher_turns, >=, before + i);
  }
  const mj_metrics* metrics = mj_scheduler_get_metrics(scheduler);
  CHECK_UINT(metrics->timer_cancellations, ==, 0);
  CHECK_INT(mj_task_wake(sleeper), ==, 1);
  // It ends during one of these calls, or between two of them, and then no longer exists.
  int status = -ETIMEDOUT;
  for (int i = 0; i < 3 && status == -ETIMEDOUT; i++) status = mj_task_join(id, 0);
  CHECK(status == 0 || status == -ESRCH);
  CHECK_INT(mj_task_join(id, 0), ==, -ESRCH);
  watcher_may_end = true;
  mj_task_exit();
}

static void a_join_with_a_zero_timeout_only_checks(void) {
  mj_scheduler* scheduler = new_scheduler();
  add_watcher(scheduler);
  add_task(scheduler, looks_whether_it_has_ended, NULL);
  mj_scheduler_run(scheduler);
  CHECK(watcher_may_end);
  mj_scheduler_destroy(scheduler);
}

// Each joins the one before it, and the first one sleeps.
static mj_task_id* chain;
static size_t chain_length;

static void joins_the_one_before(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  size_t index = *(size_t*)user_state;
  if (index == 0) {
    CHECK_INT(mj_sleep_ns(1000000), ==, 0);
  } else {
    CHECK_INT(mj_task_join(chain[index - 1], MJ_FOREVER), ==, 0);
  }
  CHECK_UINT(joined, ==, index);
  joined++;
  mj_task_exit();
}

static void a_chain_of_joins_ends_in_order(void) {
  chain_length = times(1000, 100);
  chain = allocate(chain_length * sizeof *chain);
  joined = 0;
  mj_scheduler* scheduler = new_scheduler();
  for (size_t i = 0; i < chain_length; i++) {
    size_t* index = allocate(sizeof *index);
    *index = i;
    chain[i] = mj_task_get_id(add_task(scheduler, joins_the_one_before, index));
  }
  mj_scheduler_run(scheduler);
  CHECK_UINT(joined, ==, chain_length);
  mj_scheduler_destroy(scheduler);
  free(chain);
}

static void joins_the_other(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  size_t index = *(size_t*)user_state;
  join_results[index] = mj_task_join(chain[1 - index], MJ_FOREVER);
  joined++;
  mj_task_exit();
}

static void wakes_the_first(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  CHECK_INT(mj_task_wake(mj_task_find(scheduler, chain[0])), ==, 1);
  mj_task_exit();
}

static void tasks_that_join_each_other_are_a_deadlock(void) {
  log_lines_begin();
  mj_task_id both[2];
  chain = both;
  joined = 0;
  mj_scheduler* scheduler = new_scheduler();
  for (size_t i = 0; i < 2; i++) {
    size_t* index = allocate(sizeof *index);
    *index = i;
    chain[i] = mj_task_get_id(add_task(scheduler, joins_the_other, index));
  }
  mj_scheduler_run(scheduler);
  CHECK_INT(log_lines_from(MJ_LOG_ERROR), ==, 1);
  CHECK_UINT(joined, ==, 0);
  // A later run goes on with them.
  add_task(scheduler, wakes_the_first, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(joined, ==, 2);
  CHECK_INT(join_results[0], ==, -EINTR);
  CHECK_INT(join_results[1], ==, 0);
  CHECK_INT(log_lines_from(MJ_LOG_ERROR), ==, 1);
  mj_scheduler_destroy(scheduler);
  log_lines_end();
}

// Joiners and joined tasks may remain when their scheduler is destroyed.
static void joiners_are_destroyed_with_their_scheduler(void) {
  joined = 0;
  mj_scheduler* scheduler = new_scheduler();
  target_id = mj_task_get_id(add_task(scheduler, sleeps_long, NULL));
  for (size_t i = 0; i < 4; i++) add_joiner(scheduler, i, i % 2 == 0 ? MJ_FOREVER : LONG_NS);
  add_task(scheduler, yields_and_stops, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(joined, ==, 0);
  CHECK_UINT(scheduler->timer_count, ==, 3);
  mj_scheduler_destroy(scheduler);
  CHECK_UINT(joined, ==, 0);
}

// A join outlasts the run that it began in.
static void a_join_goes_on_in_a_later_run(void) {
  joined = 0;
  mj_scheduler* scheduler = new_scheduler();
  mj_task* target = add_task(scheduler, sleeps_long, NULL);
  target_id = mj_task_get_id(target);
  add_joiner(scheduler, 0, MJ_FOREVER);
  add_task(scheduler, yields_and_stops, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(joined, ==, 0);
  CHECK_INT(mj_scheduler_enqueue(scheduler, target), ==, 0);
  mj_scheduler_run(scheduler);
  CHECK_UINT(joined, ==, 1);
  CHECK_INT(join_results[0], ==, 0);
  mj_scheduler_destroy(scheduler);
}

// The joiner's deadline passes, and then the other task ends before the joiner runs: the join
// succeeds.
static void joins_one_that_is_about_to_end(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  mj_task_id id = mj_task_get_id(add_task(scheduler, ends_at_once, NULL));
  CHECK_INT(mj_task_join(id, 0), ==, 0);
  CHECK_INT(mj_task_join(id, 0), ==, -ESRCH);
  joined++;
  mj_task_exit();
}

static void an_end_during_the_call_is_seen(void) {
  joined = 0;
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, joins_one_that_is_about_to_end, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(joined, ==, 1);
  mj_scheduler_destroy(scheduler);
}

int main(void) {
  RUN(no_two_tasks_have_the_same_id);
  RUN(an_id_finds_its_task_as_long_as_it_lives);
  RUN(all_joiners_learn_of_the_end_of_a_task);
  RUN(joining_nobody_or_oneself_is_an_error);
  RUN(a_join_with_a_zero_timeout_only_checks);
  RUN(a_chain_of_joins_ends_in_order);
  RUN(tasks_that_join_each_other_are_a_deadlock);
  RUN(joiners_are_destroyed_with_their_scheduler);
  RUN(a_join_goes_on_in_a_later_run);
  RUN(an_end_during_the_call_is_seen);
  return 0;
}
