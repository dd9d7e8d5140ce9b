// RabbitMQ's own library, as it is: rabbitmq PORT PID, which is killed.
#define _GNU_SOURCE
#include "../hooked.h"

#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>

enum { MANY = 100, CHANNEL = 1, DELAY_NS = 100000000 };

static int port;
static pid_t server;
static unsigned ready, may_begin, ended;

// ---- what tasks say

static void succeeds(amqp_rpc_reply_t reply) {
  if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION) {
    fprintf(stderr, "%s\n", amqp_error_string2(reply.library_error));
  }
  CHECK_INT(reply.reply_type, ==, AMQP_RESPONSE_NORMAL);
}

static amqp_connection_state_t new_socket(int to) {
  amqp_connection_state_t connection = amqp_new_connection();
  CHECK(connection != NULL);
  amqp_socket_t* socket = amqp_tcp_socket_new(connection);
  CHECK(socket != NULL);
  CHECK_INT(amqp_socket_open(socket, "127.0.0.1", to), ==, AMQP_STATUS_OK);
  return connection;
}

static amqp_rpc_reply_t log_in(amqp_connection_state_t connection, int heartbeat_seconds) {
  const int frame_bytes = 131072;
  return amqp_login(connection, "/", 0, frame_bytes, heartbeat_seconds, AMQP_SASL_METHOD_PLAIN, "guest",
                    "guest");
}

static amqp_connection_state_t new_connection(int heartbeat_seconds) {
  amqp_connection_state_t connection = new_socket(port);
  succeeds(log_in(connection, heartbeat_seconds));
  amqp_channel_open(connection, CHANNEL);
  succeeds(amqp_get_rpc_reply(connection));
  return connection;
}

static void destroy(amqp_connection_state_t connection) {
  CHECK_INT(amqp_destroy_connection(connection), ==, AMQP_STATUS_OK);
}

static void close_connection(amqp_connection_state_t connection) {
  succeeds(amqp_connection_close(connection, AMQP_REPLY_SUCCESS));
  destroy(connection);
}

// A queue that is gone with its connection.
static void declare(amqp_connection_state_t connection, const char* name, amqp_table_t settings) {
  amqp_queue_declare(connection, CHANNEL, amqp_cstring_bytes(name), 0, 0, 1, 1, settings);
  succeeds(amqp_get_rpc_reply(connection));
}

// Has what is published to a queue delivered here.
static void listen_to(amqp_connection_state_t connection, const char* name) {
  declare(connection, name, amqp_empty_table);
  amqp_basic_consume(connection, CHANNEL, amqp_cstring_bytes(name), amqp_empty_bytes, 0, 1, 0,
                     amqp_empty_table);
  succeeds(amqp_get_rpc_reply(connection));
}

static void publish(amqp_connection_state_t connection, const char* queue, const char* expires_ms,
                    const char* text) {
  amqp_basic_properties_t properties = {._flags = 0};
  if (expires_ms != NULL) {
    properties._flags = AMQP_BASIC_EXPIRATION_FLAG;
    properties.expiration = amqp_cstring_bytes(expires_ms);
  }
  CHECK_INT(amqp_basic_publish(connection, CHANNEL, amqp_empty_bytes, amqp_cstring_bytes(queue), 0, 0,
                               &properties, amqp_cstring_bytes(text)), ==, AMQP_STATUS_OK);
}

static void is_told(amqp_connection_state_t connection, const char* text) {
  amqp_envelope_t envelope;
  amqp_maybe_release_buffers(connection);
  succeeds(amqp_consume_message(connection, &envelope, NULL, 0));
  CHECK_UINT(envelope.message.body.len, ==, strlen(text));
  CHECK_INT(memcmp(envelope.message.body.bytes, text, strlen(text)), ==, 0);
  amqp_destroy_envelope(&envelope);
}

static amqp_table_entry_t text_setting(const char* name, amqp_bytes_t text) {
  amqp_table_entry_t entry = {amqp_cstring_bytes(name), {AMQP_FIELD_KIND_UTF8, {.bytes = text}}};
  return entry;
}

// To a queue that nobody listens to: once its time is over, the server moves it to where somebody does.
static void publish_delayed(amqp_connection_state_t connection, const char* to, const char* delay_ms,
                            const char* text) {
  char by_way_of[64];
  snprintf(by_way_of, sizeof by_way_of, "before.%s", to);
  amqp_table_entry_t entries[2] = {
      text_setting("x-dead-letter-exchange", amqp_empty_bytes),
      text_setting("x-dead-letter-routing-key", amqp_cstring_bytes(to)),
  };
  declare(connection, by_way_of, (amqp_table_t){2, entries});
  publish(connection, by_way_of, delay_ms, text);
}

// ---- many at once

static void waits(void* argument) {
  char name[32];
  snprintf(name, sizeof name, "waits.%d", (int)(intptr_t)argument);
  amqp_connection_state_t connection = new_connection(0);
  listen_to(connection, name);
  add_one(&ready);
  wait_until(&may_begin, 1);
  publish_delayed(connection, name, "100", name);
  is_told(connection, name);
  add_one(&ended);
  close_connection(connection);
}

static void many_wait_at_once(void) {
  ready = may_begin = ended = 0;
  for (int i = 0; i < MANY; i++) start(waits, (void*)(intptr_t)i);
  wait_until(&ready, MANY);
  uint64_t began = now_ns();
  add_one(&may_begin);
  wait_until(&ended, MANY);
  uint64_t took = now_ns() - began;
  fprintf(stderr, "%d messages that come after 0.1 s took %.3f s\n", MANY, (double)took * 1e-9);
  CHECK_UINT(took, >=, DELAY_NS);
  CHECK_UINT(took, <, (uint64_t)MANY * DELAY_NS / 5);
}

