// A worker of a job queue in PostgreSQL. As many processes as are wanted do its jobs, on as many machines; any of them,
// and the server, may be killed at any moment: each job is done, and its effect happens exactly once.
//
// Links with -lmajjen-hook -lmajjen -lpq. `make examples` builds it where libpq is installed:
//
//   worker_postgres CONNECTION setup                             make the tables, in a schema "worker"
//   worker_postgres CONNECTION enqueue KIND [COUNT [ARGUMENT]]   kinds: credit, slow, flaky, fail
//   worker_postgres CONNECTION work [-n TASKS] [-a ATTEMPTS] [-r RETRY-MS] [-p POLL-MS] [-g GRACE-MS]
//   worker_postgres CONNECTION status
//   worker_postgres CONNECTION revive                            let dead jobs try again
//
// CONNECTION is a string for libpq, such as "host=/run/postgresql". A program that has work for the queue says
//   insert into worker.jobs (kind, argument) values ('credit', '5')
// in the transaction of what the job belongs to: both are there then, or neither.
//
// How it works: a job is taken by FOR UPDATE SKIP LOCKED, so that workers do not wait for each other. The transaction
// that has it locked also has its effect, and deletes it. Whatever ends the worker before the commit, the server rolls
// all of that back, and another worker takes the job; whoever never hears whether its commit was heard need not know.
// An effect outside the database, such as a mail, happens at least once: have the job's id tell one from its
// repetition. A job that fails is tried again later, and in the end put aside. (One that kills its process is not
// counted as a failure.)
//
// The calls of libpq block, as it is written in books: libmajjen-hook has them suspend the task.
#define _GNU_SOURCE
#include "majjen.h"

#include <libpq-fe.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MS UINT64_C(1000000)
#define LONGEST_RECONNECT_NS (5000 * MS)

static const char* database;
static unsigned tasks = 8;
static unsigned most_attempts = 5;
static uint64_t retry_ms = 1000;        // After the first failure; twice as long after each other one.
static uint64_t poll_ns = 5000 * MS;    // Between two looks without a notice: one may have been lost.
static uint64_t grace_ns = 10000 * MS;  // For jobs under way when it stops.

static mj_scheduler* scheduler;
static mj_chan* bell;  // Has room for one ring: there may be jobs.
static mj_chan* end;   // Has nothing, ever, and is closed when this process is to end.
static bool is_ending;
static uint64_t done, retried, died, reconnected;

// ---- The database's side

static const char setup[] =
    "set client_min_messages = warning;"
    "create schema if not exists worker;"
    "create table if not exists worker.jobs ("
    "  id bigint generated always as identity primary key,"
    "  kind text not null,"
    "  argument text not null default '',"
    "  attempts int not null default 0,"
    "  run_at timestamptz not null default now(),"
    "  error text)"
    // Jobs that are gone are in the way of those that are next, until vacuum has come by.
    "  with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);"
    "create index if not exists jobs_by_time on worker.jobs (run_at, id);"
    "create table if not exists worker.dead (like worker.jobs, died_at timestamptz not null default now());"
    "create table if not exists worker.ledger (job bigint not null, amount bigint not null);"
    // Whoever adds jobs has the workers told, once for a transaction, when it commits.
    "create or replace function worker.ring() returns trigger language plpgsql as"
    "  $$ begin notify worker_jobs; return null; end $$;"
    "drop trigger if exists ring on worker.jobs;"
    "create trigger ring after insert on worker.jobs for each statement execute function worker.ring();";

// No statement of a job takes longer than a minute, and a worker that stands still, or is cut off from the server,
// loses its job. (The last setting is known from version 14 on.)
#define SESSION                                       \
  "set statement_timeout = '60s';"                    \
  "set idle_in_transaction_session_timeout = '60s';"  \
  "select set_config(name, '1s', false) from pg_settings where name = 'client_connection_check_interval'"
static const char session[] = SESSION;
static const char session_listening[] = SESSION "; listen worker_jobs";

static const char take[] =
    "begin;"
    "select id, kind, argument, attempts from worker.jobs where run_at <= now()"
    "  order by run_at, id limit 1 for update skip locked";

