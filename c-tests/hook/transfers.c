// Reading and writing: all that is written arrives, in order, however slow the reader is; and what the flags
// and kinds of descriptors mean is the kernel's.
#define _GNU_SOURCE
#include "hooked.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pty.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <termios.h>

static unsigned ended;
static int ends[2];

static void make_sockets(int type) { CHECK_INT(socketpair(AF_UNIX, type, 0, ends), ==, 0); }
static void make_pipe(void) { CHECK_INT(pipe(ends), ==, 0); }

static void make_tcp(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t length = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  CHECK_INT(bind(listener, (struct sockaddr*)&address, length), ==, 0);
  CHECK_INT(listen(listener, 1), ==, 0);
  CHECK_INT(getsockname(listener, (struct sockaddr*)&address, &length), ==, 0);
  ends[0] = socket(AF_INET, SOCK_STREAM, 0);
  CHECK_INT(connect(ends[0], (struct sockaddr*)&address, length), ==, 0);
  ends[1] = accept(listener, NULL, NULL);
  CHECK(ends[1] >= 0);
  close(listener);
}

static void close_ends(void) {
  CHECK_INT(close(ends[0]), ==, 0);
  CHECK_INT(close(ends[1]), ==, 0);
}

// ---- large writes

static unsigned char* pattern(size_t bytes) {
  unsigned char* data = (unsigned char*)malloc(bytes);
  CHECK(data != NULL);
  for (size_t i = 0; i < bytes; i++) data[i] = (unsigned char)(i * 31 + i / 251);
  return data;
}

typedef ssize_t writing(int fd, const unsigned char* data, size_t bytes);

static ssize_t by_write(int fd, const unsigned char* data, size_t bytes) { return write(fd, data, bytes); }
static ssize_t by_send(int fd, const unsigned char* data, size_t bytes) { return send(fd, data, bytes, 0); }
static ssize_t by_sendto(int fd, const unsigned char* data, size_t bytes) {
  return sendto(fd, data, bytes, MSG_NOSIGNAL, NULL, 0);
}

// Lists of many pieces, some of them empty.
enum { PIECES = 300 };
static void cut(struct iovec* list, const unsigned char* data, size_t bytes) {
  uint64_t random = 7;
  for (size_t i = 0; i < PIECES; i++) {
    size_t most = 2 * bytes / (PIECES - i);
    size_t piece = i == PIECES - 1 || bytes == 0 ? bytes : next_random(&random) % (most + 1) % (bytes + 1);
    if (i % 7 == 3 && i != PIECES - 1) piece = 0;
    list[i] = (struct iovec){(void*)data, piece};
    data += piece;
    bytes -= piece;
  }
  CHECK_UINT(bytes, ==, 0);
}

static ssize_t by_writev(int fd, const unsigned char* data, size_t bytes) {
  struct iovec list[PIECES];
  cut(list, data, bytes);
  return writev(fd, list, PIECES);
}

static ssize_t by_sendmsg(int fd, const unsigned char* data, size_t bytes) {
  struct iovec list[PIECES];
  cut(list, data, bytes);
  struct msghdr message = {.msg_iov = list, .msg_iovlen = PIECES};
  return sendmsg(fd, &message, 0);
}

static struct {
  writing* write;
  unsigned char* data;
  size_t bytes;
} large;

static void writes_much(void* argument) {
  (void)argument;
  CHECK_INT(large.write(ends[1], large.data, large.bytes), ==, large.bytes);
  CHECK_INT(close(ends[1]), ==, 0);
  add_one(&ended);
}

// Reads pieces of random lengths, with pauses.
static void read_slowly(size_t most, unsigned pauses) {
  static unsigned char piece[1 << 16];
  size_t done = 0;
  uint64_t random = most;
  for (;;) {
    size_t wanted = 1 + next_random(&random) % most;
    ssize_t got = read(ends[0], piece, wanted);
    CHECK_INT(got, >=, 0);
    if (got == 0) break;
    CHECK_INT(got, <=, wanted);
    CHECK_UINT(done + (size_t)got, <=, large.bytes);
    CHECK(memcmp(piece, large.data + done, (size_t)got) == 0);
    size_t before = done;
    done += (size_t)got;
    if (done * pauses / large.bytes != before * pauses / large.bytes) usleep(1000);
  }
  CHECK_UINT(done, ==, large.bytes);
}

