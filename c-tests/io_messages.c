// Messages: addresses, flags, control data, records, urgent bytes; and streams that end or are reset.
#define _GNU_SOURCE
#include "check.h"
#include "io.h"

#include <arpa/inet.h>
#include <sys/un.h>

// Runs a test with descriptors that the program owns, and with those that the library owns.
static bool owned;

static void own(const int fds[2]) {
  for (int i = 0; owned && i < 2; i++) CHECK_INT(mj_fd_adopt(fds[i]), ==, 0);
}

static void close_pair(const int fds[2]) {
  CHECK_INT(mj_fd_close(fds[0]), ==, 0);
  CHECK_INT(mj_fd_close(fds[1]), ==, 0);
}

// Waits once, so that an owned descriptor is registered and what has happened has been told.
static void read_nothing_from(int fd) {
  char byte;
  CHECK_CALL(mj_read(fd, &byte, 1, 100000), ==, -ETIMEDOUT);
}

// ---- Descriptors in messages ----

static void send_with_descriptor(int fd, const char* text, int sent) {
  union {
    struct cmsghdr header;
    char room[CMSG_SPACE(sizeof(int))];
  } control = {.header = {0}};
  struct iovec part = {(void*)(uintptr_t)text, strlen(text)};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (sent >= 0) {
    message.msg_control = control.room;
    message.msg_controllen = sizeof control.room;
    struct cmsghdr* header = CMSG_FIRSTHDR(&message);
    *header = (struct cmsghdr){
        .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(header), &sent, sizeof sent);
  }
  CHECK_CALL(mj_sendmsg(fd, &message, 0, MJ_FOREVER), ==, strlen(text));
}

static int receive_with_descriptor(int fd, char* bytes, size_t count, ssize_t expected) {
  union {
    struct cmsghdr header;
    char room[CMSG_SPACE(sizeof(int))];
  } control;
  struct iovec part = {bytes, count};
  struct msghdr message = {.msg_iov = &part,
                           .msg_iovlen = 1,
                           .msg_control = control.room,
                           .msg_controllen = sizeof control.room};
  CHECK_CALL(mj_recvmsg(fd, &message, MSG_CMSG_CLOEXEC, MJ_FOREVER), ==, expected);
  struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  int received = -1;
  if (header != NULL) memcpy(&received, CMSG_DATA(header), sizeof received);
  return received;
}

// A read stops at a message with descriptors, though bytes are left, and no event follows.
static void a_short_read_leaves_bytes(void) {
  for (int i = 0; i < 2; i++) {
    owned = i;
    int fds[2], sent[2];
    open_unix(fds);
    open_blocking_pipe(sent);
    own(fds);
    read_nothing_from(fds[0]);
    send_with_descriptor(fds[1], "abc", -1);
    send_with_descriptor(fds[1], "def", sent[0]);
    send_with_descriptor(fds[1], "ghi", -1);
    char bytes[16] = "";
    // All events have been told by now.
    mj_sleep_ns(100000);
    int received = receive_with_descriptor(fds[0], bytes, 16, 6);
    CHECK_INT(received, >=, 0);
    CHECK_STR(bytes, "abcdef");
    CHECK_AT_ONCE(mj_read(fds[0], bytes, 16, MJ_FOREVER), ==, 3);
    // The descriptors are lost to a read that does not ask for them, and the bytes are not.
    send_with_descriptor(fds[1], "abc", sent[0]);
    send_with_descriptor(fds[1], "def", -1);
    CHECK_CALL(mj_read(fds[0], bytes, 16, MJ_FOREVER), ==, 3);
    CHECK_AT_ONCE(mj_read(fds[0], bytes, 16, MJ_FOREVER), ==, 3);
    CHECK_INT(write(sent[1], "x", 1), ==, 1);
    CHECK_CALL(mj_read(received, bytes, 16, MJ_FOREVER), ==, 1);
    close(received);
    close_pair(sent);
    close_pair(fds);
  }
}

// ---- Urgent bytes ----

