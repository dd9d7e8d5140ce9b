// A wait function for a POSIX message queue: another process sends, tasks take turns to receive.
//
// Links with -lmajjen -lrt. `make examples` builds and runs it.
//
// On Linux the queue is a descriptor, so mj_task_wait_fd(queue, POLLIN, timeout) would also do.
// This is the way for sources that need special handling, as this one does a little: each message
// wakes one task, and messages stay in the queue while no task is idle, so that a fast sender
// blocks instead of filling the memory.
#define _GNU_SOURCE
#include "majjen.h"

#include <fcntl.h>
#include <mqueue.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#define MESSAGES 1000
#define WORKERS 3

typedef struct message {
  uint32_t number;
} message;

// The wait function's data, which the tasks find in scheduler->wait_data.
typedef struct mailbox {
  mqd_t queue;
  mj_task* idle[WORKERS];  // the workers that wait for a message
  size_t idle_count;
  size_t workers;  // workers that have not ended
  bool sender_gone;
  int sender_gone_fd;  // readable (end of file) when the sender has ended
  bool failed;
  unsigned times_received[MESSAGES];
  unsigned received_by[WORKERS];
  unsigned ticks;
} mailbox;

// ---- The wait function

static void wake_one(mj_scheduler* scheduler, mailbox* box) {
  mj_scheduler_enqueue(scheduler, box->idle[--box->idle_count]);
}

static int wait_message_queue(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  mailbox* box = user_data;
  struct pollfd sources[] = {
      // The library's own: the loop handles it as soon as this function returns.
      {.fd = mj_scheduler_backend_fd(scheduler), .events = POLLIN},
      // While no worker is idle, messages are no reason to return. poll() ignores a negative
      // number.
      {.fd = box->idle_count > 0 ? box->queue : -1, .events = POLLIN},
  };
  struct timespec limit = {(time_t)(timeout_ns / 1000000000), (long)(timeout_ns % 1000000000)};
  int count = ppoll(sources, 2, timeout_ns == MJ_FOREVER ? NULL : &limit, NULL);
  if (count < 0) {
    if (errno == EINTR) return 0;
    MJ_ERROR("ppoll: %s", strerror(errno));
    return -1;
  }
  if (sources[1].revents != 0) {
    // If there are more messages, the next call wakes the next worker.
    wake_one(scheduler, box);
    scheduler->metrics.io_events++;
  }
  return count;
}

// Suspends the running worker until the wait function has seen a message.
static int wait_for_message(mailbox* box) {
  box->idle[box->idle_count++] = mj_task_current();
  int result = mj_sleep_ns(MJ_FOREVER);  // Only mj_scheduler_enqueue() ends it, which is -EINTR.
  return result == -EINTR ? 0 : result;
}

// ---- The tasks

static void work(mj_scheduler* scheduler, void* user_state) {
  mailbox* box = scheduler->wait_data;
  unsigned* received = &box->received_by[*(int*)user_state];
  for (;;) {
    message next;
    ssize_t length = mq_receive(box->queue, (char*)&next, sizeof next, NULL);
    if (length == sizeof next && next.number < MESSAGES) {
      box->times_received[next.number]++;
      ++*received;
      mj_task_sleep_ns(100000);  // The work. Other workers receive meanwhile.
    } else if (length < 0 && errno == EAGAIN) {
      // Empty. Everything that was sent has arrived, so once the sender has ended there will be no
      // more.
      if (box->sender_gone || wait_for_message(box) != 0) break;
    } else if (!(length < 0 && errno == EINTR)) {
      MJ_ERROR("mq_receive: %s", length < 0 ? strerror(errno) : "not a message of ours");
      box->failed = true;
      break;
    }
  }
  box->workers--;
  mj_task_exit();
}

// A message queue does not report that no process has it open for sending any more. A pipe reports
// end of file, however the process ends, and the library waits for that beside the queue.
static void await_the_senders_end(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  mailbox* box = scheduler->wait_data;
  char nothing;
  ssize_t length;
  do {
    mj_task_wait_readable(box->sender_gone_fd);
    length = read(box->sender_gone_fd, &nothing, 1);
  } while (length > 0 || (length < 0 && errno == EINTR));
  box->sender_gone = true;
  while (box->idle_count > 0) wake_one(scheduler, box);
  mj_task_exit();
}

