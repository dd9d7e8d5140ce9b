// The task dump: a line for each task, with its name and what it is doing.
#define _GNU_SOURCE
#include "check.h"
#include "bodies.h"
#include "log_lines.h"

#include <alloca.h>
#include <fcntl.h>
#include <poll.h>
#include <time.h>

static int channel[2];

// ---- Reading a dump ----

static char* dump;

static void take_dump(mj_scheduler* scheduler) {
  free(dump);
  dump = NULL;
  size_t length = 0;
  FILE* stream = open_memstream(&dump, &length);
  CHECK(stream != NULL);
  mj_scheduler_dump(scheduler, stream);
  CHECK_INT(ferror(stream), ==, 0);
  fclose(stream);
  CHECK_UINT(strlen(dump), ==, length);
}

// The line of the task with this id; NULL if there is none. There is never more than one.
static const char* line_with(mj_task_id id) {
  static char line[512];
  char number[32];
  snprintf(number, sizeof number, " %#llx ", (unsigned long long)id);
  const char* found = NULL;
  for (const char* next = dump; *next != '\0';) {
    const char* end = strchr(next, '\n');
    CHECK(end != NULL);
    size_t length = (size_t)(end - next);
    CHECK_UINT(length, <, sizeof line);
    char candidate[512];
    memcpy(candidate, next, length);
    candidate[length] = '\0';
    // A task may wait for another task, whose id then comes later in the line.
    if (strncmp(candidate, "task ", 5) == 0 &&
        strncmp(candidate + 4, number, strlen(number)) == 0) {
      CHECK(found == NULL);
      memcpy(line, candidate, length + 1);
      found = line;
    }
    next = end + 1;
  }
  return found;
}

static const char* line_of(const mj_task* task) {
  const char* line = line_with(mj_task_get_id(task));
  CHECK(line != NULL);
  return line;
}

static void check_says(const mj_task* task, const char* words) {
  const char* line = line_of(task);
  if (strstr(line, words) == NULL) fprintf(stderr, "line:  %s\nwords: %s\n", line, words);
  CHECK(strstr(line, words) != NULL);
}

static void check_says_not(const mj_task* task, const char* words) {
  const char* line = line_of(task);
  if (strstr(line, words) != NULL) fprintf(stderr, "line:  %s\nwords: %s\n", line, words);
  CHECK(strstr(line, words) == NULL);
}

// How many tasks the dump lists.
static size_t lines(void) {
  size_t count = 0;
  for (const char* next = dump; *next != '\0'; next = strchr(next, '\n') + 1) {
    count += strncmp(next, "task ", 5) == 0;
  }
  return count;
}

// ---- What each task is doing ----

static void yields_for_ever(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  while (mj_yield() == 0) {
  }
  mj_task_exit();
}

static void sleeps(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_sleep_ns(LONG_NS);
  mj_task_exit();
}

static void waits(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_wait_fd(channel[0], POLLIN, MJ_FOREVER);
  mj_task_exit();
}

static void waits_with_a_limit(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_wait_fd(channel[0], POLLIN, LONG_NS);
  mj_task_exit();
}

static mj_task_id joined_id;

static void joins(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_join(joined_id, MJ_FOREVER);
  mj_task_exit();
}

static void joins_with_a_limit(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_join(joined_id, LONG_NS);
  mj_task_exit();
}

static void parks_itself(mj_scheduler* scheduler, void* user_state) {
  int* calls = user_state;
  if (++*calls == 1) {
    scheduler->current_task->state = MJ_TASK_WAITING_IO;
  } else {
    mj_task_exit();
  }
}

typedef struct cast {
  mj_task *self, *ready, *fresh, *sleeper, *waiter, *limited, *joiner, *limited_joiner, *parked;
} cast;

static cast tasks;

static mj_task* named(mj_scheduler* scheduler, const char* name, mj_task_fn* body, void* state) {
  mj_task* task = add_task(scheduler, body, state);
  CHECK_INT(mj_task_set_name(task, name), ==, 0);
  CHECK_STR(mj_task_get_name(task), name);
  return task;
}

static void check_until(const mj_task* task) {
  char words[64];
  snprintf(words, sizeof words, " until %llu ns (in ", (unsigned long long)task->wake_time_ns);
  check_says(task, words);
}

