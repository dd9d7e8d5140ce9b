// majjen.hpp: the types of majjen.h as C++17 objects that release what they own, and tasks from lambdas.
//
// Conventions
//
//   Results      are those of the C calls: 0 or a positive number, or a negative errno value, of which
//                majjen::error() makes a std::error_code. Nothing here throws by itself, but for
//                mutex::lock(); it works with -fno-exceptions and -fno-rtti.
//   Empty        An object that could not be made, or that was moved from, is empty: false in a condition,
//                and its calls return -EINVAL. When a constructor has failed, errno says why.
//   get()        is the pointer for what only majjen.h has. It stays the object's.
//   Suspending   Where a comment says nothing, a call neither suspends nor allocates. Of the destructors
//                only a group's may suspend.
//   Threads      As in majjen.h: an object is used by one thread at a time, that of its scheduler's run.
//   Exceptions   One that leaves a task's function, or what was deferred, calls std::terminate() where it was
//                thrown, after a line on stderr, as with mj_go(): catch it there.
//
// Captures: go(), group::go() and defer() move their function to the heap. It is destroyed once: when the
// task has ended, behind what it has deferred; when its scheduler has been destroyed if it has not, or has never
// begun; at once if the call fails. A canceled task begins all the same, and is told by its first wait. What
// is on a task's stack is destroyed by a scope's end only, so not in a task that goes with its scheduler:
// cancel it before, and run until it has ended.

#ifndef MAJJEN_HPP
#define MAJJEN_HPP

#include "majjen.h"

#include <chrono>
#include <exception>
#include <memory>
#include <new>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

namespace majjen {

// ---- Results and times --------------------------------------------------------------------------

// The error of a result, none for one that is not negative.
inline std::error_code error(long result) noexcept {
  if (result >= 0) return {};
  return {static_cast<int>(-result), std::generic_category()};
}

// A length of time as a `timeout_ns`: 0 for a negative one, MJ_FOREVER for one that is too long.
template <class Number, class Period>
uint64_t ns(std::chrono::duration<Number, Period> time) noexcept {
  const long double count = std::chrono::duration<long double, std::nano>(time).count();
  if (!(count > 0)) return 0;
  return count < 18446744073709551615.0L ? static_cast<uint64_t>(count) : MJ_FOREVER;
}

// ---- What the types below share -----------------------------------------------------------------

namespace detail {

// An object of majjen.h that is released by a function, which leaves it as it is if it is in use.
template <class Object, auto Release>
class object {
  struct releases {
    void operator()(Object *of) const noexcept { (void)Release(of); }
  };

 public:
  explicit operator bool() const noexcept { return own != nullptr; }
  Object *get() const noexcept { return own.get(); }

 protected:
  explicit object(Object *taken) noexcept : own(taken) {}

  // For calls that release it, but with these two errors.
  template <class Call>
  int finish(Call call) noexcept {
    Object *const of = own.release();
    const int result = call(of);
    if (result == -EBUSY || result == -EPERM) own.reset(of);
    return result;
  }

  std::unique_ptr<Object, releases> own;
};

// A function and its captures, in a list of those whose tasks have not ended.
class closure {
 public:
  closure() = default;
  closure(const closure &) = delete;
  closure &operator=(const closure &) = delete;
  virtual ~closure() = default;
  virtual int call() = 0;

  void link(closure *&first) noexcept {
    next = first;
    back = &first;
    if (next != nullptr) next->back = &next;
    first = this;
  }

  // For mj_group_go(). The captures are what is deferred first, so what the function defers has them still.
  static int run(void *self) {
    const bool deferred = mj_task_defer(end, self) == 0;
    const int result = static_cast<closure *>(self)->call();
    if (!deferred) end(self);
    return result;
  }

  // For mj_go().
  static void run_task(void *self) { (void)run(self); }

  // For mj_run_until_signal(), whose caller has the function.
  static void only_call(void *self) { (void)static_cast<closure *>(self)->call(); }

