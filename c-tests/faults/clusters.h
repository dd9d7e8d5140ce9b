// The scenarios of clusters: made, given work before and after the start, with calls between cores, a group and
// connections, stopped and joined. Whatever fails, no thread, descriptor or block is left, and each function that was
// accepted is called or abandoned once.
#ifndef CLUSTERS_H
#define CLUSTERS_H

enum { CORES = 3, GIVEN = 9 };

static mj_cluster* swept_cluster;
static unsigned of_cluster_accepted, of_cluster_begun, of_cluster_answered;

// Or it is abandoned.
static void is_begun(void* unused) {
  (void)unused;
  __atomic_add_fetch(&of_cluster_begun, 1, __ATOMIC_RELAXED);
}

static int threads_of_this_process(void) {
  is_spared = true;
  DIR* directory = opendir("/proc/self/task");
  CHECK(directory != NULL);
  int count = 0;
  while (readdir(directory) != NULL) count++;
  closedir(directory);
  is_spared = false;
  return count - 2;
}

// A thread that was joined may be listed a little longer.
static void only_these_threads_are_left(int before) {
  for (int i = 0; i < 1000 && threads_of_this_process() != before; i++) usleep(1000);
  CHECK_INT(threads_of_this_process(), ==, before);
}

// The caller is canceled in the end, or a core is lost to it.
static void call_is_allowed(int result) {
  bool is_over = result == -ECANCELED || result == -EPIPE;
  if (!is_over || fault.failed == 0) CHECK_ALLOWED(result);
}

static int adds_one(void* number) {
  mj_task_yield();
  ++*(int*)number;
  return 7;
}

static void calls_the_next(void* unused) {
  is_begun(unused);
  int number = 1, result = 0;
  size_t next = (size_t)(mj_cluster_here(swept_cluster) + 1) % CORES;
  int called = mj_cluster_call(swept_cluster, next, adds_one, &number, MJ_FOREVER, &result);
  call_is_allowed(called);
  if (called == 0) CHECK(number == 2 && result == 7);
}

// Its scheduler may be destroyed before it has ended.
static struct members {
  mj_group* group;
  int numbers[CORES];
} members_of[2 * GIVEN];
static unsigned groups_made;

static void has_members_everywhere(void* unused) {
  is_begun(unused);
  struct members* of = &members_of[__atomic_fetch_add(&groups_made, 1, __ATOMIC_RELAXED)];
  of->group = mj_group_create(mj_scheduler_current(), 2);
  if (of->group == NULL) {
    CHECK_ALLOWED(-errno);
    return;
  }
  for (size_t core = 0; core < CORES; core++) {
    call_is_allowed(mj_cluster_group_go(swept_cluster, core, of->group, adds_one,
                                        &of->numbers[core], MJ_FOREVER));
  }
  call_is_allowed(mj_group_wait(of->group, MJ_FOREVER));
  for (int i = 0; i < CORES; i++) CHECK(fault.failed > 0 || of->numbers[i] == 1);
}

static void close_of_connection(void* fd) { close((int)(intptr_t)fd); }

static void* takes_connection(int fd, void* unused) {
  (void)unused;
  if (mj_task_defer(close_of_connection, (void*)(intptr_t)fd) != 0) return NULL;
  return malloc(1);
}

static void answers_once(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  end();
}

static void gives_to_all(void) {
  for (size_t i = 0; i < GIVEN; i++) {
    mj_go_fn function = i % 3 == 0 ? calls_the_next : i % 3 == 1 ? has_members_everywhere : is_begun;
    int result = mj_cluster_go(swept_cluster, i % CORES, function, NULL, is_begun);
    call_is_allowed(result);
    if (result == 0) of_cluster_accepted++;
  }
}

// Whether it was closed by its handler in time.
static bool is_served(int port) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  struct pollfd one = {.fd = fd, .events = POLLIN};
  bool is_connected = connect(fd, (struct sockaddr*)&to, sizeof to) == 0, is_over = false;
  for (int i = 0; is_connected && !is_over && i < (fault.failed > 0 ? 5 : 2000); i++) {
    is_over = poll(&one, 1, 10) == 1;
  }
  close(fd);
  return is_over;
}

static void* joins_cluster(void* has_ended) {
  int result = mj_cluster_join(swept_cluster);
  if (fault.failed == 0) CHECK_INT(result, ==, 0);
  __atomic_store_n((bool*)has_ended, true, __ATOMIC_RELEASE);
  return NULL;
}

// One that cannot hold signals off does not begin. When it can, it does.
static void* runs_cluster(void* has_ended) {
  int result = mj_cluster_run(swept_cluster, 0);
  CHECK_ALLOWED(result);
  if (result < 0 && mj_cluster_join(swept_cluster) == -EINVAL) {
    fault.length = 0;
    CHECK_INT(mj_cluster_run(swept_cluster, 0), ==, 0);
  }
  __atomic_store_n((bool*)has_ended, true, __ATOMIC_RELEASE);
  return NULL;
}

// A cluster that does not end for a reason that it has logged loses its tasks; any other one has 5 s. Where nothing has
// failed, the tasks are given the time that they need beside other load: they end by themselves.
static void end_of_cluster(void* (*joins)(void*)) {
  bool has_ended = false;
  pthread_t joiner;
  const uint64_t grace_ns = fault.failed > 0 ? 20000000 : UINT64_C(4000000000);
  CHECK_INT(mj_cluster_stop(swept_cluster, grace_ns), ==, 0);
  is_spared = true;
  CHECK_INT(pthread_create(&joiner, NULL, joins, &has_ended), ==, 0);
  is_spared = false;
  for (int ms = 0; !__atomic_load_n(&has_ended, __ATOMIC_ACQUIRE); ms++) {
    usleep(1000);
    bool stalls = ms > 100 && fault.length == ULONG_MAX && error_lines > 0;
    if (stalls || ms == 5000) {
      if (!stalls) CHECK(fault.failed > 0 && error_lines > 0);
      for (int i = 0; i < 2; i++) CHECK_INT(mj_cluster_stop(swept_cluster, 0), ==, 0);
      if (joins == runs_cluster) fault.length = 0;  // It begins when there is memory, and ends then.
      break;
    }
  }
  CHECK_INT(pthread_join(joiner, NULL), ==, 0);
}

