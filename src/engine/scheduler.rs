//! The scheduler: its state, and the loop. How tasks take turns is in [`crate::engine::scheduler::dispatch`], what they
//! can wait for in [`crate::engine::scheduler::block`].
//!
//! # Borrows
//!
//! C holds pointers to the scheduler and calls back into it from tasks, wait functions and log
//! callbacks. So it is only ever borrowed shared, its fields are cells, and the `RefCell`s (`slab`,
//! `stacks`, `reactor`) are borrowed for the length of one call into them, in which no program code
//! runs and nothing switches or logs.

pub mod block;
pub mod dispatch;
pub mod drain;
pub mod park;
pub mod wait_function;

use std::alloc::{Layout, alloc, dealloc};
use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::ptr::{drop_in_place, fn_addr_eq, from_ref, null, null_mut};
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicU32,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use crate::engine::context::ThreadWords;
use crate::engine::context::sanitizer::{self, Sanitizer};
use crate::engine::context::stack::{self, StackPool};
use crate::engine::context::switch::{self, FloatModes};
use crate::engine::io::Reactor;
use crate::engine::log;
use crate::engine::measure::{self, Histogram, Metrics, TurnTimes};
use crate::engine::process::overflow;
use crate::engine::process::signals;
use crate::engine::scheduler::wait_function::{Builtin, WaitFunction, Wakening, wait_epoll};
use crate::engine::sync::Home;
use crate::engine::sys;
use crate::engine::sys::{Error, Result};
use crate::engine::task::RunQueue;
use crate::engine::task::TimerHeap;
use crate::engine::task::{Body, Chunks, Name, Outcome, Slab, State, Task};
use crate::engine::time::{Clock, ClockFunction, Instant};

/// While tasks are ready, timers are looked at no later than they are due. Descriptors are looked at
/// when every task that was ready at the last look has had a turn, since whoever a look readies
/// comes behind those anyway: no more often than this...
pub const SERVICE_NS: u64 = 50_000;
/// ... and no less often than this.
const LONGEST_ROUND_NS: u64 = 1_000_000;

/// While tasks lack a stack, one is asked for at least this often.
const RETRY_NS: u64 = 10_000_000;

/// One scheduler. C reads the fields down to `metrics`, in this order.
#[repr(C)]
pub struct Scheduler {
    /// The tasks that are ready.
    pub run_queue: RunQueue,
    /// The tasks that sleep.
    pub timers: TimerHeap,
    /// The task whose turn it is; null in the loop.
    pub current_task: Cell<*const Task>,
    /// The program's wait function.
    pub wait_function: Cell<Option<WaitFunction>>,
    /// Its last argument.
    pub wait_data: Cell<*mut c_void>,
    /// The public counters.
    pub metrics: Metrics,

    /// The loop, while a task runs.
    pub loop_context: Cell<*mut u8>,
    /// In ticks: from then on a task that suspends switches to the loop.
    pub next_service: Cell<u64>,
    /// The task in the run queue whose context is fetched next, ahead of its turn; null if that is
    /// not worth it. Only a hint: it may have left the queue.
    pub ahead: Cell<*const Task>,
    /// Where this thread's errno and C++ exceptions are, while running: each task has its own.
    pub thread_words: ThreadWords,
    /// What new tasks start with: the modes of the thread that runs the scheduler.
    pub float_modes: Cell<FloatModes>,
    /// Deadlines and turns.
    pub clock: Clock,
    /// The times of turns.
    pub turns: TurnTimes,
    /// How late timers were served.
    pub timer_lateness: Histogram,
    /// Orders timers with equal deadlines.
    pub timer_serial: Cell<u64>,
    /// In ticks: when descriptors were last looked at.
    last_poll: Cell<u64>,
    /// In turns: when all tasks that were ready then have had theirs.
    round_ends: Cell<u64>,
    /// In nanoseconds: when the current run began, or what was already counted of it.
    loop_began_ns: Cell<u64>,
    /// The built-in wait function that was set, by the address that the program knows it by.
    builtin_wait: Cell<Option<(WaitFunction, Builtin)>>,
    wakening: Wakening,
    /// Whether the last call of the wait function failed, which is logged once in a row.
    pub wait_failed: Cell<bool>,
    /// Ready tasks whose first turn came when there was no stack, and why. They are queued again as
    /// others end, and from time to time.
    pub held_back: RunQueue,
    pub held_back_because: Cell<Option<Error>>,
    /// Whether that has been said: once for all tasks that are held back at a time.
    held_back_said: Cell<bool>,
    /// In nanoseconds: when the next of them is queued again, though none has ended.
    retry_at_ns: Cell<u64>,