static void write_and_read(writing* write, size_t bytes, size_t most) {
  ended = 0;
  large.write = write;
  large.bytes = bytes;
  large.data = pattern(bytes);
  start_ticker();
  start(writes_much, NULL);
  read_slowly(most, 40);
  wait_until(&ended, 1);
  stop_ticker(5);
  free(large.data);
  CHECK_INT(close(ends[0]), ==, 0);
}

static void ten_megabytes_reach_a_slow_reader(void) {
  size_t bytes = times(10 << 20, 200000);
  writing* const ways[] = {by_write, by_send, by_sendto, by_writev, by_sendmsg};
  for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
    make_sockets(SOCK_STREAM);
    write_and_read(ways[i], bytes, 1 << 16);
    make_tcp();
    write_and_read(ways[i], bytes, 1 << 16);
  }
}

static void pipes_take_what_is_larger_than_they_are(void) {
  size_t bytes = times(2 << 20, 100000);
  make_pipe();
  write_and_read(by_write, bytes, 1 << 16);
  make_pipe();
  write_and_read(by_writev, bytes, 1 << 16);
}

// A buffer that is small, and a reader that takes a few bytes at a time.
static void lists_are_split_at_any_byte(void) {
  writing* const ways[] = {by_writev, by_sendmsg};
  for (size_t i = 0; i < 2; i++) {
    for (int is_tcp = 0; is_tcp < 2; is_tcp++) {
      if (is_tcp) make_tcp();
      else make_sockets(SOCK_STREAM);
      int small = 1;
      CHECK_INT(setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof small), ==, 0);
      CHECK_INT(setsockopt(ends[0], SOL_SOCKET, SO_RCVBUF, &small, sizeof small), ==, 0);
      write_and_read(ways[i], 20000, 397);
    }
  }
  make_pipe();
  CHECK_INT(fcntl(ends[1], F_SETPIPE_SZ, 4096), >=, 4096);
  write_and_read(by_writev, 60000, 397);
}

// ---- flags

static void sends_in_parts(void* argument) {
  const char* text = argument;
  for (size_t i = 0; i < strlen(text); i += 3) {
    usleep(2000);
    size_t rest = strlen(text) - i;
    CHECK_INT(send(ends[1], text + i, rest < 3 ? rest : 3, 0), >, 0);
  }
  add_one(&ended);
}

static void sends_in_parts_and_ends(void* argument) {
  sends_in_parts(argument);
  CHECK_INT(shutdown(ends[1], SHUT_WR), ==, 0);
}

static void all_is_waited_for(void) {
  for (int is_tcp = 0; is_tcp < 2; is_tcp++) {
    char data[20] = "";
    if (is_tcp) make_tcp();
    else make_sockets(SOCK_STREAM);
    ended = 0;
    start(sends_in_parts, "0123456789");
    CHECK_INT(recv(ends[0], data, 10, MSG_WAITALL), ==, 10);
    CHECK_STR(data, "0123456789");
    wait_until(&ended, 1);

    start(sends_in_parts, "abcdefghij");
    struct iovec list[3] = {{data, 4}, {data + 4, 0}, {data + 4, 6}};
    struct msghdr message = {.msg_iov = list, .msg_iovlen = 3};
    CHECK_INT(recvmsg(ends[0], &message, MSG_WAITALL), ==, 10);
    CHECK_STR(data, "abcdefghij");
    CHECK_PTR(message.msg_iov, ==, list);
    CHECK_UINT(message.msg_iovlen, ==, 3);
    CHECK_UINT(list[0].iov_len, ==, 4);
    wait_until(&ended, 2);

    // Its end is one for this, too.
    start(sends_in_parts_and_ends, "xyz!");
    struct sockaddr_storage from;
    socklen_t length = sizeof from;
    CHECK_INT(recvfrom(ends[0], data, 10, MSG_WAITALL, (struct sockaddr*)&from, &length), ==, 4);
    CHECK_UINT(length, ==, 0);
    CHECK(memcmp(data, "xyz!", 4) == 0);
    CHECK_INT(recv(ends[0], data, 10, MSG_WAITALL), ==, 0);
    wait_until(&ended, 3);
    close_ends();
  }
}

