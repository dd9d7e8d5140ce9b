//! A run: **the loop**, and its setup and teardown.

use std::ffi::{c_int, c_void};
use std::ptr::{fn_addr_eq, from_ref};

use super::hook_library::HookCalls;
use super::interests::AtSignal;
use super::io::Builtin;
use super::object::{Scheduler, current};
use super::on_thread::OnThread;
use super::starved::RETRY_NS;
use super::trim;
use crate::engine::context::callback;
use crate::engine::context::stack::Stack;
use crate::engine::log::{self, Counted};
use crate::engine::measure;
use crate::engine::process::{overflow, signals};
use crate::engine::sys::{self, Error, Result, Uncancelable};
use crate::engine::task::Outcome;
use crate::engine::time::Instant;

/// How a run has ended.
///
/// ```
/// use majjen::{Ended, Scheduler, task};
///
/// let scheduler = Scheduler::new()?;
/// let stop = scheduler.stop_handle();
/// scheduler.spawn(move || {
///     let _ = stop.stop();
///     let _ = task::yield_now();
/// });
/// assert_eq!(scheduler.run()?, Ended::Stopped);
/// assert_eq!(scheduler.run()?, Ended::Completed); // The task has gone on.
/// # Ok::<(), majjen::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// All tasks have ended, but for [daemons](crate::task::Builder::daemon) that did not in time.
    Completed,
    /// It was stopped, and tasks are left.
    Stopped,
    /// This signal stopped it, and tasks are left. Only with
    /// [`Builder::handle_signals`](crate::Builder::handle_signals).
    Signal(i32),
}

/// While it lives, a scheduler runs on this thread.
pub(super) struct Entered<'s> {
    scheduler: &'s Scheduler,
    /// What was running on this thread before.
    before: OnThread,
    /// A task shares its thread with others, which a cancellation of the thread would not ask.
    /// Last, when the thread has left the scheduler: a request that came meanwhile may unwind.
    _uncancelable: Uncancelable,
}

impl Entered<'_> {
    /// The caller has taken ownership by `Remote::enter`, so no other thread runs the scheduler.
    pub(super) fn enter(scheduler: &Scheduler) -> Entered<'_> {
        let _uncancelable = Uncancelable::begin();
        scheduler.dispatch.bind();
        scheduler.prepare_budget(true);
        let here = OnThread {
            scheduler: from_ref(scheduler).cast(),
            current_task: from_ref(&scheduler.current_task).cast(),
            yield_at: scheduler.dispatch.yield_at(),
        };
        let before = here.install();
        scheduler.living.is_run_here();
        Entered { scheduler, before, _uncancelable }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.before.install();
        self.scheduler.living.is_run_by_none();
        self.scheduler.remote.leave();
    }
}

/// Runs a scheduler on this thread until all tasks have ended, or it is stopped, and returns which. An error
/// if it could not run, or all remaining tasks are parked and nothing can wake them. `at_signal`: it handles
/// signals, and the first one ends it in order.
pub fn run(scheduler: &Scheduler, calls: HookCalls, at_signal: Option<AtSignal>) -> Result<Ended> {
    if current().is_some() {
        return Err(Error::Busy);
    }
    scheduler.remote.enter()?;
    if let Err(error) = scheduler.reinit_after_fork() {
        scheduler.remote.undo_enter();
        log::error(format_args!(
            "the run does not begin: a child of fork() needs descriptors of its own: {error}"
        ));
        return Err(error);
    }
    let options = &scheduler.options;
    options.signal.set(0);
    let handles_signals = options.handle_signals || at_signal.is_some();
    let signals = match handles_signals.then(|| signals::Guard::new(&scheduler.remote)) {
        Some(Err(error)) => {
            scheduler.remote.undo_enter();
            log::error(format_args!("the run does not begin: signals cannot be handled: {error}"));
            return Err(error);
        }
        guard => guard.and_then(Result::ok),
    };
    if let (Some(guard), Some(at_signal)) = (&signals, at_signal)
        && let Err(error) = scheduler.end_run_at(guard.stops(), at_signal)
    {
        scheduler.remote.undo_enter();
        return Err(error);
    }
    let overflow = options.report_overflow.get().then(overflow::Guard::new);
    let has_moved = scheduler.dispatch.thread_state.is_of_another_thread();
    let entered = Entered::enter(scheduler);
    let address = from_ref(scheduler).cast();
    let attached = scheduler.hook_library.attach(calls, address, &scheduler.current_task);
    scheduler.tasks.starved.retry_all(&scheduler.run_queue);
    scheduler.time.begin_loop();
    scheduler.delays.begin_run();
    scheduler.daemons.begin_run();
    scheduler.io.has_told_of_others.set(false);
    log::info(format_args!(
        "Scheduler{} starting with {} runnable tasks, {} sleeping",
        scheduler.title(""),
        scheduler.run_queue.count.get(),
        scheduler.timers.count.get()
    ));
    if has_moved {
        scheduler.warn_of_move();
    }
    scheduler.begin_watch();

    let result = scheduler.run_loop();

    scheduler.end_watch();
    scheduler.arm_all();
    scheduler.publish_metrics();
    if let Some(at_end) = options.at_run_end.get() {
        // SAFETY: it is alive.
        unsafe { at_end(scheduler.as_ref()) };
    }
    // One that comes later has the effect that it has outside a run, and is not lost.
    scheduler.forget_end_of_run();
    let stopped_by = signals.map_or(0, signals::Guard::end);
    if options.signal.get() == 0 {
        options.signal.set(stopped_by);
    }
    let signal = options.signal.get();
    log::report_left_out();
    let title = scheduler.title("");
    match scheduler.tasks.alive() {
        0 => log::info(format_args!("Scheduler{title} stopped: all tasks completed")),
        left => {
            let left = Counted(left, "task", "tasks");
            log::info(format_args!("Scheduler{title} stopped: {left} left"));
        }
    }
    // Asked again: a log callback may have made a task.
    let left = match scheduler.remote.is_stopped() {
        true => scheduler.tasks.alive(),
        false => scheduler.others_than_daemons(),
    };
    let ended = match (left, signal) {
        (0, _) => Ended::Completed,
        (_, 0) => Ended::Stopped,
        (_, signal) => Ended::Signal(signal),
    };
    drop(overflow);
    drop(attached);
    drop(entered);
    result.map(|()| ended)
}