    /// The stack size of tasks that have none of their own.
    pub stack_bytes: Cell<usize>,
    /// The program's sanitizers, if it has any.
    pub sanitizer: Option<Sanitizer>,
    /// Whether there are none, and turns are measured by the processor's counter: then a turn may
    /// end by the shortest way.
    pub turns_are_plain: bool,
    /// What objects that tasks synchronise by know it by.
    pub home: Home,
    /// The state of [`random_below`](Self::random_below); not 0.
    random: Cell<u64>,
    /// The task objects.
    pub slab: RefCell<Slab>,
    /// Where the slab has them, for debuggers.
    pub chunks: Cell<Chunks>,
    /// The stacks.
    pub stacks: RefCell<StackPool>,
    /// Who waits for which descriptor. Before `stop`, whose descriptor it watches.
    pub reactor: RefCell<Reactor>,
    /// Asks the loop to end, from any thread.
    pub stop: StopFlag,
    /// Whether a run is under way, on any thread.
    pub running: AtomicBool,
    /// Whether signals are looked after while running.
    looks_after_signals: bool,
    /// Whether stack overflows are reported while running.
    reports_overflow: Cell<bool>,
}

/// A request to stop, which any thread and any signal handler may raise.
pub struct StopFlag {
    raised: AtomicBool,
    /// Wakes the loop while it waits.
    wake_up_fd: c_int,
    /// The process that the descriptor wakes. A child of fork() shares it with its parent, and
    /// must neither wake the parent nor take a wake-up from it.
    process: AtomicI32,
}

impl StopFlag {
    fn create() -> Result<StopFlag> {
        Ok(StopFlag {
            raised: AtomicBool::new(false),
            wake_up_fd: sys::eventfd()?,
            process: AtomicI32::new(sys::process_id()),
        })
    }

    pub fn raise(&self) {
        sanitizer::release(self);
        self.raised.swap(true, AcqRel);
        if self.is_of_this_process() {
            sys::eventfd_raise(self.wake_up_fd);
        }
    }

    #[inline(always)]
    pub fn is_raised(&self) -> bool {
        self.raised.load(Relaxed)
    }

    /// The descriptor that a request makes readable.
    pub fn fd(&self) -> c_int {
        self.wake_up_fd
    }

    /// Takes the request back, at the end of the run that it was for. What a thread did before it
    /// raised the flag is seen by whoever called the run.
    fn lower(&self) {
        if self.is_of_this_process() {
            sys::eventfd_clear(self.wake_up_fd);
        }
        self.raised.swap(false, AcqRel);
        sanitizer::acquire(self);
    }

    fn is_of_this_process(&self) -> bool {
        self.process.load(Relaxed) == sys::process_id()
    }
}

impl Drop for StopFlag {
    fn drop(&mut self) {
        sys::close(self.wake_up_fd);
    }
}

// ---- creating and destroying

impl Scheduler {
    /// Makes a scheduler; [`destroy`](Self::destroy) releases it.
    pub fn create() -> Result<*mut Scheduler> {
        Scheduler::allocate(false)
    }

    /// Makes a scheduler that looks after signals.
    pub fn create_application() -> Result<*mut Scheduler> {
        let scheduler = Scheduler::allocate(true)?;
        log::info(format_args!("Scheduler created with epoll integration"));
        Ok(scheduler)
    }