  // For mj_task_defer().
  static void call_once(void *self) {
    (void)static_cast<closure *>(self)->call();
    destroy(self);
  }

  // Takes it off the list first: a destructor of a capture may suspend, and the scheduler be destroyed then.
  static void destroy(void *self) {
    closure *const gone = static_cast<closure *>(self);
    if (gone->back != nullptr) *gone->back = gone->next;
    if (gone->next != nullptr) gone->next->back = gone->back;
    delete gone;
  }

 private:
  // Outside a task the scheduler is being destroyed: its object does this when it is gone, and with it the
  // members of groups among the captures.
  static void end(void *self) {
    if (mj_task_current() != nullptr) destroy(self);
  }

  closure *next = nullptr;
  closure **back = nullptr;
};

template <class Function>
class closure_of final : public closure {
  static_assert(std::is_invocable_v<Function &>, "a task's function takes no arguments");
  using result = std::invoke_result_t<Function &>;
  static_assert(std::is_void_v<result> || std::is_convertible_v<result, int>,
                "a task's function returns nothing or an int");

 public:
  template <class From>
  explicit closure_of(From &&from) : function(std::forward<From>(from)) {}

  int call() override {
    if constexpr (std::is_void_v<result>) {
      function();
      return 0;
    } else {
      return function();
    }
  }

 private:
  Function function;
};

// NULL if there is no memory.
template <class Function>
std::unique_ptr<closure> close_over(Function &&function) {
  using kept = closure_of<std::decay_t<Function>>;
  return std::unique_ptr<closure>(new (std::nothrow) kept(std::forward<Function>(function)));
}

// A scheduler and the functions of its tasks: for the scheduler object and its groups, which may outlive it.
struct tasks {
  mj_scheduler *scheduler;
  closure *first = nullptr;
  size_t users = 1;
};

struct drops {
  void operator()(tasks *of) const noexcept {
    if (--of->users == 0) delete of;
  }
};

using shared_tasks = std::unique_ptr<tasks, drops>;

inline shared_tasks share(const shared_tasks &of) noexcept {
  if (of) of->users++;
  return shared_tasks(of.get());
}

inline int end_group(mj_group *group) noexcept {
  (void)mj_group_end(group, 0);
  return mj_group_destroy(group);
}

// The elements are pointers to values, if they are not the values.
template <class T>
int drain(mj_chan *chan) noexcept {
  if constexpr (!std::is_trivially_copyable_v<T>) {
    T *left = nullptr;
    while (mj_chan_try_recv(chan, &left) == 0) delete left;
  }
  return mj_chan_destroy(chan);
}

}  // namespace detail

// ---- Schedulers and tasks -----------------------------------------------------------------------

// A scheduler, mj_scheduler. Its destruction is mj_scheduler_destroy(): the tasks that are left do not run
// again, what they have deferred is called, and then all their functions are destroyed, outside any task.
// It must not run then: that is an ERROR line, and it stays as it is for good.
class scheduler {
 public:
  // mj_scheduler_create(). Allocates. Empty on failure, with its errno.
  scheduler() noexcept : scheduler(mj_scheduler_create()) {}

  // Takes over a scheduler of C, such as setup_scheduler_with_epoll(). Empty for NULL. Out of memory it is
  // destroyed, and errno is ENOMEM.
  explicit scheduler(mj_scheduler *taken) noexcept {
    if (taken == nullptr) return;
    all.reset(new (std::nothrow) detail::tasks{taken});
    if (all) return;
    mj_scheduler_destroy(taken);
    errno = ENOMEM;
  }

  scheduler(scheduler &&) noexcept = default;

  scheduler &operator=(scheduler &&other) noexcept {
    if (this != &other) {
      destroy();
      all = std::move(other.all);
    }
    return *this;
  }

  ~scheduler() { destroy(); }

