// Row 17: the handlers of examples-c/postgres_pool.c on threads: each of them serves one client at a time, and waits in
// libpq and in the system's calls. `pool_threads CONNECTION PORT CONNECTIONS THREADS`.
#include <arpa/inet.h>
#include <libpq-fe.h>
#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER_BYTES = 4096, IDLE_S = 30, DATABASE_S = 5 };

static const char *database;
static int listener;

// ---- Connections to the database: the same pool

static PGconn **unused;
static size_t unused_count;
static sem_t permits;
static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;

static PGconn *take_connection(void) {
  struct timespec limit;
  clock_gettime(CLOCK_REALTIME, &limit);
  limit.tv_sec += DATABASE_S;
  if (sem_timedwait(&permits, &limit) != 0) return NULL;
  pthread_mutex_lock(&pool_lock);
  PGconn *connection = unused[--unused_count];
  pthread_mutex_unlock(&pool_lock);
  if (connection == NULL) connection = PQconnectdb(database);
  if (PQstatus(connection) == CONNECTION_BAD) PQreset(connection);
  return connection;
}

static void give_connection_back(PGconn *connection) {
  pthread_mutex_lock(&pool_lock);
  unused[unused_count++] = connection;
  pthread_mutex_unlock(&pool_lock);
  sem_post(&permits);
}

static int ask(const char *name, char *text, size_t room) {
  PGconn *connection = take_connection();
  if (connection == NULL) {
    snprintf(text, room, "the database is busy\n");
    return 503;
  }
  const char *const values[] = {name};
  PGresult *result = PQexecParams(connection, "select 'hello, ' || $1 || ', from process ' || pg_backend_pid()", 1,
                                  NULL, values, NULL, NULL, 0);
  const int found = PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1;
  snprintf(text, room, "%s\n", found ? PQgetvalue(result, 0, 0) : PQerrorMessage(connection));
  PQclear(result);
  give_connection_back(connection);
  return found ? 200 : 500;
}

// ---- Clients

struct client {
  int fd;
  size_t begin, end;
  char buffer[BUFFER_BYTES];
};

// A line, without its end; NULL when the client has gone, or is too slow, or the line too long.
static char *read_line(struct client *client) {
  for (;;) {
    char *line = client->buffer + client->begin;
    char *end = memchr(line, '\n', client->end - client->begin);
    if (end != NULL) {
      *end = '\0';
      client->begin = (size_t)(end + 1 - client->buffer);
      return line;
    }
    memmove(client->buffer, line, client->end - client->begin);
    client->end -= client->begin;
    client->begin = 0;
    if (client->end == BUFFER_BYTES) return NULL;
    ssize_t bytes = recv(client->fd, client->buffer + client->end, BUFFER_BYTES - client->end, 0);
    if (bytes <= 0) return NULL;
    client->end += (size_t)bytes;
  }
}

static void name_in(const char *line, char *name, size_t room) {
  const char *found = strstr(line, "name=");
  size_t bytes = found == NULL ? 0 : strcspn(found + 5, " &\r\n");
  if (bytes >= room) bytes = room - 1;
  memcpy(name, found == NULL ? "" : found + 5, bytes);
  name[bytes] = '\0';
}

static void serve(struct client *client) {
  char *line;
  while ((line = read_line(client)) != NULL) {
    char name[100], text[500], answer[700];
    name_in(line, name, sizeof name);
    do line = read_line(client);
    while (line != NULL && *line != '\r' && *line != '\0');
    if (line == NULL) break;
    const int status = ask(name, text, sizeof text);
    const int bytes = snprintf(answer, sizeof answer,
                               "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n%s", status,
                               status == 200 ? "OK" : "Failed", strlen(text), text);
    if (send(client->fd, answer, (size_t)bytes, MSG_NOSIGNAL) != bytes) break;
  }
}

static void *serve_clients(void *unused_argument) {
  struct client *client = malloc(sizeof *client);
  while (client != NULL) {
    client->fd = accept(listener, NULL, NULL);
    client->begin = client->end = 0;
    if (client->fd < 0) continue;
    const struct timeval idle = {.tv_sec = IDLE_S};
    setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &idle, sizeof idle);
    setsockopt(client->fd, SOL_SOCKET, SO_SNDTIMEO, &idle, sizeof idle);
    serve(client);
    close(client->fd);
  }
  return unused_argument;
}

int main(int count, char **arguments) {
  if (count != 5) return 2;
  database = arguments[1];
  const unsigned connections = (unsigned)atoi(arguments[3]), threads = (unsigned)atoi(arguments[4]);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(arguments[2]))};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int yes = 1;
  listener = socket(AF_INET, SOCK_STREAM, 0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  unused = calloc(connections, sizeof *unused);
  if (unused == NULL || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
      listen(listener, 1024) != 0 || sem_init(&permits, 0, connections) != 0) {
    perror("pool_threads");
    return 1;
  }
  unused_count = connections;
  for (unsigned i = 0; i < threads; i++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, serve_clients, NULL) != 0) return 1;
  }
  for (;;) pause();
}
