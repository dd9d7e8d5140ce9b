// libevent: an event loop with callbacks, in C. Its plain events, which do less than its buffered ones.
#include <event2/event.h>
#include <event2/event_struct.h>

#include "contender.h"

static struct event_base *base;

struct timer {
  struct event event;
};

static void timer_expired(evutil_socket_t fd, short events, void *argument_);
static void timers_begin(void) { base = event_base_new(); }
static void timers_end(void) { event_base_free(base); }
static struct timeval to_timeval(uint64_t ns) {
  uint64_t us = (ns + 999) / 1000;
  struct timeval time = {(time_t)(us / 1000000), (suseconds_t)(us % 1000000)};
  return time;
}
static inline void timer_start(struct timer *timer, uint64_t ns) {
  struct timeval time = to_timeval(ns);
  evtimer_assign(&timer->event, base, timer_expired, NULL);
  evtimer_add(&timer->event, &time);
}
static inline void timer_stop(struct timer *timer) { evtimer_del(&timer->event); }
static void run_timers(void) { event_base_dispatch(base); }

#include "server.h"
#include "timers.h"

static void timer_expired(evutil_socket_t fd, short events, void *argument_) {
  (void)fd, (void)events, (void)argument_;
  expired();
}

// ---- row 4

static struct {
  uint64_t count, index, began_ns, length_ns;
  int64_t *lateness_ns;
  struct event timer;
} late;

static void next_sleep(void) {
  late.length_ns = sleep_length_ns(late.index);
  struct timeval time = to_timeval(late.length_ns);
  late.began_ns = wall_ns();
  evtimer_add(&late.timer, &time);
}

static void sleep_over(evutil_socket_t fd, short events, void *argument_) {
  (void)fd, (void)events, (void)argument_;
  late.lateness_ns[late.index++] = (int64_t)(wall_ns() - late.began_ns - late.length_ns);
  if (late.index < late.count) next_sleep();
}

static void test_lateness(void) {
  struct event_config *config = event_config_new();
  event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER);
  base = event_base_new_with_config(config);
  late.count = argument("count");
  late.lateness_ns = malloc(late.count * sizeof *late.lateness_ns);
  if (argument("busy")) fail("there is no idle callback");
  evtimer_assign(&late.timer, base, sleep_over, NULL);
  next_sleep();
  event_base_dispatch(base);
  report_lateness(late.lateness_ns, late.count);
}

// ---- rows 6 to 8

struct event_connection {
  struct event event;
  struct connection *connection;
};

static void connection_readable(evutil_socket_t fd, short events, void *state) {
  struct event_connection *served = state;
  (void)fd, (void)events;
  if (serve_readable(served->connection)) return;
  event_del(&served->event);
  close(served->connection->fd);
  free(served->connection);
  free(served);
}

static void listener_readable(evutil_socket_t fd, short events, void *argument_) {
  (void)fd, (void)events, (void)argument_;
  struct connection *connection = accept_connection();
  if (connection == NULL) return;
  struct event_connection *served = malloc(sizeof *served);
  served->connection = connection;
  event_assign(&served->event, base, connection->fd, EV_READ | EV_PERSIST, connection_readable, served);
  event_add(&served->event, NULL);
}

static void test_serve(void) {
  struct event listener;
  start_server();
  base = event_base_new();
  event_assign(&listener, base, server.listen_fd, EV_READ | EV_PERSIST, listener_readable, NULL);
  event_add(&listener, NULL);
  event_base_dispatch(base);
}

// ---- row 10

static void test_lifecycle(void) {
  uint64_t count = argument("count"), made = 0, began = cpu_ns();
  for (uint64_t i = 0; i < count; i++) {
    struct event_base *made_base = event_base_new();
    made += made_base != NULL;
    event_base_free(made_base);
  }
  uint64_t took = cpu_ns() - began;
  report("work", (double)made);
  report("ns", (double)took / (double)count);
}

static void test_version(void) { printf("version=%s\n", event_get_version()); }

int main(int argc, char **argv) {
  static const struct test tests[] = {
      {"timers", test_timers},   {"lateness", test_lateness}, {"serve", test_serve},
      {"lifecycle", test_lifecycle}, {"version", test_version},   {NULL, NULL},
  };
  return run_test(argc, argv, tests);
}