// TCP waits until all can be seen; a local socket shows what has come first.
static void peeking_takes_nothing(void) {
  char data[20] = "";
  for (int is_tcp = 0; is_tcp < 2; is_tcp++) {
    if (is_tcp) make_tcp();
    else make_sockets(SOCK_STREAM);
    ended = 0;
    start(sends_in_parts, "0123456789");
    CHECK_INT(recv(ends[0], data, 10, MSG_PEEK), >=, 3);
    CHECK_INT(recv(ends[0], data, 10, MSG_PEEK | MSG_WAITALL), >=, is_tcp ? 10 : 3);
    wait_until(&ended, 1);
    memset(data, 0, sizeof data);
    CHECK_INT(recv(ends[0], data, 10, MSG_PEEK | MSG_DONTWAIT), ==, 10);
    CHECK_INT(recv(ends[0], data, 10, 0), ==, 10);
    CHECK_STR(data, "0123456789");
    CHECK_FAILS(recv(ends[0], data, 10, MSG_PEEK | MSG_DONTWAIT), EAGAIN);
    CHECK_INT(send(ends[1], "end", 3, 0), ==, 3);
    if (is_tcp) CHECK_INT(shutdown(ends[1], SHUT_WR), ==, 0);
    CHECK_INT(recv(ends[0], data, 10, MSG_PEEK | MSG_WAITALL), ==, 3);
    close_ends();
  }
}

static void who_need_not_wait_does_not(void) {
  char data[64] = "";
  make_sockets(SOCK_STREAM);
  struct iovec one = {data, sizeof data};
  struct msghdr message = {.msg_iov = &one, .msg_iovlen = 1};
  CHECK_FAILS(recv(ends[0], data, sizeof data, MSG_DONTWAIT), EAGAIN);
  CHECK_FAILS(recvfrom(ends[0], data, sizeof data, MSG_DONTWAIT, NULL, NULL), EAGAIN);
  CHECK_FAILS(recvmsg(ends[0], &message, MSG_DONTWAIT), EAGAIN);
  CHECK_FAILS(recv(ends[0], data, sizeof data, MSG_DONTWAIT | MSG_WAITALL), EAGAIN);
  size_t sent = 0;
  ssize_t last;
  while ((last = send(ends[1], data, sizeof data, MSG_DONTWAIT)) > 0) sent += (size_t)last;
  CHECK_FAILS(last, EAGAIN);
  CHECK_UINT(sent, >, 1000);
  CHECK_FAILS(sendmsg(ends[1], &message, MSG_DONTWAIT), EAGAIN);
  CHECK_INT(recv(ends[0], data, 10, MSG_WAITALL | MSG_DONTWAIT), ==, 10);
  close_ends();
}