  explicit operator bool() const noexcept { return get() != nullptr; }
  mj_scheduler *get() const noexcept { return all ? all->scheduler : nullptr; }

  // Runs `function` as a task of its own, by mj_go(): it takes no arguments, and its result does not matter.
  // `id`, unless NULL, is set to the task's id. The function is moved or copied, and destroyed as said at the
  // top, also if this fails. Allocates. Returns 0. Errors: -EINVAL for an empty scheduler, -ENOMEM,
  // -EPERM as mj_go(); and it throws what moving or copying the function does.
  template <class Function>
  int go(Function &&function, mj_task_id *id = nullptr) {
    if (!all) return -EINVAL;
    auto made = detail::close_over(std::forward<Function>(function));
    if (!made) return -ENOMEM;
    const int result = mj_go(all->scheduler, detail::closure::run_task, made.get(), id);
    // Not before: on another thread than the run's the list is not to be touched.
    if (result == 0) made.release()->link(all->first);
    return result;
  }

  // mj_run(): runs the tasks, and returns how the run has ended. Blocks the thread.
  int run() noexcept { return mj_run(get()); }

  // mj_run_until_signal(): a run that SIGINT and SIGTERM end in order. `function` takes no arguments. It is
  // called in a task of its own at the first of them, and tells the others that they are to end, for which they
  // have `grace_ns` from its return on. It is moved or copied, and destroyed at the end of a run without a
  // signal, and else with the scheduler. Blocks the thread. Allocates. Returns as run(), and -ENOMEM; and it
  // throws what moving or copying the function does.
  template <class Function>
  int run_until_signal(Function &&function, uint64_t grace_ns) {
    if (!all) return -EINVAL;
    auto made = detail::close_over(std::forward<Function>(function));
    if (!made) return -ENOMEM;
    const detail::shared_tasks kept = detail::share(all);  // A task may move this object.
    mj_scheduler *const runs = kept->scheduler;
    const int result = mj_run_until_signal(runs, detail::closure::only_call, made.get(), grace_ns);
    // Its task may be left.
    if (mj_scheduler_signal(runs) > 0) made.release()->link(kept->first);
    return result;
  }

  // mj_scheduler_stop(): ends the run. Returns 0 or -EINVAL.
  int stop() noexcept { return mj_scheduler_stop(get()); }

  // mj_scheduler_cancel(): asks a task to end, whether or not the scheduler runs. Returns 0, -ESRCH if it
  // has ended, -EINVAL, -EPERM.
  int cancel(mj_task_id id) noexcept { return mj_scheduler_cancel(get(), id); }

 private:
  friend class group;

  void destroy() noexcept {
    if (!all) return;
    mj_scheduler *const dead = all->scheduler;
    const bool runs = mj_scheduler_current() == dead || mj_scheduler_signal(dead) == -EPERM;
    mj_scheduler_destroy(dead);
    if (runs) {
      (void)all.release();
      return;
    }
    // A destructor that adds a task is told that it is too late.
    all->scheduler = nullptr;
    while (all->first != nullptr) detail::closure::destroy(all->first);
    all.reset();
  }

  detail::shared_tasks all;
};

// Has `function` called when the running task ends, by mj_task_defer(): what was deferred last is called
// first. It is moved or copied, and destroyed when it has been called. What it refers to must be there then:
// captures of the task's function are, variables of the function are not. It may suspend, but not where a
// scheduler is destroyed. Allocates. Returns 0. Errors, with which it is destroyed and not called: -ENOMEM,
// -EPERM outside a task.
template <class Function>
int defer(Function &&function) {
  auto made = detail::close_over(std::forward<Function>(function));
  if (!made) return -ENOMEM;
  const int result = mj_task_defer(detail::closure::call_once, made.get());
  if (result == 0) (void)made.release();
  return result;
}

// ---- Limits of a scope --------------------------------------------------------------------------

// Limits the running task's waits, by mj_task_set_deadline(), until the end of the scope, which puts back
// what was. It never makes an earlier deadline later. Without effect outside a task.
class deadline {
 public:
  // The limit is `timeout_ns` from now.
  explicit deadline(uint64_t timeout_ns) noexcept : until(mj_deadline_after(timeout_ns)) {
    is_set = mj_task_set_deadline(until, &old) == 0;
    if (!is_set || old >= until) return;
    until = old;
    (void)mj_task_set_deadline(until, nullptr);
  }