// The job is this transaction's, or nobody's: if another worker has it by now, or has had it since, these do nothing.
#define THE_JOB "id = (select id from worker.jobs where id = $1 and attempts = $3 for update skip locked)"

// The delay is spread, lest what has failed together comes back together. The workers are told of a new time.
static const char put_off[] =
    "with late as (update worker.jobs set attempts = attempts + 1, error = $2, run_at = clock_timestamp() +"
    "  least($4::float8 * 2 ^ least(attempts, 20), 3600e3) * (0.75 + random() / 2) * interval '1 ms'"
    "  where " THE_JOB " returning id)"
    "  select pg_notify('worker_jobs', '') from late";

static const char bury[] =
    "with gone as (delete from worker.jobs where " THE_JOB " returning *)"
    "  insert into worker.dead select id, kind, argument, attempts + 1, run_at, $2 from gone";

static const char enqueue[] =
    "insert into worker.jobs (kind, argument) select $1::text, $3::text from generate_series(1, $2::bigint)";

static const char revive[] =
    // With their ids, by which others know what they have done for them.
    "with risen as (delete from worker.dead returning id, kind, argument)"
    "  insert into worker.jobs (id, kind, argument) overriding system value select * from risen";

static const char ms_to_next[] =
    "select ceil(1000 * extract(epoch from min(run_at) - clock_timestamp()))::bigint"
    "  from worker.jobs where run_at > now()";

static const char status[] =
    "select 'waiting ' || count(*) filter (where run_at <= now()) || ', put off ' ||"
    "  count(*) filter (where run_at > now()) || ', dead ' || (select count(*) from worker.dead) ||"
    "  ', in the ledger ' || (select count(*) from worker.ledger) from worker.jobs "
    "union all (select 'dead: job ' || id || ', ' || kind || ' ' || argument || ': ' || error"
    "  from worker.dead order by died_at desc limit 10)";

// Executes a statement with values up to the first NULL, or several without. Returns the result if it is what such a
// statement should have; else NULL, and PQerrorMessage() says why.
static PGresult* query(PGconn* connection, const char* sql, const char* const values[4]) {
  int count = 0;
  while (count < 4 && values[count] != NULL) count++;
  PGresult* result = count == 0 ? PQexec(connection, sql)
                                : PQexecParams(connection, sql, count, NULL, values, NULL, NULL, 0);
  const ExecStatusType kind = PQresultStatus(result);
  if (kind == PGRES_COMMAND_OK || kind == PGRES_TUPLES_OK) return result;
  // An error without a code of the server's is the connection's, or the task is canceled: who knows what has been said?
  if (PQresultErrorField(result, PG_DIAG_SQLSTATE) == NULL) shutdown(PQsocket(connection), SHUT_RDWR);
  PQclear(result);
  return NULL;
}

static bool execute(PGconn* connection, const char* sql, const char* a, const char* b, const char* c) {
  PGresult* result = query(connection, sql, (const char* const[4]){a, b, c});
  PQclear(result);
  return result != NULL;
}

// ---- What the jobs do

typedef struct {
  const char *id, *kind, *argument;
  unsigned attempts;  // That have failed.
} job;

// Each of these does a job by statements on the connection, in the transaction in which the job was taken. It returns
// NULL, or what has gone wrong: then what it did is undone, and the job is tried again.

static const char* credit(PGconn* connection, const job* j) {
  const char* const amount = *j->argument == '\0' ? "1" : j->argument;
  if (execute(connection, "insert into worker.ledger values ($1, $2)", j->id, amount, NULL)) return NULL;
  return PQerrorMessage(connection);
}

static const char* slow(PGconn* connection, const job* j) {
  const char* const seconds = *j->argument == '\0' ? "0.1" : j->argument;
  if (!execute(connection, "select pg_sleep($1)", seconds, NULL, NULL)) return PQerrorMessage(connection);
  return credit(connection, &(job){.id = j->id, .argument = ""});
}

static const char* flaky(PGconn* connection, const job* j) {
  const char* failure = credit(connection, j);
  return failure == NULL && j->attempts < 2 ? "not yet" : failure;
}