static void urgent_bytes(void) {
  for (int i = 0; i < 2; i++) {
    owned = i;
    int fds[2];
    open_tcp(fds);
    own(fds);
    char bytes[16] = "";
    read_nothing_from(fds[0]);
    CHECK_CALL(mj_recvfrom(fds[0], bytes, 1, MSG_OOB, NULL, NULL, MJ_FOREVER), ==, -EINVAL);
    for (int round = 0; round < 3; round++) {
      CHECK_CALL(mj_sendto(fds[1], "abc", 3, 0, NULL, 0, MJ_FOREVER), ==, 3);
      CHECK_CALL(mj_sendto(fds[1], "u", 1, MSG_OOB, NULL, 0, MJ_FOREVER), ==, 1);
      CHECK_CALL(mj_sendto(fds[1], "def", 3, 0, NULL, 0, MJ_FOREVER), ==, 3);
      mj_sleep_ns(2000000);
      // It stops at the mark.
      CHECK_CALL(mj_read(fds[0], bytes, 16, MJ_FOREVER), ==, 3);
      CHECK_AT_ONCE(mj_recvfrom(fds[0], bytes + 8, 1, MSG_OOB, NULL, NULL, MJ_FOREVER), ==, 1);
      CHECK_INT(bytes[8], ==, 'u');
      CHECK_AT_ONCE(mj_read(fds[0], bytes, 16, MJ_FOREVER), ==, 3);
      CHECK_INT(memcmp(bytes, "def", 3), ==, 0);
      read_nothing_from(fds[0]);
    }
    close_pair(fds);
  }
}

// Each piece of an urgent and an ordinary byte comes while a read waits.
static void a_read_beside_urgent_bytes(void) {
  int fds[2];
  open_tcp(fds);
  owned = true;
  own(fds);
  char bytes[16];
  for (int round = 0; round < 20; round++) {
    transfer reader;
    begin_transfer(&reader, reads, fds[0], bytes, 16, MJ_FOREVER);
    CHECK_INT(send(fds[1], "ab", 2, MSG_OOB), ==, 2);
    CHECK_INT(send(fds[1], "c", 1, 0), ==, 1);
    CHECK_INT(result_of_transfer(&reader), ==, 1);
    CHECK_INT(bytes[0], ==, 'a');
    CHECK_CALL(mj_read(fds[0], bytes, 16, MJ_FOREVER), ==, 1);
    CHECK_INT(bytes[0], ==, 'c');
  }
  close_pair(fds);
}

// ---- Records and datagrams ----

static void records_stay_records(void) {
  void (*open[])(int fds[2]) = {open_records, open_datagrams};
  for (int i = 0; i < 4; i++) {
    owned = i % 2;
    int fds[2];
    open[i / 2](fds);
    own(fds);
    char bytes[16] = "";
    read_nothing_from(fds[0]);
    const char* texts[] = {"one", "", "three", "4"};
    for (int n = 0; n < 4; n++) {
      CHECK_CALL(mj_write(fds[1], texts[n], strlen(texts[n]), MJ_FOREVER), ==, strlen(texts[n]));
    }
    // Nothing is taken by a read of no bytes.
    CHECK_CALL(mj_read(fds[0], bytes, 0, MJ_FOREVER), ==, 0);
    for (int n = 0; n < 4; n++) {
      ssize_t length = (ssize_t)strlen(texts[n]);
      CHECK_CALL(mj_recvfrom(fds[0], bytes, 16, MSG_PEEK, NULL, NULL, MJ_FOREVER), ==, length);
      CHECK_CALL(mj_recvfrom(fds[0], bytes, 2, MSG_TRUNC, NULL, NULL, MJ_FOREVER), ==, length);
      CHECK_INT(memcmp(bytes, texts[n], length < 2 ? (size_t)length : 2), ==, 0);
    }
    read_nothing_from(fds[0]);
    // A full queue.
    size_t count = 0;
    while (mj_write(fds[1], bytes, 16, 100000) == 16) count++;
    CHECK_UINT(count, >, 0);
    transfer writer;
    begin_transfer(&writer, writes, fds[1], bytes, 16, MJ_FOREVER);
    mj_sleep_ns(100000);
    check_waiting(&writer.call);
    for (size_t n = 0; n < count; n++) {
      CHECK_CALL(mj_read(fds[0], bytes, 16, MJ_FOREVER), ==, 16);
    }
    CHECK_INT(result_of_transfer(&writer), ==, 0);
    CHECK_CALL(mj_read(fds[0], bytes, 16, MJ_FOREVER), ==, 16);
    close_pair(fds);
  }
}

