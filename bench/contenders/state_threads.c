// State Threads: tasks with stacks, in C.
#include <st.h>

#include "contender.h"

// The first thread waits until all others have ended.
static uint64_t alive;
static st_cond_t all_ended;

#define TASK(name) static void *name(void *argument_)
#define TASK_END \
  do { \
    (void)argument_; \
    if (--alive == 0) st_cond_signal(all_ended); \
    return NULL; \
  } while (0)
#define CAN_WAKE 1
typedef void *task_body(void *);
typedef st_thread_t task_handle;
static inline task_handle task_spawn(task_body *body) {
  alive++;
  st_thread_t thread = st_thread_create(body, NULL, 0, 0);
  if (thread == NULL) fail("st_thread_create");
  return thread;
}
// The way to yield: there is no call for it in the version that Debian has.
static inline void task_yield(void) { st_usleep(0); }
static inline void task_sleep(uint64_t ns) { st_usleep((ns + 999) / 1000); }
static inline void task_wake(task_handle task) { st_thread_interrupt(task); }

static void initialize(void) {
  if (st_set_eventsys(ST_EVENTSYS_ALT) != 0 || st_init() != 0) fail("st_init");
}

static void run_tasks(task_body *first) {
  initialize();
  all_ended = st_cond_new();
  task_spawn(first);
  st_cond_wait(all_ended);
}

#include "server.h"
#include "tasks.h"


static void *serve_connection(void *state) {
  st_netfd_t netfd = state;
  struct connection *connection = new_connection(st_netfd_fileno(netfd));
  for (;;) {
    ssize_t bytes = st_read(netfd, connection->buffer + connection->bytes_read,
                            sizeof connection->buffer - connection->bytes_read - 1, ST_UTIME_NO_TIMEOUT);
    size_t length;
    if (bytes <= 0) break;
    const char *text = answer(connection, (size_t)bytes, &length);
    if (length == 0) continue;
    if (st_write(netfd, text, length, ST_UTIME_NO_TIMEOUT) != (ssize_t)length) break;
    if (server.kind == SERVE_ONCE) break;
  }
  st_netfd_close(netfd);
  free(connection);
  return NULL;
}

static void test_serve(void) {
  initialize();
  start_server();
  st_netfd_t listener = st_netfd_open_socket(server.listen_fd);
  if (listener == NULL) fail("st_netfd_open_socket");
  for (;;) {
    struct sockaddr_in address;
    int length = sizeof address;
    st_netfd_t netfd = st_accept(listener, (struct sockaddr *)&address, &length, ST_UTIME_NO_TIMEOUT);
    if (netfd == NULL) fail("st_accept");
    if (st_thread_create(serve_connection, netfd, 0, 0) == NULL) fail("st_thread_create");
  }
}

static void test_version(void) { printf("version=%s\n", ST_VERSION); }

int main(int argc, char **argv) {
  static const struct test tests[] = {
      TASK_TESTS,
      {"serve", test_serve},
      {"version", test_version},
      {NULL, NULL},
  };
  return run_test(argc, argv, tests);
}
