// majjen.hpp: objects that release what they own, and the functions of tasks with their captures.
#include "check.h"
#include "child.h"

#include "majjen.hpp"

#include <exception>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

static const uint64_t MS = 1000000;

// Counts the objects that are alive.
static int alive;

struct counted {
  counted() { alive++; }
  counted(const counted&) { alive++; }
  counted(counted&&) noexcept { alive++; }
  counted& operator=(const counted&) = default;
  counted& operator=(counted&&) = default;
  ~counted() { alive--; }
};

// Adds its name to a text when it is destroyed.
struct notes {
  std::string* text;
  char name;
  notes(std::string* to, char called) : text(to), name(called) {}
  notes(notes&& other) noexcept : text(std::exchange(other.text, nullptr)), name(other.name) {}
  ~notes() {
    if (text != nullptr) *text += name;
  }
};

// Adds a task, or a member.
template <class To, class Function, class... More>
static void go(To& to, Function&& function, More... more) {
  CHECK_INT(to.go(std::forward<Function>(function), more...), ==, 0);
}

// Runs a function as the only task of a scheduler.
template <class Function>
static void in_a_task(Function function) {
  majjen::scheduler scheduler;
  CHECK(scheduler);
  bool ran = false;
  go(scheduler, [&] {
    function(scheduler);
    ran = true;
  });
  CHECK_INT(scheduler.run(), ==, 0);
  CHECK(ran);
}

// ---- results ----

static void results_and_times() {
  CHECK(!majjen::error(0));
  CHECK(!majjen::error(7));
  CHECK(majjen::error(-ETIMEDOUT) == std::errc::timed_out);
  using namespace std::chrono_literals;
  CHECK_UINT(majjen::ns(3ms), ==, 3 * MS);
  CHECK_UINT(majjen::ns(1.5s), ==, 1500 * MS);
  CHECK_UINT(majjen::ns(-1s), ==, 0);
  CHECK_UINT(majjen::ns(std::chrono::hours::max()), ==, MJ_FOREVER);
}

// ---- tasks and captures ----

static void captures_end_with_their_task() {
  majjen::scheduler scheduler;
  mj_task_id id = 0;
  int turns = 0;
  counted given;
  // Copied once, and moved: what cannot be copied can be captured.
  go(scheduler, [given, own = std::make_unique<counted>(), &turns] {
    (void)given;
    (void)own;
    for (; turns < 5; turns++) mj_task_yield();
  }, &id);
  CHECK_INT(alive, ==, 3);
  CHECK(id != 0);
  go(scheduler, [&] {
    CHECK_INT(mj_task_join(id, MJ_FOREVER), ==, 0);
    CHECK_INT(alive, ==, 1);
  });
  CHECK_INT(scheduler.run(), ==, 0);
  CHECK_INT(turns, ==, 5);
  CHECK_INT(alive, ==, 1);
}

static void captures_of_a_task_that_is_canceled_before_its_first_turn() {
  majjen::scheduler scheduler;
  mj_task_id id = 0;
  int result = 0;
  go(scheduler, [own = counted(), &result] {
    (void)own;
    result = mj_sleep_ns(LONG_NS);
  }, &id);
  CHECK_INT(scheduler.cancel(id), ==, 0);
  CHECK_INT(alive, ==, 1);
  CHECK_INT(scheduler.run(), ==, 0);
  CHECK_INT(result, ==, -ECANCELED);
  CHECK_INT(alive, ==, 0);
  CHECK_INT(scheduler.cancel(id), ==, -ESRCH);
}

