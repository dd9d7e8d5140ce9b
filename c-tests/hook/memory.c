// Calls for which there is no memory: each allocation in them fails once. They fail with an error, or block
// the thread as they would without the library, and work afterwards.
#define _GNU_SOURCE
#include "hooked.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/wait.h>

// ---- an allocator that fails at one call

void* __libc_malloc(size_t bytes);
void* __libc_calloc(size_t count, size_t bytes);
void* __libc_realloc(void* block, size_t bytes);
void* __libc_memalign(size_t alignment, size_t bytes);

static int to_failure = -1;  // How many calls succeed before one fails; negative: none fails.

static bool fails(void) {
  if (__atomic_load_n(&to_failure, __ATOMIC_RELAXED) < 0) return false;
  if (__atomic_fetch_sub(&to_failure, 1, __ATOMIC_RELAXED) != 0) return false;
  errno = ENOMEM;
  return true;
}

void* malloc(size_t bytes) { return fails() ? NULL : __libc_malloc(bytes); }
void* calloc(size_t count, size_t bytes) { return fails() ? NULL : __libc_calloc(count, bytes); }
void* realloc(void* block, size_t bytes) { return fails() ? NULL : __libc_realloc(block, bytes); }
void* memalign(size_t alignment, size_t bytes) { return fails() ? NULL : __libc_memalign(alignment, bytes); }
void* aligned_alloc(size_t alignment, size_t bytes) { return memalign(alignment, bytes); }

int posix_memalign(void** block, size_t alignment, size_t bytes) {
  *block = memalign(alignment, bytes);
  return *block == NULL ? ENOMEM : 0;
}

// ---- the calls: each waits for a thread, which is not held up by any other, and tells whether it succeeded

static int ends[2], listener;
static struct sockaddr_in address;

static bool told(bool succeeded) {
  if (!succeeded) {
    CHECK(errno == ENOMEM || errno == EAGAIN || errno == ENOBUFS);
  }
  return succeeded;
}

static bool sleeps(void) { return told(usleep(1000) == 0); }

static bool reads(void) {
  char data[8];
  return told(read(ends[0], data, 1) == 1);
}

static bool receives(void) {
  char data[8];
  struct iovec one = {data, 1};
  struct mmsghdr message = {.msg_hdr = {.msg_iov = &one, .msg_iovlen = 1}};
  return told(recvmmsg(ends[0], &message, 1, 0, NULL) == 1);
}

static bool polls(void) {
  struct pollfd some[300];
  for (int i = 0; i < 300; i++) some[i] = (struct pollfd){i == 150 ? ends[0] : ends[1], POLLIN, 0};
  return told(poll(some, 300, -1) == 1) && reads();
}

// More than find room on the stack.
static bool selects(void) {
  enum { COPIES = 40 };
  int copies[COPIES];
  fd_set set;
  FD_ZERO(&set);
  for (int i = 0; i < COPIES; i++) {
    copies[i] = dup(ends[0]);
    FD_SET(copies[i], &set);
  }
  bool succeeded = told(select(copies[COPIES - 1] + 1, &set, NULL, NULL, NULL) == COPIES) && reads();
  for (int i = 0; i < COPIES; i++) close(copies[i]);
  return succeeded;
}

static bool waits_for_a_set(void) {
  struct epoll_event event = {EPOLLIN, {.fd = 0}};
  int set = epoll_create1(0);
  CHECK_INT(epoll_ctl(set, EPOLL_CTL_ADD, ends[0], &event), ==, 0);
  bool succeeded = told(epoll_wait(set, &event, 1, -1) == 1) && reads();
  close(set);
  return succeeded;
}

static bool connects_and_accepts(void) {
  int client = socket(AF_INET, SOCK_STREAM, 0);
  bool succeeded = told(connect(client, (struct sockaddr*)&address, sizeof address) == 0);
  int accepted = succeeded ? accept(listener, NULL, NULL) : -1;
  if (succeeded) succeeded = told(accepted >= 0);
  if (accepted >= 0) close(accepted);
  close(client);
  return succeeded;
}

static bool told_by_code(int code) {
  CHECK(code == 0 || code == EAI_MEMORY || (code == EAI_SYSTEM && errno == ENOMEM) || code == EAI_NONAME ||
        code == EAI_AGAIN);
  return code == 0;
}

static bool looks_up(void) {
  struct addrinfo* found = NULL;
  bool succeeded = told_by_code(getaddrinfo("localhost", "80", NULL, &found));
  if (succeeded) freeaddrinfo(found);
  return succeeded;
}

static bool names(void) {
  char host[NI_MAXHOST];
  return told_by_code(getnameinfo((struct sockaddr*)&address, sizeof address, host, sizeof host, NULL, 0, 0));
}

