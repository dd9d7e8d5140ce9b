// A wait function for PostgreSQL: LISTEN and NOTIFY, and queries on the same connection.
//
// Links with -lmajjen -lpq. `make examples` builds it:
//
//   target/examples/wait_postgresql "dbname=postgres" [COUNT]
//
// listens on the channel `majjen` until Ctrl+C, or until COUNT notifications of other sessions have
// come. Their payloads are "NUMBER SECONDS": numbered from 1, with the time of sending, as by
//
//   SELECT pg_notify('majjen', 1 || ' ' || extract(epoch FROM clock_timestamp()));
//
// What to know about libpq here: it reads everything that the socket has, so a notification may be
// in its buffer, read along with something else, while the socket stays silent. Check the buffer
// before waiting for the socket.
#define _GNU_SOURCE
#include "majjen.h"

#include <inttypes.h>
#include <libpq-fe.h>
#include <poll.h>

#define HEARTBEAT_NS UINT64_C(500000000)
#define ANSWER_LIMIT_NS UINT64_C(5000000000)
#define TICK_NS UINT64_C(10000000)

// The wait function's data, which the tasks find in scheduler->wait_data.
typedef struct listener {
  PGconn* connection;
  bool asking;  // A task runs a query, and reads from the socket itself.
  bool failed;
  PGnotify* next;  // taken out of libpq's buffer, not processed yet
  mj_task* reader;  // the task to wake for it, while it waits
  uint64_t expected, received, out_of_order;  // notifications of other sessions
  double slowest_s;
  bool echo_is_due;
  uint64_t heartbeats, echoes, late_echoes;
  uint64_t ticks, latest_tick_ns;
} listener;

static void give_up(mj_scheduler* scheduler, listener* l, const char* what) {
  const char* why = PQerrorMessage(l->connection);
  MJ_ERROR("%s: %.*s", what, (int)strcspn(why, "\n"), why);
  l->failed = true;
  mj_scheduler_stop(scheduler);
}

// ---- The wait function

// Whether there is a notification in libpq's buffer. The only way to check is to take it.
static bool has_notification(listener* l) {
  if (l->next == NULL) l->next = PQnotifies(l->connection);
  return l->next != NULL;
}

static int wait_postgresql(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  listener* l = user_data;

  // Notifications that were read along with the answer to a query will not make the socket readable
  // again.
  if (l->reader != NULL && has_notification(l)) {
    mj_scheduler_enqueue(scheduler, l->reader);
    timeout_ns = 0;
  }

  struct pollfd sources[] = {
      // The library's own: the loop handles it as soon as this function returns.
      {.fd = mj_scheduler_backend_fd(scheduler), .events = POLLIN},
      // poll() ignores a negative number.
      {.fd = l->asking || l->failed ? -1 : PQsocket(l->connection), .events = POLLIN},
  };
  struct timespec limit = {(time_t)(timeout_ns / 1000000000), (long)(timeout_ns % 1000000000)};
  int count = ppoll(sources, 2, timeout_ns == MJ_FOREVER ? NULL : &limit, NULL);
  if (count < 0) {
    if (errno == EINTR) return 0;
    MJ_ERROR("ppoll: %s", strerror(errno));
    return -1;
  }
  if (sources[1].revents != 0) {
    scheduler->metrics.io_events++;
    if (PQconsumeInput(l->connection) == 0) {
      give_up(scheduler, l, "the connection is lost");
    } else if (l->reader != NULL && has_notification(l)) {
      mj_scheduler_enqueue(scheduler, l->reader);
    }
  }
  return count;
}

// ---- The tasks

static void look_at(listener* l, const PGnotify* notification) {
  if (notification->be_pid == PQbackendPID(l->connection)) {
    l->echoes++;
    l->echo_is_due = false;
    return;
  }
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  char* rest;
  unsigned long long number = strtoull(notification->extra, &rest, 10);
  double under_way_s = (double)now.tv_sec + (double)now.tv_nsec / 1e9 - strtod(rest, NULL);
  if (under_way_s > l->slowest_s) l->slowest_s = under_way_s;
  l->received++;
  if (number != l->received) l->out_of_order++;
}

static void listen_task(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  listener* l = scheduler->wait_data;
  while (l->expected == 0 || l->received < l->expected) {
    if (has_notification(l)) {
      look_at(l, l->next);
      PQfreemem(l->next);
      l->next = NULL;
      mj_task_yield();  // A thousand notifications at once must not starve other tasks.
    } else {
      l->reader = mj_task_current();
      int result = mj_sleep_ns(MJ_FOREVER);  // mj_scheduler_enqueue() ends it: -EINTR.
      l->reader = NULL;
      if (result != -EINTR) break;
    }
  }
  mj_scheduler_stop(scheduler);
  mj_task_exit();
}

