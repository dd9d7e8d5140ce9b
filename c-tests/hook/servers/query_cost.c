// What a query costs the client in processor time: by libpq's blocking calls in tasks, by its asynchronous
// calls in tasks that wait for the socket themselves, and by its blocking calls in threads, by turns:
// query_cost CONNECTION ROUNDS. The figures are medians; none has a limit here, since the server and others use the
// same processors.
#define _GNU_SOURCE
#include "../hooked.h"

#include <libpq-fe.h>
#include <poll.h>
#include <sys/resource.h>

enum { CLIENTS = 64, MOST_ROUNDS = 25 };

static const char* way;
static PGconn* connections[CLIENTS];
static size_t queries, rounds;
static unsigned answers;

static void expect(PGresult* result, ExecStatusType status) {
  if (PQresultStatus(result) != status) fprintf(stderr, "%s", PQresultErrorMessage(result));
  CHECK_INT(PQresultStatus(result), ==, status);
}

static void count_answer(PGresult* result, size_t number) {
  expect(result, PGRES_TUPLES_OK);
  CHECK_INT(atoi(PQgetvalue(result, 0, 0)), ==, (int)number * 2);
  PQclear(result);
  add_one(&answers);
}

static void prepare(void) {
  for (int i = 0; i < CLIENTS; i++) {
    connections[i] = PQconnectdb(way);
    CHECK_INT(PQstatus(connections[i]), ==, CONNECTION_OK);
    PGresult* result = PQprepare(connections[i], "double", "select $1::int * 2", 1, NULL);
    expect(result, PGRES_COMMAND_OK);
    PQclear(result);
  }
}

// ---- the ways

static void asks(PGconn* connection) {
  for (size_t i = 0; i < queries; i++) {
    char number[24];
    snprintf(number, sizeof number, "%zu", i);
    const char* values[] = {number};
    count_answer(PQexecPrepared(connection, "double", 1, values, NULL, NULL, 0), i);
  }
}

static void asks_and_waits(PGconn* connection) {
  int fd = PQsocket(connection);
  for (size_t i = 0; i < queries; i++) {
    char number[24];
    snprintf(number, sizeof number, "%zu", i);
    const char* values[] = {number};
    CHECK_INT(PQsendQueryPrepared(connection, "double", 1, values, NULL, NULL, 0), ==, 1);
    while (PQflush(connection) == 1) CHECK_INT(mj_task_wait_fd(fd, POLLOUT, MJ_FOREVER), >, 0);
    while (PQisBusy(connection)) {
      CHECK_INT(mj_task_wait_fd(fd, POLLIN, MJ_FOREVER), >, 0);
      CHECK_INT(PQconsumeInput(connection), ==, 1);
    }
    count_answer(PQgetResult(connection), i);
    CHECK(PQgetResult(connection) == NULL);
  }
}

static void blocking_task(void* connection) { asks((PGconn*)connection); }

static void asynchronous_task(void* connection) {
  CHECK_INT(mj_hook_set_enabled(false), ==, 0);
  asks_and_waits((PGconn*)connection);
}

static void* thread(void* connection) {
  asks((PGconn*)connection);
  return NULL;
}

static void run_tasks(mj_go_fn body) {
  mj_scheduler* scheduler = new_scheduler();
  for (int i = 0; i < CLIENTS; i++) {
    CHECK_INT(PQsetnonblocking(connections[i], body == asynchronous_task), ==, 0);
    CHECK_INT(mj_go(scheduler, body, connections[i], NULL), ==, 0);
  }
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_scheduler_destroy(scheduler);
}

static void run_threads(void) {
  pthread_t threads[CLIENTS];
  for (int i = 0; i < CLIENTS; i++) {
    CHECK_INT(PQsetnonblocking(connections[i], 0), ==, 0);
    CHECK_INT(pthread_create(&threads[i], NULL, thread, connections[i]), ==, 0);
  }
  for (int i = 0; i < CLIENTS; i++) pthread_join(threads[i], NULL);
}

// ---- the figures

static double used_us(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
         (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static double cost_us(int which) {
  answers = 0;
  double before = used_us();
  if (which == 0) run_tasks(blocking_task);
  if (which == 1) run_tasks(asynchronous_task);
  if (which == 2) run_threads();
  CHECK_UINT(answers, ==, CLIENTS * queries);
  return (used_us() - before) / (double)(CLIENTS * queries);
}

static int in_order(const void* one, const void* other) {
  double left = *(const double*)one, right = *(const double*)other;
  return left < right ? -1 : left > right;
}

static double median(double* values, size_t count) {
  qsort(values, count, sizeof values[0], in_order);
  return values[count / 2];
}

static void a_query_costs(void) {
  static double blocking[MOST_ROUNDS], to_asynchronous[MOST_ROUNDS], to_threads[MOST_ROUNDS];
  queries = times(200, 10);
  prepare();
  uint64_t suspended = hook_counts().suspended;
  for (size_t i = 0; i < rounds; i++) {
    double cost[3];
    for (size_t turn = 0; turn < 3; turn++) cost[(i + turn) % 3] = cost_us((int)((i + turn) % 3));
    blocking[i] = cost[0];
    to_asynchronous[i] = cost[0] / cost[1];
    to_threads[i] = cost[0] / cost[2];
  }
  // It is the blocking calls that have waited by it.
  CHECK_UINT(hook_counts().suspended - suspended, >=, rounds);
  fprintf(stderr, "a query by blocking calls in tasks took %.1f us of processor time, %.2f of asynchronous calls, "
          "%.2f of threads\n", median(blocking, rounds), median(to_asynchronous, rounds),
          median(to_threads, rounds));
  for (int i = 0; i < CLIENTS; i++) PQfinish(connections[i]);
}

int main(int argc, char** argv) {
  CHECK_INT(argc, ==, 3);
  way = argv[1];
  rounds = strtoul(argv[2], NULL, 10);
  CHECK_UINT(rounds, <=, MOST_ROUNDS);
  mj_log_set_level(MJ_LOG_WARN);
  RUN(a_query_costs);
  return 0;
}
