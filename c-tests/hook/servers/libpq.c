// PostgreSQL's own library, as it is: libpq CONNECTION... Each string is for one way to reach the server.
#define _GNU_SOURCE
#include "copy.h"

#include <libpq-fe.h>
#include <poll.h>
#include <signal.h>

enum { MANY = 100 };

static const char* way;
static unsigned ready, may_begin, ended;

static PGconn* new_connection(void) {
  PGconn* connection = PQconnectdb(way);
  if (PQstatus(connection) != CONNECTION_OK) fprintf(stderr, "%s", PQerrorMessage(connection));
  CHECK_INT(PQstatus(connection), ==, CONNECTION_OK);
  return connection;
}

static void runs(PGconn* connection, const char* query, ExecStatusType status) {
  PGresult* result = PQexec(connection, query);
  if (PQresultStatus(result) != status) fprintf(stderr, "%s: %s", query, PQerrorMessage(connection));
  CHECK_INT(PQresultStatus(result), ==, status);
  PQclear(result);
}

static void sleeps(void* argument) {
  (void)argument;
  PGconn* connection = new_connection();
  add_one(&ready);
  wait_until(&may_begin, 1);
  runs(connection, "select pg_sleep(0)", PGRES_TUPLES_OK);
  add_one(&ended);
  wait_until(&may_begin, 2);
  runs(connection, "select pg_sleep(0.1)", PGRES_TUPLES_OK);
  add_one(&ended);
  PQfinish(connection);
}

// All that wait may go on; until they have run their queries.
static uint64_t next_took_ns(void) {
  uint64_t began = now_ns();
  add_one(&may_begin);
  wait_until(&ended, may_begin * MANY);
  return now_ns() - began;
}

// They take together about as long as one, and what they take without the wait. On a busy machine they are tried
// again, and in the end may take longer; one after the other they would take a hundred times as long.
static void many_wait_at_once(void) {
  enum { TRIES = 5 };
  PGconn* connection = new_connection();
  for (int tries = 1;; tries++) {
    uint64_t began = now_ns();
    runs(connection, "select pg_sleep(0.1)", PGRES_TUPLES_OK);
    uint64_t one = now_ns() - began;
    ready = may_begin = ended = 0;
    for (int i = 0; i < MANY; i++) start(sleeps, NULL);
    wait_until(&ready, MANY);
    uint64_t without = next_took_ns(), took = next_took_ns();
    fprintf(stderr, "%d queries of 0.1 s took %.3f s; one %.3f s, as many that do not wait %.3f s\n", MANY,
            (double)took * 1e-9, (double)one * 1e-9, (double)without * 1e-9);
    CHECK_UINT(took, >=, 100000000);
    if (took <= one * 5 / 2 + without) break;
    if (tries == TRIES) {
      CHECK_UINT(took, <=, one * 10 + without);
      break;
    }
  }
  PQfinish(connection);
}

// ---- errors

static void ends_in_time(void) {
  PGconn* connection = new_connection();
  runs(connection, "set statement_timeout = 500", PGRES_COMMAND_OK);
  runs(connection, "select pg_sleep(100)", PGRES_FATAL_ERROR);
  runs(connection, "select 1", PGRES_TUPLES_OK);
  PQfinish(connection);
}

static PGconn* asked;

static void asks_for_long(void* argument) {
  (void)argument;
  asked = new_connection();
  add_one(&ready);
  runs(asked, "select pg_sleep(100)", PGRES_FATAL_ERROR);
  add_one(&ended);
}

static void a_query_is_canceled(void) {
  ready = ended = 0;
  start(asks_for_long, NULL);
  wait_until(&ready, 1);
  let_others_wait();
  PGcancel* cancel = PQgetCancel(asked);
  char error[256];
  // The server may not have begun with it.
  while (!__atomic_load_n(&ended, __ATOMIC_ACQUIRE)) {
    CHECK_INT(PQcancel(cancel, error, sizeof error), ==, 1);
    usleep(10000);
  }
  PQfreeCancel(cancel);
  runs(asked, "select 1", PGRES_TUPLES_OK);
  PQfinish(asked);
}

static void a_task_is_canceled(void) {
  if (in_threads()) return;
  ready = ended = 0;
  mj_task_id id = start(asks_for_long, NULL);
  wait_until(&ready, 1);
  let_others_wait();
  CHECK_INT(mj_scheduler_cancel(hooked_scheduler, id), >=, 0);
  wait_until(&ended, 1);
  CHECK(strstr(PQerrorMessage(asked), strerror(ECANCELED)) != NULL);
  PQfinish(asked);
}

static void is_cut_off(void* argument) {
  (void)argument;
  PGconn* connection = new_connection();
  add_one(&ready);
  runs(connection, "select pg_sleep(100)", PGRES_FATAL_ERROR);
  CHECK_INT(PQstatus(connection), ==, CONNECTION_BAD);
  PQreset(connection);
  runs(connection, "select 1", PGRES_TUPLES_OK);
  add_one(&ended);
  PQfinish(connection);
}