impl Scheduler {
    /// Tells of tasks that have run on another thread so far, which cannot know that they do not any
    /// more.
    #[cold]
    fn warn_of_move(&self) {
        let started = self.tasks.iter().filter(|task| task.stack.get() != Stack::NONE).count();
        if started > 0 {
            log::warn(format_args!(
                "Scheduler{} has moved to another thread with {}, which may still use errno and \
                 thread-local variables of the old one",
                self.title(""),
                Counted(started, "task that has started", "tasks that have started")
            ));
        }
    }

    fn run_loop(&self) -> Result<()> {
        while !self.remote.is_stopped() && self.has_work() {
            measure::add(&self.metrics.scheduler_loops, 1);
            log::trace(format_args!(
                "Loop iteration: runnable={}, sleeping={}",
                self.run_queue.count.get(),
                self.timers.count.get()
            ));

            // 1. Ready what is due: messages of other threads, timers, and at intervals I/O and
            // tasks that wait for a stack. Idle memory is given back.
            let now = self.time.clock.now();
            self.delays.look(now.ns);
            self.delays.read(now.ticks);
            self.remote.run_messages();
            self.begin_posts();
            self.expire_timers(now);
            self.tasks.starved.retry_if_due(&self.run_queue, now.ns);
            self.trim.step(&self.trimmed(), now.ns);
            if !self.run_queue.is_empty() && self.poll_is_due(now) {
                self.wait(0, true);
            }

            // 2. Run ready tasks until none is left, or it is time for phase 1 again.
            self.run_tasks(now);
            self.publish_metrics();

            // 3. Wait, if there is nothing else to do.
            self.tasks.starved.report();
            self.posts.report();
            if self.is_idle() && !self.has_pending_events() {
                match self.idle_timeout_ns() {
                    // The program's clock has readied a task, or stopped. Or the last of who may wake one has left a
                    // message, and gone: the count was read first.
                    _ if !self.is_idle() => {}
                    Some(0) => {}
                    Some(_) if self.look_for_message() => {}
                    Some(timeout_ns) => {
                        let maintenance_ns = self.until_maintenance(now);
                        self.wait(timeout_ns.min(maintenance_ns), timeout_ns <= maintenance_ns);
                    }
                    None if self.daemons.give_up() => {}
                    None => return Err(self.report_deadlock()),
                }
            }
        }
        if !self.remote.is_stopped() {
            self.end_daemons();
        }
        Ok(())
    }

    // ---- phase 1

    fn expire_timers(&self, now: Instant) {
        let Some(next_ns) = self.timers.next_deadline_ns() else { return };
        let clock = &self.time.clock;
        let mut now_ns = if clock.has_custom() { clock.now_ns() } else { now.ns };
        if next_ns > now_ns {
            return;
        }
        // An event may have happened while tasks ran, and only the program's wait function knows:
        // call it before any wait times out. A built-in one need not be called, since `wait_fd`
        // polls its descriptor again after a timeout.
        if self.has_custom_wait_function() && self.io.is_stale(self.dispatch.turn_times.count()) {
            self.wait(0, true);
            if clock.has_custom() {
                now_ns = now_ns.max(clock.now_ns());
            }
        }
        self.timers.expire(now_ns, |task| {
            measure::add(&self.metrics.timer_expirations, 1);
            measure::add(&self.metrics.heap_operations, 1);
            self.time.lateness.record(now_ns.saturating_sub(task.wake_time_ns.get()));
            self.expire(task);
            self.measure_ready(task);
            self.delays.read(now.ticks);
        });
    }