static int bound_udp(struct sockaddr_in* address) {
  socklen_t length = sizeof *address;
  *address = (struct sockaddr_in){.sin_family = AF_INET};
  address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  CHECK_INT(bind(fd, (struct sockaddr*)address, length), ==, 0);
  CHECK_INT(getsockname(fd, (struct sockaddr*)address, &length), ==, 0);
  return fd;
}

static void datagrams_with_addresses(void) {
  for (int i = 0; i < 2; i++) {
    owned = i;
    struct sockaddr_in addresses[2], from;
    int fds[2] = {bound_udp(&addresses[0]), bound_udp(&addresses[1])};
    own(fds);
    char bytes[16] = "";
    const struct sockaddr* to = (struct sockaddr*)&addresses[0];
    CHECK_CALL(mj_recvfrom(fds[0], bytes, 16, 0, NULL, NULL, 100000), ==, -ETIMEDOUT);
    for (int n = 0; n < 3; n++) {
      transfer receiver;
      begin_transfer(&receiver, receives, fds[0], bytes, 16, MJ_FOREVER);
      CHECK_CALL(mj_sendto(fds[1], "hi", 2, 0, to, sizeof addresses[0], MJ_FOREVER), ==, 2);
      CHECK_INT(result_of_transfer(&receiver), ==, 2);
      CHECK_CALL(mj_sendto(fds[1], NULL, 0, 0, to, sizeof addresses[0], MJ_FOREVER), ==, 0);
      socklen_t length = sizeof from;
      CHECK_CALL(
          mj_recvfrom(fds[0], bytes, 16, 0, (struct sockaddr*)&from, &length, MJ_FOREVER), ==, 0);
      CHECK_INT(length, ==, sizeof from);
      CHECK_INT(from.sin_port, ==, addresses[1].sin_port);
    }
    CHECK_CALL(mj_accept(fds[0], NULL, NULL, MJ_FOREVER), ==, -EOPNOTSUPP);
    // An error that is queued: nobody is there.
    CHECK_INT(close(fds[0]), ==, 0);
    CHECK_INT(connect(fds[1], to, sizeof addresses[0]), ==, 0);
    int on = 1;
    CHECK_INT(setsockopt(fds[1], IPPROTO_IP, IP_RECVERR, &on, sizeof on), ==, 0);
    CHECK_CALL(mj_write(fds[1], "x", 1, MJ_FOREVER), ==, 1);
    CHECK_CALL(mj_read(fds[1], bytes, 16, MJ_FOREVER), ==, -ECONNREFUSED);
    CHECK_AT_ONCE(mj_recvfrom(fds[1], bytes, 16, MSG_ERRQUEUE, NULL, NULL, MJ_FOREVER), ==, 1);
    CHECK_CALL(mj_recvfrom(fds[1], bytes, 16, MSG_ERRQUEUE, NULL, NULL, 100000), ==, -ETIMEDOUT);
    CHECK_INT(mj_fd_close(fds[1]), ==, 0);
  }
}

// ---- Peeking ----