static const char* fail(PGconn* connection, const job* j) {
  credit(connection, j);
  return execute(connection, "select 1 / 0", NULL, NULL, NULL) ? NULL : PQerrorMessage(connection);
}

static const struct {
  const char* kind;
  const char* (*function)(PGconn*, const job*);
} kinds[] = {{"credit", credit}, {"slow", slow}, {"flaky", flaky}, {"fail", fail}};

static const char* run(PGconn* connection, const job* j) {
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    if (strcmp(kinds[i].kind, j->kind) == 0) return kinds[i].function(connection, j);
  }
  return "no worker knows this kind of job";
}

// ---- One job

static void complain(const char* what, PGconn* connection) {
  const char* const why = PQerrorMessage(connection);
  MJ_WARN("%s: %.*s", what, (int)strcspn(why, "\n"), why);
}

static bool finish(PGconn* connection, const job* j) {
  const bool is_over = execute(connection, "delete from worker.jobs where id = $1", j->id, NULL, NULL) &&
                       execute(connection, "commit", NULL, NULL, NULL);
  if (is_over) done++;
  return is_over;
}

// There is no transaction to undo when the commit has failed, at a deferred constraint, say.
static bool roll_back(PGconn* connection) {
  return PQtransactionStatus(connection) == PQTRANS_IDLE || execute(connection, "rollback", NULL, NULL, NULL);
}

// Has a job tried again later, or puts it aside; in the transaction that there is, or in one of its own.
static bool postpone_or_bury(PGconn* connection, const job* j, const char* why) {
  char attempts[24], delay_ms[24];
  snprintf(attempts, sizeof attempts, "%u", j->attempts);
  snprintf(delay_ms, sizeof delay_ms, "%llu", (unsigned long long)retry_ms);
  const bool is_last = j->attempts + 1 >= most_attempts;
  const char* const values[4] = {j->id, why, attempts, is_last ? NULL : delay_ms};
  PGresult* result = query(connection, is_last ? bury : put_off, values);
  if (result == NULL) return false;
  const bool is_ours = strcmp(PQcmdTuples(result), "0") != 0;
  PQclear(result);
  if (PQtransactionStatus(connection) != PQTRANS_IDLE && !execute(connection, "commit", NULL, NULL, NULL)) return false;
  if (is_ours) is_last ? died++ : retried++;
  return true;
}

// Keeps the job locked all the time, if its transaction lives: the savepoint is behind the lock.
static bool fail_later(PGconn* connection, const job* j, const char* failure) {
  char why[1000];  // The text is the connection's, and the next statement has another one.
  size_t length = strcspn(failure, "\n");
  if (length >= sizeof why) {
    length = sizeof why - 1;
    while (length > 0 && (failure[length] & 0xC0) == 0x80) length--;  // The server takes no part of a character.
  }
  memcpy(why, failure, length);
  why[length] = '\0';
  const bool is_locked = PQtransactionStatus(connection) != PQTRANS_IDLE;
  if ((!is_locked || execute(connection, "rollback to savepoint before_it", NULL, NULL, NULL)) &&
      postpone_or_bury(connection, j, why)) {
    return true;
  }
  // Whatever is wrong with it: were it left as it was, it would be first again, for all workers, forever.
  return roll_back(connection) && postpone_or_bury(connection, j, "failed, and its failure could not be stored");
}

// Takes a job and does it. Returns how many jobs there were, 0 or 1; -1 if the database has failed, not the job: such a
// job stays as it was. So it is for a task that is canceled, which finds its connection broken. (That an error is the
// job's shows in that the connection still works.)
static int do_one(PGconn* connection) {
  PGresult* taken = query(connection, take, (const char* const[4]){NULL});
  const int count = taken == NULL ? -1 : PQntuples(taken);
  bool is_over = false;
  if (count == 1) {
    const job j = {PQgetvalue(taken, 0, 0), PQgetvalue(taken, 0, 1), PQgetvalue(taken, 0, 2),
                   (unsigned)atoi(PQgetvalue(taken, 0, 3))};
    mj_chan_try_send(bell, "!");  // Where there is one there may be more: another task of this process looks.
    if (execute(connection, "savepoint before_it", NULL, NULL, NULL)) {
      const char* failure = run(connection, &j);
      is_over = failure == NULL && finish(connection, &j);
      if (!is_over) is_over = fail_later(connection, &j, failure != NULL ? failure : PQerrorMessage(connection));
    }
  }
  PQclear(taken);
  if (is_over) return 1;
  if (count != 0) complain(count < 0 ? "no job" : "given back", connection);
  roll_back(connection);
  return count == 0 ? 0 : -1;
}