    /// Whether it is time to poll I/O, though tasks are ready.
    fn poll_is_due(&self, now: Instant) -> bool {
        /// With a custom clock, where each turn returns to the loop.
        const ROUNDS: u64 = 64;
        let clock = &self.time.clock;
        let due = if clock.has_custom() {
            self.metrics.scheduler_loops.get().is_multiple_of(ROUNDS)
        } else {
            self.io.poll_is_due(now.ns, self.dispatch.turn_times.count())
        };
        due && (self.has_custom_wait_function() || self.io.reactor.borrow().has_waiters())
    }

    // ---- phase 2

    fn run_tasks(&self, now: Instant) {
        let round_ns = match self.timers.next_deadline_ns() {
            // After each turn, so that a simulation does not depend on real time.
            _ if self.time.clock.has_custom() => 0,
            Some(at_ns) => at_ns.saturating_sub(now.ns),
            None => u64::MAX,
        };
        self.begin_round(now, round_ns);
        // Even if the loop is due at once, one task runs: each iteration makes progress.
        self.dispatch_ready_tasks();
    }

    // ---- phase 3

    /// Polls pending descriptors: with an event there, the clock need not be read for a timeout.
    fn has_pending_events(&self) -> bool {
        self.may_be_woken() && self.poll_pending(true) > 0
    }

    /// How long a wait may last though no event or timer is due: until waits are to be checked, stacks
    /// are to be tried again, or memory is to be given back. Whole milliseconds, which cost less.
    fn until_maintenance(&self, now: Instant) -> u64 {
        let ns = if !self.tasks.starved.is_empty() || self.posts.is_starved() {
            RETRY_NS
        } else if self.time.clock.has_custom() {
            return u64::MAX; // What happens in simulated time does not depend on real time.
        } else {
            let checks_ns = self.io.reactor.borrow().next_check_ns(now.ns);
            let left_ns = checks_ns.map_or(u64::MAX, |at_ns| at_ns - now.ns);
            self.trim.limit(&self.trimmed(), now.ns, left_ns)
        };
        ns.checked_next_multiple_of(1_000_000).unwrap_or(u64::MAX)
    }

