// The scenarios of posts: of a task, of a thread that the scheduler's own waits for, so that calls come in one
// order, and of one that wakes the loop. A post that was accepted runs once, however late its task gets the
// memory for a stack, or is abandoned once, when the scheduler is destroyed.
#ifndef POSTS_H
#define POSTS_H

enum { POSTS = 12 };

typedef struct one_post {
  mj_post_node node;
  bool accepted;
  unsigned runs, abandons;
} one_post;

static one_post all_posts[POSTS];
static mj_remote* posts_remote;
static mj_task_id waits_for_thread;
static pthread_t late_thread;

static void prepare_posts(mj_scheduler* scheduler) {
  memset(all_posts, 0, sizeof all_posts);
  posts_remote = mj_scheduler_remote(scheduler);
}

static void runs_post(void* argument) {
  one_post* post = argument;
  post->runs++;
  if ((post - all_posts) % 2 == 0) mj_task_yield();
  ended++;
}

static void abandons_post(void* argument) { ((one_post*)argument)->abandons++; }

static void leave_posts(size_t first, size_t count) {
  for (one_post* post = &all_posts[first]; post < &all_posts[first + count]; post++) {
    int result;
    if ((post - all_posts) % 3 == 0) {
      result = mj_post_with_node(posts_remote, &post->node, runs_post, post, abandons_post);
      CHECK_INT(result, ==, 0);  // It needs nothing that may fail.
    } else {
      result = mj_post(posts_remote, runs_post, post, abandons_post);
      CHECK_ALLOWED(result);
    }
    post->accepted = result == 0;
    if (result == 0) created++;
  }
}

static void* leaves_three(void* first) {
  leave_posts(*(size_t*)first, 3);
  return NULL;
}

static void leave_by_thread(size_t first) {
  pthread_t thread;
  CHECK_INT(pthread_create(&thread, NULL, leaves_three, &first), ==, 0);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
}

static void posts_in_task(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  leave_posts(3, 3);
  leave_by_thread(6);
  end();
}

// When the loop is asleep, unless a fault keeps it awake.
static void* leaves_late(void* unused) {
  struct timespec soon = {0, 1000000};
  nanosleep(&soon, NULL);
  leave_posts(9, 3);
  CHECK_ALLOWED(mj_remote_wake(posts_remote, waits_for_thread));
  return unused;
}

static void parks_until_posts(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  CHECK_ALLOWED_OR_LATE(mj_task_park(50000000));
  end();
}

static void post_and_run(mj_scheduler** scheduler) {
  leave_posts(0, 3);
  spawn(*scheduler, posts_in_task, 0);
  mj_task* parked = spawn(*scheduler, parks_until_posts, 0);
  waits_for_thread = parked != NULL ? mj_task_get_id(parked) : 1;
  CHECK_INT(pthread_create(&late_thread, NULL, leaves_late, NULL), ==, 0);
  run(*scheduler);
  CHECK_INT(pthread_join(late_thread, NULL), ==, 0);
}

// Not one of them is lost, nor runs twice.
static void all_have_run(void) {
  mj_remote_release(posts_remote);
  for (int i = 0; i < POSTS; i++) {
    CHECK_UINT(all_posts[i].runs, ==, all_posts[i].accepted ? 1u : 0u);
    CHECK_UINT(all_posts[i].abandons, ==, 0);
  }
}

// ---- to a scheduler that is destroyed

static void post_and_destroy(mj_scheduler** scheduler) {
  leave_posts(0, 3);
  spawn(*scheduler, posts_in_task, 0);
  spawn(*scheduler, stops_soon, 0);
  run(*scheduler);
  leave_by_thread(9);
  mj_scheduler_destroy(*scheduler);
  *scheduler = NULL;
  static mj_post_node too_late;
  CHECK_INT(mj_post_with_node(posts_remote, &too_late, runs_post, NULL, abandons_post), ==, -EPIPE);
}

static void all_have_run_or_were_abandoned(void) {
  mj_remote_release(posts_remote);
  for (int i = 0; i < POSTS; i++) {
    CHECK_UINT(all_posts[i].runs + all_posts[i].abandons, ==, all_posts[i].accepted ? 1u : 0u);
  }
}

#endif  // POSTS_H
