// Redis' own library, as it is: hiredis SOCKET.
#define _GNU_SOURCE
#include "../hooked.h"

#include <hiredis/hiredis.h>

enum { MANY = 100 };

static const char* path;
static unsigned ready, may_begin, ended;

static redisContext* new_context(void) {
  redisContext* context = redisConnectUnix(path);
  CHECK(context != NULL);
  if (context->err) fprintf(stderr, "%s\n", context->errstr);
  CHECK_INT(context->err, ==, 0);
  return context;
}

// Waits for an element that nobody adds.
static void waits(void* argument) {
  (void)argument;
  redisContext* context = new_context();
  add_one(&ready);
  wait_until(&may_begin, 1);
  redisReply* reply = (redisReply*)redisCommand(context, "BLPOP nothing 0.1");
  CHECK(reply != NULL);
  CHECK_INT(reply->type, ==, REDIS_REPLY_NIL);
  freeReplyObject(reply);
  redisFree(context);
  add_one(&ended);
}

static void many_wait_at_once(void) {
  ready = may_begin = ended = 0;
  for (int i = 0; i < MANY; i++) start(waits, NULL);
  wait_until(&ready, MANY);
  uint64_t began = now_ns();
  add_one(&may_begin);
  wait_until(&ended, MANY);
  uint64_t took = now_ns() - began;
  fprintf(stderr, "%d waits of 0.1 s took %.3f s\n", MANY, (double)took * 1e-9);
  CHECK_UINT(took, <, MANY * UINT64_C(100000000) / 5);
}

static void sets_and_gets(void* argument) {
  int number = (int)(intptr_t)argument;
  redisContext* context = new_context();
  for (int i = 0; i < 50; i++) {
    freeReplyObject(redisCommand(context, "SET key:%d %d", number, i));
    redisReply* reply = (redisReply*)redisCommand(context, "GET key:%d", number);
    CHECK(reply != NULL && reply->type == REDIS_REPLY_STRING);
    CHECK_INT(atoi(reply->str), ==, i);
    freeReplyObject(reply);
  }
  redisFree(context);
  add_one(&ended);
}

static void each_has_its_own(void) {
  ended = 0;
  for (int i = 0; i < MANY; i++) start(sets_and_gets, (void*)(intptr_t)i);
  wait_until(&ended, MANY);
}

static void the_librarys_limit_is_kept(void) {
  redisContext* context = new_context();
  const struct timeval limit = {0, 30000};
  CHECK_INT(redisSetTimeout(context, limit), ==, REDIS_OK);
  uint64_t began = now_ns();
  CHECK(redisCommand(context, "BLPOP nothing 100") == NULL);
  CHECK_INT(context->err, ==, REDIS_ERR_IO);
  CHECK_UINT(now_ns() - began, >=, 30000000);
  redisFree(context);
}

static void is_cut_off(void* argument) {
  (void)argument;
  redisContext* context = new_context();
  add_one(&ready);
  CHECK(redisCommand(context, "BLPOP nothing 100") == NULL);
  CHECK(context->err == REDIS_ERR_EOF || context->err == REDIS_ERR_IO);
  redisFree(context);
  add_one(&ended);
}

static void canceled_tasks_are_told(void) { cancel_some(is_cut_off, &ready, &ended); }

static void each_is_told_of_the_servers_end(void) {
  ready = ended = 0;
  for (int i = 0; i < MANY; i++) start(is_cut_off, NULL);
  wait_until(&ready, MANY);
  redisContext* context = new_context();
  CHECK(redisCommand(context, "SHUTDOWN NOSAVE") == NULL);
  redisFree(context);
  wait_until(&ended, MANY);
}

int main(int count, char** paths) {
  mj_log_set_level(MJ_LOG_WARN);
  CHECK_INT(count, ==, 2);
  path = paths[1];
  RUN_HOOKED(many_wait_at_once);
  RUN_HOOKED(each_has_its_own);
  RUN_HOOKED(the_librarys_limit_is_kept);
  RUN_HOOKED(canceled_tasks_are_told);
  RUN_HOOKED(each_is_told_of_the_servers_end);
  return 0;
}
