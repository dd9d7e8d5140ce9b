// Hangs in the way that the argument names, after it has written "ready".
#include "majjen.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static mj_scheduler* scheduler;

static void name(const char* text) { mj_task_set_name(mj_task_current(), text); }

static void ready(void* unused) {
  (void)unused;
  name("tells");
  mj_task_sleep_ms(20);
  puts("ready");
  fflush(stdout);
}

static mj_task_id go(mj_go_fn function, void* argument) {
  mj_task_id id;
  if (mj_go(scheduler, function, argument, &id) != 0) abort();
  return id;
}

// ---- deadlock: a waits for a mutex that b holds, b for one that c holds, c for the end of a

static struct mj_mutex* mutexes[2];
static mj_task_id first;

__attribute__((noinline)) static void locks_what_b_has(void) {
  mj_mutex_lock(mutexes[0], MJ_FOREVER);
  __asm__ volatile("" ::: "memory");
}

static void a(void* unused) {
  (void)unused;
  name("a");
  mj_task_yield();
  locks_what_b_has();
}

static void b(void* unused) {
  (void)unused;
  name("b");
  mj_mutex_lock(mutexes[0], MJ_FOREVER);
  mj_task_yield();
  mj_mutex_lock(mutexes[1], MJ_FOREVER);
}

static void c(void* unused) {
  (void)unused;
  name("c");
  mj_mutex_lock(mutexes[1], MJ_FOREVER);
  mj_task_join(first, MJ_FOREVER);
}

static void d(void* unused) {
  (void)unused;
  name("late \033[31m\"");
  mj_task_yield();
  mj_mutex_lock(mutexes[1], 1000000000000ull);
}

static void deadlock(void) {
  for (int i = 0; i < 2; i++) mutexes[i] = mj_mutex_create(scheduler);
  first = go(a, NULL);
  go(b, NULL);
  go(c, NULL);
  go(d, NULL);
}

// ---- loop: a task that computes without end

static volatile long counter;

__attribute__((noinline)) static void computes(void) {
  for (;;) counter++;
}

static void loops(void* unused) {
  (void)unused;
  name("loops");
  mj_task_sleep_ms(40);
  computes();
}

static void sleeps(void* unused) {
  (void)unused;
  name("sleeps");
  mj_task_sleep_s(1000);
}

static void loop(void) {
  go(loops, NULL);
  go(sleeps, NULL);
}

// ---- read: a task that blocks its thread in read(2)

static int ends[2];

__attribute__((noinline)) static void reads_it(void) {
  char byte;
  if (read(ends[0], &byte, 1) < 0) abort();
}

static void reads(void* unused) {
  (void)unused;
  name("reads");
  mj_task_sleep_ms(40);
  reads_it();
}

static void blocked(void) {
  if (pipe(ends) != 0) abort();
  go(reads, NULL);
  go(sleeps, NULL);
}

// ---- message: a message is lost, since the two talk of different channels

static struct mj_chan* channels[2];

static void sender(void* unused) {
  int value = 1;
  (void)unused;
  name("sender");
  mj_chan_send(channels[0], &value, MJ_FOREVER);
}

static void receiver(void* unused) {
  int value;
  (void)unused;
  name("receiver");
  mj_chan_recv(channels[1], &value, MJ_FOREVER);
}

static void message(void) {
  for (int i = 0; i < 2; i++) channels[i] = mj_chan_create(scheduler, sizeof(int), 0);
  go(sender, NULL);
  go(receiver, NULL);
}

// ---- leak: tasks of which there are more and more

static void waits_for_ever(void* unused) {
  char byte;
  (void)unused;
  name("session");
  mj_read(ends[0], &byte, 1, MJ_FOREVER);
}

static void leaks(void* unused) {
  (void)unused;
  name("listener");
  for (int i = 0; i < 1000; i++) go(waits_for_ever, NULL);
  mj_task_sleep_s(1000);
}

static void leak(void) {
  if (pipe(ends) != 0) abort();
  go(leaks, NULL);
}

// ---- waits: every kind of wait

static struct mj_cond* condition;
static struct mj_sem* semaphore;
static struct mj_waitgroup* wait_group;
static struct mj_group* group;
static int listener = -1, connected = -1, local[2];

static void in_condition(void* unused) {
  (void)unused;
  name("condition");
  mj_mutex_lock(mutexes[0], MJ_FOREVER);
  mj_cond_wait(condition, mutexes[0], MJ_FOREVER);
}

static void in_semaphore(void* unused) {
  (void)unused;
  name("semaphore");
  mj_sem_acquire(semaphore, 3, MJ_FOREVER);
}

static void in_wait_group(void* unused) {
  (void)unused;
  name("wait group");
  mj_waitgroup_wait(wait_group, MJ_FOREVER);
}

