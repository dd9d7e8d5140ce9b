// Task-local values: mj_task_key_create() and the calls that set and get.
#define _GNU_SOURCE
#include "events.h"
#include "in_a_task.h"
#include "log_lines.h"

#include <pthread.h>

// Values are counted, so that each is destroyed once.
typedef struct value {
  int references;
  char letter;
} value;

static int values;
static value* new_value(char letter) {
  value* made = allocate(sizeof *made);
  made->references = 1;
  made->letter = letter;
  values++;
  return made;
}

static void release(void* argument) {
  value* released = argument;
  CHECK_INT(released->references, >, 0);
  if (--released->references > 0) return;
  note(released->letter);
  free(released);
  values--;
}

static void* retain(void* argument) {
  ((value*)argument)->references++;
  return argument;
}

static mj_task_key own, inherited, plain;

static void begin(void) {
  events[0] = '\0';
  CHECK_INT(values, ==, 0);
}

static void end(void) { CHECK_INT(values, ==, 0); }

static void run_as_task(void (*function)(void*), void* argument) {
  mj_task_id id = 0;
  CHECK_INT(mj_go(scheduler, function, argument, &id), ==, 0);
  CHECK_INT(mj_task_join(id, MJ_FOREVER), ==, 0);
}

// ---- Each task has its own ----

static void sets_and_looks(void* argument) {
  CHECK_PTR(mj_task_get_value(plain), ==, NULL);
  CHECK_INT(mj_task_set_value(plain, NULL), ==, 0);
  CHECK_INT(mj_task_set_value(plain, argument), ==, 0);
  for (int turn = 0; turn < 3; turn++) {
    mj_task_yield();
    CHECK_PTR(mj_task_get_value(plain), ==, argument);
  }
  CHECK_INT(mj_task_set_value(plain, NULL), ==, 0);
  CHECK_PTR(mj_task_get_value(plain), ==, NULL);
  CHECK_INT(mj_task_set_value(plain, argument), ==, 0);  // Nothing is to be destroyed.
}

static void each_task_has_its_own(void) {
  static int places[10];
  for (int round = 0; round < 2; round++) {  // The second one finds slots in use before.
    for (int i = 0; i < 10; i++) CHECK_INT(mj_go(scheduler, sets_and_looks, &places[i], NULL), ==, 0);
    while (mj_scheduler_get_metrics(scheduler)->current_tasks > 1) mj_task_yield();
  }
  CHECK_PTR(mj_task_get_value(plain), ==, NULL);
}

static void reads_in_a_line(mj_log_level level, const char* message, void* found) {
  (void)level, (void)message;
  *(void**)found = mj_task_get_value(plain);
}

static void a_log_callback_finds_that_of_the_task(void) {
  static int place;
  void* found = NULL;
  mj_log_set_callback(reads_in_a_line, &found);
  CHECK_INT(mj_task_set_value(plain, &place), ==, 0);
  MJ_WARN("a line");
  mj_log_set_callback(NULL, NULL);
  CHECK_PTR(found, ==, &place);
}

// ---- The end ----

static void notes(void* letter) { note(*(const char*)letter); }

static void has_values(void* argument) {
  (void)argument;
  value* replaced = new_value('x');
  CHECK_INT(mj_task_set_value(inherited, new_value('b')), ==, 0);
  CHECK_INT(mj_task_set_value(own, replaced), ==, 0);
  CHECK_INT(mj_task_defer(notes, "d"), ==, 0);
  CHECK_INT(mj_task_set_value(own, new_value('a')), ==, 0);
  CHECK_STR(events, "");
  release(replaced);
}

static void values_are_destroyed_behind_what_was_deferred(void) {
  begin();
  run_as_task(has_values, NULL);
  CHECK_STR(events, "xdab");
  end();
}

static void sleeps_and_releases(void* argument) {
  CHECK_PTR(mj_task_current(), !=, NULL);
  CHECK_INT(mj_sleep_ns(1000), ==, 0);
  release(argument);
}

static mj_task_key slow;

static void has_a_slow_value(void* argument) {
  (void)argument;
  CHECK_INT(mj_task_set_value(slow, new_value('s')), ==, 0);
}

