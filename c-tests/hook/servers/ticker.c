// How late a task is that sleeps for a millisecond again and again, beside others of its thread that wait,
// and how late a thread is that does so at the same time: ticker CONNECTION. parts/dead_names.c is linked
// to it.
#define _GNU_SOURCE
#include "copy.h"

#include <arpa/inet.h>
#include <libpq-fe.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

enum { MOST = 20000, LEAST = 100, TICK_US = 1000, TRIES = 5 };

static const char* connection_string;
static unsigned ended;

// ---- the two tickers

typedef struct {
  uint32_t late_us[MOST];
  unsigned count, runs, ended;
} late_ticks;

static late_ticks of_task, of_thread;

static void ticks_and_notes(void* argument) {
  late_ticks* ticks = (late_ticks*)argument;
  while (__atomic_load_n(&ticks->runs, __ATOMIC_ACQUIRE) && ticks->count < MOST) {
    uint64_t began = now_ns();
    usleep(TICK_US);
    ticks->late_us[ticks->count++] = (uint32_t)((now_ns() - began) / 1000 - TICK_US);
  }
  add_one(&ticks->ended);
}

static void* ticking_thread(void* argument) {
  ticks_and_notes(argument);
  return NULL;
}

static int in_order(const void* one, const void* other) {
  uint32_t left = *(const uint32_t*)one, right = *(const uint32_t*)other;
  return left < right ? -1 : left > right;
}

static uint32_t percentile(late_ticks* ticks, unsigned part) {
  qsort(ticks->late_us, ticks->count, sizeof ticks->late_us[0], in_order);
  return ticks->late_us[(uint64_t)ticks->count * part / 1000];
}

// Whether the task was hardly later than the thread, while something was done.
static bool is_hardly_later(const char* what, void (*work)(void)) {
  pthread_t thread;
  late_ticks* both[2] = {&of_task, &of_thread};
  for (int i = 0; i < 2; i++) both[i]->count = both[i]->ended = 0, both[i]->runs = 1;
  start(ticks_and_notes, &of_task);
  CHECK_INT(pthread_create(&thread, NULL, ticking_thread, &of_thread), ==, 0);
  uint64_t began = now_ns();
  work();
  uint64_t took = now_ns() - began;
  for (int i = 0; i < 2; i++) __atomic_store_n(&both[i]->runs, 0, __ATOMIC_RELEASE);
  wait_until(&of_task.ended, 1);
  wait_until(&of_thread.ended, 1);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
  uint32_t p99[2] = {percentile(&of_task, 990), percentile(&of_thread, 990)};
  fprintf(stderr, "%s took %.2f s; ticks are late by (p99) %.2f ms in a task, %.2f ms in a thread\n", what,
          (double)took * 1e-9, p99[0] / 1e3, p99[1] / 1e3);
  return of_task.count >= LEAST && p99[0] <= p99[1] + 10000;
}

// On a busy machine the one may be held up and not the other.
static void stays_on_time(const char* what, void (*work)(void)) {
  int tries = 1;
  while (!is_hardly_later(what, work)) CHECK_INT(tries++, <, TRIES);
}

// ---- beside what

static void copy(void) {
  enum { ROWS = 1000000 };
  PGconn* connection = PQconnectdb(connection_string);
  CHECK_INT(PQstatus(connection), ==, CONNECTION_OK);
  const char* query = "copy (select repeat('x', 99) from generate_series(1, 1000000)) to stdout";
  PGresult* result = PQexec(connection, query);
  CHECK_INT(PQresultStatus(result), ==, PGRES_COPY_OUT);
  PQclear(result);
  CHECK_UINT(copied_bytes(connection), ==, (size_t)ROWS * 100);
  PQfinish(connection);
}

static void a_copy_of_much(void) { stays_on_time("COPY of 100 MB", copy); }

enum { LARGE = 10 << 20, PART = 100000 };
static int ends[2];

static void reads_slowly(void* argument) {
  (void)argument;
  char* data = (char*)malloc(PART);
  CHECK(data != NULL);
  for (size_t got = 0; got < LARGE;) {
    ssize_t some = read(ends[1], data, PART);
    CHECK_INT(some, >, 0);
    got += (size_t)some;
    usleep(5000);
  }
  free(data);
  add_one(&ended);
}

