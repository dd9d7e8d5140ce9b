// libuv: an event loop with callbacks, in C. Its timers count milliseconds; sleeps are rounded up to the next one.
#include <uv.h>

#include "contender.h"

static uv_loop_t *loop;

struct timer {
  uv_timer_t handle;
};

static void timer_expired(uv_timer_t *handle);
static void timers_begin(void) { loop = uv_default_loop(); }
static void timers_end(void) {}
static uint64_t to_ms(uint64_t ns) { return (ns + 999999) / 1000000; }
static inline void timer_start(struct timer *timer, uint64_t ns) {
  uv_timer_init(loop, &timer->handle);
  uv_timer_start(&timer->handle, timer_expired, to_ms(ns), 0);
}
static inline void timer_stop(struct timer *timer) { uv_timer_stop(&timer->handle); }
static void run_timers(void) { uv_run(loop, UV_RUN_DEFAULT); }

#include "cores.h"
#include "server.h"
#include "threads.h"
#include "timers.h"

static void timer_expired(uv_timer_t *handle) {
  (void)handle;
  expired();
}

// ---- row 4

static struct {
  uint64_t count, index, began_ns, length_ns;
  int64_t *lateness_ns;
  uv_timer_t timer;
  uv_idle_t idle;
} late;

static void sleep_over(uv_timer_t *timer);

static void next_sleep(void) {
  uv_update_time(loop);
  late.length_ns = sleep_length_ns(late.index);
  late.began_ns = wall_ns();
  uv_timer_start(&late.timer, sleep_over, to_ms(late.length_ns), 0);
}

static void sleep_over(uv_timer_t *timer) {
  (void)timer;
  late.lateness_ns[late.index++] = (int64_t)(wall_ns() - late.began_ns - late.length_ns);
  if (late.index < late.count) {
    next_sleep();
  } else {
    uv_idle_stop(&late.idle);
  }
}

static void on_idle(uv_idle_t *idle) { (void)idle; }

static void test_lateness(void) {
  late.count = argument("count");
  late.lateness_ns = malloc(late.count * sizeof *late.lateness_ns);
  loop = uv_default_loop();
  uv_timer_init(loop, &late.timer);
  uv_idle_init(loop, &late.idle);
  if (argument("busy")) uv_idle_start(&late.idle, on_idle);
  next_sleep();
  uv_run(loop, UV_RUN_DEFAULT);
  report_lateness(late.lateness_ns, late.count);
}

// ---- rows 6 to 8: with libuv's own streams, as its programs do

struct uv_served {
  uv_tcp_t stream;
  uv_write_t write;
  struct connection *connection;
};

static void closed(uv_handle_t *handle) {
  struct uv_served *served = handle->data;
  free(served->connection);
  free(served);
}

static void written(uv_write_t *write, int status) {
  struct uv_served *served = write->data;
  if (status != 0 || server.kind == SERVE_ONCE) uv_close((uv_handle_t *)&served->stream, closed);
}

static void room_for_data(uv_handle_t *handle, size_t suggested, uv_buf_t *room) {
  struct uv_served *served = handle->data;
  struct connection *connection = served->connection;
  (void)suggested;
  *room = uv_buf_init(connection->buffer + connection->bytes_read,
                      (unsigned)(sizeof connection->buffer - connection->bytes_read - 1));
}

static void has_read(uv_stream_t *stream, ssize_t bytes, const uv_buf_t *buffer) {
  struct uv_served *served = stream->data;
  (void)buffer;
  if (bytes < 0) {
    uv_close((uv_handle_t *)stream, closed);
    return;
  }
  if (bytes == 0) return;
  size_t length;
  const char *text = answer(served->connection, (size_t)bytes, &length);
  if (length == 0) return;
  uv_buf_t out = uv_buf_init((char *)text, (unsigned)length);
  served->write.data = served;
  uv_write(&served->write, stream, &out, 1, written);
}

static void has_connection(uv_stream_t *listener, int status) {
  if (status != 0) fail("uv_listen");
  struct uv_served *served = malloc(sizeof *served);
  uv_os_fd_t fd;
  uv_tcp_init(loop, &served->stream);
  served->stream.data = served;
  if (uv_accept(listener, (uv_stream_t *)&served->stream) != 0) fail("uv_accept");
  uv_fileno((uv_handle_t *)&served->stream, &fd);
  served->connection = new_connection(fd);
  uv_read_start((uv_stream_t *)&served->stream, room_for_data, has_read);
}