// A message with descriptors is where a receive of all stops.
static void descriptors_arrive_with_their_byte(void) {
  char data[8] = "", space[CMSG_SPACE(sizeof(int))] = "";
  make_sockets(SOCK_STREAM);
  struct iovec one = {data, 1};
  struct msghdr message = {
      .msg_iov = &one, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
  struct cmsghdr* part = CMSG_FIRSTHDR(&message);
  *part = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
  memcpy(CMSG_DATA(part), &ends[0], sizeof(int));
  CHECK_INT(sendmsg(ends[1], &message, 0), ==, 1);
  memset(space, 0, sizeof space);
  one.iov_len = 4;
  message.msg_controllen = sizeof space;
  CHECK_INT(recvmsg(ends[0], &message, MSG_WAITALL), ==, 1);
  part = CMSG_FIRSTHDR(&message);
  CHECK(part != NULL && part->cmsg_type == SCM_RIGHTS);
  int received;
  memcpy(&received, CMSG_DATA(part), sizeof received);
  CHECK_INT(send(ends[1], "x", 1, 0), ==, 1);
  CHECK_INT(read(received, data, 1), ==, 1);
  close(received);
  close_ends();
}

static void nothing_is_read_and_written_at_once(void) {
  char data[4] = "abc";
  struct iovec none[2] = {{data, 0}, {data, 0}};
  volatile int too_few = -1, too_many = 100000;  // Not for the compiler to see.
  for (int i = 0; i < 3; i++) {
    if (i == 0) make_pipe();
    else if (i == 1) make_sockets(SOCK_STREAM);
    else make_tcp();
    CHECK_INT(read(ends[0], data, 0), ==, 0);
    CHECK_INT(readv(ends[0], none, 2), ==, 0);
    CHECK_INT(write(ends[1], data, 0), ==, 0);
    CHECK_INT(writev(ends[1], none, 2), ==, 0);
    CHECK_INT(readv(ends[0], none, 0), ==, 0);
    CHECK_FAILS(readv(ends[0], none, too_few), EINVAL);
    if (!under_valgrind()) CHECK_FAILS(writev(ends[1], none, too_many), EINVAL);
    close_ends();
  }
  CHECK_FAILS(read(-1, data, 1), EBADF);
  CHECK_FAILS(write(9999, data, 1), EBADF);
  CHECK_FAILS(recv(9999, data, 1, 0), EBADF);
  make_pipe();
  CHECK_FAILS(write(ends[0], data, 1), EBADF);
  CHECK_FAILS(read(ends[1], data, 1), EBADF);
  CHECK_FAILS(recv(ends[0], data, 1, 0), ENOTSOCK);
  CHECK_FAILS(send(ends[1], data, 1, 0), ENOTSOCK);
  close_ends();
}

// ---- messages

static void sends_messages(void* argument) {
  (void)argument;
  static const char text[] = "0123456789abcdefghij";
  for (size_t i = 1; i < 20; i++) {
    CHECK_INT(send(ends[1], text, i, 0), ==, i);
    usleep(500);
  }
  add_one(&ended);
}

// One receive is one message; what does not fit is lost, and said.
static void messages_stay_apart(void) {
  for (int type = SOCK_DGRAM;; type = SOCK_SEQPACKET) {
    make_sockets(type);
    ended = 0;
    start(sends_messages, NULL);
    char data[64];
    for (int i = 1; i < 20; i++) {
      struct iovec one = {data, 10};
      struct msghdr message = {.msg_iov = &one, .msg_iovlen = 1};
      int expected = i < 10 ? i : 10;
      switch (i % 4) {
        case 0: CHECK_INT(recv(ends[0], data, 10, MSG_TRUNC), ==, i); break;
        case 1: CHECK_INT(read(ends[0], data, 10), ==, expected); break;
        case 2: CHECK_INT(recv(ends[0], data, 10, MSG_WAITALL), ==, expected); break;
        default:
          CHECK_INT(recvmsg(ends[0], &message, 0), ==, expected);
          CHECK_INT((message.msg_flags & MSG_TRUNC) != 0, ==, i > 10);
      }
    }
    wait_until(&ended, 1);
    CHECK_INT(send(ends[1], "", 0, 0), ==, 0);
    CHECK_INT(recv(ends[0], data, 10, 0), ==, 0);  // Empty, and a message.
    close_ends();
    if (type == SOCK_SEQPACKET) break;
  }
}

static void sends_many_messages(void* argument) {
  (void)argument;
  for (unsigned i = 0; i < 1000; i++) CHECK_INT(send(ends[1], &i, sizeof i, 0), ==, sizeof i);
  add_one(&ended);
}

// A queue of messages that is full: there is no event for its room.
static void a_full_queue_of_messages_is_waited_for(void) {
  for (int type = SOCK_DGRAM;; type = SOCK_SEQPACKET) {
    make_sockets(type);
    ended = 0;
    start_ticker();
    start(sends_many_messages, NULL);
    let_others_wait();
    for (unsigned i = 0, got; i < 1000; i++) {
      CHECK_INT(recv(ends[0], &got, sizeof got, 0), ==, sizeof got);
      CHECK_UINT(got, ==, i);
    }
    wait_until(&ended, 1);
    stop_ticker(3);
    close_ends();
    if (type == SOCK_SEQPACKET) break;
  }
}

static void answers(void* argument) {
  int fd = *(int*)argument;
  struct sockaddr_in from;
  socklen_t length = sizeof from;
  char data[32];
  ssize_t got = recvfrom(fd, data, sizeof data, 0, (struct sockaddr*)&from, &length);
  CHECK_INT(got, ==, 4);
  CHECK_INT(length, ==, sizeof from);
  CHECK_INT(sendto(fd, data, (size_t)got, 0, (struct sockaddr*)&from, length), ==, got);
  add_one(&ended);
}

static void datagrams_have_addresses(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}}, from;
  socklen_t length = sizeof address;
  int server = socket(AF_INET, SOCK_DGRAM, 0), client = socket(AF_INET, SOCK_DGRAM, 0);
  CHECK_INT(bind(server, (struct sockaddr*)&address, length), ==, 0);
  CHECK_INT(getsockname(server, (struct sockaddr*)&address, &length), ==, 0);
  ended = 0;
  start(answers, &server);
  let_others_wait();
  CHECK_INT(sendto(client, "ping", 4, 0, (struct sockaddr*)&address, length), ==, 4);
  char data[32];
  struct iovec one = {data, sizeof data};
  struct msghdr message = {
      .msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &one, .msg_iovlen = 1};
  CHECK_INT(recvmsg(client, &message, 0), ==, 4);
  CHECK_INT(message.msg_namelen, ==, sizeof from);
  CHECK_INT(from.sin_port, ==, address.sin_port);
  wait_until(&ended, 1);
  close(server);
  close(client);
}