// Tasks that wait and that have not begun, and members of a group of both kinds.
static void captures_go_with_their_scheduler() {
  {
    majjen::scheduler scheduler;
    majjen::group group(scheduler);
    auto waits = [own = counted()] {
      (void)own;
      CHECK_INT(majjen::defer([] { CHECK_INT(alive, >=, 1); }), ==, 0);
      mj_task_park(MJ_FOREVER);
    };
    go(scheduler, waits);
    CHECK_INT(group.try_go(waits), ==, 0);
    // A second one that has not begun, and a third one that waits for room.
    majjen::group full(scheduler, 2);
    CHECK_INT(full.try_go(waits), ==, 0);
    go(scheduler, [&] {
      go(full, waits);
      scheduler.stop();
      go(full, waits);
    });
    CHECK_INT(scheduler.run(), ==, MJ_RUN_STOPPED);
    go(scheduler, waits);
    CHECK_INT(group.try_go(std::move(waits)), ==, 0);
    CHECK_INT(alive, ==, 8);
    // The group is alive still, and has a reference.
    scheduler = majjen::scheduler();
    CHECK_INT(alive, ==, 1);
    CHECK_INT(group.count(), ==, 0);
    CHECK_INT(group.try_go([own = counted()] { (void)own; }), ==, -EINVAL);
    CHECK_INT(alive, ==, 1);
  }
  CHECK_INT(alive, ==, 0);
}

// Its members have gone then, so it can be released, which valgrind looks at.
static void a_group_among_captures_goes_with_its_scheduler() {
  majjen::scheduler scheduler;
  go(scheduler, [group = majjen::group(scheduler)]() mutable {
    go(group, [own = counted()] {
      (void)own;
      mj_task_park(MJ_FOREVER);
    });
    mj_task_park(MJ_FOREVER);
  });
  go(scheduler, [&] {
    mj_task_yield();
    scheduler.stop();
  });
  CHECK_INT(scheduler.run(), ==, MJ_RUN_STOPPED);
  CHECK_INT(alive, ==, 1);
  scheduler = majjen::scheduler();
  CHECK_INT(alive, ==, 0);
}

// The captures of a task that has ended are being destroyed, which waits for a member that does not end.
static void a_destructor_that_waits_goes_as_a_stack_does() {
  majjen::scheduler scheduler;
  go(scheduler, [own = counted(), group = majjen::group(scheduler)]() mutable {
    (void)own;
    go(group, [] {
      majjen::shield against_the_cancellation;
      mj_task_park(MJ_FOREVER);
    });
    mj_task_yield();
  });
  go(scheduler, [&] {
    mj_sleep_ns(MS);
    scheduler.stop();
  });
  CHECK_INT(scheduler.run(), ==, MJ_RUN_STOPPED);
  scheduler = majjen::scheduler();
  CHECK_INT(alive, ==, 1);
  alive = 0;
}

// A destructor that runs on its scheduler's destruction cannot add tasks to it.
static void a_run_ends_in_order_at_a_signal() {
  majjen::scheduler scheduler;
  int results[2] = {1, 1};
  // Without a signal the function is gone.
  CHECK_INT(scheduler.run_until_signal([own = counted()] { (void)own; }, 0), ==, 0);
  CHECK_INT(alive, ==, 0);
  go(scheduler, [&] { results[0] = mj_sleep_ns(LONG_NS); });
  go(scheduler, [] { raise(SIGTERM); });
  CHECK_INT(scheduler.run_until_signal([&, own = std::make_unique<counted>()] {
    (void)own;
    results[1] = mj_sleep_ns(MS);
    CHECK_INT(alive, ==, 1);
    CHECK_STR(mj_task_get_name(mj_task_current()), "signal");
  }, MS), ==, 0);
  CHECK_INT(results[0], ==, -ECANCELED);
  CHECK_INT(results[1], ==, 0);
  CHECK_INT(mj_scheduler_signal(scheduler.get()), ==, SIGTERM);
  // Its task is left, and goes on in the next run, with the captures.
  go(scheduler, [] { raise(SIGTERM); });
  int told = 0;
  CHECK_INT(scheduler.run_until_signal([&, own = counted()] {
    (void)own;
    mj_scheduler_stop(mj_scheduler_current());
    mj_task_yield();
    told = alive;
  }, MS), ==, MJ_RUN_SIGNAL);
  CHECK_INT(told, ==, 0);
  CHECK_INT(scheduler.run(), ==, 0);
  CHECK_INT(told, >=, 1);
  // Another object has the scheduler by then.
  majjen::scheduler moved(nullptr);
  go(scheduler, [] { raise(SIGTERM); });
  CHECK_INT(scheduler.run_until_signal([&, own = counted()] {
    (void)own;
    moved = std::move(scheduler);
    mj_scheduler_stop(moved.get());
    mj_task_yield();
    told = alive + 100;
  }, MS), ==, MJ_RUN_SIGNAL);
  CHECK_INT(moved.run(), ==, 0);
  CHECK_INT(told, >, 100);
  moved = majjen::scheduler(nullptr);
  CHECK_INT(alive, ==, 0);
  CHECK_INT(scheduler.run_until_signal([] {}, 0), ==, -EINVAL);
}