// ---- The tasks

// Sleeps, but not beyond the beginning of the end.
static void pause_for(uint64_t ns) {
  char nothing;
  mj_chan_recv(end, &nothing, ns);
}

static PGconn* connect_to_database(void) {
  // A server's machine that vanishes says nothing: it is missed after a minute. What CONNECTION says of these comes
  // later, and counts.
  const char* const names[] = {"connect_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count",
                               "tcp_user_timeout", "fallback_application_name", "dbname", NULL};
  const char* const values[] = {"10", "30", "10", "3", "60000", "worker_postgres", database, NULL};
  return PQconnectdbParams(names, values, 1);
}

// Returns a session that works, `connection` if it does; NULL if the process is to end. Tries again with growing
// delays, which are spread, too: a server that comes back is not to be overrun.
static PGconn* keep_connected(PGconn* connection, const char* first_words) {
  if (PQstatus(connection) == CONNECTION_OK) return connection;
  if (connection != NULL) reconnected++;
  uint64_t delay_ns = 100 * MS;
  while (!is_ending) {
    PQfinish(connection);
    connection = connect_to_database();
    if (PQstatus(connection) == CONNECTION_OK && execute(connection, first_words, NULL, NULL, NULL)) return connection;
    complain("no database", connection);
    pause_for(delay_ns / 2 + delay_ns / 2 * (uint64_t)rand() / RAND_MAX);
    if (delay_ns < LONGEST_RECONNECT_NS) delay_ns *= 2;
  }
  PQfinish(connection);
  return NULL;
}

static void worker(void* unused) {
  (void)unused;
  PGconn* connection = NULL;
  while (!is_ending && (connection = keep_connected(connection, session)) != NULL) {
    const int count = do_one(connection);
    char ring;
    if (count == 0) mj_chan_recv(bell, &ring, poll_ns);
    // The tables are missing, or the disk is full: that takes a while.
    if (count < 0 && PQstatus(connection) == CONNECTION_OK) pause_for(1000 * MS);
  }
  PQfinish(connection);
}

// How long until a job is due that was put off; at most poll_ns.
static uint64_t until_next(PGconn* connection) {
  PGresult* result = query(connection, ms_to_next, (const char* const[4]){NULL});
  uint64_t ns = poll_ns;
  if (result != NULL && !PQgetisnull(result, 0, 0)) {
    const long long ms = atoll(PQgetvalue(result, 0, 0));
    const uint64_t due_ns = ms > 0 ? (uint64_t)ms * MS : 0;
    if (due_ns < ns) ns = due_ns;
  }
  PQclear(result);
  return ns;
}

// Takes the notices out of libpq's buffer. Returns whether there were any.
static bool take_notices(PGconn* connection) {
  bool is_any = false;
  for (PGnotify* notice; (notice = PQnotifies(connection)) != NULL; PQfreemem(notice)) is_any = true;
  return is_any;
}

// Rings when jobs are added, or due again. One task wakes up, and rings for the next one if there was a job: so those
// that wait do not all ask for the same job.
static void ringer(void* unused) {
  (void)unused;
  mj_task_set_daemon(true);  // It ends when the workers have.
  PGconn* connection = NULL;
  while ((connection = keep_connected(connection, session_listening)) != NULL) {
    mj_chan_try_send(bell, "!");
    const uint64_t limit_ns = until_next(connection);
    if (take_notices(connection)) continue;  // Those came with the answer: the socket says nothing of them.
    if (mj_task_wait_fd(PQsocket(connection), POLLIN, limit_ns) == -ECANCELED) break;
    PQconsumeInput(connection);
    take_notices(connection);
  }
  PQfinish(connection);
}