// ---- other kinds

// What a pipe takes whole it takes whole, with a reader that makes little room at a time.
static void writes_records(void* argument) {
  char record[2000];
  memset(record, *(const char*)argument, sizeof record);
  for (int i = 0; i < 50; i++) CHECK_INT(write(ends[1], record, sizeof record), ==, sizeof record);
  add_one(&ended);
}

static void records_in_a_pipe_stay_whole(void) {
  make_pipe();
  CHECK_INT(fcntl(ends[1], F_SETPIPE_SZ, 4096), >=, 4096);
  ended = 0;
  for (int i = 0; i < 4; i++) start(writes_records, &"abcd"[i]);
  char last = 0;
  size_t run = 0;
  for (size_t done = 0; done < 4 * 50 * 2000;) {
    char data[700];
    ssize_t got = read(ends[0], data, sizeof data);
    CHECK_INT(got, >, 0);
    for (ssize_t i = 0; i < got; i++, run++) {
      if (data[i] == last) continue;
      CHECK_UINT(run % 2000, ==, 0);
      last = data[i];
      run = 0;
    }
    done += (size_t)got;
  }
  wait_until(&ended, 4);
  close_ends();
}

static void types(void* argument) {
  int fd = *(int*)argument;
  let_others_wait();
  CHECK_INT(write(fd, "hel", 3), ==, 3);
  usleep(2000);
  CHECK_INT(write(fd, "lo\n", 3), ==, 3);
  add_one(&ended);
}

static struct {
  int fd;
  size_t bytes;
} terminal;

static void prints_much(void* argument) {
  (void)argument;
  char* data = malloc(terminal.bytes);
  memset(data, 'x', terminal.bytes);
  CHECK_INT(write(terminal.fd, data, terminal.bytes), ==, terminal.bytes);
  free(data);
  add_one(&ended);
}

