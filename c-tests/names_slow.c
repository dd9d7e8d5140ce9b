// Names by a resolver of this program: one that takes its time, fails, or knows many addresses.
#define _GNU_SOURCE
#include "check.h"
#include "io.h"

#include <netdb.h>
#include <pthread.h>

// ---- The resolver ----

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t may_go_on = PTHREAD_COND_INITIALIZER;
static bool holds_up;  // By `lock`, as all of these.
static int held, lists, failure;
static struct sockaddr_in answers[40];
static int answer_count;

int getaddrinfo(const char* host, const char* service, const struct addrinfo* hints,
                struct addrinfo** list) {
  (void)service;
  if (hints != NULL && hints->ai_flags & AI_NUMERICHOST) return EAI_NONAME;
  pthread_mutex_lock(&lock);
  held++;
  while (holds_up && strcmp(host, "slow") == 0) pthread_cond_wait(&may_go_on, &lock);
  held--;
  int result = failure;
  struct addrinfo* first = NULL;
  for (int i = answer_count; result == 0 && i-- > 0;) {
    struct addrinfo* one = calloc(1, sizeof *one);
    one->ai_family = AF_INET;
    one->ai_socktype = SOCK_STREAM;
    one->ai_addr = (struct sockaddr*)&answers[i];
    one->ai_addrlen = sizeof answers[i];
    one->ai_next = first;
    first = one;
  }
  if (result == 0) lists++;
  pthread_mutex_unlock(&lock);
  if (result == EAI_SYSTEM) errno = ENFILE;
  if (result == 0) *list = first;
  return result;
}

void freeaddrinfo(struct addrinfo* list) {
  pthread_mutex_lock(&lock);
  lists--;
  pthread_mutex_unlock(&lock);
  while (list != NULL) {
    struct addrinfo* next = list->ai_next;
    free(list);
    list = next;
  }
}

static void set_hold(bool on) {
  pthread_mutex_lock(&lock);
  holds_up = on;
  pthread_cond_broadcast(&may_go_on);
  pthread_mutex_unlock(&lock);
}

static int number_of(const int* counter) {
  pthread_mutex_lock(&lock);
  int count = *counter;
  pthread_mutex_unlock(&lock);
  return count;
}

// Waits until workers have changed a number to this one.
static void wait_until(const int* counter, int expected) {
  for (int i = 0; i < 100000 && number_of(counter) != expected; i++) mj_sleep_ns(100000);
  CHECK_INT(number_of(counter), ==, expected);
}

static void answer(int count, const struct sockaddr_in* places) {
  pthread_mutex_lock(&lock);
  for (int i = 0; i < count; i++) answers[i] = places[i];
  answer_count = count;
  failure = 0;
  pthread_mutex_unlock(&lock);
}

static struct sockaddr_in place_of(int fd) {
  struct sockaddr_in address;
  socklen_t length = sizeof address;
  CHECK_INT(getsockname(fd, (struct sockaddr*)&address, &length), ==, 0);
  return address;
}

// ---- What its answers are taken for ----

static void errors_tell_the_step_that_failed(void) {
  struct {
    int resolver, look_up, dialed;
  } cases[] = {
      {EAI_NONAME, -EAI_NONAME, -ENOENT},
      {EAI_NODATA, -EAI_NODATA, -ENOENT},
      {EAI_ADDRFAMILY, -EAI_ADDRFAMILY, -ENOENT},
      {EAI_AGAIN, -EAI_AGAIN, -EAGAIN},
      {EAI_FAIL, -EAI_FAIL, -EREMOTEIO},
      {EAI_SERVICE, -EAI_SERVICE, -EPROTONOSUPPORT},
      {EAI_BADFLAGS, -EAI_BADFLAGS, -EINVAL},
      {EAI_MEMORY, -ENOMEM, -ENOMEM},
      {EAI_SYSTEM, -ENFILE, -ENFILE},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct addrinfo* list = NULL;
    pthread_mutex_lock(&lock);
    failure = cases[i].resolver;
    pthread_mutex_unlock(&lock);
    CHECK_CALL(mj_getaddrinfo("any", "80", NULL, &list, LONG_NS), ==, cases[i].look_up);
    CHECK(list == NULL);
    CHECK_CALL(mj_dial("any", "80", LONG_NS), ==, cases[i].dialed);
    CHECK_CALL(mj_listen("any", "0", 0, 0), ==, cases[i].dialed);
  }
  answer(0, NULL);
}

static int looks_up(call* self) {
  struct addrinfo* list;
  int result = mj_getaddrinfo(self->object, "80", NULL, &list, self->timeout_ns);
  if (result == 0) freeaddrinfo(list);
  return result;
}

static int dials(call* self) { return mj_dial(self->object, "80", self->timeout_ns); }