  deadline(const deadline &) = delete;
  deadline &operator=(const deadline &) = delete;

  ~deadline() {
    if (is_set) (void)mj_task_set_deadline(old, nullptr);
  }

  // How long it is until then: 0 when it is past, MJ_FOREVER without a limit.
  uint64_t left_ns() const noexcept { return mj_deadline_left(until); }

 private:
  uint64_t until;
  uint64_t old = MJ_FOREVER;
  bool is_set;
};

// Holds the running task's cancellation, and lifts its deadline, until the end of the scope: for cleaning up,
// which may have to wait. Without effect outside a task.
class shield {
 public:
  shield() noexcept {
    is_set = mj_task_set_cancelable(false, &cancelable) == 0;
    if (is_set) (void)mj_task_set_deadline(MJ_FOREVER, &old);
  }

  shield(const shield &) = delete;
  shield &operator=(const shield &) = delete;

  ~shield() {
    if (!is_set) return;
    (void)mj_task_set_deadline(old, nullptr);
    (void)mj_task_set_cancelable(cancelable, nullptr);
  }

 private:
  uint64_t old = MJ_FOREVER;
  bool cancelable = true;
  bool is_set;
};

// ---- Groups -------------------------------------------------------------------------------------

// Tasks that belong together, mj_group. They have ended when the group is destroyed: that is mj_group_end()
// without grace, which cancels them and waits for them, so it may suspend, and their functions may refer to
// what lives longer than the group. It may outlive its scheduler. Do not destroy it outside a task while it
// has members, nor in one of them: then it stays as it is for good.
class group : public detail::object<mj_group, detail::end_group> {
 public:
  // mj_group_create(), for at most `limit` members at a time, or any number for 0. Allocates. Empty on
  // failure, with errno: EINVAL for an empty scheduler, ENOMEM, EPERM.
  explicit group(const scheduler &of, size_t limit = 0) noexcept
      : object(mj_group_create(of.get(), limit)), tasks(detail::share(of.all)) {}

  // Adds a member, by mj_group_go(): a task that runs `function`, which returns nothing, or an int that is 0
  // or a failure. Waits for room for at most `timeout_ns`. The function is moved or copied, and destroyed as
  // said at the top, also if this fails. Allocates. May suspend. Returns 0. Errors: as mj_group_go(), and
  // -EPERM outside a task of its scheduler, where try_go() works.
  template <class Function>
  int go(Function &&function, uint64_t timeout_ns = MJ_FOREVER) {
    if (!own) return -EINVAL;
    if (mj_task_current() == nullptr || mj_scheduler_current() != tasks->scheduler) return -EPERM;
    auto made = detail::close_over(std::forward<Function>(function));
    if (!made) return -ENOMEM;
    // Before: it may wait here, and the member may have ended when it is back.
    detail::closure *const member = made.release();
    member->link(tasks->first);
    const int result = mj_group_go(get(), detail::closure::run, member, timeout_ns);
    if (result != 0) detail::closure::destroy(member);
    return result;
  }

  // go() without waiting, by mj_group_try_go(). Works outside a task too. Allocates. Returns 0. Errors: as
  // mj_group_try_go(), -EAGAIN when there is no room.
  template <class Function>
  int try_go(Function &&function) {
    if (!own) return -EINVAL;
    auto made = detail::close_over(std::forward<Function>(function));
    if (!made) return -ENOMEM;
    const int result = mj_group_try_go(get(), detail::closure::run, made.get());
    if (result == 0) made.release()->link(tasks->first);
    return result;
  }