static void terminals_are_waited_for(void) {
  int master, slave;
  char data[256];
  CHECK_INT(openpty(&master, &slave, NULL, NULL, NULL), ==, 0);
  ended = 0;
  start_ticker();
  start(types, &master);
  CHECK_INT(read(slave, data, sizeof data), ==, 6);  // A line.
  CHECK(memcmp(data, "hello\n", 6) == 0);
  wait_until(&ended, 1);
  stop_ticker(3);

  // More than it has room for, with nobody who reads at first.
  struct termios settings;
  CHECK_INT(tcgetattr(slave, &settings), ==, 0);
  cfmakeraw(&settings);
  CHECK_INT(tcsetattr(slave, TCSAFLUSH, &settings), ==, 0);
  for (ssize_t got = 0; got < 7;) got += read(master, data, sizeof data);  // The echo.
  terminal.fd = slave;
  terminal.bytes = 50000;
  start_ticker();
  start(prints_much, NULL);
  let_others_wait();
  for (size_t done = 0; done < terminal.bytes;) {
    ssize_t got = read(master, data, sizeof data);
    CHECK_INT(got, >, 0);
    done += (size_t)got;
  }
  wait_until(&ended, 2);
  stop_ticker(3);
  close(slave);
  CHECK_FAILS(read(master, data, 1), EIO);  // As a terminal says that the other side is gone.
  close(master);
}

static void adds(void* argument) {
  int fd = *(int*)argument;
  uint64_t most = UINT64_MAX - 1, one = 1;
  let_others_wait();
  CHECK_INT(write(fd, &one, sizeof one), ==, sizeof one);
  let_others_wait();
  CHECK_INT(write(fd, &most, sizeof most), ==, sizeof most);
  CHECK_INT(write(fd, &one, sizeof one), ==, sizeof one);  // Waits until it has been read.
  add_one(&ended);
}

static void counters_and_timers_are_waited_for(void) {
  int fd = eventfd(0, 0);
  uint64_t got;
  ended = 0;
  start_ticker();
  start(adds, &fd);
  CHECK_INT(read(fd, &got, sizeof got), ==, sizeof got);
  CHECK_UINT(got, ==, 1);
  let_others_wait();
  let_others_wait();
  CHECK_UINT(ended, ==, 0);
  CHECK_INT(read(fd, &got, sizeof got), ==, sizeof got);
  CHECK_UINT(got, ==, UINT64_MAX - 1);
  wait_until(&ended, 1);
  CHECK_INT(read(fd, &got, sizeof got), ==, sizeof got);
  CHECK_UINT(got, ==, 1);
  close(fd);

  fd = timerfd_create(CLOCK_MONOTONIC, 0);
  struct itimerspec time = {.it_value = {0, 10000000}};
  CHECK_INT(timerfd_settime(fd, 0, &time, NULL), ==, 0);
  CHECK_INT(read(fd, &got, sizeof got), ==, sizeof got);
  CHECK_UINT(got, ==, 1);
  stop_ticker(3);
  close(fd);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN_HOOKED(ten_megabytes_reach_a_slow_reader);
  RUN_HOOKED(pipes_take_what_is_larger_than_they_are);
  RUN_HOOKED(lists_are_split_at_any_byte);
  RUN_HOOKED(all_is_waited_for);
  RUN_HOOKED(peeking_takes_nothing);
  RUN_HOOKED(who_need_not_wait_does_not);
  RUN_HOOKED(descriptors_arrive_with_their_byte);
  RUN_HOOKED(nothing_is_read_and_written_at_once);
  RUN_HOOKED(messages_stay_apart);
  RUN_HOOKED(a_full_queue_of_messages_is_waited_for);
  RUN_HOOKED(datagrams_have_addresses);
  RUN_HOOKED(records_in_a_pipe_stay_whole);
  RUN_HOOKED(terminals_are_waited_for);
  RUN_HOOKED(counters_and_timers_are_waited_for);
  return 0;
}