static void check_cast(mj_scheduler* scheduler, bool within) {
  take_dump(scheduler);
  char fd[32], id[32];
  snprintf(fd, sizeof fd, "fd %d", channel[0]);
  snprintf(id, sizeof id, "task %#llx", (unsigned long long)joined_id);
  CHECK_UINT(lines(), ==, mj_scheduler_get_metrics(scheduler)->current_tasks);
  check_says(tasks.self, "\"director\"");
  check_says(tasks.self, within ? "running" : "ready");
  check_says(tasks.ready, "\"yields\"");
  check_says(tasks.ready, "ready");
  check_says_not(tasks.ready, "no stack");
  check_says(tasks.fresh, "\"\"");
  check_says(tasks.fresh, "ready");
  check_says(tasks.fresh, ", 0 turns");
  check_says(tasks.fresh, "no stack");
  check_says(tasks.sleeper, "\"sleeps\"");
  check_says(tasks.sleeper, "sleeping");
  check_says(tasks.sleeper, ", 1 turns");
  check_until(tasks.sleeper);
  check_says(tasks.waiter, "\"waits\"");
  check_says(tasks.waiter, "waiting");
  check_says(tasks.waiter, fd);
  check_says_not(tasks.waiter, "until");
  check_says(tasks.limited, fd);
  check_until(tasks.limited);
  check_says(tasks.joiner, "waiting");
  check_says(tasks.joiner, id);
  check_says_not(tasks.joiner, "until");
  check_says(tasks.limited_joiner, id);
  check_until(tasks.limited_joiner);
  check_says(tasks.parked, "parked");
  check_says_not(tasks.parked, "until");
}

static void directs(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  tasks.self = scheduler->current_task;
  CHECK_INT(mj_task_set_name(tasks.self, "director"), ==, 0);
  joined_id = mj_task_get_id(tasks.self);
  tasks.ready = named(scheduler, "yields", yields_for_ever, NULL);
  tasks.sleeper = named(scheduler, "sleeps", sleeps, NULL);
  tasks.waiter = named(scheduler, "waits", waits, NULL);
  tasks.limited = named(scheduler, "waits, limited", waits_with_a_limit, NULL);
  tasks.joiner = named(scheduler, "joins", joins, NULL);
  tasks.limited_joiner = named(scheduler, "joins, limited", joins_with_a_limit, NULL);
  tasks.parked = named(scheduler, "parked", parks_itself, allocate(sizeof(int)));
  mj_task_yield();
  tasks.fresh = add_task(scheduler, sleeps, NULL);
  check_cast(scheduler, true);
  // Outside a run the dump is the same, except for this task.
  CHECK_INT(mj_scheduler_stop(scheduler), ==, 0);
  mj_task_yield();
  mj_task* const ends[] = {tasks.ready,  tasks.sleeper, tasks.waiter,         tasks.limited,
                           tasks.joiner, tasks.parked,  tasks.limited_joiner, tasks.fresh};
  for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
    CHECK_INT(mj_task_cancel(ends[i]), ==, 0);
  }
  mj_task_exit();
}

static void each_task_is_listed_with_what_it_does(void) {
  CHECK_INT(pipe2(channel, O_CLOEXEC | O_NONBLOCK), ==, 0);
  mj_scheduler* scheduler = new_scheduler();
  take_dump(scheduler);
  CHECK_UINT(lines(), ==, 0);
  add_task(scheduler, directs, NULL);
  take_dump(scheduler);
  CHECK_UINT(lines(), ==, 1);
  mj_scheduler_run(scheduler);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->current_tasks, ==, 9);
  check_cast(scheduler, false);
  mj_scheduler_run(scheduler);
  take_dump(scheduler);
  CHECK_UINT(lines(), ==, 0);
  mj_scheduler_destroy(scheduler);
  close(channel[0]);
  close(channel[1]);
}

// ---- Synchronization ----

static mj_mutex* mutex;
static mj_cond* cond;
static mj_sem* semaphore;
static mj_waitgroup* group;
static mj_chan* chan;

