// Handlers that make calls while a task throws: linked with nothing shared the unwinder takes a lock for a moment.
#include "hooked.h"

#include <poll.h>
#include <signal.h>
#include <sys/time.h>

#include <stdexcept>

static int told[2];
static unsigned handled, caught;

static unsigned handled_by_now() { return __atomic_load_n(&handled, __ATOMIC_ACQUIRE); }

namespace {

// There is room, but it asks as one that waits does.
void handles(int) {
  int error = errno;
  pollfd one = {told[1], POLLOUT, 0};
  CHECK_INT(poll(&one, 1, -1), ==, 1);
  add_one(&handled);
  errno = error;
}

__attribute__((noinline)) void throws(int depth) {
  if (depth == 0) throw std::runtime_error("thrown");
  throws(depth - 1);
  add_one(&caught);  // Never, but it is no tail call.
}

void catches(void*) {
  for (unsigned end = times(2000, 200); handled_by_now() < end;) {
    unsigned before = caught;
    try {
      throws(5);
    } catch (const std::runtime_error& error) {
      CHECK_STR(error.what(), "thrown");
    }
    CHECK_UINT(caught, ==, before);
  }
}

void exceptions_are_interrupted() {
  struct sigaction action = {};
  itimerval period = {{0, 97}, {0, 97}}, never = {{0, 0}, {0, 0}};
  action.sa_handler = handles;
  action.sa_flags = SA_RESTART;
  handled = caught = 0;
  CHECK_INT(pipe(told), ==, 0);
  CHECK_INT(sigaction(SIGALRM, &action, NULL), ==, 0);
  CHECK_INT(setitimer(ITIMER_REAL, &period, NULL), ==, 0);
  catches(NULL);
  CHECK_INT(setitimer(ITIMER_REAL, &never, NULL), ==, 0);
  // The last one may still be on its way, and be later than that under Valgrind.
  while (usleep(1000) != 0) continue;
  signal(SIGALRM, SIG_IGN);
  CHECK_INT(close(told[0]) | close(told[1]), ==, 0);
}

}  // namespace

int main() {
  mj_log_set_level(MJ_LOG_WARN);
  // ThreadSanitizer's allocator does not bear that another task runs in the middle of it.
  if (!under_tsan()) RUN_HOOKED(exceptions_are_interrupted);
  return 0;
}