static void what_was_peeked_at_is_still_there(void) {
  void (*open[])(int fds[2]) = {open_tcp, open_unix};
  for (int i = 0; i < 4; i++) {
    owned = i % 2;
    int fds[2];
    open[i / 2](fds);
    own(fds);
    char bytes[16] = "";
    transfer peeker = {.call = {.make = receives, .fd = fds[0], .timeout_ns = MJ_FOREVER},
                       .buffer = bytes,
                       .bytes = 16,
                       .flags = MSG_PEEK};
    begin_call(&peeker.call);
    CHECK_INT(write(fds[1], "abc", 3), ==, 3);
    CHECK_INT(result_of_transfer(&peeker), ==, 3);
    for (int n = 0; n < 3; n++) {
      CHECK_AT_ONCE(mj_recvfrom(fds[0], bytes, 16, MSG_PEEK, NULL, NULL, MJ_FOREVER), ==, 3);
    }
    CHECK_AT_ONCE(mj_read(fds[0], bytes, 16, MJ_FOREVER), ==, 3);
    // MSG_WAITALL does not make it block, and neither does a buffer that is larger.
    CHECK_INT(write(fds[1], "de", 2), ==, 2);
    CHECK_CALL(mj_recvfrom(fds[0], bytes, 16, MSG_WAITALL, NULL, NULL, MJ_FOREVER), ==, 2);
    close_pair(fds);
  }
}

// ---- Ends ----

static void half_of_a_connection_is_shut(void) {
  void (*open[])(int fds[2]) = {open_tcp, open_unix};
  for (int i = 0; i < 4; i++) {
    owned = i % 2;
    int fds[2];
    open[i / 2](fds);
    own(fds);
    char bytes[16] = "";
    transfer reader;
    read_nothing_from(fds[0]);
    // Bytes and the end come together, and the read is short.
    CHECK_INT(write(fds[1], "abc", 3), ==, 3);
    CHECK_INT(shutdown(fds[1], SHUT_WR), ==, 0);
    CHECK_CALL(mj_read(fds[0], bytes, 16, MJ_FOREVER), ==, 3);
    CHECK_CALL(mj_read(fds[0], bytes, 16, MJ_FOREVER), ==, 0);
    CHECK_AT_ONCE(mj_read(fds[0], bytes, 16, MJ_FOREVER), ==, 0);
    // The other way goes on.
    begin_transfer(&reader, reads, fds[1], bytes, 16, MJ_FOREVER);
    CHECK_CALL(mj_write(fds[0], "de", 2, MJ_FOREVER), ==, 2);
    CHECK_INT(result_of_transfer(&reader), ==, 2);
    begin_transfer(&reader, reads, fds[1], bytes, 16, MJ_FOREVER);
    CHECK_INT(shutdown(fds[0], SHUT_WR), ==, 0);
    CHECK_INT(result_of_transfer(&reader), ==, 0);
    CHECK_CALL(mj_write(fds[0], "f", 1, MJ_FOREVER), ==, -EPIPE);
    CHECK_CALL(mj_sendto(fds[0], "f", 1, 0, NULL, 0, MJ_FOREVER), ==, -EPIPE);
    close_pair(fds);
  }
}

static void a_connection_is_reset(void) {
  static char bytes[16 << 20];  // More than there is room for.
  for (int i = 0; i < 4; i++) {
    owned = i % 2;
    int fds[2];
    open_tcp(fds);
    own(fds);
    struct linger at_once = {1, 0};
    transfer reader, writer;
    char few[16];
    begin_transfer(&reader, reads, fds[0], few, 16, MJ_FOREVER);
    if (i >= 2) begin_transfer(&writer, writes, fds[0], bytes, sizeof bytes, MJ_FOREVER);
    mj_sleep_ns(100000);
    CHECK_INT(setsockopt(fds[1], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), ==, 0);
    CHECK_INT(mj_fd_close(fds[1]), ==, 0);
    if (i < 2) {
      CHECK_INT(result_of_transfer(&reader), ==, -ECONNRESET);
    } else {
      // One of them is told of the reset, and the other of what is left of the connection.
      int results[] = {result_of_transfer(&reader), result_of_transfer(&writer)};
      CHECK(results[0] == -ECONNRESET || results[0] == 0);
      CHECK(results[1] == -ECONNRESET || results[1] == -EPIPE);
      CHECK_UINT(writer.done, <, sizeof bytes);
    }
    CHECK_CALL(mj_read(fds[0], few, 16, MJ_FOREVER), ==, 0);
    CHECK_CALL(mj_write(fds[0], few, 16, MJ_FOREVER), ==, -EPIPE);
    CHECK_INT(mj_fd_close(fds[0]), ==, 0);
  }
}