static void a_task_need_not_wait_for_the_resolver(void) {
  struct sockaddr_in nowhere = {.sin_family = AF_INET};
  answer(1, &nowhere);
  set_hold(true);
  call calls[] = {{.make = looks_up, .object = "slow", .timeout_ns = MJ_FOREVER},
                  {.make = dials, .object = "slow", .timeout_ns = MJ_FOREVER}};
  for (int i = 0; i < 2; i++) begin_call(&calls[i]);
  wait_until(&held, 2);
  for (int i = 0; i < 2; i++) {
    mj_task_cancel(calls[i].task);
    CHECK_INT(result_of(&calls[i]), ==, -ECANCELED);
  }
  CHECK_INT(number_of(&held), ==, 2);
  struct addrinfo* list = NULL;
  char host[] = "slow", service[] = "80";
  uint64_t before = now_ns();
  CHECK_CALL(mj_getaddrinfo(host, service, NULL, &list, 5000000), ==, -ETIMEDOUT);
  CHECK_UINT(now_ns() - before, >=, 5000000);
  memset(host, 'x', 4);  // They were copied.
  service[0] = 'x';
  CHECK(list == NULL);
  CHECK_CALL(mj_dial("slow", "80", 1000000), ==, -ETIMEDOUT);
  CHECK_INT(mj_task_set_deadline(mj_deadline_after(1000000), NULL), ==, 0);
  CHECK_CALL(mj_getaddrinfo("slow", NULL, NULL, &list, LONG_NS), ==, -ETIMEDOUT);
  CHECK_CALL(mj_listen("slow", "0", 0, 0), ==, -ETIMEDOUT);
  CHECK_INT(mj_task_set_deadline(MJ_FOREVER, NULL), ==, 0);
  set_hold(false);
  wait_until(&held, 0);
  wait_until(&lists, 0);  // Each worker has released what it has found.
}

// ---- Many look-ups that nobody answers, beside files ----

enum { slow_calls = 100 };

static void files_do_not_wait_for_names(void) {
  static call calls[slow_calls];
  answer(0, NULL);
  set_hold(true);
  for (int i = 0; i < slow_calls; i++) {
    calls[i] = (call){.make = looks_up, .object = "slow", .timeout_ns = MJ_FOREVER};
    begin_call(&calls[i]);
  }
  for (size_t i = 0; i < times(1000, 50); i++) {
    struct stat status;
    CHECK_CALL(mj_stat("/", &status, LONG_NS), ==, 0);
  }
  for (int i = 0; i < slow_calls; i++) CHECK(!calls[i].returned);
  set_hold(false);
  for (int i = 0; i < slow_calls; i++) CHECK_INT(result_of(&calls[i]), ==, -EAI_NONAME);
}

// ---- Several addresses ----

static int refusing_place(struct sockaddr_in* place) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);  // Bound, and does not listen.
  *place = (struct sockaddr_in){.sin_family = AF_INET};
  place->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK_INT(bind(fd, (struct sockaddr*)place, sizeof *place), ==, 0);
  *place = place_of(fd);
  return fd;
}

// A place where attempts are not answered.
static int silent_place(struct sockaddr_in* place, int fillers[3]) {
  int listener = mj_listen("127.0.0.1", "0", 1, 0);
  *place = place_of(listener);
  for (int i = 0; i < 3; i++) {
    fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    (void)connect(fillers[i], (struct sockaddr*)place, sizeof *place);
  }
  return listener;
}

static void check_connected_to(int fd, const struct sockaddr_in* place, int open_before) {
  CHECK_INT(fd, >=, 0);
  struct sockaddr_in peer;
  socklen_t length = sizeof peer;
  CHECK_INT(getpeername(fd, (struct sockaddr*)&peer, &length), ==, 0);
  CHECK_INT(peer.sin_port, ==, place->sin_port);
  CHECK_INT(mj_fd_close(fd), ==, 0);
  CHECK_INT(open_descriptors(), ==, open_before);  // The others were closed.
}

static void the_next_address_is_tried_at_once_when_one_fails(void) {
  struct sockaddr_in places[3];
  int refusing[2] = {refusing_place(&places[0]), refusing_place(&places[1])};
  int listener = mj_listen("127.0.0.1", "0", 0, 0), before = open_descriptors();
  places[2] = place_of(listener);
  answer(3, places);
  check_connected_to(mj_dial("three", "80", LONG_NS), &places[2], before);
  answer(2, places);
  CHECK_CALL(mj_dial("two", "80", LONG_NS), ==, -ECONNREFUSED);
  answer(0, NULL);
  CHECK_CALL(mj_dial("none", "80", LONG_NS), ==, -ENOENT);
  CHECK_INT(open_descriptors(), ==, before);
  close(refusing[0]);
  close(refusing[1]);
  CHECK_INT(mj_fd_close(listener), ==, 0);
}

// Whichever came first: what another place has answered says more than that there is no way to a third one.
static void of_several_failures_the_one_that_says_most_is_told(void) {
  struct sockaddr_in places[2];
  int refusing = refusing_place(&places[0]);
  places[1] = places[0];
  places[1].sin_addr.s_addr = htonl(0xe0000001);  // 224.0.0.1 is of many: nothing connects there.
  answer(1, &places[1]);
  CHECK_CALL(mj_dial("one", "80", LONG_NS), ==, -ENETUNREACH);
  answer(2, places);
  CHECK_CALL(mj_dial("two", "80", LONG_NS), ==, -ECONNREFUSED);
  struct sockaddr_in other_way[] = {places[1], places[0]};
  answer(2, other_way);
  CHECK_CALL(mj_dial("two", "80", LONG_NS), ==, -ECONNREFUSED);
  close(refusing);
}