static void test_serve(void) {
  uv_tcp_t listener;
  start_server();
  loop = uv_default_loop();
  uv_tcp_init(loop, &listener);
  if (uv_tcp_open(&listener, server.listen_fd) != 0) fail("uv_tcp_open");
  if (uv_listen((uv_stream_t *)&listener, 128, has_connection) != 0) fail("uv_listen");
  uv_run(loop, UV_RUN_DEFAULT);
}

// ---- row 11: what libuv's users write: a queue with a lock, and uv_async_send

struct posted {
  struct posted *next;
  void (*function)(void *);
  void *argument;
};

static struct {
  uv_mutex_t mutex;
  struct posted *first, **last;
  uv_async_t async;
  uv_idle_t busy;
} queue;

static int thread_post(void (*function)(void *), void *argument) {
  struct posted *posted = malloc(sizeof *posted);
  *posted = (struct posted){NULL, function, argument};
  uv_mutex_lock(&queue.mutex);
  *queue.last = posted;
  queue.last = &posted->next;
  uv_mutex_unlock(&queue.mutex);
  uv_async_send(&queue.async);
  return 1;
}

static void run_posted(uv_async_t *async) {
  (void)async;
  uv_mutex_lock(&queue.mutex);
  struct posted *posted = queue.first;
  queue.first = NULL;
  queue.last = &queue.first;
  uv_mutex_unlock(&queue.mutex);
  while (posted != NULL) {
    struct posted *next = posted->next;
    posted->function(posted->argument);
    free(posted);
    posted = next;
  }
}

static void do_nothing(uv_idle_t *idle) { (void)idle; }

static void __attribute__((constructor)) make_queue(void) {
  loop = uv_default_loop();
  uv_mutex_init(&queue.mutex);
  queue.last = &queue.first;
  uv_async_init(loop, &queue.async, run_posted);
  uv_unref((uv_handle_t *)&queue.async);
}

static void loop_run(int busy) {
  uv_ref((uv_handle_t *)&queue.async);
  uv_idle_init(loop, &queue.busy);
  if (busy) uv_idle_start(&queue.busy, do_nothing);
  uv_run(loop, UV_RUN_DEFAULT);
}

static void loop_stop(void) { uv_stop(loop); }

struct offload {
  uv_work_t work;
  uint64_t began_ns;
};

static void work(uv_work_t *request) { (void)request; }

static void worked(uv_work_t *request, int status) {
  struct offload *offload = (struct offload *)request;
  (void)status;
  count_offload(offload->began_ns);
  if (offloads.index == offloads.count) return;
  offloads.index++;
  offload->began_ns = wall_ns();
  uv_queue_work(loop, &offload->work, work, worked);
}

static void test_offload(void) {
  begin_offloads();
  struct offload *each = calloc(offloads.tasks, sizeof *each);
  for (uint64_t i = 0; i < offloads.tasks; i++, offloads.index++) {
    each[i].began_ns = wall_ns();
    uv_queue_work(loop, &each[i].work, work, worked);
  }
  uv_run(loop, UV_RUN_DEFAULT);
  report_offloads();
}

// ---- row 14: two loops, each on a thread, and for each a queue with a lock: a sender appends to it and calls
// uv_async_send, and the loop takes all that is there at once. The array is swapped for the one that was emptied last.

struct place {
  uv_loop_t loop;
  uv_async_t async;
  uv_mutex_t mutex;
  uint64_t *numbers, *taken;
  size_t count;
  // Whether the sender waits for room.
  int is_awaited;
};

static struct place places[2];
static uint64_t next_number, number_sum, numbers_taken;

static void place_init(struct place *place, uv_async_cb come) {
  place->numbers = malloc(MESSAGES * sizeof *place->numbers);
  place->taken = malloc(MESSAGES * sizeof *place->taken);
  if (place->numbers == NULL || place->taken == NULL) fail("memory");
  uv_mutex_init(&place->mutex);
  if (uv_loop_init(&place->loop) != 0 || uv_async_init(&place->loop, &place->async, come) != 0) fail("uv_loop_init");
}