// ---- The limit of a call whose peer is always faster ----

static uint64_t jumps;

static uint64_t jumping_clock(void* user_data) {
  (void)user_data;
  return ++jumps * 1000000000;
}

static void reads_many_records(mj_scheduler* running, void* user_state) {
  (void)running;
  (void)user_state;
  enum { records = 100 };
  int fds[2];
  char bytes[records];
  size_t done = 0;
  open_records(fds);
  for (int i = 0; i < records; i++) CHECK_INT(write(fds[1], "x", 1), ==, 1);
  // It never has to wait.
  CHECK_CALL(mj_read_exact(fds[0], bytes, records, 1000000, &done), ==, -ETIMEDOUT);
  CHECK_UINT(done, >, 0);
  CHECK_UINT(done, <, records);
  CHECK_CALL(mj_read_exact(fds[0], bytes, records - done, MJ_FOREVER, &done), >, 0);
  close(fds[0]);
  close(fds[1]);
  mj_task_exit();
}

static void a_call_that_never_waits_is_limited(void) {
  mj_scheduler* of_its_own = new_scheduler();
  CHECK_INT(mj_scheduler_set_clock(of_its_own, jumping_clock, NULL), ==, 0);
  add_task(of_its_own, reads_many_records, NULL);
  mj_scheduler_run(of_its_own);
  mj_scheduler_destroy(of_its_own);
}

// ---- Two readers, and a reader beside a writer ----

static void several_tasks_share_a_descriptor(void) {
  for (int i = 0; i < 2; i++) {
    owned = i;
    int fds[2];
    open_unix(fds);
    own(fds);
    char bytes[4][4];
    transfer readers[4];
    for (int n = 0; n < 4; n++) {
      begin_transfer(&readers[n], reads_exactly, fds[0], bytes[n], 4, MJ_FOREVER);
    }
    for (int n = 0; n < 16; n++) {
      CHECK_CALL(mj_write(fds[1], "x", 1, MJ_FOREVER), ==, 1);
      if (n % 3 == 0) mj_sleep_ns(50000);
    }
    for (int n = 0; n < 4; n++) CHECK_INT(result_of_transfer(&readers[n]), ==, 4);
    close_pair(fds);
  }
}

// A read that is woken for nothing by mj_task_wake(), while what it waits for comes.
static void a_wake_up_loses_nothing(void) {
  for (int i = 0; i < 2; i++) {
    owned = i;
    int fds[2];
    open_unix(fds);
    own(fds);
    char bytes[4];
    for (int n = 0; n < 100; n++) {
      transfer reader;
      begin_transfer(&reader, reads, fds[0], bytes, 4, MJ_FOREVER);
      CHECK_INT(write(fds[1], "x", 1), ==, 1);
      if (n % 2 == 0) mj_task_yield();
      if (!reader.call.returned) mj_task_wake(reader.call.task);
      if (n % 3 == 0) mj_sleep_ns(10000);
      CHECK_INT(result_of_transfer(&reader), ==, 1);
    }
    close_pair(fds);
  }
}

int main(void) {
  RUN_BY_BOTH_CLOCKS(a_short_read_leaves_bytes);
  RUN_BY_BOTH_CLOCKS(urgent_bytes);
  RUN_BY_BOTH_CLOCKS(a_read_beside_urgent_bytes);
  RUN_BY_BOTH_CLOCKS(records_stay_records);
  RUN_BY_BOTH_CLOCKS(datagrams_with_addresses);
  RUN_BY_BOTH_CLOCKS(what_was_peeked_at_is_still_there);
  RUN_BY_BOTH_CLOCKS(half_of_a_connection_is_shut);
  RUN_BY_BOTH_CLOCKS(a_connection_is_reset);
  RUN(a_call_that_never_waits_is_limited);
  RUN_BY_BOTH_CLOCKS(several_tasks_share_a_descriptor);
  RUN_BY_BOTH_CLOCKS(a_wake_up_loses_nothing);
  return 0;
}