static void publishes_and_consumes(void* argument) {
  char name[32], text[64];
  snprintf(name, sizeof name, "own.%d", (int)(intptr_t)argument);
  amqp_connection_state_t connection = new_connection(0);
  listen_to(connection, name);
  for (int i = 0; i < 20; i++) {
    snprintf(text, sizeof text, "%d of %s", i, name);
    publish(connection, name, NULL, text);
    is_told(connection, text);
  }
  close_connection(connection);
  add_one(&ended);
}

static void each_has_its_own(void) {
  ended = 0;
  for (int i = 0; i < MANY; i++) start(publishes_and_consumes, (void*)(intptr_t)i);
  wait_until(&ended, MANY);
}

// ---- time limits

static void fails(amqp_rpc_reply_t reply, int error) {
  CHECK_INT(reply.reply_type, ==, AMQP_RESPONSE_LIBRARY_EXCEPTION);
  CHECK_INT(reply.library_error, ==, error);
}

// It rounds what is left down to milliseconds.
enum { LIMIT_NS = 30000000, LEAST_NS = LIMIT_NS - 1000000 };

static void the_librarys_limits_are_kept(void) {
  const struct timeval limit = {0, LIMIT_NS / 1000};
  amqp_connection_state_t connection = new_connection(0);
  listen_to(connection, "silent");
  amqp_envelope_t envelope;
  uint64_t began = now_ns();
  fails(amqp_consume_message(connection, &envelope, &limit, 0), AMQP_STATUS_TIMEOUT);
  CHECK_UINT(now_ns() - began, >=, LEAST_NS);
  publish(connection, "silent", NULL, "still there");
  is_told(connection, "still there");
  close_connection(connection);

  // A server that says nothing.
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  CHECK_INT(bind(listener, (struct sockaddr*)&address, length), ==, 0);
  CHECK_INT(listen(listener, 1), ==, 0);
  CHECK_INT(getsockname(listener, (struct sockaddr*)&address, &length), ==, 0);
  connection = new_socket(ntohs(address.sin_port));
  CHECK_INT(amqp_set_handshake_timeout(connection, &limit), ==, AMQP_STATUS_OK);
  began = now_ns();
  fails(log_in(connection, 0), AMQP_STATUS_TIMEOUT);
  CHECK_UINT(now_ns() - began, >=, LEAST_NS);
  destroy(connection);
  close(listener);
}

// The library says that it is there, in the middle of a call that waits.
static void is_heard(void* argument) {
  char name[32];
  snprintf(name, sizeof name, "heard.%d", (int)(intptr_t)argument);
  amqp_connection_state_t connection = new_connection(1);
  listen_to(connection, name);
  publish_delayed(connection, name, "4000", "so late");
  is_told(connection, "so late");
  close_connection(connection);
  add_one(&ended);
}

// Who is not in a call of the library's is not heard.
static void is_given_up(void* argument) {
  (void)argument;
  amqp_connection_state_t connection = new_connection(1);
  CHECK_INT(sleep(4), ==, 0);
  amqp_queue_declare(connection, CHANNEL, amqp_empty_bytes, 0, 0, 1, 1, amqp_empty_table);
  CHECK_INT(amqp_get_rpc_reply(connection).reply_type, !=, AMQP_RESPONSE_NORMAL);
  destroy(connection);
  add_one(&ended);
}

static void heartbeats_are_sent(void) {
  ended = 0;
  for (int i = 0; i < 10; i++) start(is_heard, (void*)(intptr_t)i);
  start(is_given_up, NULL);
  wait_until(&ended, 11);
}

// ---- the server's end

static void is_cut_off(void* argument) {
  (void)argument;
  static unsigned count;
  char name[32];
  snprintf(name, sizeof name, "cut.%u", __atomic_fetch_add(&count, 1, __ATOMIC_RELAXED));
  amqp_connection_state_t connection = new_connection(0);
  listen_to(connection, name);
  add_one(&ready);
  amqp_envelope_t envelope;
  amqp_rpc_reply_t reply = amqp_consume_message(connection, &envelope, NULL, 0);
  CHECK_INT(reply.reply_type, ==, AMQP_RESPONSE_LIBRARY_EXCEPTION);
  CHECK(reply.library_error == AMQP_STATUS_CONNECTION_CLOSED ||
        reply.library_error == AMQP_STATUS_SOCKET_ERROR);
  destroy(connection);
  add_one(&ended);
}

static void canceled_tasks_are_told(void) { cancel_some(is_cut_off, &ready, &ended); }

static void each_is_told_of_the_servers_end(void) {
  ready = ended = 0;
  for (int i = 0; i < MANY; i++) start(is_cut_off, (void*)(intptr_t)i);
  wait_until(&ready, MANY);
  let_others_wait();
  CHECK_INT(kill(server, SIGKILL), ==, 0);
  wait_until(&ended, MANY);
}

int main(int count, char** arguments) {
  mj_log_set_level(MJ_LOG_WARN);
  CHECK_INT(count, ==, 3);
  port = atoi(arguments[1]);
  server = (pid_t)atoi(arguments[2]);
  RUN_HOOKED(many_wait_at_once);
  RUN_HOOKED(each_has_its_own);
  RUN_HOOKED(the_librarys_limits_are_kept);
  RUN_HOOKED(heartbeats_are_sent);
  RUN_HOOKED(canceled_tasks_are_told);
  RUN_HOOKED(each_is_told_of_the_servers_end);
  return 0;
}