// How many processors there are is found out. Not on a large machine: each core is as much again to sweep.
static void make_one_of_all_cores(void) {
  cpu_set_t may;
  if (sched_getaffinity(0, sizeof may, &may) != 0 || CPU_COUNT(&may) > CORES) return;
  mj_cluster* cluster = mj_cluster_create(&(mj_cluster_options){.cores = MJ_ALL_CORES});
  if (cluster != NULL) CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
}

// Makes a cluster, has it used until its end, and looks that nothing is left.
static void sweep_cluster(size_t cores, void (*use)(void), void* (*joins)(void*)) {
  // A cluster is made of threads.
  if (fault.call == PTHREAD_CREATE) fault.harmless = false;
  of_cluster_accepted = of_cluster_begun = of_cluster_answered = groups_made = 0;
  int threads = threads_of_this_process();
  swept_cluster = mj_cluster_create(&(mj_cluster_options){.cores = cores});
  if (swept_cluster == NULL) {
    // What the C library lacks for a thread it calls EAGAIN.
    if (errno != EAGAIN || fault.failed == 0) CHECK_ALLOWED(-errno);
    only_these_threads_are_left(threads);
  } else {
    use();
    end_of_cluster(joins);
    CHECK_INT(mj_cluster_destroy(swept_cluster), ==, 0);
    only_these_threads_are_left(threads);
    for (unsigned i = 0; i < groups_made; i++) {
      if (members_of[i].group != NULL) CHECK_INT(mj_group_destroy(members_of[i].group), ==, 0);
    }
    CHECK_UINT(of_cluster_begun, ==, of_cluster_accepted);
  }
  ended = created;
}

static void give_work_and_connect(void) {
  const mj_service service = {.handler = answers_once, .connection = takes_connection};
  int port = mj_cluster_listen(swept_cluster, "127.0.0.1", "0", &service);
  CHECK_ALLOWED(port);
  gives_to_all();
  CHECK_INT(mj_cluster_start(swept_cluster), ==, 0);
  gives_to_all();
  for (int i = 0; i < 4 && port > 0; i++) of_cluster_answered += is_served(port);
  if (fault.failed == 0 || fault.harmless) CHECK_UINT(of_cluster_answered, ==, 4);
  if (fault.failed == 0 || fault.harmless) CHECK_UINT(of_cluster_accepted, ==, 2 * GIVEN);
}

static void use_cluster(mj_scheduler** scheduler) {
  (void)scheduler;
  struct itimerval tenth = {{0, 100000}, {0, 100000}}, never = {{0, 0}, {0, 0}};
  int threads = threads_of_this_process();
  make_one_of_all_cores();
  only_these_threads_are_left(threads);  // Else the next count might have one of them.
  alarms = 0;
  setitimer(ITIMER_REAL, &tenth, NULL);
  sweep_cluster(CORES, give_work_and_connect, joins_cluster);
  only_these_threads_are_left(threads);
  setitimer(ITIMER_REAL, &never, NULL);
}

// A core ends while a member of its group is on its way to another one, or runs there.
static void ends_with_a_member(void* unused) {
  is_begun(unused);
  struct members* of = &members_of[0];
  of->group = mj_group_create(mj_scheduler_current(), 1);
  if (of->group != NULL) {
    groups_made = 1;
    call_is_allowed(mj_cluster_group_go(swept_cluster, 1, of->group, adds_one, &of->numbers[1],
                                        MJ_FOREVER));
  }
  CHECK_INT(mj_scheduler_stop(mj_scheduler_current()), ==, 0);
}

static void lose_a_core(void) {
  int result = mj_cluster_go(swept_cluster, 0, ends_with_a_member, NULL, is_begun);
  call_is_allowed(result);
  if (result == 0) of_cluster_accepted++;
  CHECK_INT(mj_cluster_start(swept_cluster), ==, 0);
}

static void use_cluster_that_loses_a_core(mj_scheduler** scheduler) {
  (void)scheduler;
  sweep_cluster(2, lose_a_core, joins_cluster);
}

static bool are_signals_held_off(void) {
  struct sigaction now[2];
  CHECK_INT(sigaction(SIGINT, NULL, &now[0]), ==, 0);
  CHECK_INT(sigaction(SIGTERM, NULL, &now[1]), ==, 0);
  CHECK((now[0].sa_handler == SIG_DFL) == (now[1].sa_handler == SIG_DFL));
  return now[0].sa_handler != SIG_DFL;
}

static void is_begun_behind_signals(void* unused) {
  CHECK(are_signals_held_off());
  is_begun(unused);
}

static void give_to_one(void) {
  int result = mj_cluster_go(swept_cluster, 0, is_begun_behind_signals, NULL, is_begun);
  call_is_allowed(result);
  if (result == 0) of_cluster_accepted++;
}

static void run_cluster(mj_scheduler** scheduler) {
  (void)scheduler;
  sweep_cluster(1, give_to_one, runs_cluster);
  CHECK(!are_signals_held_off());
}

#endif  // CLUSTERS_H