    fn trimmed(&self) -> trim::Parts<'_> {
        trim::Parts { tasks: &self.tasks, timers: &self.timers, reactor: &self.io.reactor }
    }

    // ---- waiting

    /// The built-in wait function that is set, if it is one.
    pub(super) fn builtin_wait(&self) -> Option<Builtin> {
        let Some(function) = self.wait_function.get() else {
            return Some(Builtin::Epoll);
        };
        // C may write the field directly, so compare it with the function that was set.
        let (known, builtin) = self.io.builtin.get()?;
        fn_addr_eq(function, known).then_some(builtin)
    }

    fn has_custom_wait_function(&self) -> bool {
        self.builtin_wait().is_none()
    }

    /// Calls the wait function, unless a pending descriptor turns out to be ready. `exact`: a timer is due
    /// then, and not only something that can be a little late.
    fn wait(&self, timeout_ns: u64, exact: bool) {
        if let Err(error) = self.reinit_after_fork() {
            return self.wait_without_descriptors(timeout_ns, error);
        }
        let may_sleep = timeout_ns > 0;
        if may_sleep && !self.run_queue.is_empty() {
            return; // In a child of fork() that has ended waits for what is its parent's.
        }
        let builtin = self.builtin_wait();
        // A program's function may wait for the backend descriptor, so everything must be armed.
        let arm_now = may_sleep || builtin.is_none();
        if self.poll_pending(arm_now) > 0 && may_sleep {
            return;
        }
        // A program's function may block even with a timeout of 0.
        let asleep = (may_sleep || builtin.is_none()) && self.remote.prepare_to_sleep();
        if may_sleep && !asleep {
            return; // Another thread has left something.
        }
        measure::add(&self.metrics.wait_calls, 1);
        let began_ns = sys::monotonic_ns();
        if may_sleep {
            self.delays.sleep(began_ns);
        }
        let watches = builtin.is_some_and(Builtin::watches_descriptors);
        // A program's function is given the full timeout, and a custom clock has no wake-up
        // latency.
        let for_timer = watches && exact && !self.time.clock.has_custom();
        let timeout_ns =
            if for_timer { self.io.latency.compensate(timeout_ns) } else { timeout_ns };
        if asleep {
            self.watch.sleeps();
        }
        let result = match (builtin, self.wait_function.get()) {
            (None, Some(function)) => {
                let data = self.wait_data.get() as usize;
                let arguments = [self.address() as usize, timeout_ns as usize, data];
                // SAFETY: the program's function, which its setter promised to keep callable.
                let events = unsafe {
                    callback::call(function as *const c_void, arguments, c"a wait function")
                };
                events as c_int
            }
            (builtin, _) => self.wait_by(builtin.unwrap_or(Builtin::Epoll), timeout_ns, exact),
        };
        if !watches {
            // The function does not poll the reactor, or only its backend descriptor, and an event
            // that is not taken would make it return at once for ever. An error recurs at the next
            // wait.
            let _ = self.poll_reactor(0);
        }
        if self.io.reactor.borrow_mut().take_wake_up() {
            self.remote.clear_wake_up_fd();
        }
        self.remote.set_awake();
        self.watch.wakes();
        if result >= 0 {
            self.io.wait_failed.set(false);
        } else {
            if !self.io.wait_failed.replace(true) {
                log::error(format_args!(
                    "the wait function failed ({result}); it is called again after 1 ms"
                ));
            }
            // A function that keeps failing must not turn the loop into a busy loop.
            sys::sleep_ns(timeout_ns.min(1_000_000));
        }
        let now = self.time.clock.now();
        self.delays.read(now.ticks);
        self.check_waits(now.ns);
        let waited_ns = now.ns.saturating_sub(began_ns);
        if for_timer && timeout_ns > 0 && result == 0 && waited_ns >= timeout_ns {
            self.io.latency.observe(waited_ns - timeout_ns);
        }
        measure::add(&self.metrics.total_wait_time_ns, waited_ns);
        self.io.polled(now.ns, self.dispatch.turn_times.count(), self.run_queue.count.get());
    }

    /// Polls the pending descriptors, and readies the tasks of ready ones. The others are armed if
    /// `arm_now`, or if they have been polled before. Returns the number of ready descriptors.
    fn poll_pending(&self, arm_now: bool) -> usize {
        // A child of fork() must not touch the epoll set that it shares with its parent.
        if !self.io.reactor.borrow().has_pending() || self.reinit_after_fork().is_err() {
            return 0;
        }
        let events = self.io.reactor.borrow_mut().poll_pending(arm_now);
        self.wake_fired();
        measure::add(&self.metrics.io_events, events as u64);
        events
    }

    /// Waits for the reactor's descriptors, and readies the tasks that wait for ready ones.
    pub fn poll_reactor(&self, timeout_ns: u64) -> Result<usize> {
        self.reinit_after_fork()?;
        let events = self.io.reactor.borrow_mut().poll(timeout_ns)?;
        self.wake_fired();
        measure::add(&self.metrics.io_events, events as u64);
        Ok(events)
    }

    /// Checks waits for owned descriptors, at intervals.
    fn check_waits(&self, now_ns: u64) {
        self.io.reactor.borrow_mut().check_if_due(now_ns);
        self.wake_fired();
    }

    /// Arms everything: a program may wait for the backend descriptor between runs. If a child of
    /// fork() cannot have descriptors of its own, that is left for its next call.
    fn arm_all(&self) {
        if self.reinit_after_fork().is_ok() {
            self.io.reactor.borrow_mut().arm_all();
            self.wake_fired();
        }
    }

    /// In a child of fork(): replaces the descriptors that it shares with its parent by its own,
    /// under the same numbers. Called before every use of them.
    #[inline]
    pub fn reinit_after_fork(&self) -> Result<()> {
        if self.remote.is_of_this_process() { Ok(()) } else { self.replace_descriptors() }
    }

    #[cold]
    fn replace_descriptors(&self) -> Result<()> {
        self.remote.renew_wake_up_fd()?;
        self.io.reactor.borrow_mut().reinit_after_fork(self.remote.wake_up_fd())?;
        self.forget_signals_of_parent()?;
        self.remote.adopt();
        self.watch_in_child();
        self.living.is_run_in_child();
        self.let_go(); // Who holds it does so in the parent.
        for task in self.tasks.iter().filter(|task| task.wait.get().is_lost_in_child()) {
            self.end_wait(task, Outcome::OwnerDied);
        }
        self.remote.forget_posters();
        if !self.remote.is_running() {
            self.arm_all();
        }
        Ok(())
    }

    /// A child of fork() that has no descriptor free waits a little, and tries again.
    #[cold]
    fn wait_without_descriptors(&self, timeout_ns: u64, error: Error) {
        if !self.io.wait_failed.replace(true) {
            log::error(format_args!(
                "a child of fork() needs descriptors of its own: {error}; tried again after 1 ms"
            ));
        }
        sys::sleep_ns(timeout_ns.min(1_000_000));
        let now = self.time.clock.now();
        self.io.polled(now.ns, self.dispatch.turn_times.count(), self.run_queue.count.get());
    }
}
