// TLS by OpenSSL's blocking calls, in tasks of one thread: what a client says comes back. Ctrl+C ends it.
//
// Links with -lmajjen-hook -lmajjen -lssl -lcrypto. `make examples` builds it where OpenSSL is installed:
//
//   openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -keyout key.pem -out cert.pem
//   target/examples/tls_echo cert.pem key.pem [PORT]
//   openssl s_client -quiet -connect 127.0.0.1:PORT
//
// The sockets are such as block: accept() here, and not mj_accept(), whose descriptors do not.
#define _GNU_SOURCE
#include "majjen.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

static SSL_CTX* context;
static mj_scheduler* scheduler;

static void serve(void* argument) {
  const int fd = (int)(intptr_t)argument;
  const struct timeval limit = {30, 0};  // For each read and write, as in a thread.
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  SSL* connection = SSL_new(context);
  char text[16384];
  int bytes;
  if (connection != NULL && SSL_set_fd(connection, fd) == 1 && SSL_accept(connection) == 1) {
    while ((bytes = SSL_read(connection, text, sizeof text)) > 0) {
      if (SSL_write(connection, text, bytes) <= 0) break;
    }
    SSL_shutdown(connection);
  }
  ERR_clear_error();  // This task's: others have their own.
  SSL_free(connection);
  close(fd);
}

static void accept_clients(void* argument) {
  const int listener = (int)(intptr_t)argument;
  int fd;
  while ((fd = accept(listener, NULL, NULL)) >= 0 || errno != ECANCELED) {
    if (fd < 0) usleep(10000);  // Out of descriptors: some will be closed.
    else if (mj_go(scheduler, serve, (void*)(intptr_t)fd, NULL) != 0) close(fd);
  }
}

int main(int count, char** arguments) {
  mj_log_set_level(MJ_LOG_WARN);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                .sin_port = htons((uint16_t)(count > 3 ? atoi(arguments[3]) : 0))};
  socklen_t length = sizeof address;
  const int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  context = SSL_CTX_new(TLS_server_method());
  scheduler = setup_scheduler_with_epoll();
  if (count < 3 || SSL_CTX_use_certificate_chain_file(context, arguments[1]) != 1 ||
      SSL_CTX_use_PrivateKey_file(context, arguments[2], SSL_FILETYPE_PEM) != 1 ||
      bind(listener, (struct sockaddr*)&address, length) != 0 || listen(listener, 1024) != 0) {
    fprintf(stderr, "usage: %s CERTIFICATE KEY [PORT]\n", arguments[0]);
    ERR_print_errors_fp(stderr);
    return 2;
  }
  getsockname(listener, (struct sockaddr*)&address, &length);
  printf("127.0.0.1:%d\n", ntohs(address.sin_port));
  fflush(stdout);
  mj_go(scheduler, accept_clients, (void*)(intptr_t)listener, NULL);
  mj_run(scheduler);
  mj_scheduler_destroy(scheduler);
  SSL_CTX_free(context);
  close(listener);
  return 0;
}