static void waits_for_one_of_them(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  const mj_select_case receives = {.chan = chan, .op = MJ_SELECT_RECV};
  mj_select_case cases[2] = {receives, receives};
  switch (*(int*)user_state) {
    case 0:
      mj_mutex_lock(mutex, MJ_FOREVER);
      break;
    case 1:
      CHECK_INT(mj_mutex_lock(mutex, MJ_FOREVER), ==, 0);
      mj_cond_wait(cond, mutex, MJ_FOREVER);
      mj_mutex_unlock(mutex);
      break;
    case 2:
      mj_sem_acquire(semaphore, 1, MJ_FOREVER);
      break;
    case 3:
      mj_waitgroup_wait(group, MJ_FOREVER);
      break;
    case 4:
      mj_chan_recv(chan, NULL, MJ_FOREVER);
      break;
    case 5:
      mj_select(cases, 2, LONG_NS);
      break;
  }
  mj_task_exit();
}

static void dumps_the_waiting_tasks(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  const char* const kinds[] = {"mutex", "condition", "semaphore", "wait group", "channel"};
  const void* const objects[] = {mutex, cond, semaphore, group, chan};
  mj_task* waiting[6];
  for (int i = 5; i >= 0; i--) {
    int* kind = allocate(sizeof *kind);
    *kind = i;
    waiting[i] = add_task(scheduler, waits_for_one_of_them, kind);
    mj_task_yield();
    // Queued between the waiter of the condition variable and the waiter of the mutex.
    if (i == 1) CHECK_INT(mj_mutex_lock(mutex, MJ_FOREVER), ==, 0);
  }
  for (int round = 0; round < 2; round++) {
    take_dump(scheduler);
    for (int i = 0; i < 5; i++) {
      char expected[64];
      int what = round == 1 && i == 1 ? 0 : i;
      snprintf(expected, sizeof expected, "waiting for %s %p", kinds[what], objects[what]);
      check_says(waiting[i], expected);
    }
    check_says(waiting[5], "waiting for one of 2 channels until ");
    // Then the condition variable's waiter waits for the mutex.
    CHECK_INT(mj_task_cancel(waiting[1]), ==, 0);
  }
  for (int i = 0; i < 6; i++) CHECK_INT(mj_task_cancel(waiting[i]), ==, 0);
  CHECK_INT(mj_mutex_unlock(mutex), ==, 0);
  mj_task_exit();
}

static void the_dump_names_the_object_of_each_wait(void) {
  mj_scheduler* scheduler = new_scheduler();
  mutex = mj_mutex_create(scheduler);
  cond = mj_cond_create(scheduler);
  semaphore = mj_sem_create(scheduler, 0);
  group = mj_waitgroup_create(scheduler);
  chan = mj_chan_create(scheduler, 0, 0);
  CHECK(mutex != NULL && cond != NULL && semaphore != NULL && group != NULL && chan != NULL);
  CHECK_INT(mj_waitgroup_add(group, 1), ==, 0);
  add_task(scheduler, dumps_the_waiting_tasks, NULL);
  mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
  CHECK_INT(mj_mutex_destroy(mutex), ==, 0);
  CHECK_INT(mj_cond_destroy(cond), ==, 0);
  CHECK_INT(mj_sem_destroy(semaphore), ==, 0);
  CHECK_INT(mj_waitgroup_destroy(group), ==, 0);
  CHECK_INT(mj_chan_destroy(chan), ==, 0);
}

// What a select or a poll of things that are no channels waits for.
static mj_xchan* xchan;
static mj_task_id awaited;

static void waits_for_a_thing(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  char element;
  const mj_select_case cases[] = {
      {.op = MJ_SELECT_FD, .fd = channel[0], .events = POLLIN},
      {.op = MJ_SELECT_TASK, .task = awaited},
      {.op = MJ_SELECT_DEADLINE, .deadline_ns = UINT64_MAX - 1},
      {.op = MJ_SELECT_XRECV, .xchan = xchan, .element = &element},
  };
  int which = *(int*)user_state;
  if (which < 4) {
    mj_select_case one = cases[which];
    CHECK_INT(mj_select(&one, 1, MJ_FOREVER), ==, -ECANCELED);
  } else {
    struct pollfd polls[] = {{.fd = channel[0], .events = POLLIN}, {.fd = channel[0], .events = POLLIN}};
    CHECK_INT(mj_poll(polls, 2, MJ_FOREVER), ==, -ECANCELED);
  }
  mj_task_exit();
}

