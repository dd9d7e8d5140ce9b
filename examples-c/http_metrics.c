// An HTTP server with metrics for Prometheus, one connection for each request.
//
// Links with -lmajjen. `make examples` builds it:
//
//   target/examples/http_metrics [PORT [LIMIT-MS]]
//
// takes any free port for 0, the default, and prints its metrics on Ctrl+C.
//
// http_server.c is the short version. This one has what a real server also needs: nonblocking
// sockets, a deadline for clients that are slow or silent, responses of any length, and errors that
// do not end it.
#define _GNU_SOURCE
#include "majjen.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

// The time from a client's first byte to the last, unless the command line says otherwise.
#define LIMIT_NS UINT64_C(10000000000)

// A connection: its task's user_state, freed when the task ends.
typedef struct connection {
  int fd;
  uint64_t deadline_ns;
  size_t received;
  char request[4096];
} connection;

// The accepting task's user_state.
typedef struct server {
  int fd;
  uint64_t limit_ns;
} server;

// The program's own metrics, in addition to the library's. Tasks share the thread, so no lock is
// needed.
enum { OK, NOT_FOUND, NOT_ALLOWED, TOO_SLOW, TOO_LARGE, FAILED, ANSWERS };
static const char* const status_lines[ANSWERS] = {
    "200 OK",
    "404 Not Found",
    "405 Method Not Allowed",
    "408 Request Timeout",
    "431 Request Header Fields Too Large",
    "500 Internal Server Error",
};
static uint64_t answers[ANSWERS];

// ---- Reading and writing with a deadline

// Suspends the task until the connection is ready. False if its deadline has passed, or on an
// error.
static bool wait_ready(const connection* c, short events) {
  uint64_t now_ns = mj_scheduler_now_ns(mj_scheduler_current());
  // One deadline for the whole exchange. A timeout for each wait would let a client that sends byte
  // by byte stay for ever.
  return now_ns < c->deadline_ns && mj_task_wait_fd(c->fd, events, c->deadline_ns - now_ns) > 0;
}

// Reads what has arrived, or waits for it. Returns its length, 0 at the end, or -1.
static ssize_t receive(const connection* c, char* buffer, size_t bytes) {
  for (;;) {
    ssize_t length = recv(c->fd, buffer, bytes, 0);
    if (length >= 0) return length;
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (!wait_ready(c, POLLIN)) {
        errno = ETIMEDOUT;
        return -1;
      }
    } else if (errno != EINTR) {
      return -1;
    }
  }
}