    fn allocate(looks_after_signals: bool) -> Result<*mut Scheduler> {
        static SERIAL: AtomicU32 = AtomicU32::new(1);
        sys::check_clock()?;
        let stop = StopFlag::create()?;
        let (clock, sanitizer) = (Clock::start(), Sanitizer::find());
        let scheduler = Scheduler {
            run_queue: RunQueue::new(),
            timers: TimerHeap::new(),
            current_task: Cell::new(null()),
            wait_function: Cell::new(None),
            wait_data: Cell::new(null_mut()),
            metrics: Metrics::default(),
            loop_context: Cell::new(null_mut()),
            next_service: Cell::new(0),
            ahead: Cell::new(null()),
            thread_words: ThreadWords::new(),
            float_modes: Cell::new(FloatModes::default()),
            turns_are_plain: clock.has_counter() && sanitizer.is_none(),
            clock,
            turns: TurnTimes::new(),
            timer_lateness: Histogram::new(),
            timer_serial: Cell::new(0),
            last_poll: Cell::new(0),
            round_ends: Cell::new(0),
            loop_began_ns: Cell::new(0),
            builtin_wait: Cell::new(None),
            wakening: Wakening::default(),
            wait_failed: Cell::new(false),
            held_back: RunQueue::new(),
            held_back_because: Cell::new(None),
            held_back_said: Cell::new(false),
            retry_at_ns: Cell::new(0),
            stack_bytes: Cell::new(stack::DEFAULT_BYTES),
            sanitizer,
            home: Home::none(),
            random: Cell::new(1),
            slab: RefCell::new(Slab::new(SERIAL.fetch_add(1, Relaxed))),
            chunks: Cell::new(Chunks::NONE),
            stacks: RefCell::default(),
            reactor: RefCell::new(Reactor::create(stop.wake_up_fd)?),
            stop,
            running: AtomicBool::new(false),
            looks_after_signals,
            reports_overflow: Cell::new(looks_after_signals),
        };
        // SAFETY: the layout is not empty.
        let memory = unsafe { alloc(Layout::new::<Scheduler>()) }.cast::<Scheduler>();
        if memory.is_null() {
            return Err(Error::OutOfMemory);
        }
        // SAFETY: fresh memory of the right layout.
        unsafe { memory.write(scheduler) };
        Ok(memory)
    }

    /// Releases a scheduler and its tasks. One that runs is left alone.
    ///
    /// # Safety
    /// Null, or from [`create`](Self::create) and not used again.
    pub unsafe fn destroy(address: *mut Scheduler) {
        // SAFETY: as this function's contract says.
        let Some(scheduler) = (unsafe { address.as_ref() }) else {
            log::warn(format_args!("mj_scheduler_destroy: the scheduler is NULL"));
            return;
        };
        if scheduler.running.load(Acquire) {
            log::error(format_args!(
                "mj_scheduler_destroy: scheduler {address:p} is running; stop it first"
            ));
            return;
        }
        let slab = scheduler.slab.borrow();
        let tasks = || (0..slab.slots()).filter_map(|index| slab.at(index));
        // What they wait for may live on. First, while all of them are as they were: neighbours in
        // a list refer to each other's memory.
        tasks().for_each(|task| scheduler.unlink(task));
        scheduler.home.close();
        for task in tasks() {
            // SAFETY: the state belongs to the task, which does not run again.
            unsafe { sys::free(task.user_state.get()) };
            if let Some(sanitizer) = &scheduler.sanitizer {
                sanitizer.destroy_fiber(task.fiber.get());
            }
        }
        drop(slab);
        // SAFETY: from `allocate`, and no task is left that could refer to it.
        unsafe {
            drop_in_place(address);
            dealloc(address.cast(), Layout::new::<Scheduler>());
        }
    }

    /// Adds a task to the end of the run queue. On success it owns `user_state`.
    #[inline]
    pub fn spawn(&self, body: Body, user_state: *mut c_void) -> Result<&Task> {
        let slot = self.slab.borrow().allocate();
        let task = match slot {
            Some(task) => task,
            None => {
                self.slab.borrow_mut().grow()?;
                self.chunks.set(self.slab.borrow().chunks());
                self.slab.borrow().allocate().ok_or(Error::OutOfMemory)?
            }
        };
        task.body.set(Some(body));
        task.user_state.set(user_state);
        task.set_state(State::Runnable);
        task.wake_time_ns.set(0);
        task.stack_bytes.set(0);
        task.canceled.set(false);
        task.turns.set(0);
        task.name.set(Name::default());
        self.run_queue.push(task);
        let metrics = &self.metrics;
        measure::add(&metrics.tasks_created, 1);
        measure::add(&metrics.current_tasks, 1);
        metrics.peak_tasks.set(metrics.peak_tasks.get().max(metrics.current_tasks.get()));
        Ok(task)
    }

