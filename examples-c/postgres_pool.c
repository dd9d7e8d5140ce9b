// A web server before a database, on one thread: its handlers call libpq as programs do that block. On
// SIGTERM or Ctrl+C it answers what it has begun with, and ends.
//
// Links with -lmajjen-hook -lmajjen -lpq. `make examples` builds it where libpq is installed:
//
//   target/examples/postgres_pool CONNECTION [PORT [CONNECTIONS]]
//
//   curl http://127.0.0.1:PORT/?name=you
//
// CONNECTION is a string for libpq, such as "host=/run/postgresql". It takes any free port for 0, the
// default, and prints it. A client holds a connection to the database only while its query runs, so that a
// few serve a thousand clients; who finds none waits for one, for a limited time.
#define _GNU_SOURCE
#include "majjen.h"

#include <arpa/inet.h>
#include <libpq-fe.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define SECOND_NS UINT64_C(1000000000)
#define IDLE_NS (30 * SECOND_NS)      // For a client's next request.
#define DATABASE_NS (5 * SECOND_NS)   // For a free connection to the database.
#define GRACE_NS (2 * SECOND_NS)      // For requests that have begun when it ends.
#define MOST_CLIENTS 2000

static const char* database;
static mj_scheduler* scheduler;
static mj_group* clients;

// ---- Connections to the database

// Those that nobody uses; a permit for each, used or not. One that is lost is made anew when it is taken.
static PGconn** unused;
static size_t unused_count;
static mj_sem* permits;

static PGconn* take_connection(void) {
  if (mj_sem_acquire(permits, 1, DATABASE_NS) != 0) return NULL;
  PGconn* connection = unused[--unused_count];
  if (connection == NULL) connection = PQconnectdb(database);  // This waits as the others here do.
  if (PQstatus(connection) == CONNECTION_BAD) PQreset(connection);
  return connection;
}

static void give_connection_back(PGconn* connection) {
  unused[unused_count++] = connection;
  mj_sem_release(permits, 1);
}

// Asks the database. Returns the status of the answer.
static int ask(const char* name, char* text, size_t room) {
  PGconn* connection = take_connection();
  if (connection == NULL) {
    snprintf(text, room, "the database is busy\n");
    return 503;
  }
  const char* const values[] = {name};
  PGresult* result = PQexecParams(connection, "select 'hello, ' || $1 || ', from process ' || pg_backend_pid()",
                                  1, NULL, values, NULL, NULL, 0);
  const int found = PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1;
  snprintf(text, room, "%s\n", found ? PQgetvalue(result, 0, 0) : PQerrorMessage(connection));
  PQclear(result);
  give_connection_back(connection);
  return found ? 200 : 500;
}

// ---- Clients

// The name that a request line asks for: GET /?name=you HTTP/1.1
static void name_in(const char* line, char* name, size_t room) {
  const char* found = strstr(line, "name=");
  size_t bytes = found == NULL ? 0 : strcspn(found + 5, " &\r\n");
  if (bytes >= room) bytes = room - 1;
  memcpy(name, found == NULL ? "" : found + 5, bytes);
  name[bytes] = '\0';
}

static int serve(void* argument) {
  const int fd = (int)(intptr_t)argument;
  mj_stream* stream = mj_stream_create(fd, 4096, 1024);
  char* line;
  while (stream != NULL && mj_stream_read_line(stream, &line, IDLE_NS) > 0) {
    char name[100], text[500], head[200];
    name_in(line, name, sizeof name);
    ssize_t bytes;
    do bytes = mj_stream_read_line(stream, &line, IDLE_NS);  // The rest of the head, to an empty line.
    while (bytes > 0 && *line != '\r' && *line != '\n');
    if (bytes <= 0) break;
    const int status = ask(name, text, sizeof text);
    snprintf(head, sizeof head, "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n",
             status, status == 200 ? "OK" : "Failed", strlen(text));
    if (mj_stream_write(stream, head, strlen(head), IDLE_NS, NULL) < 0) break;
    if (mj_stream_write(stream, text, strlen(text), IDLE_NS, NULL) < 0) break;
    if (mj_stream_flush(stream, IDLE_NS) < 0) break;
  }
  if (stream != NULL) mj_stream_close(stream, 0);
  else mj_fd_close(fd);
  return 0;
}

static void accept_clients(void* argument) {
  const int listener = (int)(intptr_t)argument;
  int fd;
  while ((fd = mj_accept(listener, NULL, NULL, MJ_FOREVER)) != -ECANCELED) {
    if (fd < 0) mj_sleep_ns(SECOND_NS / 100);  // Out of descriptors: some will be closed.
    else if (mj_group_go(clients, serve, (void*)(intptr_t)fd, MJ_FOREVER) != 0) mj_fd_close(fd);
  }
  mj_fd_close(listener);
  mj_group_end(clients, GRACE_NS);
}

int main(int count, char** arguments) {
  if (count < 2) {
    fprintf(stderr, "usage: %s CONNECTION [PORT [CONNECTIONS]]\n", arguments[0]);
    return 2;
  }
  database = arguments[1];
  const unsigned connections = count > 3 ? (unsigned)atoi(arguments[3]) : 20;
  mj_log_set_level(MJ_LOG_WARN);
  scheduler = setup_scheduler_with_epoll();
  const int listener = mj_listen("127.0.0.1", count > 2 ? arguments[2] : "0", 1024, 0);
  clients = mj_group_create(scheduler, MOST_CLIENTS);
  permits = mj_sem_create(scheduler, connections);
  unused = calloc(connections, sizeof *unused);
  if (listener < 0 || clients == NULL || permits == NULL || unused == NULL || connections == 0) {
    fprintf(stderr, "cannot begin\n");
    return 1;
  }
  unused_count = connections;
  struct sockaddr_in address;
  socklen_t length = sizeof address;
  getsockname(listener, (struct sockaddr*)&address, &length);
  printf("http://127.0.0.1:%d\n", ntohs(address.sin_port));
  fflush(stdout);
  mj_task_id acceptor;
  if (mj_go(scheduler, accept_clients, (void*)(intptr_t)listener, &acceptor) != 0) return 1;
  if (mj_run(scheduler) == MJ_RUN_SIGNAL) {
    mj_scheduler_cancel(scheduler, acceptor);
    mj_run(scheduler);
  }
  while (unused_count > 0) PQfinish(unused[--unused_count]);
  free(unused);
  mj_group_destroy(clients);
  mj_sem_destroy(permits);
  mj_scheduler_destroy(scheduler);
  return 0;
}
