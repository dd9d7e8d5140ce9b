// Waits that end for other reasons than the object, and reasons that come too late: the same for
// all synchronization objects.
#define _GNU_SOURCE
#include "calls.h"

static mj_mutex* mutex;
static mj_mutex* cond_mutex;
static mj_cond* cond;
static mj_sem* semaphore;
static mj_waitgroup* group;
static mj_chan *empty, *full;  // unbuffered, or full

static int locks(call* self) {
  int result = mj_mutex_lock(mutex, self->timeout_ns);
  if (result == 0) CHECK_INT(mj_mutex_unlock(mutex), ==, 0);
  return result;
}

// Whatever the result, the task owns the mutex.
static int waits_for_a_signal(call* self) {
  CHECK_INT(mj_mutex_lock(cond_mutex, MJ_FOREVER), ==, 0);
  int result = mj_cond_wait(cond, cond_mutex, self->timeout_ns);
  CHECK_INT(mj_mutex_unlock(cond_mutex), ==, 0);
  return result;
}

static int acquires(call* self) { return mj_sem_acquire(semaphore, 1, self->timeout_ns); }
static int waits_for_a_group(call* self) { return mj_waitgroup_wait(group, self->timeout_ns); }
static int receives(call* self) { return mj_chan_recv(empty, &self->value, self->timeout_ns); }
static int sends(call* self) { return mj_chan_send(full, &self->value, self->timeout_ns); }

static int selects(call* self) {
  mj_select_case cases[2] = {{.chan = full, .op = MJ_SELECT_SEND, .element = &self->value},
                           {.chan = empty, .op = MJ_SELECT_RECV, .element = &self->value}};
  int result = mj_select(cases, 2, self->timeout_ns);
  if (result < 0) return result;
  CHECK_INT(result, ==, 1);
  return cases[1].result;
}

static void take_nothing(void) {}
static void lock(void) { CHECK_INT(mj_mutex_lock(mutex, 0), ==, 0); }
static void unlock(void) { CHECK_INT(mj_mutex_unlock(mutex), ==, 0); }
static void signal_one(void) { CHECK_INT(mj_cond_signal(cond), ==, 0); }
static void release(void) { CHECK_INT(mj_sem_release(semaphore, 1), ==, 0); }
static void add(void) { CHECK_INT(mj_waitgroup_add(group, 1), ==, 0); }
static void finish(void) { CHECK_INT(mj_waitgroup_done(group), ==, 0); }

static void send_one(void) {
  uint64_t value = 7;
  CHECK_INT(mj_chan_try_send(empty, &value), ==, 0);
}

static void receive(void) {
  uint64_t value;
  CHECK_INT(mj_chan_try_recv(full, &value), ==, 0);
}

static int destroy_mutex(void) { return mj_mutex_destroy(mutex); }
static int destroy_cond(void) { return mj_cond_destroy(cond); }
static int destroy_semaphore(void) { return mj_sem_destroy(semaphore); }
static int destroy_group(void) { return mj_waitgroup_destroy(group); }
static int destroy_empty(void) { return mj_chan_destroy(empty); }
static int destroy_full(void) { return mj_chan_destroy(full); }

// A kind of wait: how to make a task wait, what ends one such wait, and what destroying the object
// returns after that, before the task has run.
static const struct kind {
  int (*make)(call* self);
  void (*take)(void);
  void (*give)(void);
  int (*destroy)(void);
  int destroyed;
} kinds[] = {
    {locks, lock, unlock, destroy_mutex, -EBUSY},
    {waits_for_a_signal, take_nothing, signal_one, destroy_cond, 0},
    {acquires, take_nothing, release, destroy_semaphore, 0},
    {waits_for_a_group, add, finish, destroy_group, 0},
    {receives, take_nothing, send_one, destroy_empty, 0},
    {sends, take_nothing, receive, destroy_full, 0},
    {selects, take_nothing, send_one, destroy_empty, 0},
};

static void make_all(void) {
  mutex = mj_mutex_create(scheduler);
  cond_mutex = mj_mutex_create(scheduler);
  cond = mj_cond_create(scheduler);
  semaphore = mj_sem_create(scheduler, 0);
  group = mj_waitgroup_create(scheduler);
  empty = mj_chan_create(scheduler, sizeof(uint64_t), 0);
  full = mj_chan_create(scheduler, sizeof(uint64_t), 0);
}