static void a_destructor_that_adds_a_task_is_too_late() {
  auto scheduler = std::make_unique<majjen::scheduler>();
  struct adds {
    majjen::scheduler* to;
    explicit adds(majjen::scheduler* into) : to(into) {}
    adds(adds&& other) noexcept : to(std::exchange(other.to, nullptr)) {}
    ~adds() {
      if (to != nullptr) CHECK_INT(to->go([own = counted()] { (void)own; }), ==, -EINVAL);
    }
  };
  go(*scheduler, [late = adds(scheduler.get())] { (void)late; });
  scheduler.reset();
  CHECK_INT(alive, ==, 0);
}

static void what_is_deferred_has_the_captures() {
  std::string text;
  majjen::scheduler scheduler;
  go(scheduler, [kept = notes(&text, 'c'), &text] {
    (void)kept;
    notes local(&text, 'l');
    for (char name : {'1', '2'}) {
      int result = majjen::defer([inner = notes(&text, 'd'), name, &kept] {
        mj_task_yield();
        *kept.text += name;
      });
      CHECK_INT(result, ==, 0);
    }
  });
  CHECK_INT(scheduler.run(), ==, 0);
  CHECK_STR(text.c_str(), "l2d1dc");
  // Outside a task it is destroyed, and not called.
  CHECK_INT(majjen::defer([inner = notes(&text, 'x')] { CHECK(false); }), ==, -EPERM);
  CHECK_STR(text.c_str(), "l2d1dcx");
}

// ---- exceptions ----

static void throws_in_a_task() {
  in_a_task([](majjen::scheduler& scheduler) {
    bool caught = false;
    mj_task_id id = 0;
    go(scheduler, [own = counted(), &caught] {
      (void)own;
      try {
        counted local;
        mj_task_yield();
        throw std::runtime_error("of the task");
      } catch (const std::runtime_error&) {
        caught = true;
      }
    }, &id);
    CHECK_INT(mj_task_join(id, MJ_FOREVER), ==, 0);
    CHECK(caught);
    CHECK_INT(alive, ==, 0);
    // What the function's own copy throws is the caller's, and no task is made.
    struct refuses {
      refuses() = default;
      refuses(const refuses&) { throw 7; }
    };
    refuses refused;
    int thrown = 0;
    try {
      scheduler.go([refused] { (void)refused; });
    } catch (int value) {
      thrown = value;
    }
    CHECK_INT(thrown, ==, 7);
  });
}

// The stack is that of the throw: nothing has been unwound.
static void terminates() { _exit(alive == 2 && mj_task_current() != nullptr ? 42 : 43); }

static int way_to_throw;

static void throws_out_of_a_function() {
  std::set_terminate(terminates);
  majjen::scheduler scheduler;
  majjen::group group(scheduler);
  auto throws = [own = std::make_shared<counted>()] {
    counted local;
    throw std::runtime_error("nobody catches this");
  };
  if (way_to_throw == 0) scheduler.go(throws);
  if (way_to_throw == 1) group.try_go(throws);
  if (way_to_throw == 2) scheduler.go([&] { majjen::defer(throws); });
  try {
    scheduler.run();
  } catch (...) {
    _exit(44);
  }
  _exit(45);
}

static void an_exception_that_leaves_a_function_terminates() {
  for (way_to_throw = 0; way_to_throw < 3; way_to_throw++) {
    int status = status_of_child(throws_out_of_a_function);
    CHECK(WIFEXITED(status));
    CHECK_INT(WEXITSTATUS(status), ==, 42);
  }
}

