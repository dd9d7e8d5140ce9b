// A chat: a line that a client sends goes to all of them. On SIGTERM or Ctrl+C each client gets
// what is still there for it, and the program ends.
//
// Links with -lmajjen. `make examples` builds it:
//
//   target/examples/chat [PORT [CLIENTS [IDLE-MS]]]
//
// takes any free port for 0, the default, and prints it. A client can be a terminal: nc 127.0.0.1
// PORT
//
// What is said is written to one ring. Each client has a task that reads lines, and one that writes
// what the ring has got, at the client's own pace. So nobody waits for a client that is slow: when
// the ring has come round to where such a client is, it is let go.
#define _GNU_SOURCE
#include "majjen.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#define SECOND_NS UINT64_C(1000000000)
// How long a client that goes may take for the rest of what was said.
#define GOODBYE_NS SECOND_NS
// The longest line. All clients can say one before the ring has come round, so a client loses
// nothing while its task has its turns.
#define LINE_BYTES 512
#define RING_BYTES (1 << 20)
#define MOST_CLIENTS (RING_BYTES / (LINE_BYTES + 32))

typedef struct client {
  unsigned number;
  mj_stream* stream;
  mj_chan* news;        // Has an element, of no bytes, while there may be something new.
  uint64_t told_bytes;  // What the client has of `said_bytes`.
  struct client *next, **link;
} client;

static char ring[RING_BYTES];
static uint64_t said_bytes;  // The last RING_BYTES of them are in the ring.
static client* first;
static mj_scheduler* scheduler;
static mj_group* clients;
static uint64_t idle_ns = 600 * SECOND_NS;

// ---- What is said

// Whether the ring has come round to where a client is.
static bool is_left_behind(const client* c) { return said_bytes - c->told_bytes > RING_BYTES; }

// Both tasks of a client find the end.
static void hang_up(const client* c) { shutdown(mj_stream_fd(c->stream), SHUT_RDWR); }

static void say(const client* who, const char* what) {
  char line[LINE_BYTES + 32];
  snprintf(line, sizeof line, "%u %s", who->number, what);
  for (const char* at = line; *at != '\0'; at++) ring[said_bytes++ % RING_BYTES] = *at;
  for (const client* c = first; c != NULL; c = c->next) {
    // Without waiting: a client that has not seen the last news yet finds these there too.
    mj_chan_try_send(c->news, NULL);
    if (is_left_behind(c)) hang_up(c);
  }
}

// Says what the client says, until there is no more. Returns why.
static const char* listen_to(const client* c) {
  char* line;
  ssize_t bytes;
  while ((bytes = mj_stream_read_line(c->stream, &line, idle_ns)) > 0) {
    // What has no end is what was cut off when the client went.
    if (line[bytes - 1] == '\n') say(c, line);
    mj_yield();  // Who says many lines takes turns with the others, and with those who write them.
  }
  switch (bytes) {
    case -ETIMEDOUT: return "has fallen asleep\n";
    case -EMSGSIZE: return "talks too much\n";
    case -ECANCELED: return "has to go\n";
    default: return "has gone\n";
  }
}

// Writes what is said, until there is no more news.
static int tell(void* argument) {
  client* c = argument;
  char part[16384];
  while (mj_chan_recv(c->news, NULL, MJ_FOREVER) == 0) {
    while (c->told_bytes < said_bytes && !is_left_behind(c)) {
      // A copy, since the ring goes on while the client takes it.
      size_t bytes = 0;
      while (bytes < sizeof part && c->told_bytes < said_bytes) {
        part[bytes++] = ring[c->told_bytes++ % RING_BYTES];
      }
      if (mj_write(mj_stream_fd(c->stream), part, bytes, idle_ns) < 0) {
        hang_up(c);
        return 0;
      }
    }
  }
  return 0;
}

// ---- Clients

static void enter(client* c) {
  c->told_bytes = said_bytes;
  c->next = first;
  c->link = &first;
  if (first != NULL) first->link = &c->next;
  first = c;
  say(c, "has come\n");
}

static void leave(client* c) {
  *c->link = c->next;
  if (c->next != NULL) c->next->link = c->link;
}

static int serve(void* argument) {
  const int fd = (int)(intptr_t)argument;
  static unsigned count;
  client c = {.number = ++count,
              .stream = mj_stream_create(fd, LINE_BYTES, 0),
              .news = mj_chan_create(scheduler, 0, 1)};
  mj_group* teller = mj_group_create(scheduler, 1);
  if (c.stream != NULL && c.news != NULL && mj_group_try_go(teller, tell, &c) == 0) {
    enter(&c);
    say(&c, listen_to(&c));
    leave(&c);
    mj_chan_close(c.news);  // The teller takes what is in it, and then ends.
  }
  // It waits also in a task that is canceled.
  if (teller != NULL) mj_group_end(teller, GOODBYE_NS);
  mj_group_destroy(teller);
  mj_chan_destroy(c.news);
  return c.stream != NULL ? mj_stream_destroy(c.stream) : mj_fd_close(fd);
}

// ---- Starting and stopping

static void accept_clients(void* argument) {
  const int listener = *(int*)argument;
  for (;;) {
    int fd = mj_accept(listener, NULL, NULL, MJ_FOREVER);
    if (fd < 0) break;  // Canceled.
    // While as many are there as may be, the next one waits, and others in the listener's backlog.
    if (mj_group_go(clients, serve, (void*)(intptr_t)fd, MJ_FOREVER) != 0) mj_fd_close(fd);
  }
  mj_fd_close(listener);
  mj_group_end(clients, 0);
}

int main(int argc, char** argv) {
  mj_log_set_level(MJ_LOG_WARN);
  size_t most = argc > 2 ? strtoul(argv[2], NULL, 10) : 1000;
  if (most == 0 || most > MOST_CLIENTS) most = MOST_CLIENTS;
  if (argc > 3) idle_ns = strtoull(argv[3], NULL, 10) * 1000000;
  int listener = mj_listen("127.0.0.1", argc > 1 ? argv[1] : "0", 0, 0);
  struct sockaddr_in address;
  socklen_t length = sizeof address;
  if (listener < 0 || getsockname(listener, (struct sockaddr*)&address, &length) != 0) {
    fprintf(stderr, "chat: cannot listen: %s\n", strerror(listener < 0 ? -listener : errno));
    return 1;
  }
  mj_task_id acceptor;
  scheduler = setup_scheduler_with_epoll();
  clients = mj_group_create(scheduler, most);
  if (clients == NULL || mj_go(scheduler, accept_clients, &listener, &acceptor) != 0) {
    fprintf(stderr, "chat: no memory, or no descriptors\n");
    return 1;
  }
  printf("127.0.0.1:%d\n", ntohs(address.sin_port));
  fflush(stdout);
  int result = mj_run(scheduler);
  if (result == MJ_RUN_SIGNAL) {
    mj_scheduler_cancel(scheduler, acceptor);
    result = mj_run(scheduler);  // Until all have gone. Another signal ends it at once.
  }
  mj_group_destroy(clients);
  mj_scheduler_destroy(scheduler);
  return result != 0;
}
