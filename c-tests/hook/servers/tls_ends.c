// Queries by TLS whose server dies, and SIGPIPE: OpenSSL writes to its sockets as they are. The process lives or
// dies by what it has asked for, and no task is given what another one's call has raised.
#define _GNU_SOURCE
#include "tls.h"

#include "../../child.h"

#include <openssl/err.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

enum { QUERIES = 1000, AT_ONCE = 50 };

static unsigned begun, ended, raised, taken;
static bool keeps_it_out;

// Shakes hands, and is gone: it hangs up in the middle of the conversation.
static void dies(void* fd) {
  SSL* connection = SSL_new(for_servers);
  SSL_set_fd(connection, (int)(intptr_t)fd);
  CHECK_INT(SSL_accept(connection), ==, 1);
  char byte;
  CHECK_INT(SSL_read(connection, &byte, 1), ==, 1);
  SSL_free(connection);
  CHECK_INT(close((int)(intptr_t)fd), ==, 0);
  add_one(&ended);
}

static bool is_pending(void) {
  sigset_t pending;
  CHECK_INT(sigpending(&pending), ==, 0);
  return sigismember(&pending, SIGPIPE);
}

// As libraries keep it out that cannot ask for MSG_NOSIGNAL.
static void keep_out(sigset_t* before) {
  sigset_t only;
  sigemptyset(&only);
  sigaddset(&only, SIGPIPE);
  CHECK_INT(pthread_sigmask(SIG_BLOCK, &only, before), ==, 0);
}

static void let_in(const sigset_t* before) {
  sigset_t only;
  sigemptyset(&only);
  sigaddset(&only, SIGPIPE);
  if (is_pending() && sigtimedwait(&only, NULL, &(struct timespec){0, 0}) == SIGPIPE) add_one(&taken);
  CHECK_INT(pthread_sigmask(SIG_SETMASK, before, NULL), ==, 0);
}

// Asks, and asks once more when there is nobody.
static void asks(void* fd) {
  static const char query[4096];
  sigset_t before;
  if (keeps_it_out) keep_out(&before);
  SSL* connection = SSL_new(for_clients);
  SSL_set_fd(connection, (int)(intptr_t)fd);
  CHECK_INT(SSL_connect(connection), ==, 1);
  CHECK_INT(SSL_write(connection, query, sizeof query), ==, sizeof query);
  struct pollfd gone = {(int)(intptr_t)fd, POLLRDHUP, 0};
  CHECK_INT(poll(&gone, 1, -1), ==, 1);
  CHECK(!is_pending());
  int result = SSL_write(connection, query, sizeof query), error = errno;
  CHECK_INT(SSL_get_error(connection, result), ==, SSL_ERROR_SYSCALL);
  CHECK_INT(error, ==, EPIPE);
  CHECK_UINT(ERR_peek_error(), ==, 0);
  CHECK_INT(is_pending(), ==, keeps_it_out);
  usleep(200);
  CHECK_INT(is_pending(), ==, keeps_it_out);
  SSL_free(connection);
  CHECK_INT(close((int)(intptr_t)fd), ==, 0);
  if (keeps_it_out) let_in(&before);
  CHECK(!is_pending());
  add_one(&ended);
}

static void query_whose_server_dies(void) {
  int pair[2];
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), ==, 0);
  start(dies, (void*)(intptr_t)pair[0]);
  start(asks, (void*)(intptr_t)pair[1]);
}

static void query_by_turns(void) {
  ended = raised = taken = 0;
  for (begun = 0; begun < QUERIES; begun += AT_ONCE) {
    for (int i = 0; i < AT_ONCE; i++) query_whose_server_dies();
    wait_until(&ended, 2 * (begun + AT_ONCE));
  }
  CHECK(!is_pending());
}

static void counts(int number) {
  (void)number;
  add_one(&raised);
}

static void handle(void (*handler)(int)) {
  struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
  CHECK_INT(sigaction(SIGPIPE, &action, NULL), ==, 0);
}

static void a_handler_is_called_for_each(void) {
  handle(counts);
  query_by_turns();
  CHECK_UINT(raised, ==, QUERIES);
}

static void ignored_it_is_nothing(void) {
  handle(SIG_IGN);
  query_by_turns();
}

// By default it would end the process.
static void who_keeps_it_out_takes_it_away(void) {
  handle(SIG_DFL);
  keeps_it_out = true;
  query_by_turns();
  CHECK_UINT(taken, ==, QUERIES);
  keeps_it_out = false;
}

static void lives_on(void) {
  handle(SIG_DFL);
  query_whose_server_dies();
  wait_until(&ended, 2);
}

static void run_and_die(void) {
  hooked_test = lives_on;
  hooked_run();
}

static void by_default_it_ends_the_process(void) {
  int status = status_of_child(run_and_die);
  CHECK(WIFSIGNALED(status));
  CHECK_INT(WTERMSIG(status), ==, SIGPIPE);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  make_contexts();
  RUN(by_default_it_ends_the_process);
  RUN_HOOKED(a_handler_is_called_for_each);
  RUN_HOOKED(ignored_it_is_nothing);
  RUN_HOOKED(who_keeps_it_out_takes_it_away);
  free_contexts();
  return 0;
}
