// A wait function of your own: timers, a socket and the library's descriptors in one epoll set.
//
// Links with -lmajjen -pthread. `make examples` builds and runs it.
//
// The library's mj_wait_epoll() does as much by itself. Write one like this when there is an event
// loop already, or an event source that the library does not support: any descriptor that can be in
// an epoll set can wake a task.
//
// Two tasks answer the questions of a thread that simulates the outside world. One waits through
// the epoll set below, the other by mj_task_wait_fd(); a third one only sleeps. In the end the
// thread stops the scheduler.
#define _POSIX_C_SOURCE 200809L
#include "majjen.h"

#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define QUESTIONS 100
#define TICK_NS UINT64_C(2500000)

// The source of an event in the epoll set.
enum source { TIMER, LIBRARY, SOCKET, SOURCES };

// The wait function's data. It outlives the tasks, which find it in scheduler->wait_data: a task's
// own user_state would be freed when the task ends.
typedef struct hybrid {
  int epoll_fd;
  int timer_fd;
  int sockets[2];  // the end of the task that waits through the epoll set, and the thread's end
  mj_task* reader;  // the task to wake when the socket is readable, while it waits
  int library_sockets[2];  // for the task that waits by mj_task_wait_fd()
  mj_scheduler* scheduler;
  unsigned events[SOURCES];
  unsigned answered;
  unsigned answered_by_library;
  uint64_t ticks;
  uint64_t latest_tick_ns;
  bool failed;
} hybrid;

// ---- The wait function

// Waits for at most `timeout_ns`. Called when no task is ready, and from time to time with a
// timeout of 0 while tasks are ready.
static int wait_hybrid(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  hybrid* h = user_data;

  // The timer turns the timeout into one more descriptor, exact to the nanosecond; epoll_wait()
  // itself counts in milliseconds. Zeros disarm it. Either way setting it makes it unreadable
  // again, so it need not be read.
  if (timeout_ns > 0) {
    struct itimerspec limit = {{0, 0}, {0, 0}};
    if (timeout_ns != MJ_FOREVER) {
      limit.it_value.tv_sec = (time_t)(timeout_ns / 1000000000);
      limit.it_value.tv_nsec = (long)(timeout_ns % 1000000000);
    }
    if (timerfd_settime(h->timer_fd, 0, &limit, NULL) != 0) {
      MJ_ERROR("timerfd_settime: %s", strerror(errno));
      return -1;
    }
  }

  struct epoll_event events[SOURCES];
  int count = epoll_wait(h->epoll_fd, events, SOURCES, timeout_ns == 0 ? 0 : -1);
  if (count < 0) {
    if (errno == EINTR) return 0;  // Returning early is always allowed: the loop calls again.
    MJ_ERROR("epoll_wait: %s", strerror(errno));
    return -1;
  }

  int happened = 0;
  for (int i = 0; i < count; i++) {
    const enum source source = (enum source)events[i].data.u32;
    h->events[source]++;
    if (source == SOCKET && h->reader != NULL) {
      mj_scheduler_enqueue(scheduler, h->reader);
      scheduler->metrics.io_events++;
    }
    // The others need nothing here. When the timer expires, the loop knows which tasks are due;
    // when the library's descriptor is readable, because of mj_scheduler_stop() or a descriptor
    // that tasks wait for, the loop handles it.
    if (source != TIMER) happened++;
  }
  return happened;
}

