// A log callback that another thread has set, before there is any scheduler: the callback must see
// what that thread wrote before, and only the logger orders the two.
#define _GNU_SOURCE
#include "../check.h"

#include <pthread.h>

enum { settings = 20 };

static int data[settings];
static int calls;

// Not atomic: its own ordering would hide the library's.
static int latest;

static void looks_at_its_data(mj_log_level level, const char* message, void* user_data) {
  (void)level;
  (void)message;
  CHECK_INT(*(int*)user_data, ==, 42);
  calls++;
}

static void* sets_callbacks(void* unused) {
  (void)unused;
  for (int i = 0; i < settings; i++) {
    data[i] = 42;
    mj_log_set_callback(looks_at_its_data, &data[i]);
    __atomic_store_n(&latest, i + 1, __ATOMIC_RELAXED);
    const struct timespec pause = {0, 1000 * 1000};
    nanosleep(&pause, NULL);
  }
  return NULL;
}

int main(void) {
  pthread_t thread;
  CHECK_INT(pthread_create(&thread, NULL, sets_callbacks, NULL), ==, 0);
  while (__atomic_load_n(&latest, __ATOMIC_RELAXED) == 0) continue;
  while (__atomic_load_n(&latest, __ATOMIC_RELAXED) < settings) MJ_INFO("line");
  MJ_INFO("line");
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
  CHECK_INT(calls, >, 0);
  mj_log_set_callback(NULL, NULL);
  return 0;
}