  // mj_group_wait(): until it has no members. May suspend. Returns 0 or its errors.
  int wait(uint64_t timeout_ns = MJ_FOREVER) noexcept { return mj_group_wait(get(), timeout_ns); }

  // mj_group_cancel(): cancels the members, and refuses others. Returns 0, -EINVAL or -EPERM.
  int cancel() noexcept { return mj_group_cancel(get()); }

  // mj_group_end(): gives the members `grace_ns` to end, and cancels them then. May suspend. Returns 0 or its
  // errors.
  int end(uint64_t grace_ns) noexcept { return mj_group_end(get(), grace_ns); }

  // Whether the first failure of a member cancels the others. Returns 0 or -EINVAL.
  int set_fail_fast(bool fail_fast) noexcept { return mj_group_set_fail_fast(get(), fail_fast); }

  // The first result of a member that was not 0, or 0.
  int error() const noexcept { return mj_group_error(get()); }

  // How many members there are.
  size_t count() const noexcept { return mj_group_count(get()); }

 private:
  detail::shared_tasks tasks;
};

// ---- Mutexes ------------------------------------------------------------------------------------

// A mutex between tasks, mj_mutex, for std::lock_guard, std::unique_lock and std::scoped_lock. It is neither
// copied nor moved. It must not be locked when it is destroyed, else it stays as it is for good.
class mutex : public detail::object<mj_mutex, mj_mutex_destroy> {
 public:
  // mj_mutex_create(), for the running scheduler unless another one is given. Allocates. Empty on failure.
  explicit mutex(mj_scheduler *of = mj_scheduler_current()) noexcept
      : object(mj_mutex_create(of)) {}

  mutex(const mutex &) = delete;
  mutex &operator=(const mutex &) = delete;

  // Locks it, however long that takes: a cancellation, the task's deadline and mj_task_wake() do not end the
  // wait. May suspend. Where it can never be had (the task has it, its owner has ended, outside a task, the
  // task has called mj_task_exit()) it throws std::system_error with the error of mj_mutex_lock(); without
  // exceptions it calls std::terminate().
  void lock() {
    int result = mj_mutex_lock(get(), MJ_FOREVER);
    if (result == -EINTR || result == -ECANCELED || result == -ETIMEDOUT) {
      shield all_the_same;
      do result = mj_mutex_lock(get(), MJ_FOREVER);
      while (result == -EINTR);
    }
    if (result != 0) fail(result);
  }

  // mj_mutex_lock(): locks it, or returns an error when it is not had within `timeout_ns`, the task is canceled
  // and so on. A guard takes it over with std::adopt_lock. May suspend. Returns 0 or its errors.
  int lock(uint64_t timeout_ns) noexcept { return mj_mutex_lock(get(), timeout_ns); }

  // Locks it if that needs no wait. Returns whether it is locked.
  bool try_lock() noexcept { return mj_mutex_try_lock(get()) == 0; }

  // Unlocks it. The running task must have locked it, else nothing happens.
  void unlock() noexcept { (void)mj_mutex_unlock(get()); }

 private:
  [[noreturn]] static void fail([[maybe_unused]] int result) {
#ifdef __cpp_exceptions
    throw std::system_error(majjen::error(result), "majjen::mutex::lock");
#else
    std::terminate();
#endif
  }
};

// ---- Channels -----------------------------------------------------------------------------------

// A channel between the tasks of one scheduler, mj_chan. A trivially copyable T goes as its bytes; of another
// one each element is moved to the heap, and its pointer sent. Elements that nobody has received are destroyed
// with the channel; one that a task is sending when its scheduler is destroyed goes as the task's stack does.
// No task may wait for the channel when it is destroyed, else it stays as it is for good.
template <class T>
class channel : public detail::object<mj_chan, detail::drain<T>> {
  static constexpr bool as_bytes = std::is_trivially_copyable_v<T>;
  using element = std::conditional_t<as_bytes, T, T *>;