    /// Sets the stack size of tasks to come.
    pub fn set_stack_size(&self, bytes: usize) -> Result<()> {
        self.stack_bytes.set(stack::valid_size(bytes)?);
        Ok(())
    }

    /// Sets the wait function, `None` for the built-in one, and says which built-in one it is.
    pub fn set_wait_function(
        &self,
        function: Option<WaitFunction>,
        data: *mut c_void,
        builtin: Option<Builtin>,
    ) {
        self.wait_function.set(function);
        self.wait_data.set(data);
        self.builtin_wait.set(function.zip(builtin));
    }

    /// Sets whether stack overflows are reported, from the next run on.
    pub fn report_overflow(&self, report: bool) -> Result<()> {
        if self.running.load(Relaxed) {
            return Err(Error::Busy);
        }
        self.reports_overflow.set(report);
        Ok(())
    }

    /// Sets the clock that deadlines follow; `None` for the monotonic one. Not while it is in use.
    pub fn set_clock(&self, function: Option<ClockFunction>, data: *mut c_void) -> Result<()> {
        if self.running.load(Relaxed) || self.timers.count.get() > 0 {
            return Err(Error::Busy);
        }
        self.clock.set_own(function, data);
        Ok(())
    }

    /// In a child of fork(), which shares its parent's descriptors: puts the child's own in their
    /// place, under the same numbers.
    fn take_descriptors(&self) -> Result<()> {
        if self.stop.is_of_this_process() {
            return Ok(());
        }
        sys::move_over(sys::eventfd()?, self.stop.wake_up_fd)?;
        self.reactor.borrow_mut().renew()?;
        self.stop.process.store(sys::process_id(), Relaxed);
        Ok(())
    }

    /// The descriptor that is readable when the reactor or the stop flag has something.
    pub fn backend_fd(&self) -> c_int {
        self.reactor.borrow().fd()
    }
}

// ---- the loop

/// Runs a scheduler on this thread until it is done or stopped; an error if it did not run, or had
/// to end with tasks that nothing can wake.
pub fn run(scheduler: &Scheduler) -> Result<()> {
    // SAFETY: the thread's own variable, which lives as long as the thread.
    let thread = unsafe { &*switch::thread() };
    if !thread.scheduler.get().is_null() {
        log::error(format_args!("mj_scheduler_run: a scheduler is running on this thread already"));
        return Err(Error::Busy);
    }
    if scheduler.running.swap(true, AcqRel) {
        log::error(format_args!("mj_scheduler_run: {}", Error::WrongThread));
        return Err(Error::WrongThread);
    }
    if let Err(error) = scheduler.take_descriptors() {
        scheduler.running.store(false, Release);
        log::error(format_args!("mj_scheduler_run, in a child of fork(): {error}"));
        return Err(error);
    }
    let signals = scheduler.looks_after_signals.then(|| signals::Guard::new(&scheduler.stop));
    let overflow = scheduler.reports_overflow.get().then(overflow::Guard::new);
    // With the usual slack of 50 us, timers are served 73 us late in the median, and 23 us without.
    let timer_slack_ns = sys::set_timer_slack_ns(1);
    if let Some(sanitizer) = &scheduler.sanitizer {
        sanitizer.enter_loop();
    }
    scheduler.thread_words.find();
    scheduler.float_modes.set(FloatModes::read());
    thread.scheduler.set(scheduler);
    scheduler.run_queue.append(&scheduler.held_back);
    scheduler.loop_began_ns.set(sys::monotonic_ns());
    log::info(format_args!(
        "Scheduler starting with {} runnable tasks, {} sleeping",
        scheduler.run_queue.count.get(),
        scheduler.timers.count.get()
    ));

    let result = scheduler.run_loop();

    // A program may wait for the backend's descriptor until it runs the scheduler again.
    scheduler.reactor.borrow_mut().arm_all(|task, outcome| scheduler.ready(task, outcome));

    scheduler.publish_metrics();
    let left = scheduler.slab.borrow().alive();
    if left == 0 {
        log::info(format_args!("Scheduler stopped: all tasks completed"));
    } else {
        log::info(format_args!("Scheduler stopped: {left} tasks left"));
    }
    thread.scheduler.set(null());
    timer_slack_ns.map(sys::set_timer_slack_ns);
    drop(overflow);
    drop(signals);
    scheduler.stop.lower();
    scheduler.running.store(false, Release);
    result
}

