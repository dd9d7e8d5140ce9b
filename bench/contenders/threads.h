// Row 11 for contenders written in C: what other threads do, so that each contender only adds how a function gets
// from one thread to the other.
//
// `posts count=N`: two threads leave N functions for the loop, which runs them.
// `post_once count=N idle=N`: one at a time, each after a pause in which the loop falls asleep; without `idle` the
// loop is busy, and only the call is measured.
#ifndef THREADS_H
#define THREADS_H

#include <pthread.h>
#include <sched.h>

#include "contender.h"

// ---- what a contender supplies

// Leaves `function` for the loop, from another thread. Returns 0 when there is no room.
static int thread_post(void (*function)(void *), void *argument);
// Runs the loop until `loop_stop` was called on its thread; with `busy` it never waits.
static void loop_run(int busy);
static void loop_stop(void);

// ---- the tests

enum { POSTERS = 2 };

static struct {
  uint64_t count, begun;
  int idle, answered;
  uint64_t posted_ns;
  int64_t *took_ns;
} posts;

static void count_post(void *argument) {
  (void)argument;
  if (++posts.begun == posts.count) loop_stop();
}

static void *post_many(void *argument) {
  (void)argument;
  for (uint64_t i = 0; i < posts.count / POSTERS; i++) {
    while (!thread_post(count_post, NULL)) sched_yield();
  }
  return NULL;
}

static void test_posts(void) {
  pthread_t threads[POSTERS];
  posts.count = argument("count");
  uint64_t began = wall_ns(), cpu_began = cpu_ns();
  for (int i = 0; i < POSTERS; i++) pthread_create(&threads[i], NULL, post_many, NULL);
  loop_run(0);
  uint64_t took = wall_ns() - began;
  for (int i = 0; i < POSTERS; i++) pthread_join(threads[i], NULL);
  report("work", (double)posts.begun);
  report("ns", (double)took / (double)posts.count);
  report("cpu_ns", (double)(cpu_ns() - cpu_began) / (double)posts.count);
}

static void answer_post(void *argument) {
  uint64_t which = (uint64_t)(uintptr_t)argument;
  if (posts.idle) posts.took_ns[which] = (int64_t)(wall_ns() - posts.posted_ns);
  __atomic_store_n(&posts.answered, 1, __ATOMIC_RELEASE);
  if (++posts.begun == posts.count) loop_stop();
}

static void *post_one_by_one(void *argument) {
  (void)argument;
  for (uint64_t i = 0; i < posts.count; i++) {
    usleep(posts.idle ? 500 : 20);
    __atomic_store_n(&posts.answered, 0, __ATOMIC_RELEASE);
    posts.posted_ns = wall_ns();
    if (!thread_post(answer_post, (void *)(uintptr_t)i)) fail("post");
    if (!posts.idle) posts.took_ns[i] = (int64_t)(wall_ns() - posts.posted_ns);
    while (!__atomic_load_n(&posts.answered, __ATOMIC_ACQUIRE)) sched_yield();
  }
  return NULL;
}

static void test_post_once(void) {
  pthread_t thread;
  posts.count = argument("count");
  posts.idle = argument("idle") != 0;
  posts.took_ns = (int64_t *)malloc(posts.count * sizeof *posts.took_ns);
  pthread_create(&thread, NULL, post_one_by_one, NULL);
  loop_run(!posts.idle);
  pthread_join(thread, NULL);
  report_lateness(posts.took_ns, posts.count);
}

// ---- `offload count=N tasks=N`: functions that do nothing, on a pool of threads

static struct {
  uint64_t count, tasks, done, index;
  int64_t *took_ns;
  uint64_t began_wall_ns, began_cpu_ns;
} offloads;

static void begin_offloads(void) {
  offloads.count = argument("count");
  offloads.tasks = argument("tasks");
  offloads.took_ns = (int64_t *)malloc(offloads.count * sizeof *offloads.took_ns);
}

// After the first tenth, in which the threads are made.
static inline void count_offload(uint64_t began_ns) {
  if (offloads.done == offloads.count / 10) {
    offloads.began_wall_ns = wall_ns();
    offloads.began_cpu_ns = cpu_ns();
  }
  offloads.took_ns[offloads.done++] = (int64_t)(wall_ns() - began_ns);
}

static void report_offloads(void) {
  uint64_t measured = offloads.count - offloads.count / 10;
  double cpu = (double)(cpu_ns() - offloads.began_cpu_ns), wall = (double)(wall_ns() - offloads.began_wall_ns);
  report("ns", wall / (double)measured);
  report("cpu_ns", cpu / (double)measured);
  report_lateness(offloads.took_ns, offloads.done);
}

#define THREAD_TESTS \
  {"posts", test_posts}, {"post_once", test_post_once}, {"offload", test_offload}

#endif
