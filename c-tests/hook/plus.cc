// C++: a class that waits, exceptions that are in flight while a task waits, and threads of the standard
// library's kind.
#include "hooked.h"

#include <poll.h>
#include <sys/socket.h>

#include <chrono>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

static int ends[2];
static unsigned ended;

namespace {

// Closes what it has, whatever ends its scope.
class Connection {
 public:
  explicit Connection(int fd) : fd_(fd) {}
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() { close(fd_); }

  std::string receive(size_t bytes) {
    std::string data(bytes, '\0');
    ssize_t got = recv(fd_, &data[0], bytes, MSG_WAITALL);
    if (got < 0) throw std::runtime_error(strerror(errno));
    if (got == 0) throw std::out_of_range("the end");
    data.resize(static_cast<size_t>(got));
    return data;
  }

 private:
  int fd_;
};

void sends(void*) {
  const std::string text = "0123456789";
  for (char byte : text) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    CHECK_INT(write(ends[1], &byte, 1), ==, 1);
  }
  CHECK_INT(close(ends[1]), ==, 0);
  add_one(&ended);
}

void receives(void*) {
  try {
    Connection connection(ends[0]);
    const std::string received = connection.receive(10);
    CHECK_STR(received.c_str(), "0123456789");
    connection.receive(1);
    CHECK(false);
  } catch (const std::out_of_range& error) {
    // It waits while the exception is in flight.
    for (int i = 0; i < 5; i++) CHECK_INT(usleep(1000), ==, 0);
    CHECK_STR(error.what(), "the end");
  }
  add_one(&ended);
}

void objects_and_exceptions_wait() {
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
  ended = 0;
  start_ticker();
  start(receives, nullptr);
  start(sends, nullptr);
  wait_until(&ended, 2);
  stop_ticker(3);
}

std::mutex mutex;
std::vector<int> order;

void appends(void* which) {
  for (int i = 0; i < 10; i++) {
    std::lock_guard<std::mutex> guard(mutex);
    size_t before = order.size();
    usleep(500);
    CHECK_UINT(order.size(), ==, before);  // Nobody else has been in here.
    order.push_back(*static_cast<int*>(which));
  }
  add_one(&ended);
}

void a_lock_may_be_held_while_waiting() {
  static int numbers[] = {0, 1, 2};
  ended = 0;
  order.clear();
  for (int& number : numbers) start(appends, &number);
  wait_until(&ended, 3);
  CHECK_UINT(order.size(), ==, 30);
  std::vector<int>().swap(order);
}

}  // namespace

int main() {
  mj_log_set_level(MJ_LOG_ERROR);
  RUN_HOOKED(objects_and_exceptions_wait);
  RUN_HOOKED(a_lock_may_be_held_while_waiting);
  return 0;
}