static void an_attempt_that_takes_long_gets_company(void) {
  struct sockaddr_in places[3];
  int fillers[3], silent = silent_place(&places[0], fillers);
  int refusing = refusing_place(&places[1]);
  int listener = mj_listen("127.0.0.1", "0", 0, 0), before = open_descriptors();
  places[2] = place_of(listener);
  answer(3, places);
  uint64_t start = now_ns();
  check_connected_to(mj_dial("three", "80", LONG_NS), &places[2], before);
  CHECK_UINT(now_ns() - start, >=, 250000000);
  // One limit for all, also one that ends between two attempts.
  CHECK_CALL(mj_dial("three", "80", 1000000), ==, -ETIMEDOUT);
  places[1] = places[2] = places[0];
  answer(3, places);
  start = now_ns();
  CHECK_CALL(mj_dial("three", "80", 600000000), ==, -ETIMEDOUT);
  CHECK_UINT(now_ns() - start, >=, 600000000);
  CHECK_INT(open_descriptors(), ==, before);
  call one = {.make = dials, .object = "three", .timeout_ns = MJ_FOREVER};
  begin_call(&one);
  for (int i = 0; i < 10000 && open_descriptors() < before + 3; i++) mj_sleep_ns(1000000);
  CHECK_INT(open_descriptors(), ==, before + 3);
  mj_task_cancel(one.task);
  CHECK_INT(result_of(&one), ==, -ECANCELED);
  CHECK_INT(open_descriptors(), ==, before);
  for (int i = 0; i < 3; i++) close(fillers[i]);
  close(refusing);
  CHECK_INT(mj_fd_close(silent), ==, 0);
  CHECK_INT(mj_fd_close(listener), ==, 0);
}

static void all_of_many_addresses_are_tried(void) {
  struct sockaddr_in places[40];
  int refusing = refusing_place(&places[0]);
  int listener = mj_listen("127.0.0.1", "0", 0, 0), before = open_descriptors();
  for (int i = 1; i < 40; i++) places[i] = places[0];
  places[31] = place_of(listener);
  answer(40, places);
  check_connected_to(mj_dial("many", "80", LONG_NS), &places[31], before);
  close(refusing);
  CHECK_INT(mj_fd_close(listener), ==, 0);
}

// However many before it do not answer.
static void the_last_of_many_silent_addresses_is_tried_in_time(void) {
  enum { SILENT = 9 };
  struct sockaddr_in places[SILENT + 1];
  int fillers[3], silent = silent_place(&places[0], fillers);
  int listener = mj_listen("127.0.0.1", "0", 0, 0), before = open_descriptors();
  for (int i = 1; i < SILENT; i++) places[i] = places[0];
  places[SILENT] = place_of(listener);
  answer(SILENT + 1, places);
  uint64_t start = now_ns();
  check_connected_to(mj_dial("silent", "80", LONG_NS), &places[SILENT], before);
  CHECK_UINT(now_ns() - start, >=, SILENT * UINT64_C(250000000));
  for (int i = 0; i < 3; i++) close(fillers[i]);
  CHECK_INT(mj_fd_close(silent), ==, 0);
  CHECK_INT(mj_fd_close(listener), ==, 0);
}

static void a_name_is_listened_at_where_that_works(void) {
  struct sockaddr_in places[2];
  int refusing = refusing_place(&places[1]);
  close(refusing);
  places[0] = places[1];
  places[0].sin_addr.s_addr = htonl(0xc0000201);  // 192.0.2.1 is nobody's.
  answer(2, places);
  char service[8];
  snprintf(service, sizeof service, "%d", ntohs(places[1].sin_port));
  int listener = mj_listen("two", service, 0, 0);
  CHECK_INT(listener, >=, 0);
  CHECK_INT(place_of(listener).sin_addr.s_addr, ==, htonl(INADDR_LOOPBACK));
  CHECK_INT(mj_listen("two", service, 0, 0), ==, -EADDRINUSE);
  CHECK_INT(mj_fd_close(listener), ==, 0);
}

int main(void) {
  RUN_IN_TASK(errors_tell_the_step_that_failed);
  RUN_IN_TASK(a_task_need_not_wait_for_the_resolver);
  RUN_IN_TASK(files_do_not_wait_for_names);
  RUN_BY_BOTH_CLOCKS(the_next_address_is_tried_at_once_when_one_fails);
  RUN_BY_BOTH_CLOCKS(of_several_failures_the_one_that_says_most_is_told);
  RUN_IN_TASK(an_attempt_that_takes_long_gets_company);
  RUN_IN_TASK(all_of_many_addresses_are_tried);
  RUN_IN_TASK(the_last_of_many_silent_addresses_is_tried_in_time);
  RUN_IN_TASK(a_name_is_listened_at_where_that_works);
  return 0;
}
