// Preloaded to the guide's server, which has port 8080 built in: it gets the port that the tests have
// chosen, so that they pass beside whatever else is on that port.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

typedef int bind_function(int, const struct sockaddr*, socklen_t);

int bind(int fd, const struct sockaddr* address, socklen_t length) {
  bind_function* next;
  void* symbol = dlsym(RTLD_NEXT, "bind");
  memcpy(&next, &symbol, sizeof next);
  const char* port = getenv("MAJJEN_TEST_PORT");
  struct sockaddr_in changed;
  if (port == NULL || length != sizeof changed || address->sa_family != AF_INET) {
    return next(fd, address, length);
  }
  memcpy(&changed, address, sizeof changed);
  if (changed.sin_port == htons(8080)) changed.sin_port = htons((unsigned short)atoi(port));
  return next(fd, (const struct sockaddr*)&changed, sizeof changed);
}