static void destroy_all_but(int (*gone)(void)) {
  int (*destroy[])(void) = {destroy_mutex, destroy_cond,  destroy_semaphore,
                            destroy_group, destroy_empty, destroy_full};
  for (size_t i = 0; i < sizeof destroy / sizeof destroy[0]; i++) {
    if (destroy[i] != gone) CHECK_INT(destroy[i](), ==, 0);
  }
  CHECK_INT(mj_mutex_destroy(cond_mutex), ==, 0);
}

static void destroy_all(void) { destroy_all_but(NULL); }

#define EACH_KIND(it) \
  for (const struct kind* it = kinds; it < kinds + sizeof kinds / sizeof kinds[0]; it++)

static void waits_end_for_other_reasons(void) {
  make_all();
  EACH_KIND(kind) {
    kind->take();
    call woken, canceled, late, enqueued, patient;
    begin(&woken, kind->make, NULL, 1, LONG_NS);
    begin(&canceled, kind->make, NULL, 2, MJ_FOREVER);
    uint64_t before = now_ns();
    begin(&late, kind->make, NULL, 3, short_ns());
    begin(&enqueued, kind->make, NULL, 4, LONG_NS);
    begin(&patient, kind->make, NULL, 5, MJ_FOREVER);
    CHECK_INT(kind->destroy(), ==, -EBUSY);
    CHECK_INT(mj_task_wake(woken.task), ==, 1);
    CHECK_INT(mj_task_wake(woken.task), ==, 0);
    CHECK_INT(mj_task_cancel(canceled.task), ==, 0);
    CHECK_INT(mj_scheduler_enqueue(scheduler, enqueued.task), ==, 0);
    CHECK_INT(result_of(&woken), ==, -EINTR);
    CHECK_INT(result_of(&canceled), ==, -ECANCELED);
    CHECK_INT(result_of(&enqueued), ==, -EINTR);
    CHECK_INT(result_of(&late), ==, -ETIMEDOUT);
    CHECK_UINT(now_ns() - before, >=, short_ns());
    check_waiting(&patient);
    // None of these waits has taken it from the one that is still waiting.
    kind->give();
    CHECK_INT(result_of(&patient), ==, 0);
    settle();
  }
  destroy_all();
}

// What a task was handed belongs to it before it runs, whatever happens in between.
static void a_hand_off_is_not_undone(void) {
  make_all();
  EACH_KIND(kind) {
    for (int what = 0; what < 3; what++) {
      call one;
      kind->take();
      begin(&one, kind->make, NULL, 5, LONG_NS);
      kind->give();
      if (what == 0) CHECK_INT(mj_task_cancel(one.task), ==, 0);
      if (what == 1) CHECK_INT(mj_task_wake(one.task), ==, 0);
      if (what == 2) {
        CHECK_PTR(mj_scheduler_dequeue(scheduler), ==, one.task);
        CHECK_INT(mj_scheduler_enqueue(scheduler, one.task), ==, 0);
      }
      CHECK_INT(result_of(&one), ==, 0);
      settle();
    }
  }
  CHECK_UINT(mj_sem_available(semaphore), ==, 0);
  destroy_all();
}

// Once its wait has ended, a task does not touch the object again, unless it is a mutex that it has
// locked.
static void an_object_may_be_destroyed_before_its_woken_task_runs(void) {
  EACH_KIND(kind) {
    make_all();
    kind->take();
    call one;
    begin(&one, kind->make, NULL, 5, MJ_FOREVER);
    CHECK_INT(kind->destroy(), ==, -EBUSY);
    kind->give();
    CHECK_INT(kind->destroy(), ==, kind->destroyed);
    CHECK_INT(result_of(&one), ==, 0);
    settle();
    destroy_all_but(kind->destroyed == 0 ? kind->destroy : NULL);
  }
}

static int ends_and_waits(call* self) {
  const struct kind* kind = self->object;
  mj_task_exit();
  return kind->make(self);
}

static void a_task_marked_as_ended_does_not_wait(void) {
  make_all();
  EACH_KIND(kind) {
    kind->take();
    call one;
    begin(&one, ends_and_waits, (void*)kind, 5, MJ_FOREVER);
    CHECK(one.returned);
    CHECK_INT(one.result, ==, -ECANCELED);
    if (kind->take != take_nothing) kind->give();
  }
  destroy_all();
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN_IN_TASK(waits_end_for_other_reasons);
  RUN_IN_TASK(a_hand_off_is_not_undone);
  RUN_IN_TASK(an_object_may_be_destroyed_before_its_woken_task_runs);
  RUN_IN_TASK(a_task_marked_as_ended_does_not_wait);
  return 0;
}