// ---- schedulers ----

static void schedulers_are_moved() {
  majjen::scheduler first(setup_scheduler_with_epoll());
  mj_scheduler* own = first.get();
  CHECK(own != nullptr);
  go(first, [kept = counted()] { (void)kept; });
  majjen::scheduler second(std::move(first));
  CHECK(!first);
  CHECK_PTR(second.get(), ==, own);
  CHECK_INT(first.go([kept = counted()] { (void)kept; }), ==, -EINVAL);
  CHECK_INT(first.run(), ==, -EINVAL);
  CHECK_INT(first.stop(), ==, -EINVAL);
  CHECK_INT(alive, ==, 1);
  first = std::move(second);
  CHECK_INT(first.run(), ==, 0);
  CHECK_INT(alive, ==, 0);
  CHECK(!majjen::scheduler(nullptr));
}

// Reported, and left alone.
static void a_scheduler_that_runs_is_not_destroyed() {
  mj_log_set_level(MJ_LOG_FATAL);
  auto scheduler = std::make_unique<majjen::scheduler>();
  mj_scheduler* own = scheduler->get();
  bool went_on = false;
  go(*scheduler, [&, kept = counted()] {
    (void)kept;
    scheduler.reset();
    mj_task_yield();
    went_on = true;
  });
  CHECK_INT(mj_run(own), ==, 0);
  CHECK(went_on);
  CHECK_INT(alive, ==, 0);
  mj_log_set_level(MJ_LOG_WARN);
  mj_scheduler_destroy(own);
}

// ---- groups ----

static void groups_end_with_their_scope() {
  in_a_task([](majjen::scheduler& scheduler) {
    int canceled = 0;
    {
      majjen::group group(scheduler);
      for (int i = 0; i < 3; i++) {
        go(group, [&, own = counted()] {
          (void)own;
          canceled += mj_sleep_ns(LONG_NS) == -ECANCELED;
        });
      }
      CHECK_INT(group.count(), ==, 3);
      mj_task_yield();
      CHECK_INT(group.wait(0), ==, -ETIMEDOUT);
    }
    CHECK_INT(canceled, ==, 3);
    CHECK_INT(alive, ==, 0);
  });
}

static void groups_have_results_and_limits() {
  in_a_task([](majjen::scheduler& scheduler) {
    majjen::group group(scheduler, 1);
    go(group, [] { return -EIO; });
    CHECK_INT(group.try_go([own = counted()] { (void)own; }), ==, -EAGAIN);
    go(group, [own = counted()] { (void)own; }, 0);
    CHECK_INT(group.wait(), ==, 0);
    CHECK_INT(group.error(), ==, -EIO);
    CHECK_INT(alive, ==, 0);
    CHECK_INT(group.cancel(), ==, 0);
    CHECK_INT(group.go([own = counted()] { (void)own; }), ==, -EPIPE);
    CHECK_INT(alive, ==, 0);

    majjen::group fails(scheduler);
    CHECK_INT(fails.set_fail_fast(true), ==, 0);
    go(fails, [] { return mj_sleep_ns(LONG_NS); });
    go(fails, [] { return 7; });
    CHECK_INT(fails.end(LONG_NS), ==, 0);
    CHECK_INT(fails.error(), ==, 7);

    // Moved: members stay members. Assigned to: the old ones end first.
    majjen::group source(scheduler);
    go(source, [own = counted()] { (void)own; mj_sleep_ns(LONG_NS); });
    majjen::group target(std::move(source));
    CHECK(!source);
    CHECK_INT(source.go([] {}), ==, -EINVAL);
    CHECK_INT(source.wait(), ==, -EINVAL);
    CHECK_INT(target.count(), ==, 1);
    target = majjen::group(scheduler);
    CHECK_INT(alive, ==, 0);
    CHECK_INT(target.count(), ==, 0);
  });
  majjen::scheduler scheduler;
  majjen::group group(scheduler);
  CHECK_INT(group.go([] {}), ==, -EPERM);
}