static void write_much(void) {
  char* data = (char*)malloc(LARGE);
  CHECK(data != NULL);
  memset(data, 'x', LARGE);
  ended = 0;
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
  start(reads_slowly, NULL);
  CHECK_INT(write(ends[0], data, LARGE), ==, LARGE);
  wait_until(&ended, 1);
  close(ends[0]);
  close(ends[1]);
  free(data);
}

static void a_slow_reader(void) { stays_on_time("a write of 10 MB", write_much); }

// ---- names that nobody tells the address of

enum { NAMES = 200 };
extern unsigned dead_names, dead_names_answered;
static int name_server;

// Each takes so long.
static void begin_names(const char* seconds) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  char port[16];
  name_server = socket(AF_INET, SOCK_DGRAM, 0);
  CHECK_INT(bind(name_server, (struct sockaddr*)&address, length), ==, 0);
  CHECK_INT(getsockname(name_server, (struct sockaddr*)&address, &length), ==, 0);
  snprintf(port, sizeof port, "%d", ntohs(address.sin_port));
  CHECK_INT(setenv("MAJJEN_DEAD_NAMES", port, 1), ==, 0);
  CHECK_INT(setenv("MAJJEN_DEAD_SECONDS", seconds, 1), ==, 0);
  dead_names = dead_names_answered = ended = 0;
}

static void end_names(void) {
  CHECK_INT(unsetenv("MAJJEN_DEAD_NAMES"), ==, 0);
  close(name_server);
}

static void looks_up(void* argument) {
  char name[32];
  struct addrinfo* found = NULL;
  snprintf(name, sizeof name, "dead%d.test.", (int)(intptr_t)argument);
  CHECK_INT(getaddrinfo(name, "80", NULL, &found), !=, 0);
  CHECK(found == NULL);
  add_one(&ended);
}

static void look_up_many(void) {
  begin_names("1");
  for (int i = 0; i < NAMES; i++) start(looks_up, (void*)(intptr_t)i);
  wait_until(&ended, NAMES);
  CHECK_UINT(dead_names, ==, NAMES);
  end_names();
}

static void dead_names_by_the_hundred(void) { stays_on_time("200 dead names", look_up_many); }

static unsigned canceled;

static void is_canceled(void* argument) {
  (void)argument;
  struct addrinfo* found = NULL;
  CHECK_INT(getaddrinfo("canceled.test.", "80", NULL, &found), ==, EAI_SYSTEM);
  CHECK_INT(errno, ==, ECANCELED);
  CHECK_UINT(__atomic_load_n(&ended, __ATOMIC_ACQUIRE), ==, 0);
  add_one(&canceled);
}

// It does not wait for the answer, as those do that asked before it.
static void canceled_tasks_leave_dead_names(void) {
  enum { SOME = 20 };
  mj_task_id ids[SOME];
  if (in_threads()) return;
  begin_names("3");
  canceled = 0;
  start(looks_up, NULL);
  for (int i = 0; i < SOME; i++) ids[i] = start(is_canceled, NULL);
  // All of them have begun: one that has not would never ask, nor be answered.
  while (__atomic_load_n(&dead_names, __ATOMIC_ACQUIRE) <= SOME) usleep(500);
  for (int i = 0; i < SOME; i++) CHECK_INT(mj_scheduler_cancel(hooked_scheduler, ids[i]), >=, 0);
  wait_until(&canceled, SOME);
  wait_until(&dead_names_answered, SOME + 1);
  wait_until(&ended, 1);
  end_names();
}

int main(int count, char** arguments) {
  mj_log_set_level(MJ_LOG_WARN);
  CHECK_INT(count, ==, 2);
  connection_string = arguments[1];
  RUN_HOOKED(a_copy_of_much);
  RUN_HOOKED(a_slow_reader);
  RUN_HOOKED(dead_names_by_the_hundred);
  RUN_HOOKED(canceled_tasks_leave_dead_names);
  return 0;
}
