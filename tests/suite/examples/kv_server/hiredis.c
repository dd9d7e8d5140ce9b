// A client of examples-c/kv_server.c by hiredis: one command at a time, then many in a pipeline.
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT 10000

static redisContext* context;

static void check(int is_right, const char* what) {
  if (is_right) return;
  fprintf(stderr, "%s: %s\n", what, context->errstr);
  exit(1);
}

static void is_answered(redisReply* reply, int type, long long number, const char* text) {
  check(reply != NULL && reply->type == type, "the type");
  check(reply->integer == number, "the number");
  check(text == NULL || (reply->len == strlen(text) && memcmp(reply->str, text, reply->len) == 0), "the text");
  freeReplyObject(reply);
}

int main(int argc, char** argv) {
  context = redisConnect("127.0.0.1", argc > 1 ? atoi(argv[1]) : 0);
  if (context == NULL) return 1;
  check(context->err == 0, "connect");
  is_answered(redisCommand(context, "SET %s %b", "key", "a\0b", (size_t)3), REDIS_REPLY_STATUS, 0, "OK");
  redisReply* reply = redisCommand(context, "GET key");
  check(reply != NULL && reply->len == 3 && memcmp(reply->str, "a\0b", 3) == 0, "GET");
  freeReplyObject(reply);
  is_answered(redisCommand(context, "GET none"), REDIS_REPLY_NIL, 0, NULL);
  is_answered(redisCommand(context, "INCR key"), REDIS_REPLY_ERROR, 0,
              "ERR value is not an integer or out of range");
  is_answered(redisCommand(context, "LPUSH list 1 2 3"), REDIS_REPLY_INTEGER, 3, NULL);
  is_answered(redisCommand(context, "LPOP list"), REDIS_REPLY_STRING, 0, "3");
  is_answered(redisCommand(context, "COMMAND"), REDIS_REPLY_ARRAY, 0, NULL);

  for (int i = 0; i < COUNT; i++) check(redisAppendCommand(context, "INCR count") == REDIS_OK, "append");
  for (int i = 0; i < COUNT; i++) {
    check(redisGetReply(context, (void**)&reply) == REDIS_OK, "a reply of the pipeline");
    is_answered(reply, REDIS_REPLY_INTEGER, i + 1, NULL);
  }
  redisFree(context);
  return 0;
}