// ---- limits of a scope ----

static void deadlines_end_with_their_scope() {
  in_a_task([](majjen::scheduler&) {
    majjen::deadline outer(LONG_NS);
    {
      majjen::deadline inner(MS);
      CHECK_INT(mj_sleep_ns(LONG_NS), ==, -ETIMEDOUT);
      CHECK_UINT(inner.left_ns(), ==, 0);
      majjen::deadline later(LONG_NS);
      CHECK_INT(mj_sleep_ns(LONG_NS), ==, -ETIMEDOUT);
      CHECK_UINT(later.left_ns(), ==, 0);
      {
        majjen::shield cleaning_up;
        CHECK_INT(mj_task_cancel(mj_task_current()), ==, 0);
        CHECK_INT(mj_sleep_ns(MS), ==, 0);
      }
      CHECK_INT(mj_sleep_ns(MS), ==, -ECANCELED);
    }
    CHECK_UINT(outer.left_ns(), >, 0);
    uint64_t left = 0;
    CHECK_INT(mj_task_set_deadline(MJ_FOREVER, &left), ==, 0);
    CHECK_UINT(mj_deadline_left(left), >, MS);
  });
}

// ---- mutexes ----

static void mutexes_have_guards() {
  in_a_task([](majjen::scheduler& scheduler) {
    majjen::mutex mutex;
    CHECK(mutex);
    int inside = 0;
    majjen::group group(scheduler);
    for (int i = 0; i < 4; i++) {
      go(group, [&] {
        std::lock_guard<majjen::mutex> guard(mutex);
        CHECK_INT(++inside, ==, 1);
        mj_task_yield();
        inside--;
      });
    }
    CHECK_INT(group.wait(), ==, 0);
    std::unique_lock<majjen::mutex> lock(mutex, std::try_to_lock);
    CHECK(lock.owns_lock());
    CHECK(!mutex.try_lock());
    CHECK_INT(mutex.lock(0), ==, -EDEADLK);
    bool told = false;
    try {
      mutex.lock();
    } catch (const std::system_error& error) {
      told = error.code() == std::errc::resource_deadlock_would_occur;
    }
    CHECK(told);
    go(group, [&] { CHECK_INT(mutex.lock(MS), ==, -ETIMEDOUT); });
    CHECK_INT(group.wait(), ==, 0);
    lock.unlock();
    CHECK_INT(mutex.lock(0), ==, 0);
    std::lock_guard<majjen::mutex> taken_over(mutex, std::adopt_lock);
  });
}

// The guard of a canceled task has the mutex, too.
static void a_guard_waits_whatever_comes() {
  in_a_task([](majjen::scheduler& scheduler) {
    majjen::mutex mutex(scheduler.get());
    std::unique_lock<majjen::mutex> lock(mutex);
    bool had = false;
    mj_task_id id = 0;
    go(scheduler, [&] {
      majjen::deadline past(0);
      std::lock_guard<majjen::mutex> guard(mutex);
      CHECK(!lock.owns_lock());
      had = true;
      CHECK_INT(mj_yield(), ==, -ECANCELED);
    }, &id);
    mj_task_yield();
    CHECK_INT(scheduler.cancel(id), ==, 0);
    mj_sleep_ns(MS);
    mj_scheduler_wake(scheduler.get(), id);
    mj_sleep_ns(MS);
    CHECK(!had);
    lock.unlock();
    CHECK_INT(mj_task_join(id, MJ_FOREVER), ==, 0);
    CHECK(had);
  });
}

// ---- channels ----

struct point {
  int x, y;
};