static bool send_all(const connection* c, const char* text, size_t bytes) {
  while (bytes > 0) {
    // A client that has disconnected is an error here, and does not raise SIGPIPE.
    ssize_t length = send(c->fd, text, bytes, MSG_NOSIGNAL);
    if (length >= 0) {
      text += length;
      bytes -= (size_t)length;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (!wait_ready(c, POLLOUT)) return false;
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

// ---- Answers

static void send_answer(const connection* c, int answer, const char* type, const char* body) {
  char head[256];
  int length = snprintf(head, sizeof head,
                        "HTTP/1.1 %s\r\n"
                        "Content-Type: %s\r\n"
                        "Content-Length: %zu\r\n"
                        "%s"
                        "Connection: close\r\n"
                        "\r\n",
                        status_lines[answer], type, strlen(body),
                        answer == NOT_ALLOWED ? "Allow: GET\r\n" : "");
  answers[answer]++;
  if (send_all(c, head, (size_t)length)) send_all(c, body, strlen(body));
}

static void send_error(const connection* c, int answer) {
  char body[64];
  snprintf(body, sizeof body, "%s\n", status_lines[answer]);
  send_answer(c, answer, "text/plain", body);
}

// The library's metrics, followed by the program's.
static void send_metrics(mj_scheduler* scheduler, const connection* c) {
  char own[1024];
  int own_length = snprintf(own, sizeof own,
                            "# HELP http_answers_total Answers sent.\n"
                            "# TYPE http_answers_total counter\n");
  for (int i = 0; i < ANSWERS; i++) {
    own_length += snprintf(own + own_length, sizeof own - (size_t)own_length,
                           "http_answers_total{code=\"%.3s\"} %" PRIu64 "\n", status_lines[i],
                           answers[i]);
  }
  // Without a buffer the call returns the length of the text; the numbers may grow by some digits
  // until it is written.
  int length = mj_scheduler_write_metrics(scheduler, NULL, 0, MJ_METRICS_PROMETHEUS);
  const size_t room = (length < 0 ? 0 : (size_t)length) + 256;
  char* text = malloc(room + sizeof own);
  if (text != NULL) {
    length = mj_scheduler_write_metrics(scheduler, text, room, MJ_METRICS_PROMETHEUS);
  }
  if (text != NULL && length >= 0 && (size_t)length < room) {
    strcpy(text + length, own);
    send_answer(c, OK, "text/plain; version=0.0.4; charset=utf-8", text);
  } else {
    MJ_ERROR("cannot write the metrics: %s", strerror(length < 0 ? -length : ENOMEM));
    send_error(c, FAILED);
  }
  free(text);
}

static bool is_for(const connection* c, const char* start) {
  return strncmp(c->request, start, strlen(start)) == 0;
}

static void answer_request(mj_scheduler* scheduler, connection* c) {
  while (strstr(c->request, "\r\n\r\n") == NULL) {
    // One byte is left for the terminator: the memory is zeroed, so the request is a string.
    const size_t room = sizeof c->request - 1 - c->received;
    if (room == 0) {
      send_error(c, TOO_LARGE);
      return;
    }
    ssize_t length = receive(c, c->request + c->received, room);
    if (length <= 0) {
      if (length < 0 && errno == ETIMEDOUT) send_error(c, TOO_SLOW);
      return;
    }
    c->received += (size_t)length;
  }
  if (is_for(c, "GET / ")) {
    send_answer(c, OK, "text/plain", "Hello, World!\n");
  } else if (is_for(c, "GET /metrics ")) {
    send_metrics(scheduler, c);
  } else if (is_for(c, "GET ")) {
    send_error(c, NOT_FOUND);
  } else {
    send_error(c, NOT_ALLOWED);
  }
}

// ---- Tasks

static void connection_task(mj_scheduler* scheduler, void* user_state) {
  connection* c = user_state;
  answer_request(scheduler, c);
  // Closing while data of the client is unread resets the connection, and may lose the response. So
  // the client closes first, if it does so in time.
  if (shutdown(c->fd, SHUT_WR) == 0) {
    char unread[1024];
    while (receive(c, unread, sizeof unread) > 0) {
    }
  }
  close(c->fd);
  mj_task_exit();
}

static void start_connection(mj_scheduler* scheduler, int fd, uint64_t limit_ns) {
  connection* c = calloc(1, sizeof *c);
  if (c != NULL) {
    c->fd = fd;
    c->deadline_ns = mj_scheduler_now_ns(scheduler) + limit_ns;
    if (mj_create_task(scheduler, connection_task, c) != NULL) return;
    free(c);
  }
  MJ_ERROR("no task for a connection: %s", strerror(errno));
  close(fd);
}

static void accept_task(mj_scheduler* scheduler, void* user_state) {
  const server* s = user_state;
  for (;;) {
    int fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      start_connection(scheduler, fd, s->limit_ns);
      mj_task_yield();  // Many new clients must not starve the connected ones.
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      mj_task_wait_readable(s->fd);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      // The client stays in the queue, so the socket stays readable: wait until a connection is
      // closed.
      MJ_WARN("cannot accept: %s", strerror(errno));
      mj_task_sleep_ms(100);
    } else if (errno == EBADF || errno == EINVAL || errno == ENOTSOCK) {
      MJ_ERROR("cannot accept: %s", strerror(errno));
      mj_scheduler_stop(scheduler);
      mj_task_exit();
      return;
    }
    // All other errors are about a client that has disconnected already.
  }
}

// ---- Starting

// A socket that listens on the loopback interface, and its port. -1 on errors.
static int listen_on(uint16_t port, uint16_t* actual_port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  const int yes = 1;
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_port = htons(port),
                                .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t length = sizeof address;
  if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
      bind(fd, (struct sockaddr*)&address, length) != 0 || listen(fd, SOMAXCONN) != 0 ||
      getsockname(fd, (struct sockaddr*)&address, &length) != 0) {
    int error = errno;
    close(fd);
    errno = error;
    return -1;
  }
  *actual_port = ntohs(address.sin_port);
  return fd;
}

int main(int argc, char** argv) {
  mj_log_set_level(MJ_LOG_WARN);
  uint16_t port = (uint16_t)(argc > 1 ? strtoul(argv[1], NULL, 10) : 0);
  const uint64_t limit_ns = argc > 2 ? strtoull(argv[2], NULL, 10) * 1000000 : LIMIT_NS;
  int fd = listen_on(port, &port);
  if (fd < 0) {
    perror("http_metrics: listen");
    return 1;
  }
  mj_scheduler* scheduler = setup_scheduler_with_epoll();  // Ctrl+C makes the run return.
  server* s = malloc(sizeof *s);
  if (s != NULL) *s = (server){fd, limit_ns};
  if (scheduler == NULL || s == NULL || mj_create_task(scheduler, accept_task, s) == NULL) {
    perror("http_metrics");
    free(s);
    mj_scheduler_destroy(scheduler);
    close(fd);
    return 1;
  }
  printf("http://127.0.0.1:%u/metrics\n", port);
  fflush(stdout);
  mj_scheduler_run(scheduler);

  mj_scheduler_print_metrics(scheduler, stdout);
  mj_scheduler_destroy(scheduler);
  close(fd);  // Connections that are still open are closed with the process.
  return 0;
}
