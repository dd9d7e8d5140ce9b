// libev: an event loop with callbacks, in C.
#include <ev.h>

#include "contender.h"

static struct ev_loop *loop;

struct timer {
  ev_timer watcher;
};

static void timer_expired(struct ev_loop *its_loop, ev_timer *watcher, int events);
static void timers_begin(void) { loop = ev_default_loop(EVBACKEND_EPOLL); }
static void timers_end(void) { ev_loop_destroy(loop); }
static inline void timer_start(struct timer *timer, uint64_t ns) {
  ev_timer_init(&timer->watcher, timer_expired, (double)ns * 1e-9, 0.);
  ev_timer_start(loop, &timer->watcher);
}
static inline void timer_stop(struct timer *timer) { ev_timer_stop(loop, &timer->watcher); }
static void run_timers(void) { ev_run(loop, 0); }

#include "server.h"
#include "timers.h"

static void timer_expired(struct ev_loop *its_loop, ev_timer *watcher, int events) {
  (void)its_loop, (void)watcher, (void)events;
  expired();
}

// ---- row 4

static struct {
  uint64_t count, index, began_ns, length_ns;
  int64_t *lateness_ns;
  ev_timer timer;
  ev_idle idle;
} late;

static void next_sleep(void) {
  ev_now_update(loop);
  late.length_ns = sleep_length_ns(late.index);
  late.began_ns = wall_ns();
  ev_timer_set(&late.timer, (double)late.length_ns * 1e-9, 0.);
  ev_timer_start(loop, &late.timer);
}

static void sleep_over(struct ev_loop *its_loop, ev_timer *watcher, int events) {
  (void)its_loop, (void)watcher, (void)events;
  late.lateness_ns[late.index++] = (int64_t)(wall_ns() - late.began_ns - late.length_ns);
  if (late.index < late.count) {
    next_sleep();
  } else {
    ev_idle_stop(loop, &late.idle);
  }
}

static void on_idle(struct ev_loop *its_loop, ev_idle *watcher, int events) {
  (void)its_loop, (void)watcher, (void)events;
}

static void test_lateness(void) {
  late.count = argument("count");
  late.lateness_ns = malloc(late.count * sizeof *late.lateness_ns);
  loop = ev_default_loop(EVBACKEND_EPOLL);
  ev_init(&late.timer, sleep_over);
  ev_idle_init(&late.idle, on_idle);
  if (argument("busy")) ev_idle_start(loop, &late.idle);
  next_sleep();
  ev_run(loop, 0);
  report_lateness(late.lateness_ns, late.count);
}

// ---- rows 6 to 8

struct ev_connection {
  ev_io watcher;
  struct connection *connection;
};

static void connection_readable(struct ev_loop *its_loop, ev_io *watcher, int events) {
  struct ev_connection *served = watcher->data;
  (void)events;
  if (serve_readable(served->connection)) return;
  ev_io_stop(its_loop, watcher);
  close(served->connection->fd);
  free(served->connection);
  free(served);
}

static void listener_readable(struct ev_loop *its_loop, ev_io *watcher, int events) {
  (void)watcher, (void)events;
  struct connection *connection = accept_connection();
  if (connection == NULL) return;
  struct ev_connection *served = malloc(sizeof *served);
  served->connection = connection;
  ev_io_init(&served->watcher, connection_readable, connection->fd, EV_READ);
  served->watcher.data = served;
  ev_io_start(its_loop, &served->watcher);
}

static void test_serve(void) {
  ev_io listener;
  start_server();
  loop = ev_default_loop(EVBACKEND_EPOLL);
  ev_io_init(&listener, listener_readable, server.listen_fd, EV_READ);
  ev_io_start(loop, &listener);
  ev_run(loop, 0);
}

// ---- row 10

static void test_lifecycle(void) {
  uint64_t count = argument("count"), made = 0, began = cpu_ns();
  for (uint64_t i = 0; i < count; i++) {
    struct ev_loop *made_loop = ev_loop_new(EVBACKEND_EPOLL);
    made += made_loop != NULL;
    ev_loop_destroy(made_loop);
  }
  uint64_t took = cpu_ns() - began;
  report("work", (double)made);
  report("ns", (double)took / (double)count);
}

static void test_version(void) {
  // The library tells only two of the numbers.
  printf("version=%d.%d\n", ev_version_major(), ev_version_minor());
}

int main(int argc, char **argv) {
  static const struct test tests[] = {
      {"timers", test_timers},   {"lateness", test_lateness}, {"serve", test_serve},
      {"lifecycle", test_lifecycle}, {"version", test_version},   {NULL, NULL},
  };
  return run_test(argc, argv, tests);
}
