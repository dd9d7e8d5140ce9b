// MariaDB's own library, as it is: mariadb SOCKET PID, which is killed.
#define _GNU_SOURCE
#include "../hooked.h"

#include <mysql.h>
#include <signal.h>

enum { MANY = 100 };

static const char* path;
static pid_t server;
static unsigned ready, may_begin, ended;

static MYSQL* new_connection(void) {
  MYSQL* connection = mysql_init(NULL);
  CHECK(connection != NULL);
  if (mysql_real_connect(connection, NULL, "root", NULL, NULL, 0, path, 0) == NULL) {
    fprintf(stderr, "%s\n", mysql_error(connection));
    CHECK(!"connected");
  }
  return connection;
}

static void runs(MYSQL* connection, const char* query) {
  if (mysql_query(connection, query) != 0) fprintf(stderr, "%s: %s\n", query, mysql_error(connection));
  CHECK_INT(mysql_errno(connection), ==, 0);
  MYSQL_RES* result = mysql_store_result(connection);
  if (result != NULL) mysql_free_result(result);
}

static void sleeps(void* argument) {
  (void)argument;
  MYSQL* connection = new_connection();
  add_one(&ready);
  wait_until(&may_begin, 1);
  runs(connection, "select sleep(0.1)");
  mysql_close(connection);
  add_one(&ended);
}

static void many_wait_at_once(void) {
  ready = may_begin = ended = 0;
  for (int i = 0; i < MANY; i++) start(sleeps, NULL);
  wait_until(&ready, MANY);
  uint64_t began = now_ns();
  add_one(&may_begin);
  wait_until(&ended, MANY);
  uint64_t took = now_ns() - began;
  fprintf(stderr, "%d queries of 0.1 s took %.3f s\n", MANY, (double)took * 1e-9);
  CHECK_UINT(took, <, MANY * UINT64_C(100000000) / 5);
}

static void the_librarys_limit_is_kept(void) {
  unsigned seconds = 1;
  MYSQL* connection = mysql_init(NULL);
  mysql_options(connection, MYSQL_OPT_READ_TIMEOUT, &seconds);
  CHECK(mysql_real_connect(connection, NULL, "root", NULL, NULL, 0, path, 0) != NULL);
  uint64_t began = now_ns();
  CHECK(mysql_query(connection, "select sleep(100)") != 0);
  CHECK_UINT(now_ns() - began, >=, 900000000);
  // What comes after a limit is told at once, and does not look for ever.
  CHECK(mysql_ping(connection) != 0);
  mysql_close(connection);
}

static void is_cut_off(void* argument) {
  (void)argument;
  MYSQL* connection = new_connection();
  add_one(&ready);
  CHECK(mysql_query(connection, "select sleep(100)") != 0);
  mysql_close(connection);
  add_one(&ended);
}

static void canceled_tasks_are_told(void) { cancel_some(is_cut_off, &ready, &ended); }

static void each_is_told_of_the_servers_end(void) {
  ready = ended = 0;
  for (int i = 0; i < 50; i++) start(is_cut_off, NULL);
  wait_until(&ready, 50);
  let_others_wait();
  CHECK_INT(kill(server, SIGKILL), ==, 0);
  wait_until(&ended, 50);
}

int main(int count, char** arguments) {
  mj_log_set_level(MJ_LOG_WARN);
  CHECK_INT(count, ==, 3);
  path = arguments[1];
  server = (pid_t)atol(arguments[2]);
  CHECK_INT(mysql_library_init(0, NULL, NULL), ==, 0);
  RUN_HOOKED(many_wait_at_once);
  RUN_HOOKED(the_librarys_limit_is_kept);
  RUN_HOOKED(canceled_tasks_are_told);
  RUN_HOOKED(each_is_told_of_the_servers_end);
  mysql_library_end();
  return 0;
}