static int watch(const hybrid* h, int fd, uint32_t events, enum source source) {
  struct epoll_event event = {.events = events, .data = {.u32 = source}};
  return epoll_ctl(h->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

// Suspends the running task until the wait function has seen an event on the socket.
static int wait_for_socket(hybrid* h) {
  h->reader = mj_task_current();
  int result = mj_sleep_ns(MJ_FOREVER);  // Only mj_scheduler_enqueue() ends it, which is -EINTR.
  h->reader = NULL;
  return result == -EINTR ? 0 : result;
}

// ---- The tasks

// Ends the run after an error.
static void give_up(hybrid* h, const char* what) {
  MJ_ERROR("%s: %s", what, strerror(errno));
  h->failed = true;
  mj_scheduler_stop(h->scheduler);
}

// Answers one question. Returns 1, 0 if there is none yet, or -1.
static int answer(hybrid* h, int fd) {
  uint32_t number;
  ssize_t length = recv(fd, &number, sizeof number, MSG_DONTWAIT);
  if (length < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
  number++;
  if (length != sizeof number ||
      send(fd, &number, sizeof number, MSG_DONTWAIT | MSG_NOSIGNAL) != sizeof number) {
    give_up(h, "the socket");
    return -1;
  }
  return 1;
}

// The socket is in the epoll set edge-triggered: an event means that new data has arrived, not that
// some is left. So the task reads everything before it waits; what arrives in between raises
// another event.
static void answer_by_hybrid(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  hybrid* h = scheduler->wait_data;
  int result;
  while ((result = answer(h, h->sockets[0])) >= 0) {
    if (result > 0) {
      h->answered++;
    } else if (wait_for_socket(h) != 0) {
      break;
    }
  }
  mj_task_exit();
}

// The same with mj_task_wait_fd(). The library has its own epoll set, whose descriptor becomes
// readable when a descriptor in it is ready: that is the one that the wait function watches as
// LIBRARY.
static void answer_by_library(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  hybrid* h = scheduler->wait_data;
  int result;
  while ((result = answer(h, h->library_sockets[0])) >= 0) {
    if (result > 0) {
      h->answered_by_library++;
    } else if (mj_task_wait_fd(h->library_sockets[0], POLLIN, MJ_FOREVER) < 0) {
      break;
    }
  }
  mj_task_exit();
}

static void tick(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  hybrid* h = scheduler->wait_data;
  // Until a deadline, not for a duration: when one tick is late, the next is not.
  uint64_t due_ns = mj_scheduler_now_ns(scheduler) + TICK_NS;
  while (mj_task_sleep_until_ns(due_ns) == 0) {
    uint64_t late_ns = mj_scheduler_now_ns(scheduler) - due_ns;
    if (late_ns > h->latest_tick_ns) h->latest_tick_ns = late_ns;
    h->ticks++;
    due_ns += TICK_NS;
  }
  mj_task_exit();
}

// ---- The outside world

static bool ask(int fd, uint32_t number) {
  uint32_t reply;
  return send(fd, &number, sizeof number, MSG_NOSIGNAL) == sizeof number &&
         recv(fd, &reply, sizeof reply, 0) == sizeof reply && reply == number + 1;
}

static void* outside(void* argument) {
  hybrid* h = argument;
  bool answered = true;
  for (uint32_t i = 0; answered && i < QUESTIONS; i++) {
    struct timespec pause = {0, 1000000};
    nanosleep(&pause, NULL);
    answered = ask(h->sockets[1], i) && ask(h->library_sockets[1], i);
  }
  // One of the few calls that another thread may make.
  mj_scheduler_stop(h->scheduler);
  return NULL;
}

// ---- Putting it together

static void close_all(const int* fds, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (fds[i] >= 0) close(fds[i]);
  }
}

static int run(hybrid* h) {
  h->scheduler = mj_scheduler_create();
  if (h->scheduler == NULL) return -1;
  h->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  h->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  const int kind = SOCK_SEQPACKET | SOCK_CLOEXEC;
  if (h->epoll_fd < 0 || h->timer_fd < 0 || socketpair(AF_UNIX, kind, 0, h->sockets) != 0 ||
      socketpair(AF_UNIX, kind, 0, h->library_sockets) != 0) {
    return -1;
  }
  if (watch(h, h->timer_fd, EPOLLIN, TIMER) != 0 ||
      watch(h, mj_scheduler_backend_fd(h->scheduler), EPOLLIN, LIBRARY) != 0 ||
      watch(h, h->sockets[0], EPOLLIN | EPOLLET, SOCKET) != 0) {
    return -1;
  }
  mj_scheduler_set_wait_func(h->scheduler, wait_hybrid, h);
  if (mj_create_task(h->scheduler, answer_by_hybrid, NULL) == NULL ||
      mj_create_task(h->scheduler, answer_by_library, NULL) == NULL ||
      mj_create_task(h->scheduler, tick, NULL) == NULL) {
    return -1;
  }

  pthread_t thread;
  int error = pthread_create(&thread, NULL, outside, h);
  if (error != 0) {
    errno = error;
    return -1;
  }
  mj_scheduler_run(h->scheduler);
  // If the run ended early, the thread still waits for an answer: now it sees the end of the
  // connection.
  shutdown(h->sockets[0], SHUT_RDWR);
  shutdown(h->library_sockets[0], SHUT_RDWR);
  pthread_join(thread, NULL);
  return 0;
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  hybrid h = {.epoll_fd = -1, .timer_fd = -1, .sockets = {-1, -1}, .library_sockets = {-1, -1}};
  bool done = run(&h) == 0;
  if (!done) fprintf(stderr, "wait_hybrid: %s\n", strerror(errno));
  mj_scheduler_destroy(h.scheduler);
  close_all((int[]){h.epoll_fd, h.timer_fd}, 2);
  close_all(h.sockets, 2);
  close_all(h.library_sockets, 2);

  done = done && !h.failed && h.answered == QUESTIONS && h.answered_by_library == QUESTIONS;
  printf("%u questions answered by the epoll set, %u by the library, of %d each\n", h.answered,
         h.answered_by_library, QUESTIONS);
  printf("events: %u of the timer, %u of the library, %u of the socket\n", h.events[TIMER],
         h.events[LIBRARY], h.events[SOCKET]);
  printf("%" PRIu64 " ticks, at most %" PRIu64 " us late\n", h.ticks, h.latest_tick_ns / 1000);
  return done ? 0 : 1;
}
