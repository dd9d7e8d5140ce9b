// Row 14 for contenders written in C: what a test does and how it is checked, so that each contender only adds how work
// gets to a core, or a message from one to the other.
//
// `held connections=N cores=N`: so many connections, each of which is told the index of the core that serves it.
// `made count=N cores=N rounds=N`: so many tasks, each of which computes.
// `round_trips count=N`: a number to another core, and the next one back, one at a time.
// `messages count=N`: numbers from one core to another, as many as it takes.
#ifndef CORES_H
#define CORES_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "contender.h"

// ---- computing, that no compiler shortens and whose result shows that it was done

enum { SEEDS = 16 };

static inline uint64_t crunch(uint64_t seed, uint64_t rounds) {
  uint64_t state = 0x9E3779B97F4A7C15u + seed;
  for (; rounds > 0; rounds--) next_random(&state);
  return state;
}

// ---- held

static struct {
  uint64_t connections, cores, *served;
  int *fds;
} held;

static inline void begin_held(void) {
  held.connections = argument("connections");
  held.cores = argument("cores");
  held.served = (uint64_t *)calloc(held.cores, sizeof *held.served);
  held.fds = (int *)calloc(held.connections, sizeof *held.fds);
  if (held.served == NULL || held.fds == NULL) fail("memory");
}

// Connects all clients, and then reads from each who serves it.
static inline void hold_connections(uint16_t port) {
  struct sockaddr_in address;
  memset(&address, 0, sizeof address);
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  for (uint64_t i = 0; i < held.connections; i++) {
    held.fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (held.fds[i] < 0 || connect(held.fds[i], (struct sockaddr *)&address, sizeof address) != 0) fail("connect");
  }
  for (uint64_t i = 0; i < held.connections; i++) {
    unsigned char core;
    if (read(held.fds[i], &core, 1) != 1 || core >= held.cores) fail("a connection is not served");
    held.served[core]++;
  }
}

static inline void report_held(void) {
  uint64_t most = 0, all = 0;
  for (uint64_t core = 0; core < held.cores; core++) {
    all += held.served[core];
    if (held.served[core] > most) most = held.served[core];
  }
  report("work", (double)all);
  report("most_of_mean", (double)most * (double)held.cores / (double)all);
}

// ---- made

static struct {
  uint64_t count, cores, rounds, done, began_ns, ended_ns, began_cpu_ns, ended_cpu_ns, expected[SEEDS];
} made;

static inline void begin_made(void) {
  made.count = argument("count");
  made.cores = argument("cores");
  made.rounds = argument("rounds");
  for (uint64_t seed = 0; seed < SEEDS; seed++) made.expected[seed] = crunch(seed, made.rounds);
  made.began_cpu_ns = cpu_ns();
  made.began_ns = wall_ns();
}

// What each task does.
static inline void make_one(uint64_t index) {
  if (crunch(index % SEEDS, made.rounds) != made.expected[index % SEEDS]) fail("the result is wrong");
  if (__atomic_add_fetch(&made.done, 1, __ATOMIC_RELAXED) < made.count) return;
  made.ended_ns = wall_ns();
  made.ended_cpu_ns = cpu_ns();
}

static inline void report_made(void) {
  report("work", (double)made.done);
  report("ns", (double)(made.ended_ns - made.began_ns) / (double)made.count);
  report("cpu_ns", (double)(made.ended_cpu_ns - made.began_cpu_ns) / (double)made.count);
}

// ---- round_trips and messages

// The messages of `messages` that may be under way.
enum { MESSAGES = 16384 };

static struct {
  uint64_t count, began_wall_ns, began_cpu_ns;
} pair;

static inline void begin_pair(void) {
  pair.count = argument("count");
  pair.began_wall_ns = wall_ns();
  pair.began_cpu_ns = cpu_ns();
}

// Called where the last one has come. Each side is on a thread of its own.
static inline void report_pair(uint64_t done) {
  uint64_t wall = wall_ns() - pair.began_wall_ns, cpu = cpu_ns() - pair.began_cpu_ns;
  report("work", (double)done);
  report("ns", (double)wall / (double)pair.count);
  report("cpu_ns", (double)cpu / (double)pair.count);
  report("threads", 2);
}

static inline void check_sum(uint64_t sum) {
  if (sum != pair.count * (pair.count + 1) / 2) fail("the sum is wrong");
}

// ---- requests that compute. One is `GET /W/SS`: W is 1 for a heavy one, and SS its seed, in hexadecimal.

struct job {
  uint64_t seed, rounds, result;
};

// Where the request in a buffer that ends with a NUL is whole.
static inline int parse_job(const char *text, uint64_t rounds, struct job *job) {
  if (strstr(text, "\r\n\r\n") == NULL) return 0;
  if (strncmp(text, "GET /", 5) != 0) fail("a request is wrong");
  *job = (struct job){.seed = strtoull(text + 7, NULL, 16), .rounds = text[5] == '1' ? rounds : 0};
  return 1;
}

static inline size_t write_result(char *text, size_t bytes, const struct job *job) {
  return (size_t)snprintf(text, bytes,
                          "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 16\r\n\r\n%016llx",
                          (unsigned long long)job->result);
}

#endif