static void what_destroys_may_suspend(void) {
  begin();
  run_as_task(has_a_slow_value, NULL);
  CHECK_STR(events, "s");
  end();
}

static mj_task_key again;
static int rounds, most_rounds;

static void sets_again(void* argument) {
  note(++rounds % 2 ? '1' : '2');
  CHECK_PTR(mj_task_get_value(again), ==, NULL);
  CHECK_INT(mj_task_defer(notes, "d"), ==, 0);
  if (rounds < most_rounds) CHECK_INT(mj_task_set_value(again, argument), ==, 0);
}

static void has_one_that_sets_again(void* argument) {
  CHECK_INT(mj_task_set_value(again, argument), ==, 0);
}

static void a_value_may_be_set_again_a_few_times(void) {
  static int place;
  char expected[100];
  for (most_rounds = 1; most_rounds < 7; most_rounds++) {
    begin();
    log_lines_begin();
    rounds = 0;
    run_as_task(has_one_that_sets_again, &place);
    log_lines_end();
    CHECK_INT(rounds, ==, most_rounds < 4 ? most_rounds : 4);
    expected[0] = '\0';
    for (int round = 0; round < rounds; round++) strcat(expected, round % 2 ? "2d" : "1d");
    CHECK_STR(events, expected);
    CHECK_UINT(log_lines_from(MJ_LOG_WARN), ==, most_rounds > 4 ? 1 : 0);
  }
}

static void line_defers(mj_log_level level, const char* message, void* user_data) {
  (void)level, (void)message, (void)user_data;
  CHECK_INT(mj_task_defer(notes, "l"), ==, 0);
}

// The line finds the task in its last moments.
static void what_the_line_defers_is_called(void) {
  static int place;
  begin();
  rounds = 0;
  most_rounds = 5;
  mj_log_set_callback(line_defers, NULL);
  run_as_task(has_one_that_sets_again, &place);
  mj_log_set_callback(NULL, NULL);
  CHECK_STR(events, "1d2d1d2dl");
}

// ---- Inheriting ----

static void expects(void* letter) {
  value* got = mj_task_get_value(inherited);
  if (letter == NULL) {
    CHECK_PTR(got, ==, NULL);
  } else {
    CHECK_INT(got->letter, ==, *(const char*)letter);
  }
  CHECK_PTR(mj_task_get_value(own), ==, NULL);
}

static int expects_in_a_group(void* letter) {
  expects(letter);
  return 0;
}

static void expects_in_a_body(mj_scheduler* running, void* state) {
  (void)running, (void)state;
  expects("i");
  mj_task_exit();
}

