// Lifetimes of synchronization objects and schedulers: destroyed ones, several, and on several
// threads.
#define _GNU_SOURCE
#include "calls.h"
#include "log_lines.h"

#include <pthread.h>

// One object of each kind.
typedef struct objects {
  mj_mutex* mutex;
  mj_cond* cond;
  mj_mutex* cond_mutex;
  mj_sem* semaphore;
  mj_waitgroup* group;
  mj_chan* chan;   // empty
  mj_chan* full;   // of capacity 1
} objects;

static objects all;

static void make(mj_scheduler* owner) {
  uint64_t value = 11;
  all.mutex = mj_mutex_create(owner);
  all.cond = mj_cond_create(owner);
  all.cond_mutex = mj_mutex_create(owner);
  all.semaphore = mj_sem_create(owner, 1);
  all.group = mj_waitgroup_create(owner);
  all.chan = mj_chan_create(owner, sizeof(uint64_t), 1);
  all.full = mj_chan_create(owner, sizeof(uint64_t), 1);
  CHECK(all.mutex != NULL && all.cond != NULL && all.cond_mutex != NULL);
  CHECK(all.semaphore != NULL && all.group != NULL && all.chan != NULL && all.full != NULL);
  CHECK_INT(mj_waitgroup_add(all.group, 1), ==, 0);
  CHECK_INT(mj_chan_try_send(all.full, &value), ==, 0);
}

// Checks the result of destroying each, which destroys them if it is 0.
static void destroy(int expected) {
  CHECK_INT(mj_mutex_destroy(all.mutex), ==, expected);
  CHECK_INT(mj_cond_destroy(all.cond), ==, expected);
  CHECK_INT(mj_mutex_destroy(all.cond_mutex), ==, expected);
  CHECK_INT(mj_sem_destroy(all.semaphore), ==, expected);
  CHECK_INT(mj_waitgroup_destroy(all.group), ==, expected);
  CHECK_INT(mj_chan_destroy(all.chan), ==, expected);
  CHECK_INT(mj_chan_destroy(all.full), ==, expected);
}

// ---- Tasks that remain ----

static size_t waiting;

static void never_returns(mj_scheduler* running, void* user_state) {
  (void)running;
  // The select's cases are in the task's heap memory, which is freed with the task.
  struct {
    size_t kind;
    uint64_t value;
    mj_select_case cases[2];
  }* self = user_state;
  uint64_t limit = self->kind % 2 == 0 ? LONG_NS : MJ_FOREVER;
  waiting++;
  switch (self->kind / 2) {
    case 0:
      mj_mutex_lock(all.mutex, limit);
      break;
    case 1:
      CHECK_INT(mj_mutex_lock(all.cond_mutex, limit), ==, 0);
      mj_cond_wait(all.cond, all.cond_mutex, limit);
      break;
    case 2:
      mj_sem_acquire(all.semaphore, 2, limit);
      break;
    case 3:
      mj_waitgroup_wait(all.group, limit);
      break;
    case 4:
      mj_chan_recv(all.chan, &self->value, limit);
      break;
    case 5:
      mj_chan_send(all.full, &self->value, limit);
      break;
    case 6:
      for (int i = 0; i < 2; i++) {
        self->cases[i].chan = i == 0 ? all.chan : all.full;
        self->cases[i].op = i == 0 ? MJ_SELECT_RECV : MJ_SELECT_SEND;
        self->cases[i].element = &self->value;
      }
      mj_select(self->cases, 2, limit);
      break;
  }
  CHECK(!"it goes on");
}

static void owns_the_mutex(mj_scheduler* running, void* user_state) {
  (void)running;
  (void)user_state;
  CHECK_INT(mj_mutex_lock(all.mutex, MJ_FOREVER), ==, 0);
  mj_task_sleep_ns(LONG_NS);
  CHECK(!"it goes on");
}

static void stops(mj_scheduler* running, void* user_state) {
  (void)user_state;
  for (int i = 0; i < 5; i++) mj_task_yield();
  mj_scheduler_stop(running);
  mj_task_exit();
}