static void dumps_the_waits_for_things(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  char words[5][64];
  awaited = mj_task_get_id(mj_task_current());
  snprintf(words[0], sizeof words[0], "waiting for fd %d", channel[0]);
  snprintf(words[1], sizeof words[1], "waiting for task %#llx", (unsigned long long)awaited);
  snprintf(words[2], sizeof words[2], "waiting for the time %llu ns", (unsigned long long)UINT64_MAX - 1);
  snprintf(words[3], sizeof words[3], "waiting for channel between threads %p", (void*)xchan);
  snprintf(words[4], sizeof words[4], "waiting for one of 2 fds");
  mj_task* waiting[5];
  for (int i = 0; i < 5; i++) {
    int* which = allocate(sizeof *which);
    *which = i;
    waiting[i] = add_task(scheduler, waits_for_a_thing, which);
  }
  mj_task_yield();
  take_dump(scheduler);
  for (int i = 0; i < 5; i++) check_says(waiting[i], words[i]);
  for (int i = 0; i < 5; i++) CHECK_INT(mj_task_cancel(waiting[i]), ==, 0);
  mj_task_yield();  // They leave before the task that one of them waits for ends.
  mj_task_exit();
}

static void the_dump_names_what_a_select_or_a_poll_waits_for(void) {
  CHECK_INT(pipe2(channel, O_CLOEXEC | O_NONBLOCK), ==, 0);
  xchan = mj_xchan_create(1, 1);
  CHECK(xchan != NULL);
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, dumps_the_waits_for_things, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->current_tasks, ==, 0);
  mj_scheduler_destroy(scheduler);
  mj_xchan_release(xchan);
  close(channel[0]);
  close(channel[1]);
}

static void relocks_when_it_is_canceled(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  CHECK_INT(mj_mutex_lock(mutex, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_cond_wait(cond, mutex, MJ_FOREVER), ==, -ECANCELED);
  CHECK_INT(mj_mutex_unlock(mutex), ==, 0);
  mj_task_exit();
}

// The yield after which the mutex is relocked.
static void dumps_one_that_yields_in_a_call(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  mj_task* task = add_task(scheduler, relocks_when_it_is_canceled, NULL);
  CHECK_INT(mj_task_cancel(task), ==, 0);
  mj_task_yield();
  take_dump(scheduler);
  check_says(task, "ready");
  CHECK_PTR(mj_scheduler_dequeue(scheduler), ==, task);
  take_dump(scheduler);
  check_says(task, "waiting for its turn");
  CHECK_INT(mj_mutex_destroy(mutex), ==, -EBUSY);
  CHECK_INT(mj_scheduler_enqueue(scheduler, task), ==, 0);
  mj_task_exit();
}

static void who_yields_in_the_middle_of_a_call_waits_for_its_turn(void) {
  mj_scheduler* scheduler = new_scheduler();
  mutex = mj_mutex_create(scheduler);
  cond = mj_cond_create(scheduler);
  CHECK(mutex != NULL && cond != NULL);
  add_task(scheduler, dumps_one_that_yields_in_a_call, NULL);
  mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
  CHECK_INT(mj_mutex_destroy(mutex), ==, 0);
  CHECK_INT(mj_cond_destroy(cond), ==, 0);
}

// ---- Runs and stacks ----

static mj_task* deep;
static mj_task* shallow;

static void goes_deep(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < 6; i++) mj_task_yield();
  volatile char* room = alloca(100000);
  room[0] = 1;
  mj_sleep_ns(LONG_NS);
  room[0] = 2;
  mj_task_exit();
}

static unsigned long long stack_used(const mj_task* task) {
  const char* line = line_of(task);
  const char* turns = strstr(line, " turns, ");
  CHECK(turns != NULL);
  unsigned long long bytes = 0;
  CHECK_INT(sscanf(turns, " turns, %llu bytes of stack used", &bytes), ==, 1);
  return bytes;
}