static bool looks_up_in_the_old_way(void) { return gethostbyname("localhost") != NULL; }

static bool looks_up_into_a_buffer(void) {
  struct hostent host, *found;
  char buffer[2048];
  int code;
  return gethostbyname_r("localhost", &host, buffer, sizeof buffer, &found, &code) == 0 && found != NULL;
}

static bool locks_a_file(void) {
  int file = open("/tmp", O_RDONLY | O_DIRECTORY);
  CHECK_INT(file, >=, 0);
  bool succeeded = told(flock(file, LOCK_SH) == 0);
  close(file);
  return succeeded;
}

static bool waits_for_a_child(void) {
  int status;
  pid_t child = fork();
  CHECK_INT(child, >=, 0);
  if (child == 0) {
    usleep(500);
    _exit(3);
  }
  while (waitpid(child, &status, 0) != child) told(false);
  CHECK_INT(WEXITSTATUS(status), ==, 3);
  return true;
}

static bool runs_a_command(void) {
  int status = system("exit 5");
  if (status != -1) CHECK(WEXITSTATUS(status) == 5 || WEXITSTATUS(status) == 127);
  return told(status != -1) && WEXITSTATUS(status) == 5;
}

static bool reads_a_command(void) {
  FILE* pipe = popen("exit 6", "r");
  if (!told(pipe != NULL)) return false;
  int status = pclose(pipe);
  return told(status != -1) && WEXITSTATUS(status) == 6;
}

static bool sends_a_file(void) {
  char data[8];
  int file = open("/proc/self/exe", O_RDONLY), own[2];  // The thread may have filled the others.
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, own), ==, 0);
  bool succeeded = told(sendfile(own[1], file, NULL, 1) == 1) && told(read(own[0], data, 1) == 1);
  close(own[0]);
  close(own[1]);
  close(file);
  return succeeded;
}

typedef struct {
  const char* name;
  bool (*call)(void);
} one;

static const one ALL[] = {
    {"sleep", sleeps},
    {"read", reads},
    {"recvmmsg", receives},
    {"poll", polls},
    {"select", selects},
    {"epoll_wait", waits_for_a_set},
    {"connect", connects_and_accepts},
    {"getaddrinfo", looks_up},
    {"getnameinfo", names},
    {"gethostbyname", looks_up_in_the_old_way},
    {"gethostbyname_r", looks_up_into_a_buffer},
    {"flock", locks_a_file},
    {"waitpid", waits_for_a_child},
    {"system", runs_a_command},
    {"popen", reads_a_command},
    {"sendfile", sends_a_file},
};

// ---- one failure after another

static unsigned writing;

// A thread: what it gives does not depend on the tasks.
static void* gives(void* argument) {
  (void)argument;
  while (__atomic_load_n(&writing, __ATOMIC_ACQUIRE)) {
    (void)!send(ends[1], "x", 1, MSG_DONTWAIT);
    usleep(300);
  }
  return NULL;
}

static bool call_with_failure(const one* it, int number) {
  __atomic_store_n(&to_failure, number, __ATOMIC_RELAXED);
  bool succeeded = it->call();
  bool has_failed = __atomic_exchange_n(&to_failure, -1, __ATOMIC_RELAXED) < 0;
  if (!has_failed) CHECK(succeeded);
  // It works when there is memory.
  CHECK(it->call());
  return has_failed;
}

static void every_allocation_fails_once(void) {
  enum { MOST_ALLOCATIONS = 400 };
  socklen_t length = sizeof address;
  pthread_t thread;
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  listener = socket(AF_INET, SOCK_STREAM, 0);
  CHECK_INT(bind(listener, (struct sockaddr*)&address, length), ==, 0);
  CHECK_INT(listen(listener, 100), ==, 0);
  CHECK_INT(getsockname(listener, (struct sockaddr*)&address, &length), ==, 0);
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
  writing = 1;
  CHECK_INT(pthread_create(&thread, NULL, gives, NULL), ==, 0);
  start_ticker();
  for (size_t i = 0; i < sizeof ALL / sizeof ALL[0]; i++) {
    int number = 0;
    while (call_with_failure(&ALL[i], number)) CHECK_INT(++number, <, MOST_ALLOCATIONS);
    fprintf(stderr, "%s: %d allocations\n", ALL[i].name, number);
  }
  stop_ticker(1);
  __atomic_store_n(&writing, 0, __ATOMIC_RELEASE);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
  close(listener);
  close(ends[0]);
  close(ends[1]);
}

int main(void) {
  mj_log_set_level(MJ_LOG_ERROR);
  RUN_HOOKED(every_allocation_fails_once);
  return 0;
}
