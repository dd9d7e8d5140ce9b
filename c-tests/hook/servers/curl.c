// libcurl's easy interface, as it is. The server is plain blocking code in tasks, too.
#define _GNU_SOURCE
#include "../hooked.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <sys/socket.h>

enum { MANY = 100, LENGTH = 5 << 20 };

static unsigned ready, ended;
static int listener, port;
static const char* host = "127.0.0.1";
static size_t uploaded;

// ---- The server

static void new_listener(int backlog) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  listener = socket(AF_INET, SOCK_STREAM, 0);
  CHECK_INT(bind(listener, (struct sockaddr*)&address, length), ==, 0);
  CHECK_INT(listen(listener, backlog), ==, 0);
  CHECK_INT(getsockname(listener, (struct sockaddr*)&address, &length), ==, 0);
  port = ntohs(address.sin_port);
}

static void say(int fd, const char* text) { CHECK_INT(write(fd, text, strlen(text)), ==, strlen(text)); }

// Answers one request, a tenth of a second later.
static void answers(void* argument) {
  (void)argument;
  char head[65536];
  size_t got = 0;
  char* body = NULL;
  int fd = accept(listener, NULL, NULL);
  CHECK_INT(fd, >=, 0);
  while (body == NULL) {
    ssize_t some = read(fd, head + got, sizeof head - 1 - got);
    CHECK_INT(some, >, 0);
    got += (size_t)some;
    head[got] = '\0';
    body = strstr(head, "\r\n\r\n");
  }
  const char* length = strstr(head, "Content-Length: ");
  size_t wanted = length == NULL ? 0 : (size_t)atol(length + strlen("Content-Length: "));
  size_t have = got - (size_t)(body + 4 - head);
  if (strstr(head, "100-continue") != NULL) say(fd, "HTTP/1.1 100 Continue\r\n\r\n");
  static char sink[65536];
  while (have < wanted) {
    ssize_t some = read(fd, sink, sizeof sink);
    CHECK_INT(some, >, 0);
    have += (size_t)some;
  }
  uploaded += have;
  usleep(100000);
  say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
  close(fd);
}

// ---- The clients

static size_t takes(char* data, size_t size, size_t count, void* text) {
  strncat((char*)text, data, size * count);
  return size * count;
}