static void tick(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  mailbox* box = scheduler->wait_data;
  while (box->workers > 0) {
    mj_task_sleep_ms(2);
    box->ticks++;
  }
  mj_task_exit();
}

// ---- The other process

static int send_all(mqd_t queue) {
  for (uint32_t i = 0; i < MESSAGES; i++) {
    message next = {i};
    // Blocks while the queue is full, but not for ever: it would not notice that the receiver has
    // died.
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 10;
    while (mq_timedsend(queue, (const char*)&next, sizeof next, 0, &limit) != 0) {
      if (errno == EINTR) continue;
      perror("wait_message_queue: mq_timedsend");
      return 1;
    }
    if (i % 100 == 99) {
      struct timespec pause = {0, 5000000};  // Now the workers must wait.
      nanosleep(&pause, NULL);
    }
  }
  return 0;
}

// ---- Putting it together

// Opens a new queue twice, since blocking is a property of the open queue: the receiver's calls do
// not block, the sender's do.
static int open_queue(mqd_t* receive, mqd_t* send) {
  char name[64];
  snprintf(name, sizeof name, "/majjen-wait-message-queue-%ld", (long)getpid());
  struct mq_attr attributes = {.mq_maxmsg = 10, .mq_msgsize = sizeof(message)};
  *receive = mq_open(name, O_RDONLY | O_CREAT | O_EXCL | O_NONBLOCK, 0600, &attributes);
  if (*receive == (mqd_t)-1) return -1;
  *send = mq_open(name, O_WRONLY);
  int error = errno;
  // From here on the queue exists as long as it is open, and leaves no name behind in any case.
  mq_unlink(name);
  errno = error;
  return *send == (mqd_t)-1 ? -1 : 0;
}

static int receive_all(mailbox* box) {
  mj_scheduler* scheduler = mj_scheduler_create();
  if (scheduler == NULL) return -1;
  mj_scheduler_set_wait_func(scheduler, wait_message_queue, box);
  bool created = mj_create_task(scheduler, await_the_senders_end, NULL) != NULL &&
                 mj_create_task(scheduler, tick, NULL) != NULL;
  for (int i = 0; created && i < WORKERS; i++) {
    int* index = malloc(sizeof *index);  // The task's user_state, freed when it ends.
    if (index != NULL) *index = i;
    created = index != NULL && mj_create_task(scheduler, work, index) != NULL;
    if (!created) free(index);
    box->workers += created;
  }
  if (created) mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
  return created ? 0 : -1;
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  static mailbox box;
  mqd_t sending;
  int alive[2];
  if (open_queue(&box.queue, &sending) != 0 || pipe(alive) != 0) {
    perror("wait_message_queue");
    return 1;
  }
  // Before a scheduler exists: a child of fork() would have a copy that shares its descriptors.
  pid_t sender = fork();
  if (sender < 0) {
    perror("wait_message_queue: fork");
    return 1;
  }
  if (sender == 0) {
    mq_close(box.queue);
    close(alive[0]);
    _exit(send_all(sending));
  }
  mq_close(sending);
  close(alive[1]);  // The sender's is the only one left.
  box.sender_gone_fd = alive[0];

  bool done = receive_all(&box) == 0;
  if (!done) perror("wait_message_queue");
  close(alive[0]);
  mq_close(box.queue);
  int status;
  done = waitpid(sender, &status, 0) == sender && status == 0 && done && !box.failed;

  unsigned received = 0, lost = 0, repeated = 0;
  for (int i = 0; i < MESSAGES; i++) {
    received += box.times_received[i];
    lost += box.times_received[i] == 0;
    repeated += box.times_received[i] > 1;
  }
  printf("%u messages from process %ld: %u lost, %u repeated\n", received, (long)sender, lost,
         repeated);
  printf("by worker: %u, %u, %u; %u ticks meanwhile\n", box.received_by[0], box.received_by[1],
         box.received_by[2], box.ticks);
  return done && lost == 0 && repeated == 0 ? 0 : 1;
}