static void channels_carry_bytes_and_objects() {
  in_a_task([](majjen::scheduler& scheduler) {
    majjen::channel<point> points(2);
    CHECK_INT(points.send(point{1, 2}), ==, 0);
    const point second = {3, 4};
    CHECK_INT(points.send(second), ==, 0);
    CHECK_INT(points.length(), ==, 2);
    CHECK_INT(points.try_send(point{5, 6}), ==, -EAGAIN);
    CHECK_INT(points.try_send(second), ==, -EAGAIN);
    point received = {};
    CHECK_INT(points.recv(received), ==, 0);
    CHECK_INT(received.y, ==, 2);

    // Unbuffered, of objects that cannot be copied.
    majjen::channel<std::unique_ptr<counted>> objects;
    go(scheduler, [&] {
      for (int i = 0; i < 3; i++) CHECK_INT(objects.send(std::make_unique<counted>()), ==, 0);
      CHECK_INT(objects.close(), ==, 0);
    });
    std::unique_ptr<counted> object;
    int count = 0;
    while (objects.recv(object) == 0) {
      CHECK(object != nullptr);
      count++;
    }
    CHECK_INT(count, ==, 3);
    CHECK_INT(objects.recv(object), ==, -EPIPE);
    CHECK(object != nullptr);
    // What cannot be sent is the caller's still.
    CHECK_INT(objects.send(std::move(object)), ==, -EPIPE);
    CHECK(object != nullptr);
    object.reset();
    CHECK_INT(alive, ==, 0);
  });
}

static void channels_destroy_what_is_left() {
  majjen::scheduler scheduler;
  majjen::channel<counted> channel(4, scheduler.get());
  CHECK_INT(channel.try_send(counted()), ==, 0);
  CHECK_INT(channel.try_send(counted()), ==, 0);
  CHECK_INT(alive, ==, 2);
  counted received;
  CHECK_INT(channel.try_recv(received), ==, 0);
  CHECK_INT(alive, ==, 2);
  majjen::channel<counted> moved(std::move(channel));
  CHECK(!channel);
  CHECK_INT(channel.try_recv(received), ==, -EINVAL);
  CHECK_INT(channel.try_send(counted()), ==, -EINVAL);
  CHECK_INT(channel.close(), ==, -EINVAL);
  moved = majjen::channel<counted>(1, scheduler.get());
  CHECK_INT(alive, ==, 1);
  CHECK_INT(moved.try_recv(received), ==, -EAGAIN);
  majjen::channel<std::string> nowhere(1, nullptr);
  CHECK(!nowhere);
}

// ---- streams ----

static void streams_read_and_write() {
  in_a_task([](majjen::scheduler& scheduler) {
    int ends[2];
    CHECK_INT(pipe(ends), ==, 0);
    majjen::stream in(ends[0]), out(ends[1], 0, 64);
    CHECK(in && out);
    go(scheduler, [&] {
      CHECK_INT(out.write("one\ntwo\n"), ==, 0);
      CHECK_INT(out.flush(), ==, 0);
      size_t done = 0;
      CHECK_INT(out.write("rest", MJ_FOREVER, &done), ==, 0);
      CHECK_INT(done, ==, 4);
      CHECK_INT(out.close(), ==, 0);
      CHECK(!out);
    });
    std::string_view line;
    CHECK_INT(in.read_line(line), ==, 4);
    CHECK(line == "one\n");
    CHECK_INT(in.read_line(line), ==, 4);
    CHECK(line == "two\n");
    char rest[8];
    CHECK_INT(in.read(rest, sizeof rest), ==, 4);
    CHECK_INT(in.read_line(line), ==, 0);
    CHECK(line.empty());

    majjen::stream moved(std::move(in));
    CHECK(!in);
    CHECK_INT(in.read(rest, sizeof rest), ==, -EINVAL);
    CHECK_INT(in.read_line(line), ==, -EINVAL);
    CHECK_INT(in.write("x"), ==, -EINVAL);
    CHECK_INT(in.flush(), ==, -EINVAL);
    CHECK_INT(in.close(), ==, -EINVAL);
    CHECK_INT(fcntl(ends[0], F_GETFD), >=, 0);
    moved = majjen::stream(-1);
    CHECK(!moved);
    CHECK_INT(fcntl(ends[0], F_GETFD), ==, -1);
  });
}

