// Preloaded into the guide's server, which has port 8080 built in: it gets a port that the kernel
// chooses, which the tests read from a file. So the tests do not depend on what else uses that
// port, nor on each other.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

typedef int bind_function(int, const struct sockaddr*, socklen_t);

int bind(int fd, const struct sockaddr* address, socklen_t length) {
  bind_function* next;
  void* symbol = dlsym(RTLD_NEXT, "bind");
  memcpy(&next, &symbol, sizeof next);
  const char* path = getenv("MAJJEN_TEST_PORT");
  struct sockaddr_in changed;
  if (path == NULL || length != sizeof changed || address->sa_family != AF_INET) {
    return next(fd, address, length);
  }
  memcpy(&changed, address, sizeof changed);
  if (changed.sin_port != htons(8080)) return next(fd, address, length);
  changed.sin_port = 0;
  int result = next(fd, (const struct sockaddr*)&changed, sizeof changed);
  if (result != 0 || getsockname(fd, (struct sockaddr*)&changed, &length) != 0) return result;
  FILE* file = fopen(path, "w");
  if (file == NULL) return -1;
  fprintf(file, "%d\n", ntohs(changed.sin_port));
  return fclose(file);
}