impl Scheduler {
    fn run_loop(&self) -> Result<()> {
        while !self.stop.is_raised() && self.slab.borrow().alive() > 0 {
            measure::add(&self.metrics.scheduler_loops, 1);
            log::trace(format_args!(
                "Loop iteration: runnable={}, sleeping={}",
                self.run_queue.count.get(),
                self.timers.count.get()
            ));

            // 1. Ready what is due: timers, and from time to time descriptors, and tasks that lack
            //    a stack. Stacks that are not needed give their memory back.
            let now = self.clock.now();
            self.expire_timers(if self.clock.has_own() {
                self.clock.deadline_now_ns()
            } else {
                now.ns
            });
            self.retry_held_back(now);
            self.stacks.borrow_mut().cool_some(now.ns);
            if !self.run_queue.is_empty() && self.poll_is_due(now) {
                self.wait(0);
            }

            // 2. Run ready tasks until none is left, or it is time for phase 1 again.
            self.run_tasks(now);

            // 3. Wait, if there is nothing else to do.
            self.report_held_back();
            if self.is_idle() {
                match self.idle_timeout_ns() {
                    _ if !self.is_idle() => {} // The program's clock has readied a task, or stopped.
                    Some(0) => {}
                    Some(timeout_ns) => self.wait(timeout_ns.min(self.next_chore_ns())),
                    None => return Err(self.report_deadlock()),
                }
            }
        }
        Ok(())
    }

    fn expire_timers(&self, now_ns: u64) {
        self.timers.expire(now_ns, |task| {
            measure::add(&self.metrics.timer_expirations, 1);
            measure::add(&self.metrics.heap_operations, 1);
            self.timer_lateness.record(now_ns.saturating_sub(task.wake_time_ns.get()));
            self.ready(task, Outcome::TimedOut);
        });
    }

    /// Whether it is time to look at descriptors, though tasks are ready.
    fn poll_is_due(&self, now: Instant) -> bool {
        /// In simulated time; a round is a turn there.
        const ROUNDS: u64 = 64;
        let due = if self.clock.has_own() {
            self.metrics.scheduler_loops.get().is_multiple_of(ROUNDS)
        } else {
            let round_is_over = self.turns.count() >= self.round_ends.get();
            let interval_ns = if round_is_over { SERVICE_NS } else { LONGEST_ROUND_NS };
            now.ticks.wrapping_sub(self.last_poll.get()) >= self.clock.ns_to_ticks(interval_ns)
        };
        due && (self.has_own_wait_function() || self.reactor.borrow().has_waiters())
    }

    fn run_tasks(&self, now: Instant) {
        let until_timer_ns = self.timers.next_deadline_ns().map(|at| at.saturating_sub(now.ns));
        self.next_service.set(if self.clock.has_own() {
            // After each turn, so that what happens in simulated time does not depend on real time.
            0
        } else {
            let service_ns = until_timer_ns.unwrap_or(SERVICE_NS).min(SERVICE_NS);
            now.ticks.wrapping_add(self.clock.ns_to_ticks(service_ns))
        });
        // Even when the next service is due already, one task runs: there is progress in each
        // round.
        self.take_turns();
    }

    /// Whether there is nothing to do but to wait.
    fn is_idle(&self) -> bool {
        self.run_queue.is_empty() && !self.stop.is_raised() && self.slab.borrow().alive() > 0
    }