// One that another task uses is neither closed nor forgotten.
static void a_busy_stream_stays() {
  in_a_task([](majjen::scheduler& scheduler) {
    int ends[2];
    CHECK_INT(pipe(ends), ==, 0);
    majjen::stream in(ends[0]);
    mj_task_id id = 0;
    go(scheduler, [&] {
      char byte;
      CHECK_INT(in.read(&byte, 1), ==, -ECANCELED);
    }, &id);
    mj_task_yield();
    CHECK_INT(in.close(), ==, -EBUSY);
    CHECK(in);
    CHECK_INT(scheduler.cancel(id), ==, 0);
    CHECK_INT(mj_task_join(id, MJ_FOREVER), ==, 0);
    CHECK_INT(close(ends[1]), ==, 0);
  });
}

// ---- child processes ----

static void processes_are_run_and_ended() {
  in_a_task([](majjen::scheduler&) {
    const char* const command[] = {"sh", "-c", "echo hello; exit 3", nullptr};
    mj_process_options options{};
    options.output = MJ_PROCESS_PIPE;
    majjen::process child(command, &options);
    CHECK(child);
    majjen::stream lines(child.take_pipe(1));
    std::string_view line;
    CHECK_INT(lines.read_line(line), ==, 6);
    CHECK(line == "hello\n");
    int status = 0;
    CHECK_INT(child.wait(&status), ==, 0);
    CHECK_INT(WEXITSTATUS(status), ==, 3);
    CHECK_INT(child.kill(SIGTERM), ==, -ESRCH);

    const char* const sleeps[] = {"sleep", "1000", nullptr};
    majjen::process sleeper(sleeps);
    majjen::process moved(std::move(sleeper));
    CHECK(!sleeper);
    CHECK_INT(sleeper.wait(nullptr), ==, -EINVAL);
    CHECK_INT(sleeper.take_pipe(1), ==, -EINVAL);
    CHECK_INT(sleeper.kill(0), ==, -EINVAL);
    CHECK_INT(sleeper.end(0), ==, -EINVAL);
    CHECK_INT(moved.kill(0), ==, 0);
    CHECK_INT(moved.end(LONG_NS, &status), ==, 0);
    CHECK_INT(WTERMSIG(status), ==, SIGTERM);
    CHECK(!moved);

    // Valgrind's vfork() is a fork(), so the C library is not told.
    if (under_valgrind()) return;
    const char* const missing[] = {"/no/such/program", nullptr};
    errno = 0;
    majjen::process none(missing);
    CHECK(!none);
    CHECK_INT(errno, ==, ENOENT);
  });
}

int main() {
  mj_log_set_level(MJ_LOG_WARN);
  RUN(results_and_times);
  RUN(captures_end_with_their_task);
  RUN(captures_of_a_task_that_is_canceled_before_its_first_turn);
  RUN(captures_go_with_their_scheduler);
  RUN(a_group_among_captures_goes_with_its_scheduler);
  // Not under valgrind and the like, since what is not destroyed is lost.
  if (!under_valgrind() && !sanitized()) RUN(a_destructor_that_waits_goes_as_a_stack_does);
  RUN(a_run_ends_in_order_at_a_signal);
  RUN(a_destructor_that_adds_a_task_is_too_late);
  RUN(what_is_deferred_has_the_captures);
  RUN(throws_in_a_task);
  // Not under valgrind, which reports what the child had allocated when it ended as lost.
  if (!under_valgrind()) RUN(an_exception_that_leaves_a_function_terminates);
  RUN(schedulers_are_moved);
  // Nor this, since the list of its tasks is.
  if (!under_valgrind() && !sanitized()) RUN(a_scheduler_that_runs_is_not_destroyed);
  RUN(groups_end_with_their_scope);
  RUN(groups_have_results_and_limits);
  RUN(deadlines_end_with_their_scope);
  RUN(mutexes_have_guards);
  RUN(a_guard_waits_whatever_comes);
  RUN(channels_carry_bytes_and_objects);
  RUN(channels_destroy_what_is_left);
  RUN(streams_read_and_write);
  RUN(a_busy_stream_stays);
  RUN(processes_are_run_and_ended);
  return 0;
}