 public:
  // mj_chan_create(), with room for `capacity` elements, 0 for an unbuffered one; for the running scheduler
  // unless another one is given. Allocates. Empty on failure.
  explicit channel(size_t capacity = 0, mj_scheduler *of = mj_scheduler_current()) noexcept
      : channel::object(mj_chan_create(of, sizeof(element), capacity)) {}

  // Sends a value, waiting for room, or a receiver, for at most `timeout_ns`. May suspend. Allocates unless T
  // is trivially copyable. Returns 0. Errors, with which `value` is as it was: -ENOMEM, and those of
  // mj_chan_send(), -EPIPE for a closed channel.
  int send(T &&value, uint64_t timeout_ns = MJ_FOREVER) {
    return put(value, [&](void *sent) { return mj_chan_send(this->get(), sent, timeout_ns); });
  }

  // send() of a copy.
  int send(const T &value, uint64_t timeout_ns = MJ_FOREVER) {
    T copy(value);
    return send(std::move(copy), timeout_ns);
  }

  // send() without waiting; works outside a task too. Returns 0, or -EAGAIN and the errors of
  // mj_chan_try_send(), with which `value` is as it was.
  int try_send(T &&value) {
    return put(value, [&](void *sent) { return mj_chan_try_send(this->get(), sent); });
  }

  // try_send() of a copy.
  int try_send(const T &value) {
    T copy(value);
    return try_send(std::move(copy));
  }

  // Moves the oldest element to `value`, waiting for one for at most `timeout_ns`. May suspend. Returns 0, or
  // the errors of mj_chan_recv(), -EPIPE when the channel is closed and empty; `value` is left alone then.
  int recv(T &value, uint64_t timeout_ns = MJ_FOREVER) {
    return take(value, [&](void *place) { return mj_chan_recv(this->get(), place, timeout_ns); });
  }

  // recv() without waiting; works outside a task too. Returns 0, or -EAGAIN and the errors of
  // mj_chan_try_recv().
  int try_recv(T &value) {
    return take(value, [&](void *place) { return mj_chan_try_recv(this->get(), place); });
  }

  // mj_chan_close(): what has been sent can still be received. Returns 0, -EPIPE if it is closed already.
  int close() noexcept { return mj_chan_close(this->get()); }

  // How many elements are in its buffer.
  size_t length() const noexcept { return mj_chan_length(this->get()); }

 private:
  template <class Call>
  int put(T &value, Call call) {
    if constexpr (as_bytes) {
      return call(&value);
    } else {
      T *moved = new (std::nothrow) T(std::move(value));
      if (moved == nullptr) return -ENOMEM;
      const int result = call(&moved);
      if (result == 0) return 0;
      const std::unique_ptr<T> back(moved);
      value = std::move(*back);
      return result;
    }
  }

  template <class Call>
  int take(T &value, Call call) {
    if constexpr (as_bytes) {
      return call(&value);
    } else {
      T *place = nullptr;
      const int result = call(&place);
      if (result != 0) return result;
      const std::unique_ptr<T> received(place);
      value = std::move(*received);
      return 0;
    }
  }
};

// ---- Streams ------------------------------------------------------------------------------------

// A descriptor with buffers, mj_stream. Its destruction is mj_stream_destroy(): it closes the descriptor, and
// what was collected and not flushed is lost, so close() it before. No task may use it then, else it stays as
// it is for good.
class stream : public detail::object<mj_stream, mj_stream_destroy> {
 public:
  // mj_stream_create(): takes over a descriptor. Allocates. Empty on failure, with errno, and the descriptor
  // is the caller's still.
  explicit stream(int fd, size_t read_bytes = 0, size_t write_bytes = 0) noexcept
      : object(mj_stream_create(fd, read_bytes, write_bytes)) {}