    /// How long phase 3 may wait; none if nothing could end the wait.
    fn idle_timeout_ns(&self) -> Option<u64> {
        match self.timers.next_deadline_ns() {
            // A deadline past the end of the clock is never.
            Some(u64::MAX) => Some(u64::MAX),
            Some(deadline) => Some(deadline.saturating_sub(self.clock.deadline_now_ns())),
            // A function of the program may know of something that will happen.
            None if self.has_own_wait_function() => Some(u64::MAX),
            None if self.reactor.borrow().has_waiters() && self.watches_descriptors() => {
                Some(u64::MAX)
            }
            None => None,
        }
    }

    /// Which of the built-in wait functions is set, if it is one of them.
    fn builtin_wait(&self) -> Option<Builtin> {
        let Some(function) = self.wait_function.get() else {
            return Some(Builtin::WatchesDescriptors);
        };
        // The field is C's to write, too, so what was set before may not be what is set now.
        let (known, builtin) = self.builtin_wait.get()?;
        fn_addr_eq(function, known).then_some(builtin)
    }

    fn has_own_wait_function(&self) -> bool {
        self.builtin_wait().is_none()
    }

    fn watches_descriptors(&self) -> bool {
        self.builtin_wait() == Some(Builtin::WatchesDescriptors)
    }

    /// Calls the wait function, unless a descriptor that nobody has looked at yet makes waiting
    /// needless.
    fn wait(&self, timeout_ns: u64) {
        let may_sleep = timeout_ns > 0;
        // A program's function may wait for the backend's descriptor.
        let settle = may_sleep || self.has_own_wait_function();
        if self.look_at_descriptors(settle) > 0 && may_sleep {
            return;
        }
        self.publish_metrics();
        measure::add(&self.metrics.wait_calls, 1);
        let began_ns = sys::monotonic_ns();
        let function = self.wait_function.get().unwrap_or(wait_epoll);
        // A program's function is told the whole time, and a program's clock takes none to wake.
        let for_timer = self.watches_descriptors() && !self.clock.has_own();
        let timeout_ns = if for_timer { self.wakening.shorten(timeout_ns) } else { timeout_ns };
        // SAFETY: a built-in function, or the program's, which its setter promised to keep
        // callable.
        let result = unsafe { function(self.address(), timeout_ns, self.wait_data.get()) };
        if !self.watches_descriptors() {
            // It knows nothing of the descriptors in the reactor, or only that one is ready, and
            // an event that nobody takes would make it return at once for ever. An error shows
            // again at the next wait.
            let _ = self.poll_reactor(0);
        }
        if result >= 0 {
            self.wait_failed.set(false);
        } else {
            if !self.wait_failed.replace(true) {
                log::error(format_args!(
                    "the wait function failed ({result}); going on with pauses of 1 ms"
                ));
            }
            // A function that keeps failing at once must not keep the processor busy.
            sys::pause_ns(timeout_ns.min(1_000_000));
        }
        let now = self.clock.now();
        let waited_ns = now.ns.saturating_sub(began_ns);
        if for_timer && timeout_ns > 0 && result == 0 && waited_ns >= timeout_ns {
            self.wakening.record(waited_ns - timeout_ns);
        }
        measure::add(&self.metrics.total_wait_time_ns, waited_ns);
        self.last_poll.set(now.ticks);
        self.round_ends.set(self.turns.count() + self.run_queue.count.get() as u64);
    }

    /// Looks at the descriptors that tasks have begun to wait for, and readies the tasks if they are
    /// ready. The others are armed if `settle` says so, or have been looked at before.
    fn look_at_descriptors(&self, settle: bool) -> usize {
        let mut reactor = self.reactor.borrow_mut();
        if !reactor.has_fresh() {
            return 0;
        }
        let events = reactor.look(settle, |task, outcome| self.ready(task, outcome));
        measure::add(&self.metrics.io_events, events as u64);
        events
    }

    /// Waits for the reactor's descriptors, and readies those who wait for them.
    pub fn poll_reactor(&self, timeout_ns: u64) -> Result<usize> {
        let events = self
            .reactor
            .borrow_mut()
            .poll(timeout_ns, |task, outcome| self.ready(task, outcome))?;
        measure::add(&self.metrics.io_events, events as u64);
        Ok(events)
    }