static void looks_at_the_stacks(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  for (int i = 0; i < 10; i++) mj_task_yield();
  take_dump(scheduler);
  check_says(deep, ", 7 turns");
  check_says(shallow, ", 1 turns");
  check_says(scheduler->current_task, ", 10 turns");
  // Used is what lies on the stack at the moment, at most all of it.
  CHECK_UINT(stack_used(deep), >=, 100000);
  CHECK_UINT(stack_used(deep), <, 256 * 1024);
  CHECK_UINT(stack_used(shallow), >, 0);
  CHECK_UINT(stack_used(shallow), <, 20000);
  CHECK_INT(mj_task_wake(deep), ==, 1);
  CHECK_INT(mj_task_wake(shallow), ==, 1);
  mj_task_exit();
}

static void turns_and_stacks_are_those_of_the_task(void) {
  mj_scheduler* scheduler = new_scheduler();
  deep = add_task(scheduler, goes_deep, NULL);
  shallow = add_task(scheduler, sleeps, NULL);
  add_task(scheduler, looks_at_the_stacks, NULL);
  mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
}

// ---- Since when ----

static uint64_t real_ns(void) {
  struct timespec now;
  CHECK_INT(clock_gettime(CLOCK_MONOTONIC, &now), ==, 0);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

// For how long the task has waited, in nanoseconds.
static uint64_t waited_ns(const mj_task* task) {
  const char* since = strstr(line_of(task), ", for ");
  CHECK(since != NULL);
  unsigned long long s = 0, us = 0;
  CHECK_INT(sscanf(since, ", for %llu.%6llu s, ", &s, &us), ==, 2);
  return s * 1000000000u + us * 1000u;
}

// A duration of the dump is right to a part in a thousand, and to a microsecond.
static void check_between(uint64_t ns, uint64_t least, uint64_t most) {
  CHECK_UINT(ns + ns / 500 + 2000, >=, least);
  CHECK_UINT(ns, <=, most + most / 500 + 2000);
}

static void looks_how_long_they_wait(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  uint64_t began = real_ns();
  mj_task* first = add_task(scheduler, sleeps, NULL);
  mj_task* other = add_task(scheduler, parks_itself, allocate(sizeof(int)));
  mj_task* ready = add_task(scheduler, yields_for_ever, NULL);
  mj_task_yield();
  uint64_t they_wait = real_ns();
  CHECK_INT(mj_sleep_ns(30000000), ==, 0);
  uint64_t second_begins = real_ns();
  mj_task* second = add_task(scheduler, sleeps, NULL);
  mj_task_yield();
  uint64_t before = real_ns();
  take_dump(scheduler);
  uint64_t after = real_ns();
  check_between(waited_ns(first), before - they_wait, after - began);
  check_between(waited_ns(other), before - they_wait, after - began);
  check_between(waited_ns(second), 0, after - second_begins);
  CHECK_UINT(waited_ns(first), >=, waited_ns(second) + 29900000);
  check_says_not(ready, ", for ");
  check_says_not(scheduler->current_task, ", for ");
  // A wait that begins anew, after a turn.
  uint64_t woken = real_ns();
  CHECK_INT(mj_task_wake(first), ==, 1);
  take_dump(scheduler);
  check_says_not(first, ", for ");
  mj_task* again = add_task(scheduler, sleeps, NULL);
  mj_task_yield();
  take_dump(scheduler);
  check_between(waited_ns(again), 0, real_ns() - woken);
  mj_task* const ends[] = {other, ready, second, again};
  for (size_t i = 0; i < 4; i++) CHECK_INT(mj_task_cancel(ends[i]), ==, 0);
  mj_task_exit();
}

static void the_dump_says_for_how_long_they_have_waited(void) {
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, looks_how_long_they_wait, NULL);
  mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
}

// ---- Names ----