static void makes_tasks(void* argument) {
  (void)argument;
  CHECK_INT(mj_task_set_value(own, new_value('o')), ==, 0);
  CHECK_INT(mj_task_set_value(inherited, new_value('i')), ==, 0);
  CHECK_INT(mj_go(scheduler, expects, "i", NULL), ==, 0);
  add_task(scheduler, expects_in_a_body, NULL);
  mj_group* group = mj_group_create(scheduler, 0);
  CHECK_INT(mj_group_go(group, expects_in_a_group, "i", MJ_FOREVER), ==, 0);
  // Those that are made have the value of that moment.
  value* before = mj_task_get_value(inherited);
  CHECK_INT(mj_task_set_value(inherited, NULL), ==, 0);
  release(before);
  CHECK_INT(mj_go(scheduler, expects, NULL, NULL), ==, 0);
  CHECK_INT(mj_group_end(group, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_group_destroy(group), ==, 0);
}

static void new_tasks_inherit_what_they_are_to(void) {
  begin();
  run_as_task(makes_tasks, NULL);
  while (mj_scheduler_get_metrics(scheduler)->current_tasks > 1) mj_task_yield();
  CHECK_UINT(strlen(events), ==, 2);
  end();
}

static bool refuses;

static void* retains_or_not(void* argument) { return refuses ? NULL : retain(argument); }

static mj_task_key maybe;

static void expects_maybe(void* expected) {
  CHECK_PTR(mj_task_get_value(maybe), ==, expected);
}

static void makes_tasks_with_or_without(void* argument) {
  (void)argument;
  value* made = new_value('m');
  CHECK_INT(mj_task_set_value(maybe, made), ==, 0);
  refuses = true;
  run_as_task(expects_maybe, NULL);
  refuses = false;
  run_as_task(expects_maybe, made);
}

static void what_makes_them_inherit_may_refuse(void) {
  begin();
  run_as_task(makes_tasks_with_or_without, NULL);
  CHECK_STR(events, "m");
  end();
}

static mj_task_key suspends;
static int made;

static void* suspends_to_retain(void* argument) {
  made++;
  CHECK_PTR(mj_task_current(), ==, NULL);
  CHECK_PTR(mj_scheduler_current(), ==, scheduler);
  CHECK_PTR(mj_task_get_value(suspends), ==, NULL);
  mj_mutex* mutex = mj_mutex_create(scheduler);
  CHECK_WARNS(CHECK_INT(mj_sleep_ns(1000), ==, -EPERM));
  CHECK_WARNS(CHECK_INT(mj_yield(), ==, -EPERM));
  CHECK_WARNS(mj_task_yield());
  CHECK_WARNS(CHECK_INT(mj_mutex_lock(mutex, MJ_FOREVER), ==, -EPERM));
  CHECK_WARNS(mj_task_exit());
  CHECK_INT(mj_mutex_destroy(mutex), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, -EBUSY);
  mj_scheduler_destroy(scheduler);
  CHECK_INT(mj_go(scheduler, expects, NULL, NULL), ==, 0);  // It has no parent.
  return retain(argument);
}

static void expects_suspends(void* expected) {
  CHECK_PTR(mj_task_get_value(suspends), ==, expected);
}

static void makes_one_that_may_not_suspend(void* argument) {
  (void)argument;
  mj_task* own_task = mj_task_current();
  value* own_value = new_value('v');
  CHECK_INT(mj_task_set_value(suspends, own_value), ==, 0);
  run_as_task(expects_suspends, own_value);
  CHECK_PTR(mj_task_current(), ==, own_task);
  CHECK_INT(mj_yield(), ==, 0);
}

static void what_makes_them_inherit_cannot_suspend(void) {
  begin();
  log_lines_begin();
  run_as_task(makes_one_that_may_not_suspend, NULL);
  log_lines_end();
  CHECK_INT(made, ==, 1);
  CHECK_STR(events, "v");
  end();
}

// ---- With the scheduler ----

static void waits_for_ever(void* argument) {
  (void)argument;
  CHECK_INT(mj_task_defer(notes, "d"), ==, 0);
  CHECK_INT(mj_task_set_value(own, new_value('o')), ==, 0);
  CHECK_INT(mj_task_set_value(inherited, new_value('i')), ==, 0);
  mj_scheduler_stop(mj_scheduler_current());
  for (int i = 0; i < 3; i++) {  // They have no turn.
    CHECK_INT(mj_go(mj_scheduler_current(), expects, "i", NULL), ==, 0);
  }
  mj_task_park(MJ_FOREVER);
}

static void values_are_destroyed_with_the_scheduler(void) {
  begin();
  mj_scheduler* ending = new_scheduler();
  CHECK_INT(mj_go(ending, waits_for_ever, NULL, NULL), ==, 0);
  CHECK_INT(mj_run(ending), ==, MJ_RUN_STOPPED);
  CHECK_INT(values, ==, 2);
  mj_scheduler_destroy(ending);
  CHECK_UINT(strlen(events), ==, 3);
  CHECK_INT(events[0], ==, 'd');
  end();
}

// ---- Keys ----

static void* makes_a_key(void* key) {
  CHECK_INT(mj_task_key_create(key, NULL, NULL), ==, 0);
  return NULL;
}

static void any_thread_makes_keys(void) {
  pthread_t threads[4];
  mj_task_key keys[4] = {0};
  for (int i = 0; i < 4; i++) {
    CHECK_INT(pthread_create(&threads[i], NULL, makes_a_key, &keys[i]), ==, 0);
  }
  for (int i = 0; i < 4; i++) CHECK_INT(pthread_join(threads[i], NULL), ==, 0);
  for (int i = 0; i < 4; i++) {
    CHECK_UINT(keys[i], !=, 0);
    for (int j = 0; j < i; j++) CHECK_UINT(keys[i], !=, keys[j]);
  }
}

static void errors(void) {
  static int place;
  CHECK_INT(mj_task_key_create(NULL, NULL, NULL), ==, -EINVAL);
  static const mj_task_key none[] = {0, 1000, UINT32_MAX};
  for (size_t i = 0; i < 3; i++) {
    CHECK_INT(mj_task_set_value(none[i], &place), ==, -EINVAL);
    CHECK_PTR(mj_task_get_value(none[i]), ==, NULL);
  }
}

static void errors_outside(void) {
  static int place;
  log_lines_begin();
  CHECK_PTR(mj_task_get_value(plain), ==, NULL);
  CHECK_UINT(log_lines_from(MJ_LOG_WARN), ==, 0);
  CHECK_WARNS(CHECK_INT(mj_task_set_value(plain, &place), ==, -EPERM));
  log_lines_end();
}

static mj_task_key first_of_many, last_of_many;
static int places[200];

static void has_many(void* argument) {
  for (mj_task_key key = first_of_many; key <= last_of_many; key++) {
    CHECK_INT(mj_task_set_value(key, &places[key]), ==, 0);
  }
  CHECK_INT(mj_yield(), ==, 0);
  for (mj_task_key key = first_of_many; key <= last_of_many; key++) {
    CHECK_PTR(mj_task_get_value(key), ==, &places[key]);
  }
  if (argument != NULL) run_as_task(has_many, NULL);
}

static int counted;

static void counts(void* place) {
  CHECK((int*)place >= places && (int*)place < places + 200);
  counted++;
}

// The last test: keys are for good.
static void there_are_128(void) {
  mj_task_key key = 0;
  int result;
  while ((result = mj_task_key_create(&key, counts, NULL)) == 0) {
    if (first_of_many == 0) first_of_many = key;
    last_of_many = key;
  }
  CHECK_INT(result, ==, -ENOMEM);
  CHECK_UINT(last_of_many, ==, 128);
  CHECK_UINT(key, ==, last_of_many);
  CHECK_INT(mj_task_set_value(129, &places[0]), ==, -EINVAL);
  CHECK_INT(mj_task_set_value(last_of_many, NULL), ==, 0);  // It never had one, nor memory for it.
  CHECK_INT(mj_task_set_value(plain, &places[0]), ==, 0);
  CHECK_INT(mj_task_set_value(last_of_many, NULL), ==, 0);  // Nor now: the first few need none.
  CHECK_INT(mj_task_set_value(plain, NULL), ==, 0);
  counted = 0;
  run_as_task(has_many, scheduler);
  CHECK_INT(counted, ==, 2 * (int)(last_of_many - first_of_many + 1));
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  CHECK_INT(mj_task_key_create(&own, release, NULL), ==, 0);
  CHECK_INT(mj_task_key_create(&inherited, release, retain), ==, 0);
  CHECK_INT(mj_task_key_create(&plain, NULL, NULL), ==, 0);
  CHECK_INT(mj_task_key_create(&slow, sleeps_and_releases, NULL), ==, 0);
  CHECK_INT(mj_task_key_create(&again, sets_again, NULL), ==, 0);
  CHECK_INT(mj_task_key_create(&maybe, release, retains_or_not), ==, 0);
  CHECK_INT(mj_task_key_create(&suspends, release, suspends_to_retain), ==, 0);
  RUN_IN_TASK(each_task_has_its_own);
  RUN_IN_TASK(a_log_callback_finds_that_of_the_task);
  RUN_IN_TASK(values_are_destroyed_behind_what_was_deferred);
  RUN_IN_TASK(what_destroys_may_suspend);
  RUN_IN_TASK(a_value_may_be_set_again_a_few_times);
  RUN_IN_TASK(what_the_line_defers_is_called);
  RUN_IN_TASK(new_tasks_inherit_what_they_are_to);
  RUN_IN_TASK(what_makes_them_inherit_may_refuse);
  RUN_IN_TASK(what_makes_them_inherit_cannot_suspend);
  RUN(values_are_destroyed_with_the_scheduler);
  RUN(any_thread_makes_keys);
  RUN_IN_TASK(errors);
  RUN(errors_outside);
  RUN_IN_TASK(there_are_128);
  return 0;
}