static int member(void* unused) {
  (void)unused;
  name("member");
  mj_task_sleep_s(1000);
  return 0;
}

static void in_group(void* unused) {
  (void)unused;
  name("group");
  mj_group_go(group, member, NULL, MJ_FOREVER);
  mj_group_wait(group, MJ_FOREVER);
}

static void in_accept(void* unused) {
  (void)unused;
  name("accept");
  mj_accept(listener, NULL, NULL, MJ_FOREVER);
}

static void in_socket(void* unused) {
  char byte;
  (void)unused;
  name("socket");
  mj_read(connected, &byte, 1, 1000000000000ull);
}

static void in_local(void* unused) {
  (void)unused;
  name("local");
  mj_task_wait_fd(local[0], POLLIN | POLLPRI, MJ_FOREVER);
}

static void in_poll(void* unused) {
  struct pollfd polls[] = {{.fd = ends[0], .events = POLLIN}, {.fd = local[1], .events = POLLIN}};
  (void)unused;
  name("poll");
  mj_poll(polls, 2, MJ_FOREVER);
}

static void in_select(void* unused) {
  int value;
  mj_select_case cases[] = {
      {.op = MJ_SELECT_RECV, .chan = channels[0], .element = &value},
      {.op = MJ_SELECT_FD, .fd = ends[0], .events = POLLIN},
      {.op = MJ_SELECT_TASK, .task = first},
  };
  (void)unused;
  name("select");
  mj_select(cases, 3, MJ_FOREVER);
}

static void in_job(void* unused) {
  (void)unused;
  sleep(1000);
}

static void offloads(void* unused) {
  (void)unused;
  name("job");
  mj_offload(in_job, NULL, NULL, MJ_FOREVER);
}

static void waits(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  mj_scheduler_set_name(scheduler, "main\n");
  deadlock();
  condition = mj_cond_create(scheduler);
  mutexes[0] = mj_mutex_create(scheduler);
  semaphore = mj_sem_create(scheduler, 2);
  wait_group = mj_waitgroup_create(scheduler);
  mj_waitgroup_add(wait_group, 7);
  group = mj_group_create(scheduler, 0);
  channels[0] = mj_chan_create(scheduler, sizeof(int), 0);
  listener = socket(AF_INET, SOCK_STREAM, 0);
  connected = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(listener, (struct sockaddr*)&address, length) != 0 || listen(listener, 5) != 0 ||
      getsockname(listener, (struct sockaddr*)&address, &length) != 0 ||
      connect(connected, (struct sockaddr*)&address, length) != 0 || pipe(ends) != 0 ||
      socketpair(AF_UNIX, SOCK_STREAM, 0, local) != 0) {
    abort();
  }
  close(accept(listener, NULL, NULL) + 1000);  // What it returns stays open.
  printf("port %d\n", ntohs(address.sin_port));
  mj_go_fn all[] = {in_condition, in_semaphore, in_wait_group, in_group, in_accept, in_socket,
                    in_local,     in_poll,      in_select,     offloads, sleeps};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) go(all[i], NULL);
}

// ---- storm: tasks come and go as fast as they can, and each is named by its id

static void names_itself(void) {
  char text[24];
  snprintf(text, sizeof text, "t%llx", (unsigned long long)mj_task_get_id(mj_task_current()));
  name(text);
}

static void short_lived(void* unused) {
  (void)unused;
  names_itself();
  for (int i = 0; i < 3; i++) mj_task_yield();
}

static void breeds(void* unused) {
  (void)unused;
  names_itself();
  for (;;) {
    for (int i = 0; i < 100; i++) go(short_lived, NULL);
    for (int i = 0; i < 5; i++) mj_task_yield();
  }
}

// Waits for one permit more than there are, which are always others, of a semaphore in memory that was just
// another's: so a wait that is not read whole shows.
static void churns(void* unused) {
  static uint32_t permits;
  (void)unused;
  names_itself();
  for (;;) {
    uint32_t mine = ++permits % 1000000;
    struct mj_sem* sem = mj_sem_create(scheduler, mine);
    mj_sem_acquire(sem, mine + 1, 1000);
    mj_sem_destroy(sem);
  }
}

static void stays(void* unused) {
  (void)unused;
  names_itself();
  mj_task_sleep_s(1000);
}

static void storm(void) {
  for (int i = 0; i < 3; i++) go(breeds, NULL);
  for (int i = 0; i < 10; i++) go(stays, NULL);
  for (int i = 0; i < 500; i++) go(churns, NULL);
}

