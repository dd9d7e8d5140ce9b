// Looking up names: with no more than what every machine knows.
#define _GNU_SOURCE
#include "hooked.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>

static unsigned ended;

static bool is_loopback(const struct addrinfo* found) {
  for (; found != NULL; found = found->ai_next) {
    if (found->ai_family != AF_INET) continue;
    const struct sockaddr_in* address = (const struct sockaddr_in*)found->ai_addr;
    if (address->sin_addr.s_addr == htonl(INADDR_LOOPBACK)) return true;
  }
  return false;
}

static void looks_up(void* name) {
  struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found = NULL;
  CHECK_INT(getaddrinfo((const char*)name, "80", &hints, &found), ==, 0);
  CHECK(is_loopback(found));
  CHECK_INT(((struct sockaddr_in*)found->ai_addr)->sin_port, ==, htons(80));
  freeaddrinfo(found);
  add_one(&ended);
}

static void names_are_found(void) {
  ended = 0;
  looks_up((void*)"localhost");
  looks_up((void*)"127.0.0.1");
  for (int i = 0; i < 100; i++) start(looks_up, (void*)"localhost");
  wait_until(&ended, 102);
  struct addrinfo hints = {.ai_flags = AI_NUMERICHOST}, *found = NULL;
  CHECK_INT(getaddrinfo("127.0.0.1", NULL, &hints, &found), ==, 0);
  freeaddrinfo(found);
  CHECK_INT(getaddrinfo("localhost", NULL, &hints, &found), ==, EAI_NONAME);
  CHECK_INT(getaddrinfo(NULL, NULL, NULL, &found), ==, EAI_NONAME);
  CHECK_INT(getaddrinfo("127.0.0.1", "no such service", NULL, &found), ==, EAI_SERVICE);
}

static struct sockaddr_in loopback(void) {
  return (struct sockaddr_in){
      .sin_family = AF_INET, .sin_port = htons(80), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void addresses_have_names(void) {
  struct sockaddr_in address = loopback();
  char host[NI_MAXHOST], service[NI_MAXSERV];
  CHECK_INT(getnameinfo((struct sockaddr*)&address, sizeof address, host, sizeof host, service,
                        sizeof service, NI_NUMERICSERV), ==, 0);
  CHECK(host[0] != '\0');
  CHECK_STR(service, "80");
  CHECK_INT(getnameinfo((struct sockaddr*)&address, sizeof address, host, 2, NULL, 0, 0), ==,
            EAI_OVERFLOW);
  CHECK_INT(getnameinfo((struct sockaddr*)&address, sizeof address, host, sizeof host, NULL, 0,
                        NI_NUMERICHOST), ==, 0);
  CHECK_STR(host, "127.0.0.1");
  CHECK_INT(getnameinfo((struct sockaddr*)&address, 1, host, sizeof host, NULL, 0, 0), ==, EAI_FAMILY);
}

// ---- gethostbyname(3) and its kin

static void is_the_loopback(const struct hostent* host) {
  CHECK(host != NULL);
  CHECK_INT(host->h_addrtype, ==, AF_INET);
  CHECK_INT(host->h_length, ==, 4);
  CHECK(host->h_addr_list[0] != NULL);
  CHECK_UINT(*(const uint32_t*)host->h_addr_list[0], ==, htonl(INADDR_LOOPBACK));
  CHECK(strlen(host->h_name) > 0);
  for (char** alias = host->h_aliases; *alias != NULL; alias++) CHECK(strlen(*alias) > 0);
}

// Each has a result of its own, also while others ask. In threads the function has one for all.
static void asks_in_the_old_way(void* argument) {
  (void)argument;
  if (!in_threads()) {
    struct hostent* host = gethostbyname("localhost");
    usleep(2000);
    is_the_loopback(host);
  }
  add_one(&ended);
}

static void the_old_functions_work(void) {
  ended = 0;
  is_the_loopback(gethostbyname("localhost"));
  is_the_loopback(gethostbyname2("127.0.0.1", AF_INET));
  struct in_addr address = {htonl(INADDR_LOOPBACK)};
  struct hostent* named = gethostbyaddr(&address, sizeof address, AF_INET);
  CHECK(named == NULL || strlen(named->h_name) > 0);
  CHECK(gethostbyname("a..b") == NULL);
  CHECK_INT(h_errno, ==, HOST_NOT_FOUND);
  for (int i = 0; i < 30; i++) start(asks_in_the_old_way, NULL);
  wait_until(&ended, 30);
}

static void the_results_are_where_the_caller_says(void) {
  struct hostent host, *found;
  char buffer[2048];
  int code;
  for (size_t shift = 0; shift < 9; shift++) {
    CHECK_INT(gethostbyname_r("localhost", &host, buffer + shift, sizeof buffer - shift, &found, &code),
              ==, 0);
    CHECK_PTR(found, ==, &host);
    is_the_loopback(&host);
    CHECK(host.h_name >= buffer && host.h_name < buffer + sizeof buffer);
  }
  CHECK_INT(gethostbyname2_r("localhost", AF_INET, &host, buffer, sizeof buffer, &found, &code), ==, 0);
  is_the_loopback(found);
  CHECK_INT(gethostbyname_r("localhost", &host, buffer, 8, &found, &code), ==, ERANGE);
  CHECK(found == NULL);
  found = &host;
  code = HOST_NOT_FOUND;
  CHECK_INT(gethostbyname_r("localhost", &host, buffer + 1, 1, &found, &code), ==, ERANGE);
  CHECK(found == NULL);
  CHECK_INT(code, ==, NETDB_INTERNAL);
  struct in_addr address = {htonl(INADDR_LOOPBACK)};
  int failed = gethostbyaddr_r(&address, sizeof address, AF_INET, &host, buffer, sizeof buffer, &found, &code);
  CHECK(failed != 0 || found == NULL || found == &host);
}

// What a task is told stays its own while it waits.
static void asks_for_nothing(void* argument) {
  (void)argument;
  CHECK(gethostbyname("a..b") == NULL);
  CHECK_INT(h_errno, ==, HOST_NOT_FOUND);
  usleep(3000);
  CHECK_INT(h_errno, ==, HOST_NOT_FOUND);
  add_one(&ended);
}

static void reasons_are_each_tasks(void) {
  ended = 0;
  start(asks_for_nothing, NULL);
  usleep(1000);
  h_errno = TRY_AGAIN;
  usleep(10000);
  CHECK_INT(h_errno, ==, TRY_AGAIN);
  wait_until(&ended, 1);
}

static void is_canceled(void* argument) {
  (void)argument;
  struct addrinfo* found = NULL;
  mj_task_cancel(mj_task_current());
  CHECK_INT(getaddrinfo("localhost", NULL, NULL, &found), ==, EAI_SYSTEM);
  CHECK_INT(errno, ==, ECANCELED);
  CHECK(gethostbyname("localhost") == NULL);
  CHECK_INT(errno, ==, ECANCELED);
  add_one(&ended);
}

static void canceled_tasks_do_not_wait(void) {
  if (in_threads()) return;
  ended = 0;
  start(is_canceled, NULL);
  wait_until(&ended, 1);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN_HOOKED(names_are_found);
  RUN_HOOKED(addresses_have_names);
  RUN_HOOKED(the_old_functions_work);
  RUN_HOOKED(the_results_are_where_the_caller_says);
  RUN_HOOKED(reasons_are_each_tasks);
  RUN_HOOKED(canceled_tasks_do_not_wait);
  return 0;
}