// Returns 0 when there is no room, of which the other side will tell.
static int place_send(struct place *place, uint64_t number) {
  uv_mutex_lock(&place->mutex);
  int has_room = place->count < MESSAGES;
  if (has_room) place->numbers[place->count++] = number;
  place->is_awaited = !has_room;
  uv_mutex_unlock(&place->mutex);
  if (has_room) uv_async_send(&place->async);
  return has_room;
}

static size_t place_take(struct place *place, int *is_awaited) {
  uv_mutex_lock(&place->mutex);
  size_t count = place->count;
  uint64_t *numbers = place->numbers;
  place->numbers = place->taken;
  place->taken = numbers;
  place->count = 0;
  *is_awaited = place->is_awaited;
  place->is_awaited = 0;
  uv_mutex_unlock(&place->mutex);
  return count;
}

static void run_second(void *unused) {
  (void)unused;
  uv_run(&places[1].loop, UV_RUN_DEFAULT);
}

static void run_places(uv_async_cb first, uv_async_cb second) {
  uv_thread_t thread;
  place_init(&places[0], first);
  place_init(&places[1], second);
  if (uv_thread_create(&thread, run_second, NULL) != 0) fail("uv_thread_create");
  begin_pair();
  uv_async_send(&places[0].async);
  uv_run(&places[0].loop, UV_RUN_DEFAULT);
  uv_thread_join(&thread);
}

static void send_number_back(uv_async_t *async) {
  int unused;
  (void)async;
  size_t count = place_take(&places[1], &unused);
  for (size_t i = 0; i < count; i++) {
    if (places[1].taken[i] == pair.count) uv_stop(&places[1].loop);
    place_send(&places[0], places[1].taken[i] + 1);
  }
}

// The first time there is none: the test begins.
static void send_next_number(uv_async_t *async) {
  int unused;
  (void)async;
  size_t count = place_take(&places[0], &unused);
  for (size_t i = 0; i < count; i++) {
    if (places[0].taken[i] != next_number + 1) fail("the number is wrong");
  }
  if (count > 1 || (count == 0 && next_number > 0)) return;
  if (next_number == pair.count) {
    report_pair(next_number);
    uv_stop(&places[0].loop);
    return;
  }
  place_send(&places[1], ++next_number);
}

static void test_round_trips(void) { run_places(send_next_number, send_number_back); }

static void take_numbers(uv_async_t *async) {
  int is_awaited;
  (void)async;
  size_t count = place_take(&places[1], &is_awaited);
  if (is_awaited) uv_async_send(&places[0].async);
  for (size_t i = 0; i < count; i++) number_sum += places[1].taken[i];
  numbers_taken += count;
  if (numbers_taken < pair.count) return;
  check_sum(number_sum);
  report_pair(numbers_taken);
  uv_stop(&places[1].loop);
}

static void send_numbers(uv_async_t *async) {
  (void)async;
  while (next_number < pair.count && place_send(&places[1], next_number + 1)) next_number++;
  if (next_number == pair.count) uv_stop(&places[0].loop);
}

static void test_messages(void) { run_places(send_numbers, take_numbers); }

// ---- row 10

static void test_lifecycle(void) {
  uint64_t count = argument("count"), made = 0, began = cpu_ns();
  for (uint64_t i = 0; i < count; i++) {
    uv_loop_t made_loop;
    made += uv_loop_init(&made_loop) == 0;
    uv_loop_close(&made_loop);
  }
  uint64_t took = cpu_ns() - began;
  report("work", (double)made);
  report("ns", (double)took / (double)count);
}

static void test_version(void) { printf("version=%s\n", uv_version_string()); }

int main(int argc, char **argv) {
  static const struct test tests[] = {
      {"timers", test_timers},   {"lateness", test_lateness}, {"serve", test_serve},
      {"lifecycle", test_lifecycle}, {"version", test_version},   THREAD_TESTS,
      {"round_trips", test_round_trips}, {"messages", test_messages}, {NULL, NULL},
  };
  return run_test(argc, argv, tests);
}