static CURL* new_request(char* text) {
  char url[64];
  CURL* request = curl_easy_init();
  CHECK(request != NULL);
  snprintf(url, sizeof url, "http://%s:%d/", host, port);
  text[0] = '\0';
  curl_easy_setopt(request, CURLOPT_URL, url);
  curl_easy_setopt(request, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(request, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(request, CURLOPT_WRITEFUNCTION, takes);
  curl_easy_setopt(request, CURLOPT_WRITEDATA, text);
  return request;
}

static void asks(void* argument) {
  (void)argument;
  char text[64];
  CURL* request = new_request(text);
  CHECK_INT(curl_easy_perform(request), ==, CURLE_OK);
  CHECK_STR(text, "hello");
  curl_easy_cleanup(request);
  add_one(&ended);
}

static void many_wait_at_once(void) {
  ended = 0;
  new_listener(MANY);
  uint64_t began = now_ns();
  for (int i = 0; i < MANY; i++) start(answers, NULL);
  for (int i = 0; i < MANY; i++) start(asks, NULL);
  wait_until(&ended, MANY);
  uint64_t took = now_ns() - began;
  fprintf(stderr, "%d requests of 0.1 s took %.3f s\n", MANY, (double)took * 1e-9);
  CHECK_UINT(took, <, MANY * UINT64_C(100000000) / 3);
  close(listener);
}

// ---- a name of two addresses, the first of which is dead

enum { TWO = 50, PATIENCE_MS = 60, FILL = 8 };
static struct curl_slist* addresses;
static unsigned connected;

static void tries_the_second(void* argument) {
  char text[64];
  char* address = NULL;
  CURL* request = new_request(text);
  curl_easy_setopt(request, CURLOPT_RESOLVE, addresses);
  curl_easy_setopt(request, CURLOPT_HAPPY_EYEBALLS_TIMEOUT_MS, (long)PATIENCE_MS);
  uint64_t began = now_ns();
  CHECK_INT(curl_easy_perform(request), ==, CURLE_OK);
  // It has waited for the first as long as it has to, and not for it to fail.
  if (argument != NULL) CHECK_UINT(now_ns() - began, >=, (PATIENCE_MS - 5) * UINT64_C(1000000));
  CHECK_STR(text, "hello");
  CHECK_INT(curl_easy_getinfo(request, CURLINFO_PRIMARY_IP, &address), ==, CURLE_OK);
  CHECK_STR(address, "127.0.0.1");
  curl_easy_cleanup(request);
  add_one(&connected);
}

// At the port of the one that answers: one that nobody listens at, or whose queue is full, so that it says nothing.
static void two_addresses_are_tried(void) {
  struct sockaddr_in6 dead = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
  char entry[64];
  int silent = -1, fill[FILL];
  new_listener(2 * TWO);
  host = "two.test";
  snprintf(entry, sizeof entry, "two.test:%d:[::1],127.0.0.1", port);
  addresses = curl_slist_append(NULL, entry);
  for (intptr_t is_silent = 0; is_silent <= 1; is_silent++) {
    connected = 0;
    if (is_silent) {
      dead.sin6_port = htons((uint16_t)port);
      silent = socket(AF_INET6, SOCK_STREAM, 0);
      if (silent < 0 || bind(silent, (struct sockaddr*)&dead, sizeof dead) != 0) {
        fprintf(stderr, "without IPv6 no address is silent\n");
        break;
      }
      CHECK_INT(listen(silent, 0), ==, 0);
      for (int i = 0; i < FILL; i++) {
        fill[i] = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(fill[i], (struct sockaddr*)&dead, sizeof dead);
      }
    }
    for (int i = 0; i < TWO; i++) start(answers, NULL);
    for (int i = 0; i < TWO; i++) start(tries_the_second, (void*)is_silent);
    wait_until(&connected, TWO);
    for (int i = 0; is_silent && i < FILL; i++) close(fill[i]);
  }
  if (silent >= 0) close(silent);
  curl_slist_free_all(addresses);
  host = "127.0.0.1";
  close(listener);
}

// By a thread of the library's own, which writes to a socket that each waits for. Where the name has an address
// that nobody listens at, too, there are two connections to wait for.
static void names_are_looked_up(void) {
  host = "localhost";
  many_wait_at_once();
  host = "127.0.0.1";
}

static size_t gives(char* data, size_t size, size_t count, void* left) {
  size_t bytes = size * count < *(size_t*)left ? size * count : *(size_t*)left;
  memset(data, 'x', bytes);
  *(size_t*)left -= bytes;
  return bytes;
}

static void much_is_uploaded(void) {
  char text[64];
  size_t left = LENGTH;
  uploaded = 0;
  new_listener(1);
  start(answers, NULL);
  start_ticker();
  CURL* request = new_request(text);
  curl_easy_setopt(request, CURLOPT_UPLOAD, 1L);
  curl_easy_setopt(request, CURLOPT_READFUNCTION, gives);
  curl_easy_setopt(request, CURLOPT_READDATA, &left);
  curl_easy_setopt(request, CURLOPT_INFILESIZE_LARGE, (curl_off_t)LENGTH);
  CHECK_INT(curl_easy_perform(request), ==, CURLE_OK);
  CHECK_UINT(uploaded, ==, LENGTH);
  curl_easy_cleanup(request);
  stop_ticker(10);
  close(listener);
}

static void limits_are_kept(void) {
  char text[64];
  new_listener(1);  // Nobody accepts.
  start_ticker();
  CURL* request = new_request(text);
  curl_easy_setopt(request, CURLOPT_TIMEOUT_MS, 50L);
  uint64_t began = now_ns();
  CHECK_INT(curl_easy_perform(request), ==, CURLE_OPERATION_TIMEDOUT);
  CHECK_UINT(now_ns() - began, >=, 45000000);
  curl_easy_cleanup(request);
  // No more are let in: the first packet is not answered.
  int fill[8];
  for (int i = 0; i < 8; i++) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    (void)connect(fill[i], (struct sockaddr*)&address, sizeof address);
  }
  request = new_request(text);
  curl_easy_setopt(request, CURLOPT_CONNECTTIMEOUT_MS, 50L);
  CHECK_INT(curl_easy_perform(request), ==, CURLE_OPERATION_TIMEDOUT);
  curl_easy_cleanup(request);
  for (int i = 0; i < 8; i++) close(fill[i]);
  stop_ticker(10);
  close(listener);
}

static void hangs_up(void* argument) {
  (void)argument;
  int fd = accept(listener, NULL, NULL);
  char byte;
  CHECK_INT(read(fd, &byte, 1), ==, 1);
  close(fd);
}

static void is_cut_off(void* argument) {
  (void)argument;
  char text[64];
  CURL* request = new_request(text);
  CURLcode code = curl_easy_perform(request);
  CHECK(code == CURLE_GOT_NOTHING || code == CURLE_RECV_ERROR || code == CURLE_SEND_ERROR);
  curl_easy_cleanup(request);
  add_one(&ended);
}

static void each_is_told_of_the_servers_end(void) {
  ended = 0;
  new_listener(MANY);
  for (int i = 0; i < MANY; i++) start(is_cut_off, NULL);
  for (int i = 0; i < MANY; i++) start(hangs_up, NULL);
  wait_until(&ended, MANY);
  close(listener);
}

static void is_canceled(void* argument) {
  (void)argument;
  char text[64];
  CURL* request = new_request(text);
  add_one(&ready);
  CHECK_INT(curl_easy_perform(request), !=, CURLE_OK);
  curl_easy_cleanup(request);
  add_one(&ended);
}

static void canceled_tasks_are_told(void) {
  new_listener(MANY);  // Nobody accepts.
  cancel_some(is_canceled, &ready, &ended);
  close(listener);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  CHECK_INT(curl_global_init(CURL_GLOBAL_DEFAULT), ==, 0);
  RUN_HOOKED(many_wait_at_once);
  RUN_HOOKED(names_are_looked_up);
  RUN_HOOKED(two_addresses_are_tried);
  RUN_HOOKED(much_is_uploaded);
  RUN_HOOKED(limits_are_kept);
  RUN_HOOKED(each_is_told_of_the_servers_end);
  RUN_HOOKED(canceled_tasks_are_told);
  curl_global_cleanup();
  return 0;
}