static void names_are_cut_after_23_bytes(void) {
  static const struct {
    const char *given, *kept;
  } names[] = {
      {"", ""},
      {"a", "a"},
      {"exactly 22 bytes long!", "exactly 22 bytes long!"},
      {"exactly 23 bytes long, ", "exactly 23 bytes long, "},
      {"exactly 24 bytes long, !", "exactly 24 bytes long, "},
      {"a name that is much longer than any that is kept", "a name that is much lon"},
      // A UTF-8 character is kept whole or dropped.
      {"0123456789012345678901\xc3\xa4", "0123456789012345678901"},
      {"012345678901234567890\xc3\xa4z", "012345678901234567890\xc3\xa4"},
      {"01234567890123456789\xf0\x9f\x98\x80", "01234567890123456789"},
      {"0123456789012345678\xf0\x9f\x98\x80z", "0123456789012345678\xf0\x9f\x98\x80"},
  };
  mj_scheduler* scheduler = new_scheduler();
  mj_task* task = add_task(scheduler, sleeps, NULL);
  CHECK_STR(mj_task_get_name(task), "");
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    CHECK_INT(mj_task_set_name(task, names[i].given), ==, 0);
    CHECK_STR(mj_task_get_name(task), names[i].kept);
    take_dump(scheduler);
    CHECK_UINT(lines(), ==, 1);
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\"", names[i].kept);
    // Bytes that are not ASCII may be printed in another way.
    if (strlen(quoted) == strcspn(quoted, "\x80\xc3\xf0")) check_says(task, quoted);
  }
  // The name is copied: the caller may change its own string later.
  char own[] = "the caller's";
  CHECK_INT(mj_task_set_name(task, own), ==, 0);
  memset(own, '#', sizeof own - 1);
  CHECK_STR(mj_task_get_name(task), "the caller's");
  mj_scheduler_destroy(scheduler);
}

static void gives_its_slot_to_another(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  mj_task* first = named(scheduler, "the first", ends_at_once, NULL);
  mj_task_id id = mj_task_get_id(first);
  mj_task_yield();
  mj_task* second = add_task(scheduler, sleeps, NULL);
  CHECK_PTR(second, ==, first);
  CHECK_STR(mj_task_get_name(second), "");
  take_dump(scheduler);
  CHECK_UINT(lines(), ==, 2);
  CHECK_PTR(line_with(id), ==, NULL);
  check_says(second, "\"\"");
  check_says(second, ", 0 turns");
  mj_task_yield();
  CHECK_INT(mj_task_cancel(second), ==, 0);
  mj_task_exit();
}

static void a_new_task_has_no_name(void) {
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, gives_its_slot_to_another, NULL);
  mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
}

// A name must not be able to imitate further lines, or its own end.
static void a_name_stays_on_its_line(void) {
  mj_scheduler* scheduler = new_scheduler();
  mj_task* task = add_task(scheduler, sleeps, NULL);
  mj_task* other = add_task(scheduler, sleeps, NULL);
  CHECK_INT(mj_task_set_name(task, "x\ntask 0x1 \"y\" \x1b[31m"), ==, 0);
  CHECK_STR(mj_task_get_name(task), "x\ntask 0x1 \"y\" \x1b[31m");
  take_dump(scheduler);
  CHECK_UINT(lines(), ==, 2);
  CHECK_PTR(line_with(1), ==, NULL);
  CHECK_PTR(strchr(dump, '\x1b'), ==, NULL);
  check_says(other, "\"\"");
  mj_scheduler_destroy(scheduler);
}

static void misuse_is_reported(void) {
  log_lines_begin();
  mj_scheduler* scheduler = new_scheduler();
  mj_task* task = named(scheduler, "named", sleeps, NULL);
  CHECK_WARNS(mj_scheduler_dump(NULL, stderr));
  CHECK_WARNS(mj_scheduler_dump(scheduler, NULL));
  CHECK_WARNS(mj_scheduler_dump(NULL, NULL));
  CHECK_INT(mj_task_set_name(NULL, "name"), ==, -EINVAL);
  CHECK_INT(mj_task_set_name(task, NULL), ==, -EINVAL);
  CHECK_INT(mj_task_set_name(NULL, NULL), ==, -EINVAL);
  CHECK_STR(mj_task_get_name(task), "named");
  CHECK_STR(mj_task_get_name(NULL), "");
  mj_scheduler_destroy(scheduler);
  log_lines_end();
}

// ---- Streams ----

static void a_stream_that_fails_shows_it(void) {
  mj_scheduler* scheduler = new_scheduler();
  for (int i = 0; i < 200; i++) add_task(scheduler, sleeps, NULL);
  FILE* full = fopen("/dev/full", "w");
  CHECK(full != NULL);
  setvbuf(full, NULL, _IONBF, 0);
  mj_scheduler_dump(scheduler, full);
  CHECK(ferror(full));
  fclose(full);
  take_dump(scheduler);
  CHECK_UINT(lines(), ==, 200);
  mj_scheduler_destroy(scheduler);
}