// SIGTERM or Ctrl+C: no task takes another job. Those that have one may finish it within the grace; then they are
// canceled, and the server gives their jobs to others.
static void stop(void* unused) {
  (void)unused;
  is_ending = true;
  mj_chan_close(bell);
  mj_chan_close(end);
}

static int work(void) {
  mj_log_to_stderr();
  mj_log_set_level(MJ_LOG_WARN);
  srand((unsigned)getpid() ^ (unsigned)time(NULL));
  scheduler = setup_scheduler_with_epoll();
  bell = mj_chan_create(scheduler, 1, 1);
  end = mj_chan_create(scheduler, 1, 1);
  bool is_ready = bell != NULL && end != NULL && mj_go(scheduler, ringer, NULL, NULL) == 0;
  for (unsigned i = 0; i < tasks && is_ready; i++) is_ready = mj_go(scheduler, worker, NULL, NULL) == 0;
  if (!is_ready) return fprintf(stderr, "worker_postgres: out of memory\n"), 1;
  const int result = mj_run_until_signal(scheduler, stop, NULL, grace_ns);
  printf("done %llu, retried %llu, died %llu, reconnected %llu\n", (unsigned long long)done,
         (unsigned long long)retried, (unsigned long long)died, (unsigned long long)reconnected);
  mj_scheduler_destroy(scheduler);
  mj_chan_destroy(bell);
  mj_chan_destroy(end);
  return result != 0;
}

// ---- The commands

// Executes a statement, outside of tasks, and prints what it returns.
static int say(const char* sql, const char* a, const char* b, const char* c) {
  PGconn* connection = connect_to_database();
  PGresult* result = query(connection, sql, (const char* const[4]){a, b, c});
  if (result == NULL) fprintf(stderr, "worker_postgres: %s", PQerrorMessage(connection));
  for (int row = 0; row < PQntuples(result); row++) puts(PQgetvalue(result, row, 0));
  PQclear(result);
  PQfinish(connection);
  return result == NULL;
}

static int usage(void) {
  fprintf(stderr,
          "worker_postgres CONNECTION setup | enqueue KIND [COUNT [ARGUMENT]] | status | revive |\n"
          "  work [-n TASKS] [-a ATTEMPTS] [-r RETRY-MS] [-p POLL-MS] [-g GRACE-MS]\n");
  return 2;
}

// Reads the options behind `work`. Returns whether they are any.
static bool read_options(int argc, char** argv) {
  for (int option; (option = getopt(argc, argv, "n:a:r:p:g:")) != -1;) {
    char* rest = NULL;
    const unsigned long number = option == '?' ? 0 : strtoul(optarg, &rest, 10);
    if (option == '?' || *rest != '\0' || number > 100000000) return false;
    if (option == 'n') tasks = (unsigned)number;
    if (option == 'a') most_attempts = (unsigned)number;
    if (option == 'r') retry_ms = number;
    if (option == 'p') poll_ns = number * MS;
    if (option == 'g') grace_ns = number * MS;
  }
  return tasks > 0 && poll_ns > 0 && optind == argc;
}

int main(int argc, char** argv) {
  if (argc < 3) return usage();
  database = argv[1];
  char** const words = argv + 2;
  const int count = argc - 2;
  if (strcmp(words[0], "work") == 0) return read_options(count, words) ? work() : usage();
  if (strcmp(words[0], "setup") == 0 && count == 1) return say(setup, NULL, NULL, NULL);
  if (strcmp(words[0], "status") == 0 && count == 1) return say(status, NULL, NULL, NULL);
  if (strcmp(words[0], "revive") == 0 && count == 1) return say(revive, NULL, NULL, NULL);
  if (strcmp(words[0], "enqueue") == 0 && count >= 2 && count <= 4) {  // An argument may begin with a minus.
    return say(enqueue, words[1], count > 2 ? words[2] : "1", count > 3 ? words[3] : "");
  }
  return usage();
}