    fn report_deadlock(&self) -> Error {
        let left = self.slab.borrow().alive();
        if self.held_back.is_empty() {
            log::error(format_args!(
                "all {left} tasks are parked, without a timer, a descriptor or a wait function to wake \
                 one: the run ends"
            ));
            Error::Deadlock
        } else {
            log::error(format_args!(
                "{} tasks cannot get a stack, and no other task is left to give one back: the run \
                 ends; they start with the next run",
                self.held_back.count.get()
            ));
            Error::OutOfMemory
        }
    }

    fn retry_held_back(&self, now: Instant) {
        if !self.held_back.is_empty() && now.ns >= self.retry_at_ns.get() {
            self.retry_at_ns.set(now.ns + RETRY_NS);
            if let Some(task) = self.held_back.pop() {
                self.run_queue.push(task);
            }
        }
    }

    /// How soon phase 1 is needed though nothing happens.
    fn next_chore_ns(&self) -> u64 {
        if !self.held_back.is_empty() {
            RETRY_NS
        } else if self.clock.has_own() {
            u64::MAX // What happens in simulated time does not depend on real time.
        } else {
            match self.stacks.borrow().next_cooling_ns() {
                u64::MAX => u64::MAX,
                at_ns => at_ns.saturating_sub(sys::monotonic_ns()),
            }
        }
    }

    fn report_held_back(&self) {
        if self.held_back.is_empty() {
            self.held_back_said.set(false);
        } else if let Some(error) = self.held_back_because.take()
            && !self.held_back_said.replace(true)
        {
            log::error(format_args!(
                "no stack for a new task: {error}; tasks wait for others to end"
            ));
        }
    }
}

// ---- looking in

impl Scheduler {
    /// Brings the public counters up to date.
    pub fn publish_metrics(&self) {
        let metrics = &self.metrics;
        self.turns.publish(&self.clock, metrics);
        if self.running.load(Relaxed) {
            let now_ns = sys::monotonic_ns();
            let began_ns = self.loop_began_ns.replace(now_ns);
            measure::add(&metrics.total_loop_time_ns, now_ns.saturating_sub(began_ns));
        }
        let tables = self.slab.borrow().bytes()
            + self.stacks.borrow().bytes()
            + self.reactor.borrow().bytes()
            + self.timers.bytes();
        metrics.memory_allocated_bytes.set(size_of::<Scheduler>() + tables);
    }

    /// Starts counting again.
    pub fn reset_metrics(&self) {
        self.publish_metrics();
        self.turns.reset();
        self.round_ends.set(0); // It counts turns, too.
        self.timer_lateness.reset();
        self.metrics.reset();
    }

    fn runs_on_this_thread(&self) -> bool {
        current().is_some_and(|scheduler| std::ptr::eq(scheduler, self))
    }

    /// Whether it is running on another thread.
    pub fn runs_elsewhere(&self) -> bool {
        self.running.load(Relaxed) && !self.runs_on_this_thread()
    }

    /// A number below `limit`, from a sequence that is the same for each scheduler.
    pub fn random_below(&self, limit: u64) -> u64 {
        // Marsaglia, Xorshift RNGs (2003), with the multiplier of Vigna's xorshift64*.
        let mut state = self.random.get();
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.random.set(state);
        ((state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) * limit) >> 32
    }

    /// What C knows it by.
    pub fn address(&self) -> *mut Scheduler {
        from_ref(self).cast_mut()
    }
}

/// The scheduler that runs on this thread.
#[inline(always)]
pub fn current<'s>() -> Option<&'s Scheduler> {
    // SAFETY: the thread's own variable. `run` sets it to a scheduler that it borrows, and clears
    // it.
    unsafe { (*switch::thread()).scheduler.get().as_ref() }
}

/// The task whose turn it is on this thread, and its scheduler.
#[inline(always)]
pub fn running_task<'t>() -> Option<(&'t Scheduler, &'t Task)> {
    let scheduler = current()?;
    // SAFETY: the current task is alive while it has its turn.
    let task = unsafe { scheduler.current_task.get().as_ref() }?;
    Some((scheduler, task))
}
