// Rows 6 to 8 for servers written in C: what they do with a connection, so that each contender only adds how it
// waits. It is what the guide's http_server.c does, step by step, the log line included.
//
// `serve kind=N log=N`: kind 0 answers one request a connection and closes it, as the guide's server does; 1
// answers any number; 2 sends back what it gets.
#ifndef SERVER_H
#define SERVER_H

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>

#include "contender.h"

enum { SERVE_ONCE = 0, SERVE_KEPT = 1, SERVE_ECHO = 2 };

static const char response[] =
    "HTTP/1.1 200 OK\r\n"
    "Content-Type: text/plain\r\n"
    "Content-Length: 13\r\n"
    "\r\n"
    "Hello, World!";

static struct {
  int listen_fd;
  uint64_t kind, log;
} server;

struct connection {
  int fd;
  char buffer[4096];
  size_t bytes_read;
  time_t last_activity;
};

// One line in the form of Majjen's log, written as Majjen writes it: one fwrite and one fflush to standard output,
// the local time formatted once a second.
static inline void log_accepted(int fd) {
  static char stamp[32];
  static time_t stamp_of;
  char line[128];
  if (!server.log) return;
  time_t now = time(NULL);
  if (now != stamp_of) {
    struct tm local;
    localtime_r(&now, &local);
    strftime(stamp, sizeof stamp, "%Y-%m-%d %H:%M:%S", &local);
    stamp_of = now;
  }
  int length = snprintf(line, sizeof line, "[%s] [INFO] New connection accepted on fd %d\n", stamp, fd);
  fwrite(line, 1, (size_t)length, stdout);
  fflush(stdout);
}

static inline void start_server(void) {
  server.kind = argument("kind");
  server.log = argument("log");
  signal(SIGPIPE, SIG_IGN);
  server.listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  int on = 1;
  setsockopt(server.listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  struct sockaddr_in address;
  memset(&address, 0, sizeof address);
  address.sin_family = AF_INET;
  address.sin_port = htons(8080);
  address.sin_addr.s_addr = htonl(INADDR_ANY);
  if (bind(server.listen_fd, (struct sockaddr *)&address, sizeof address) != 0) fail("bind");
  if (listen(server.listen_fd, 128) != 0) fail("listen");
}

static inline struct connection *new_connection(int fd) {
  log_accepted(fd);
  struct connection *connection = (struct connection *)calloc(1, sizeof *connection);
  if (connection == NULL) fail("memory");
  connection->fd = fd;
  connection->last_activity = time(NULL);
  return connection;
}

// Called when the listening socket is readable. NULL when there is no connection after all.
static inline struct connection *accept_connection(void) {
  struct sockaddr_in address;
  socklen_t length = sizeof address;
  int fd = accept4(server.listen_fd, (struct sockaddr *)&address, &length, SOCK_NONBLOCK);
  if (fd < 0) {
    if (errno != EAGAIN && errno != ECONNABORTED) fail("accept");
    return NULL;
  }
  return new_connection(fd);
}

// What to send for the `bytes` that have just been read into the buffer: `*length` bytes of the result. The buffer
// is empty again when there is an answer.
static inline const char *answer(struct connection *connection, size_t bytes, size_t *length) {
  connection->last_activity = time(NULL);
  if (server.kind == SERVE_ECHO) {
    *length = bytes;
    return connection->buffer;
  }
  connection->bytes_read += bytes;
  connection->buffer[connection->bytes_read] = '\0';
  if (strstr(connection->buffer, "\r\n\r\n") == NULL) {
    *length = 0;
    return NULL;
  }
  connection->bytes_read = 0;
  *length = sizeof response - 1;
  return response;
}

// Reads what is there, and answers. Returns whether the connection goes on.
static inline int serve_readable(struct connection *connection) {
  ssize_t bytes = read(connection->fd, connection->buffer + connection->bytes_read,
                       sizeof connection->buffer - connection->bytes_read - 1);
  if (bytes < 0 && errno == EAGAIN) return 1;
  if (bytes > 0) {
    size_t length;
    const char *text = answer(connection, (size_t)bytes, &length);
    // A few hundred bytes always fit in an empty socket buffer.
    if (length == 0 || write(connection->fd, text, length) == (ssize_t)length) {
      if (length == 0 || server.kind != SERVE_ONCE) return 1;
    }
  }
  return 0;
}

#endif
