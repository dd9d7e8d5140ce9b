// OpenSSL's blocking calls, as they are: servers and clients in tasks, over sockets that block.
#define _GNU_SOURCE
#include "tls.h"

#include <openssl/err.h>
#include <sys/socket.h>

enum { PAIRS = 100, LENGTH = 1 << 20 };

static int pairs[PAIRS][2];
static unsigned ready, ended;

static void new_pairs(void) {
  for (int i = 0; i < PAIRS; i++) CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i]), ==, 0);
  ended = 0;
}

static void echoes(void* argument) {
  int fd = pairs[(intptr_t)argument][0];
  SSL* connection = SSL_new(for_servers);
  SSL_set_fd(connection, fd);
  CHECK_INT(SSL_accept(connection), ==, 1);
  char data[16384];
  int some;
  while ((some = SSL_read(connection, data, sizeof data)) > 0)
    CHECK_INT(SSL_write(connection, data, some), ==, some);
  CHECK_INT(SSL_get_error(connection, some), ==, SSL_ERROR_ZERO_RETURN);
  SSL_shutdown(connection);
  SSL_free(connection);
  close(fd);
  add_one(&ended);
}

static void asks(void* argument) {
  int number = (int)(intptr_t)argument, fd = pairs[number][1];
  SSL* connection = SSL_new(for_clients);
  SSL_set_fd(connection, fd);
  CHECK_INT(SSL_connect(connection), ==, 1);
  for (int i = 0; i < 20; i++) {
    char sent[64], received[64] = "";
    int bytes = snprintf(sent, sizeof sent, "%d of %d", i, number);
    CHECK_INT(SSL_write(connection, sent, bytes), ==, bytes);
    usleep(500);
    CHECK_INT(SSL_read(connection, received, sizeof received), ==, bytes);
    CHECK_STR(sent, received);
  }
  SSL_shutdown(connection);
  char byte;
  CHECK_INT(SSL_read(connection, &byte, 1), <=, 0);
  SSL_free(connection);
  close(fd);
  add_one(&ended);
}

static void many_talk_at_once(void) {
  new_pairs();
  for (int i = 0; i < PAIRS; i++) start(echoes, (void*)(intptr_t)i);
  for (int i = 0; i < PAIRS; i++) start(asks, (void*)(intptr_t)i);
  wait_until(&ended, 2 * PAIRS);
}

static void much_is_sent(void) {
  new_pairs();
  start(echoes, (void*)0);
  for (int i = 1; i < PAIRS; i++) close(pairs[i][0]), close(pairs[i][1]);
  SSL* connection = SSL_new(for_clients);
  SSL_set_fd(connection, pairs[0][1]);
  CHECK_INT(SSL_connect(connection), ==, 1);
  start_ticker();
  static char sent[16384], received[sizeof sent];
  for (size_t done = 0; done < LENGTH; done += sizeof sent) {
    memset(sent, (int)(done >> 14), sizeof sent);
    CHECK_INT(SSL_write(connection, sent, sizeof sent), ==, sizeof sent);
    for (size_t got = 0; got < sizeof sent;) {
      int some = SSL_read(connection, received + got, (int)(sizeof sent - got));
      CHECK_INT(some, >, 0);
      got += (size_t)some;
    }
    CHECK_INT(memcmp(sent, received, sizeof sent), ==, 0);
  }
  stop_ticker(1);
  SSL_shutdown(connection);
  wait_until(&ended, 1);
  SSL_free(connection);
  close(pairs[0][1]);
}

// ---- the queue of errors

static void has_an_error(void* argument) {
  int number = (int)(intptr_t)argument;
  for (int i = 0; i < 5; i++) {
    CHECK_UINT(ERR_peek_error(), ==, 0);
    ERR_raise_data(ERR_LIB_USER, number + 1, "of task %d", number);
    ERR_raise(ERR_LIB_SYS, ENOENT);
    usleep(1000);
    const char* data;
    int flags;
    unsigned long code = ERR_get_error_all(NULL, NULL, NULL, &data, &flags);
    CHECK_INT(ERR_GET_LIB(code), ==, ERR_LIB_USER);
    CHECK_INT(ERR_GET_REASON(code), ==, number + 1);
    char expected[32];
    snprintf(expected, sizeof expected, "of task %d", number);
    CHECK_STR(data, expected);
    code = ERR_get_error();
    CHECK(ERR_SYSTEM_ERROR(code));
    CHECK_INT(ERR_GET_REASON(code), ==, ENOENT);
    CHECK_UINT(ERR_get_error(), ==, 0);
  }
  add_one(&ended);
}

static void errors_are_each_tasks(void) {
  ended = 0;
  for (int i = 0; i < 20; i++) start(has_an_error, (void*)(intptr_t)i);
  wait_until(&ended, 20);
}

// Who fails beside who waits.
static void talks_nonsense(void* argument) {
  int fd = pairs[(intptr_t)argument][1];
  CHECK_INT(write(fd, "this is no TLS, whatever it may look like\n", 42), ==, 42);
  char byte;
  while (read(fd, &byte, 1) > 0) continue;
  close(fd);
  add_one(&ended);
}

static void is_talked_nonsense_to(void* argument) {
  int fd = pairs[(intptr_t)argument][0];
  SSL* connection = SSL_new(for_servers);
  SSL_set_fd(connection, fd);
  int result = SSL_accept(connection);
  CHECK_INT(SSL_get_error(connection, result), ==, SSL_ERROR_SSL);
  usleep(2000);  // The error stays, and is nobody else's.
  SSL_free(connection);
  close(fd);
  CHECK_UINT(ERR_peek_error(), !=, 0);
  add_one(&ended);
}

static void failures_are_not_others(void) {
  new_pairs();
  for (int i = 0; i < PAIRS; i++) {
    start(i % 2 ? echoes : is_talked_nonsense_to, (void*)(intptr_t)i);
    start(i % 2 ? asks : talks_nonsense, (void*)(intptr_t)i);
  }
  wait_until(&ended, 2 * PAIRS);
}

static void is_canceled(void* argument) {
  int number = (int)(intptr_t)argument;
  SSL* connection = SSL_new(for_clients);
  SSL_set_fd(connection, pairs[number][1]);
  add_one(&ready);
  CHECK_INT(SSL_get_error(connection, SSL_connect(connection)), ==, SSL_ERROR_SYSCALL);
  CHECK_INT(errno, ==, ECANCELED);
  SSL_free(connection);
  add_one(&ended);
}

static void canceled_tasks_are_told(void) {
  new_pairs();
  cancel_some(is_canceled, &ready, &ended);
  for (int i = 0; i < PAIRS; i++) close(pairs[i][0]), close(pairs[i][1]);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  make_contexts();
  RUN_HOOKED(many_talk_at_once);
  RUN_HOOKED(much_is_sent);
  RUN_HOOKED(errors_are_each_tasks);
  RUN_HOOKED(failures_are_not_others);
  RUN_HOOKED(canceled_tasks_are_told);
  free_contexts();
  return 0;
}