// Runs a command while other tasks run; PQexec() would block the thread. Until it has finished,
// this task reads from the socket. Returns 0, or -1, and then the connection is unusable.
static int run_command(listener* l, const char* command) {
  if (PQsendQuery(l->connection, command) == 0) return -1;
  l->asking = true;
  ExecStatusType status = PGRES_FATAL_ERROR;
  for (;;) {
    int unsent = PQflush(l->connection);
    if (unsent < 0) return -1;
    if (unsent == 0 && PQisBusy(l->connection) == 0) {
      PGresult* result = PQgetResult(l->connection);
      if (result == NULL) break;
      status = PQresultStatus(result);
      PQclear(result);
      continue;
    }
    const short events = unsent > 0 ? POLLIN | POLLOUT : POLLIN;
    int ready = mj_task_wait_fd(PQsocket(l->connection), events, ANSWER_LIMIT_NS);
    if (ready <= 0) return -1;  // An error, or no answer within the timeout.
    if ((ready & ~POLLOUT) != 0 && PQconsumeInput(l->connection) == 0) return -1;
  }
  l->asking = false;
  return status == PGRES_COMMAND_OK ? 0 : -1;
}

// Notifies this session itself: the echo proves that the whole path works. It arrives with the
// command's answer, so it is in libpq's buffer when the command is done.
static void heartbeat_task(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  listener* l = scheduler->wait_data;
  for (;;) {
    mj_task_sleep_ns(HEARTBEAT_NS);
    l->late_echoes += l->echo_is_due;
    l->echo_is_due = true;
    l->heartbeats++;
    if (run_command(l, "NOTIFY majjen, 'heartbeat'") != 0) break;
  }
  give_up(scheduler, l, "no heartbeat");
  mj_task_exit();
}

// Timers work, whatever the database does.
static void tick_task(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  listener* l = scheduler->wait_data;
  uint64_t due_ns = mj_scheduler_now_ns(scheduler) + TICK_NS;
  while (mj_task_sleep_until_ns(due_ns) == 0) {
    uint64_t late_ns = mj_scheduler_now_ns(scheduler) - due_ns;
    if (late_ns > l->latest_tick_ns) l->latest_tick_ns = late_ns;
    l->ticks++;
    due_ns += TICK_NS;
  }
  mj_task_exit();
}

// ---- Putting it together

// No task runs yet, so this may block.
static int start_listening(listener* l, const char* connection_string) {
  l->connection = PQconnectdb(connection_string);
  if (PQstatus(l->connection) != CONNECTION_OK) return -1;
  PGresult* result = PQexec(l->connection, "LISTEN majjen");
  bool done = PQresultStatus(result) == PGRES_COMMAND_OK;
  PQclear(result);
  // From now on, sending does not block either.
  return done ? PQsetnonblocking(l->connection, 1) : -1;
}

static int run(listener* l) {
  // Created by this function, the scheduler stops its run on Ctrl+C, with any wait function.
  mj_scheduler* scheduler = setup_scheduler_with_epoll();
  if (scheduler == NULL) return -1;
  mj_scheduler_set_wait_func(scheduler, wait_postgresql, l);
  bool created = mj_create_task(scheduler, listen_task, NULL) != NULL &&
                 mj_create_task(scheduler, heartbeat_task, NULL) != NULL &&
                 mj_create_task(scheduler, tick_task, NULL) != NULL;
  if (created) {
    printf("listening\n");
    fflush(stdout);
    mj_scheduler_run(scheduler);
  }
  mj_scheduler_destroy(scheduler);
  return created ? 0 : -1;
}

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    fprintf(stderr, "usage: %s CONNECTION-STRING [COUNT]\n", argv[0]);
    return 2;
  }
  mj_log_set_level(MJ_LOG_WARN);
  listener l = {.expected = argc > 2 ? strtoull(argv[2], NULL, 10) : 0};
  if (start_listening(&l, argv[1]) != 0) {
    fprintf(stderr, "wait_postgresql: %s", PQerrorMessage(l.connection));
    PQfinish(l.connection);
    return 1;
  }
  bool done = run(&l) == 0 && !l.failed;
  PQfreemem(l.next);
  PQfinish(l.connection);

  printf("%" PRIu64 " notifications, %" PRIu64 " out of order, the slowest after %.1f ms\n",
         l.received, l.out_of_order, l.slowest_s * 1e3);
  printf("%" PRIu64 " heartbeats, %" PRIu64 " echoes, %" PRIu64 " of them late\n", l.heartbeats,
         l.echoes, l.late_echoes);
  printf("%" PRIu64 " ticks, at most %" PRIu64 " us late\n", l.ticks, l.latest_tick_ns / 1000);
  return done && l.received >= l.expected && l.out_of_order == 0 ? 0 : 1;
}
