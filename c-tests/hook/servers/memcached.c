// libmemcached, as it is: memcached SOCKET PID.
#define _GNU_SOURCE
#include "../hooked.h"

#include <libmemcached/memcached.h>
#include <signal.h>

enum { MANY = 100 };

static const char* path;
static pid_t server;
static unsigned ready, ended;

static memcached_st* new_client(void) {
  memcached_st* client = memcached_create(NULL);
  CHECK(client != NULL);
  CHECK_INT(memcached_server_add_unix_socket(client, path), ==, MEMCACHED_SUCCESS);
  return client;
}

static bool is_there(memcached_st* client, int number, int i) {
  char key[32], value[32];
  int key_bytes = snprintf(key, sizeof key, "key:%d", number);
  int bytes = snprintf(value, sizeof value, "%d", i);
  if (memcached_set(client, key, (size_t)key_bytes, value, (size_t)bytes, 0, 0) != MEMCACHED_SUCCESS) return false;
  size_t length;
  uint32_t flags;
  memcached_return_t code;
  char* found = memcached_get(client, key, (size_t)key_bytes, &length, &flags, &code);
  if (found == NULL) return false;
  CHECK_INT(length, ==, bytes);
  CHECK_INT(memcmp(found, value, length), ==, 0);
  free(found);
  return true;
}

static void sets_and_gets(void* argument) {
  memcached_st* client = new_client();
  for (int i = 0; i < 50; i++) CHECK(is_there(client, (int)(intptr_t)argument, i));
  memcached_free(client);
  add_one(&ended);
}

static void each_has_its_own(void) {
  ended = 0;
  for (int i = 0; i < MANY; i++) start(sets_and_gets, (void*)(intptr_t)i);
  wait_until(&ended, MANY);
}

static void goes_on_until_the_end(void* argument) {
  memcached_st* client = new_client();
  CHECK(is_there(client, (int)(intptr_t)argument, 0));
  add_one(&ready);
  while (is_there(client, (int)(intptr_t)argument, 1)) usleep(1000);
  memcached_free(client);
  add_one(&ended);
}

static void canceled_tasks_are_told(void) { cancel_some(goes_on_until_the_end, &ready, &ended); }

static void each_is_told_of_the_servers_end(void) {
  ready = ended = 0;
  for (int i = 0; i < MANY; i++) start(goes_on_until_the_end, (void*)(intptr_t)i);
  wait_until(&ready, MANY);
  CHECK_INT(kill(server, SIGKILL), ==, 0);
  wait_until(&ended, MANY);
}

int main(int count, char** arguments) {
  mj_log_set_level(MJ_LOG_WARN);
  CHECK_INT(count, ==, 3);
  path = arguments[1];
  server = (pid_t)atoi(arguments[2]);
  RUN_HOOKED(each_has_its_own);
  RUN_HOOKED(canceled_tasks_are_told);
  RUN_HOOKED(each_is_told_of_the_servers_end);
  return 0;
}
