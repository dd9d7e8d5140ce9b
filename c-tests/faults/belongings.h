// The scenario of what belongs to tasks: deferring, setting a value and inheriting one take memory. Without it
// nothing is deferred, set or made; what was is called and destroyed, each once.
#ifndef BELONGINGS_H
#define BELONGINGS_H

static size_t deferred, deferred_calls, values_made, values_destroyed;

static void is_deferred(void* argument) {
  CHECK_PTR(argument, ==, &deferred);
  deferred_calls++;
}

static void destroy_value(void* value) {
  CHECK_UINT(*(size_t*)value, ==, 7);
  free(value);
  values_destroyed++;
}

static void* new_value(void* like) {
  size_t* value = malloc(sizeof *value);
  if (value == NULL) return NULL;
  *value = *(const size_t*)like;
  values_made++;
  return value;
}

static void defer_some(size_t count) {
  for (size_t i = 0; i < count; i++) {
    int result = mj_task_defer(is_deferred, &deferred);
    CHECK_ALLOWED(result);
    if (result == 0) deferred++;
  }
}

static mj_task_key keys[10];  // More than the first eight.

static void member_defers(void* argument) {
  (void)argument;
  const size_t* value = (const size_t*)mj_task_get_value(keys[0]); // Its own: the one it is like may be gone.
  CHECK(value == NULL || *value == 7);
  defer_some(1);
  ended++;
}

static void has_belongings(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  CHECK_INT(mj_task_set_daemon(true), ==, 0);
  defer_some(17);
  for (int i = 0; i < 10; i += 3) {
    void* value = new_value(&(size_t){7});
    if (value == NULL) continue;
    int result = mj_task_set_value(keys[i], value);
    CHECK_ALLOWED(result);
    if (result < 0) destroy_value(value);
  }
  for (int i = 0; i < 3; i++) {
    int result = mj_go(scheduler, member_defers, NULL, NULL);
    CHECK_ALLOWED(result);
    if (result == 0) created++;
  }
  mj_task_yield();
  end();
}

static void have_belongings(mj_scheduler** scheduler) {
  for (int i = 0; i < 10; i++) {
    CHECK_INT(mj_task_key_create(&keys[i], destroy_value, new_value), ==, 0);
  }
  spawn(*scheduler, has_belongings, 0);
  run(*scheduler);
  mj_scheduler_destroy(*scheduler);
  *scheduler = NULL;
  CHECK_UINT(deferred_calls, ==, deferred);
  CHECK_UINT(values_destroyed, ==, values_made);
  if (fault.failed == 0) CHECK_UINT(deferred, ==, 20);
  if (fault.failed == 0) CHECK_UINT(values_made, ==, 16);
}

#endif  // BELONGINGS_H