  // mj_stream_read(): what is there, at most `bytes`. May suspend. Returns how many, 0 at the end, or its
  // errors.
  ssize_t read(void *buffer, size_t bytes, uint64_t timeout_ns = MJ_FOREVER) noexcept {
    return mj_stream_read(get(), buffer, bytes, timeout_ns);
  }

  // mj_stream_read_line(): `line` is the line with its newline, in the stream's buffer, until the next call
  // that reads; empty at the end and with an error. May suspend. Returns its length, 0 at the end, or its
  // errors.
  ssize_t read_line(std::string_view &line, uint64_t timeout_ns = MJ_FOREVER) noexcept {
    char *text = nullptr;
    const ssize_t length = mj_stream_read_line(get(), &text, timeout_ns);
    line = length > 0 ? std::string_view(text, static_cast<size_t>(length)) : std::string_view();
    return length;
  }

  // mj_stream_write(): all of `data`, or what it collects of it. May suspend. Returns 0 or its errors, with
  // which `*done` bytes are written or collected; `done` may be NULL.
  int write(std::string_view data, uint64_t timeout_ns = MJ_FOREVER,
            size_t *done = nullptr) noexcept {
    return mj_stream_write(get(), data.data(), data.size(), timeout_ns, done);
  }

  // mj_stream_flush(): writes what has been collected. May suspend. Returns 0 or its errors.
  int flush(uint64_t timeout_ns = MJ_FOREVER) noexcept {
    return mj_stream_flush(get(), timeout_ns);
  }

  // mj_stream_close(): flushes, and is empty then, also if not all could be written. May suspend. Returns 0 or
  // its errors; with -EBUSY and -EPERM it is still there.
  int close(uint64_t timeout_ns = MJ_FOREVER) noexcept {
    return finish([=](mj_stream *closed) { return mj_stream_close(closed, timeout_ns); });
  }
};

// ---- Child processes ----------------------------------------------------------------------------

// A child process, mj_process. Its destruction is mj_process_let_go(): the child runs on, and the library
// waits for its end. To end it, call end().
class process : public detail::object<mj_process, mj_process_let_go> {
 public:
  // mj_process_spawn(): `arguments` ends with NULL, `options` may be NULL. Both are good for the call. Blocks
  // until the child has begun. Empty on failure, with errno.
  explicit process(const char *const *arguments,
                   const mj_process_options *options = nullptr) noexcept
      : object(mj_process_spawn(arguments, options)) {}

  // mj_process_pid(): the child's number, the system's to give away again once it has been waited for. Returns
  // it, or -EINVAL.
  int pid() const noexcept { return mj_process_pid(get()); }

  // mj_process_take_pipe(): the end of a pipe, the caller's then, as for a stream. Returns a descriptor, or
  // -EBADF if there is none, -EINVAL.
  int take_pipe(int descriptor) noexcept { return mj_process_take_pipe(get(), descriptor); }

  // mj_process_wait(): until the child has ended; `*status` is as by waitpid(2). May suspend. Returns 0 or its
  // errors.
  int wait(int *status, uint64_t timeout_ns = MJ_FOREVER) noexcept {
    return mj_process_wait(get(), status, timeout_ns);
  }

  // mj_process_kill(): sends it a signal. Returns 0, -ESRCH if it has ended, -EPERM, -EINVAL.
  int kill(int signal) noexcept { return mj_process_kill(get(), signal); }

  // mj_process_end(): SIGTERM, `grace_ns`, SIGKILL, also in a canceled task; empty then. May suspend. Returns
  // 0 or its errors; with -EBUSY and -EPERM it is still there.
  int end(uint64_t grace_ns, int *status = nullptr) noexcept {
    return finish([=](mj_process *ended) { return mj_process_end(ended, grace_ns, status); });
  }
};

}  // namespace majjen

#endif  // MAJJEN_HPP