// Schedulers come and go, too, on another thread.
static void* makes_schedulers(void* unused) {
  (void)unused;
  for (;;) {
    mj_scheduler* made = mj_scheduler_create();
    for (int i = 0; i < 50; i++) mj_go(made, short_lived, NULL, NULL);
    mj_scheduler_run(made);
    mj_scheduler_destroy(made);
  }
  return NULL;
}

// ---- many: as many tasks as the second argument says, which wait

static void many(long count) {
  if (pipe(ends) != 0) abort();
  for (long i = 0; i < count; i++) {
    mj_go_fn function = i % 2 ? sleeps : waits_for_ever;
    go(function, NULL);
  }
}

// ---- paced: the same number, and one that has turns without end. How long these take of the processor at the 99th
// percentile, in nanoseconds, is a line for each fifth of a second in the file that the third argument names.

static FILE* paces;

static uint64_t cpu_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static int compare(const void* one, const void* other) {
  uint64_t a = *(const uint64_t*)one, b = *(const uint64_t*)other;
  return (a > b) - (a < b);
}

static void takes_turns(void* unused) {
  static uint64_t took[1 << 18];
  (void)unused;
  for (;;) {
    size_t count = 0;
    uint64_t end = cpu_ns() + 200000000;
    for (uint64_t before = 0; before < end && count < sizeof took / sizeof *took; count++) {
      before = cpu_ns();
      for (int i = 0; i < 10000; i++) counter++;
      mj_task_yield();
      took[count] = cpu_ns() - before;
    }
    qsort(took, count, sizeof *took, compare);
    fprintf(paces, "%llu\n", (unsigned long long)took[count * 99 / 100]);
    fflush(paces);
  }
}

static void paced(long count, const char* file) {
  paces = fopen(file, "w");
  if (paces == NULL) abort();
  many(count);
  go(takes_turns, NULL);
}

// ---- copies: a second copy of the library, from the file that the second argument names

static void sleeps_in_copy(void* sleep_ns) {
  ((int (*)(uint64_t))sleep_ns)(1000000000000ull);
}

static void* runs_a_copy(void* library) {
  mj_scheduler* (*create)(void) = (mj_scheduler * (*)(void)) dlsym(library, "mj_scheduler_create");
  int (*go_there)(mj_scheduler*, mj_go_fn, void*, mj_task_id*) =
      (int (*)(mj_scheduler*, mj_go_fn, void*, mj_task_id*))dlsym(library, "mj_go");
  void (*run)(mj_scheduler*) = (void (*)(mj_scheduler*))dlsym(library, "mj_scheduler_run");
  mj_scheduler* made = create();
  go_there(made, sleeps_in_copy, dlsym(library, "mj_sleep_ns"), NULL);
  run(made);
  return NULL;
}

// ---- clock: a scheduler with a clock of the program's, which began with 5 s

static uint64_t seconds_from_5(void* began) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return 5000000000 + (uint64_t)(now.tv_sec - ((struct timespec*)began)->tv_sec) * 1000000000;
}

static void with_clock(void) {
  static struct timespec began;
  clock_gettime(CLOCK_MONOTONIC, &began);
  if (mj_scheduler_set_clock(scheduler, seconds_from_5, &began) != 0) abort();
  go(sleeps, NULL);
}

static void aborts(void* unused) {
  struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
  (void)unused;
  name("aborts");
  mj_task_sleep_ms(30);
  setrlimit(RLIMIT_CORE, &limit);
  abort();
}

int main(int argc, char** argv) {
  const char* way = argc > 1 ? argv[1] : "";
  scheduler = mj_scheduler_create();
  if (strcmp(way, "deadlock") == 0) deadlock();
  if (strcmp(way, "loop") == 0) loop();
  if (strcmp(way, "read") == 0) blocked();
  if (strcmp(way, "message") == 0) message();
  if (strcmp(way, "leak") == 0) leak();
  if (strcmp(way, "waits") == 0) waits();
  if (strcmp(way, "many") == 0) many(atol(argv[2]));
  if (strcmp(way, "paced") == 0) paced(atol(argv[2]), argv[3]);
  if (strcmp(way, "clock") == 0) with_clock();
  if (strcmp(way, "core") == 0) {
    deadlock();
    go(aborts, NULL);
  }
  if (strcmp(way, "copies") == 0) {
    pthread_t thread;
    void* library = dlopen(argv[2], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) abort();
    deadlock();
    pthread_create(&thread, NULL, runs_a_copy, library);
  }
  if (strcmp(way, "storm") == 0) {
    pthread_t thread;
    storm();
    pthread_create(&thread, NULL, makes_schedulers, NULL);
  }
  go(ready, NULL);
  mj_scheduler_run(scheduler);
  for (;;) pause();  // A run that ends by deadlock leaves its tasks as they are.
}