// A stream of the program may call anything while it is written to.
static size_t bytes_written, tasks_created;

static ssize_t creates_tasks(void* cookie, const char* bytes, size_t count) {
  (void)bytes;
  mj_scheduler* scheduler = cookie;
  bytes_written += count;
  if (tasks_created < 100) {
    add_task(scheduler, ends_at_once, NULL);
    tasks_created++;
    CHECK_UINT(mj_scheduler_get_metrics(scheduler)->tasks_created, ==, tasks_created + 41);
  }
  return (ssize_t)count;
}

static void dumps_to_such_a_stream(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  const cookie_io_functions_t functions = {.write = creates_tasks};
  FILE* stream = fopencookie(scheduler, "w", functions);
  CHECK(stream != NULL);
  setvbuf(stream, NULL, _IONBF, 0);
  mj_scheduler_dump(scheduler, stream);
  fclose(stream);
  CHECK_UINT(tasks_created, >, 32);
  CHECK_UINT(bytes_written, >, 0);
  mj_task_exit();
}

static void a_stream_may_use_the_scheduler(void) {
  bytes_written = tasks_created = 0;
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, dumps_to_such_a_stream, NULL);
  for (int i = 0; i < 40; i++) add_task(scheduler, ends_at_once, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->tasks_exited, ==, tasks_created + 41);
  mj_scheduler_destroy(scheduler);
}

static mj_task *daemon_task, *reformed;

static void is_a_daemon(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  CHECK_INT(mj_task_set_daemon(true), ==, 0);
  if (user_state != NULL) CHECK_INT(mj_task_set_daemon(false), ==, 0);
  mj_sleep_ns(LONG_NS);
  mj_task_exit();
}

static void dumps_daemons(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  mj_task_yield();
  take_dump(scheduler);
  check_says(daemon_task, "sleeping");
  check_says(daemon_task, ", daemon, 1 turns, ");
  check_says_not(reformed, "daemon");
  check_says_not(scheduler->current_task, "daemon");
  CHECK_INT(mj_task_set_daemon(true), ==, 0);
  take_dump(scheduler);
  check_says(scheduler->current_task, " running, daemon, ");
  mj_scheduler_stop(scheduler);
  mj_task_exit();
}

static void daemons_are_marked(void) {
  mj_scheduler* scheduler = new_scheduler();
  daemon_task = add_task(scheduler, is_a_daemon, NULL);
  reformed = add_task(scheduler, is_a_daemon, allocate(1));
  add_task(scheduler, dumps_daemons, NULL);
  CHECK_INT(mj_run(scheduler), ==, MJ_RUN_STOPPED);
  take_dump(scheduler);
  check_says(daemon_task, ", daemon, 1 turns, ");
  mj_scheduler_destroy(scheduler);
}

// The documentation promises exactly one line for each task.
static void there_is_one_line_for_each_task(void) {
  mj_scheduler* scheduler = new_scheduler();
  for (size_t i = 0; i < 3; i++) {
    take_dump(scheduler);
    size_t all = 0;
    for (const char* next = dump; (next = strchr(next, '\n')) != NULL; next++) all++;
    CHECK_UINT(all, ==, i);
    add_task(scheduler, sleeps, NULL);
  }
  mj_scheduler_destroy(scheduler);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN(each_task_is_listed_with_what_it_does);
  RUN(the_dump_names_the_object_of_each_wait);
  RUN(the_dump_names_what_a_select_or_a_poll_waits_for);
  RUN(who_yields_in_the_middle_of_a_call_waits_for_its_turn);
  RUN(turns_and_stacks_are_those_of_the_task);
  RUN(daemons_are_marked);
  RUN(the_dump_says_for_how_long_they_have_waited);
  RUN(names_are_cut_after_23_bytes);
  RUN(a_new_task_has_no_name);
  RUN(a_name_stays_on_its_line);
  RUN(misuse_is_reported);
  RUN(a_stream_that_fails_shows_it);
  RUN(a_stream_may_use_the_scheduler);
  RUN(there_is_one_line_for_each_task);
  free(dump);
  return 0;
}