static void each_is_told_when_the_server_ends_it(void) {
  ready = ended = 0;
  for (int i = 0; i < 50; i++) start(is_cut_off, NULL);
  wait_until(&ready, 50);
  PGconn* connection = new_connection();
  while (__atomic_load_n(&ended, __ATOMIC_ACQUIRE) < 50) {
    runs(connection, "select pg_terminate_backend(pid) from pg_stat_activity"
                     " where query like '%pg_sleep(100)' and pid <> pg_backend_pid()", PGRES_TUPLES_OK);
    usleep(10000);
  }
  PQfinish(connection);
}

// Sends until it is cut off.
static void pours(void* argument) {
  (void)argument;
  char line[10001];
  memset(line, 'x', sizeof line);
  line[10000] = '\n';
  PGconn* connection = new_connection();
  runs(connection, "create temp table poured (line text)", PGRES_COMMAND_OK);
  runs(connection, "copy poured from stdin", PGRES_COPY_IN);
  add_one(&ready);
  while (PQputCopyData(connection, line, sizeof line) == 1) continue;
  PGresult* result = PQexec(connection, "select 1");
  CHECK_INT(PQresultStatus(result), !=, PGRES_TUPLES_OK);
  PQclear(result);
  PQfinish(connection);
  add_one(&ended);
}

// The library lets no SIGPIPE through, and takes away what it has kept out; others write meanwhile.
static void no_signal_is_left(void) {
  sigset_t mask, pending;
  CHECK_INT(pthread_sigmask(SIG_BLOCK, NULL, &mask), ==, 0);
  CHECK_INT(sigpending(&pending), ==, 0);
  CHECK(!sigismember(&mask, SIGPIPE));
  CHECK(!sigismember(&pending, SIGPIPE));
}

static void writers_are_told_when_the_server_ends_them(void) {
  ready = ended = 0;
  for (int i = 0; i < 50; i++) start(pours, NULL);
  wait_until(&ready, 50);
  PGconn* connection = new_connection();
  while (__atomic_load_n(&ended, __ATOMIC_ACQUIRE) < 50) {
    runs(connection, "select pg_terminate_backend(pid) from pg_stat_activity"
                     " where query like 'copy poured%'", PGRES_TUPLES_OK);
    no_signal_is_left();
    usleep(10000);
  }
  PQfinish(connection);
  no_signal_is_left();
}

// ---- much data, and news

static void much_is_copied(void) {
  const char* rows = getenv("MAJJEN_TORTURE") != NULL ? "1000000" : "50000";
  char query[128];
  snprintf(query, sizeof query, "copy (select repeat('x', 95) from generate_series(1, %s)) to stdout", rows);
  PGconn* connection = new_connection();
  start_ticker();
  runs(connection, query, PGRES_COPY_OUT);
  CHECK_UINT(copied_bytes(connection), ==, (size_t)atoi(rows) * 96);
  stop_ticker(1);

  runs(connection, "create temp table taken (line text)", PGRES_COMMAND_OK);
  runs(connection, "copy taken from stdin", PGRES_COPY_IN);
  char data[1001];
  memset(data, 'y', sizeof data);
  data[1000] = '\n';
  for (int i = 0; i < 5000; i++) CHECK_INT(PQputCopyData(connection, data, sizeof data), ==, 1);
  CHECK_INT(PQputCopyEnd(connection, NULL), ==, 1);
  PGresult* result = PQgetResult(connection);
  CHECK_STR(PQcmdTuples(result), "5000");
  PQclear(result);
  PQfinish(connection);
}

static void hears(void* argument) {
  (void)argument;
  PGconn* connection = new_connection();
  runs(connection, "listen news", PGRES_COMMAND_OK);
  add_one(&ready);
  for (int heard = 0; heard < 3;) {
    struct pollfd one = {PQsocket(connection), POLLIN, 0};
    CHECK_INT(poll(&one, 1, -1), ==, 1);
    CHECK_INT(PQconsumeInput(connection), ==, 1);
    PGnotify* news;
    while ((news = PQnotifies(connection)) != NULL) {
      CHECK_STR(news->relname, "news");
      heard++;
      PQfreemem(news);
    }
  }
  PQfinish(connection);
  add_one(&ended);
}

static void news_are_heard(void) {
  ready = ended = 0;
  for (int i = 0; i < 20; i++) start(hears, NULL);
  wait_until(&ready, 20);
  PGconn* connection = new_connection();
  for (int i = 0; i < 3; i++) {
    usleep(3000);
    runs(connection, "notify news", PGRES_COMMAND_OK);
  }
  wait_until(&ended, 20);
  PQfinish(connection);
}

int main(int count, char** ways) {
  mj_log_set_level(MJ_LOG_WARN);
  CHECK_INT(count, >, 1);
  for (int i = 1; i < count; i++) {
    way = ways[i];
    fprintf(stderr, "%s\n", way);
    RUN_HOOKED(many_wait_at_once);
    RUN_HOOKED(ends_in_time);
    RUN_HOOKED(a_query_is_canceled);
    RUN_HOOKED(a_task_is_canceled);
    RUN_HOOKED(each_is_told_when_the_server_ends_it);
    RUN_HOOKED(writers_are_told_when_the_server_ends_them);
    RUN_HOOKED(much_is_copied);
    RUN_HOOKED(news_are_heard);
  }
  if (!in_threads()) fprintf(stderr, "pinned: %d\n", (int)pinned());
  return 0;
}