// A scheduler with a waiting task for each object.
static mj_scheduler* with_waiters(void) {
  mj_scheduler* owner = new_scheduler();
  make(owner);
  waiting = 0;
  add_task(owner, owns_the_mutex, NULL);
  for (size_t i = 0; i < 3 * 14; i++) {
    struct {
      size_t kind;
      uint64_t value;
      mj_select_case cases[2];
    }* state = allocate(sizeof *state);
    state->kind = i % 14;
    add_task(owner, never_returns, state);
  }
  add_task(owner, stops, NULL);
  mj_scheduler_run(owner);
  CHECK_UINT(waiting, ==, 3 * 14);
  return owner;
}

static void uses_them(mj_scheduler* running, void* user_state) {
  (void)running;
  (void)user_state;
  uint64_t value = 0;
  // Its owner has ended and left what it protects unfinished.
  CHECK_INT(mj_mutex_lock(all.mutex, MJ_FOREVER), ==, -EOWNERDEAD);
  CHECK_INT(mj_mutex_lock(all.cond_mutex, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_cond_wait(all.cond, all.cond_mutex, 1000), ==, -ETIMEDOUT);
  CHECK_INT(mj_cond_broadcast(all.cond), ==, 0);
  CHECK_INT(mj_mutex_unlock(all.cond_mutex), ==, 0);
  CHECK_INT(mj_sem_acquire(all.semaphore, 1, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_sem_release(all.semaphore, 3), ==, 0);
  CHECK_UINT(mj_sem_available(all.semaphore), ==, 3);
  CHECK_INT(mj_waitgroup_wait(all.group, 1000), ==, -ETIMEDOUT);
  CHECK_INT(mj_waitgroup_done(all.group), ==, 0);
  CHECK_INT(mj_waitgroup_wait(all.group, 1000), ==, 0);
  CHECK_INT(mj_chan_recv(all.chan, &value, 1000), ==, -ETIMEDOUT);
  // No sender waits.
  CHECK_INT(mj_chan_recv(all.full, &value, 1000), ==, 0);
  CHECK_UINT(value, ==, 11);
  CHECK_INT(mj_chan_recv(all.full, &value, 1000), ==, -ETIMEDOUT);
  CHECK_INT(mj_chan_close(all.chan), ==, 0);
  mj_task_exit();
}

static void objects_outlive_their_scheduler(void) {
  for (int use = 0; use < 3; use++) {
    mj_scheduler* owner = with_waiters();
    destroy(-EBUSY);
    mj_scheduler_destroy(owner);
    if (use == 1) {
      mj_scheduler* next = new_scheduler();
      add_task(next, uses_them, NULL);
      mj_scheduler_run(next);
      CHECK_UINT(next->metrics.current_tasks, ==, 0);
      mj_scheduler_destroy(next);
    }
    if (use == 2) {
      // Without a scheduler no task waits, and everything else works.
      uint64_t value = 0;
      CHECK_INT(mj_chan_try_recv(all.full, &value), ==, 0);
      CHECK_UINT(value, ==, 11);
      CHECK_INT(mj_chan_try_recv(all.full, &value), ==, -EAGAIN);
      CHECK_INT(mj_chan_try_send(all.chan, &value), ==, 0);
      CHECK_INT(mj_chan_try_send(all.chan, &value), ==, -EAGAIN);
      CHECK_INT(mj_cond_broadcast(all.cond), ==, 0);
      CHECK_INT(mj_sem_release(all.semaphore, 1), ==, 0);
      CHECK_INT(mj_sem_try_acquire(all.semaphore, 2), ==, 0);
      CHECK_INT(mj_waitgroup_done(all.group), ==, 0);
      CHECK_INT(mj_chan_close(all.chan), ==, 0);
    }
    destroy(0);
  }
}

// The waits continue in a later run, and can be ended between the runs.
static void ends_its_wait(mj_scheduler* running, void* user_state) {
  (void)running;
  size_t kind = *(size_t*)user_state;
  uint64_t value = 21;
  if (kind == 0) {
    CHECK_INT(mj_sem_acquire(all.semaphore, 2, LONG_NS), ==, 0);
  } else if (kind == 1) {
    CHECK_INT(mj_waitgroup_wait(all.group, LONG_NS), ==, 0);
  } else if (kind == 2) {
    CHECK_INT(mj_chan_recv(all.chan, &value, MJ_FOREVER), ==, 0);
    CHECK_UINT(value, ==, 99);
  } else if (kind == 3) {
    CHECK_INT(mj_chan_send(all.full, &value, MJ_FOREVER), ==, 0);
  } else {
    CHECK_INT(mj_mutex_lock(all.cond_mutex, LONG_NS), ==, 0);
    CHECK_INT(mj_cond_wait(all.cond, all.cond_mutex, MJ_FOREVER), ==, 0);
    CHECK_INT(mj_mutex_unlock(all.cond_mutex), ==, 0);
  }
  waiting--;
  mj_task_exit();
}

static void waits_end_between_runs(void) {
  mj_scheduler* owner = new_scheduler();
  uint64_t value = 99;
  make(owner);
  waiting = 5;
  for (size_t kind = 0; kind < 5; kind++) {
    size_t* state = allocate(sizeof *state);
    *state = kind;
    add_task(owner, ends_its_wait, state);
  }
  add_task(owner, stops, NULL);
  mj_scheduler_run(owner);
  CHECK_UINT(waiting, ==, 5);
  CHECK_INT(mj_sem_release(all.semaphore, 1), ==, 0);
  CHECK_INT(mj_waitgroup_done(all.group), ==, 0);
  CHECK_INT(mj_chan_try_send(all.chan, &value), ==, 0);
  CHECK_INT(mj_chan_try_recv(all.full, &value), ==, 0);
  CHECK_INT(mj_cond_signal(all.cond), ==, 0);
  CHECK_UINT(owner->runnable_count, ==, 5);
  CHECK_UINT(waiting, ==, 5);
  mj_scheduler_run(owner);
  CHECK_UINT(waiting, ==, 0);
  CHECK_INT(mj_chan_try_recv(all.full, &value), ==, 0);
  CHECK_UINT(value, ==, 21);
  mj_scheduler_destroy(owner);
  destroy(0);
}

// ---- Two schedulers ----

static void are_refused(void) {
  uint64_t value = 0;
  mj_select_case one = {.chan = all.chan, .op = MJ_SELECT_SEND, .element = &value};
  CHECK_INT(mj_mutex_lock(all.mutex, MJ_FOREVER), ==, -EPERM);
  CHECK_INT(mj_mutex_try_lock(all.mutex), ==, -EPERM);
  CHECK_INT(mj_mutex_unlock(all.mutex), ==, -EPERM);
  CHECK_INT(mj_cond_wait(all.cond, all.cond_mutex, 0), ==, -EPERM);
  CHECK_INT(mj_cond_signal(all.cond), ==, -EPERM);
  CHECK_INT(mj_cond_broadcast(all.cond), ==, -EPERM);
  CHECK_INT(mj_sem_acquire(all.semaphore, 1, MJ_FOREVER), ==, -EPERM);
  CHECK_INT(mj_sem_try_acquire(all.semaphore, 1), ==, -EPERM);
  CHECK_INT(mj_sem_release(all.semaphore, 1), ==, -EPERM);
  CHECK_INT(mj_waitgroup_add(all.group, 1), ==, -EPERM);
  CHECK_INT(mj_waitgroup_done(all.group), ==, -EPERM);
  CHECK_INT(mj_waitgroup_wait(all.group, MJ_FOREVER), ==, -EPERM);
  CHECK_INT(mj_chan_send(all.chan, &value, MJ_FOREVER), ==, -EPERM);
  CHECK_INT(mj_chan_recv(all.chan, &value, MJ_FOREVER), ==, -EPERM);
  CHECK_INT(mj_chan_try_send(all.chan, &value), ==, -EPERM);
  CHECK_INT(mj_chan_try_recv(all.full, &value), ==, -EPERM);
  CHECK_INT(mj_chan_close(all.chan), ==, -EPERM);
  CHECK_INT(mj_select(&one, 1, MJ_FOREVER), ==, -EPERM);
  CHECK_INT(mj_try_select(&one, 1), ==, -EPERM);
  destroy(-EPERM);
}

static void uses_those_of_another(mj_scheduler* running, void* user_state) {
  (void)user_state;
  are_refused();
  // Its own condition variable does not help with a mutex of another scheduler.
  mj_cond* own = mj_cond_create(running);
  CHECK_INT(mj_cond_wait(own, all.cond_mutex, MJ_FOREVER), ==, -EPERM);
  CHECK_INT(mj_cond_destroy(own), ==, 0);
  waiting++;
  mj_task_exit();
}

static void another_schedulers_tasks_are_refused(void) {
  mj_scheduler *owner = with_waiters(), *other = new_scheduler();
  waiting = 0;
  add_task(other, uses_those_of_another, NULL);
  mj_scheduler_run(other);
  CHECK_UINT(waiting, ==, 1);
  mj_scheduler_destroy(other);
  mj_scheduler_destroy(owner);
  destroy(0);
}

static void* uses_them_from_a_thread(void* owner) {
  (void)owner;
  are_refused();
  errno = 0;
  CHECK_PTR(mj_mutex_create(owner), ==, NULL);
  CHECK_INT(errno, ==, EPERM);
  errno = 0;
  CHECK_PTR(mj_chan_create(owner, 1, 1), ==, NULL);
  CHECK_INT(errno, ==, EPERM);
  // And from a task of another scheduler.
  mj_scheduler* other = new_scheduler();
  add_task(other, uses_those_of_another, NULL);
  mj_scheduler_run(other);
  mj_scheduler_destroy(other);
  return NULL;
}

static void has_a_thread_use_them(mj_scheduler* running, void* user_state) {
  (void)user_state;
  pthread_t thread;
  CHECK_INT(pthread_create(&thread, NULL, uses_them_from_a_thread, running), ==, 0);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
  mj_task_exit();
}

static void another_thread_is_refused_while_the_scheduler_runs(void) {
  log_lines_begin();
  mj_scheduler* owner = new_scheduler();
  make(owner);
  waiting = 0;
  add_task(owner, has_a_thread_use_them, NULL);
  mj_scheduler_run(owner);
  CHECK_UINT(waiting, ==, 1);
  mj_scheduler_destroy(owner);
  destroy(0);
  log_lines_end();
}

// Objects and schedulers in any order, on several threads: nothing is shared.
static void* lives_on_its_own(void* rounds) {
  for (size_t i = 0; i < *(size_t*)rounds; i++) {
    mj_scheduler* owner = new_scheduler();
    mj_chan* chans[3];
    for (int k = 0; k < 3; k++) {
      chans[k] = mj_chan_create(owner, 8, 2);
      CHECK(chans[k] != NULL);
    }
    CHECK_INT(mj_chan_destroy(chans[0]), ==, 0);
    mj_scheduler_destroy(owner);
    CHECK_INT(mj_chan_destroy(chans[1]), ==, 0);
    CHECK_INT(mj_chan_destroy(chans[2]), ==, 0);
  }
  return NULL;
}

static void threads_have_their_own(void) {
  pthread_t threads[4];
  size_t rounds = times(1000, 50);
  for (int i = 0; i < 4; i++) {
    CHECK_INT(pthread_create(&threads[i], NULL, lives_on_its_own, &rounds), ==, 0);
  }
  for (int i = 0; i < 4; i++) CHECK_INT(pthread_join(threads[i], NULL), ==, 0);
}

// ---- Deadlock ----

static void tasks_that_wait_for_each_other_end_the_run(void) {
  log_lines_begin();
  mj_scheduler* owner = new_scheduler();
  make(owner);
  waiting = 0;
  for (size_t kind = 1; kind < 14; kind += 2) {
    if (kind == 1) continue;  // This one gets the mutex.
    size_t* state = allocate(256);
    *state = kind;
    add_task(owner, never_returns, state);
  }
  mj_scheduler_run(owner);
  CHECK_UINT(waiting, ==, 6);
  CHECK_INT(log_lines_from(MJ_LOG_ERROR), ==, 1);
  mj_scheduler_destroy(owner);
  destroy(0);
  log_lines_end();
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN(objects_outlive_their_scheduler);
  RUN(waits_end_between_runs);
  RUN(another_schedulers_tasks_are_refused);
  RUN(another_thread_is_refused_while_the_scheduler_runs);
  RUN(threads_have_their_own);
  RUN(tasks_that_wait_for_each_other_end_the_run);
  return 0;
}
