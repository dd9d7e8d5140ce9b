//! The scheduler: its parts, creation, and destruction.
//!
//! # Borrows
//!
//! C holds pointers to the scheduler and calls back into it from tasks, wait functions and log
//! callbacks. So it is only ever borrowed shared, its fields are cells, and the `RefCell`s in its
//! parts are borrowed for the length of one call into them, in which no program code runs and
//! nothing switches or logs.

use std::alloc::{Layout, alloc, dealloc};
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::fmt;
use std::ptr::{drop_in_place, from_ref, null, null_mut};
use std::sync::atomic::Ordering::Relaxed;

use crate::engine::context::switch;
use crate::engine::log;
use crate::engine::measure::{self, Delays, Metrics, Recorder};
use crate::engine::sys::{self, Error, Result, VisiblePointer};
use crate::engine::task::{
    Body, Name, RunQueue, SchedulerRef, State, Task, TimerHeap, Words, probe,
};
use crate::engine::threads::Remote;
use crate::engine::time::{Clock, ClockFunction};
use crate::engine::watchdog::Watch;

use super::budget::Budget;
use super::daemons::Daemons;
use super::dispatch::Dispatch;
use super::hook_library::HookLibrary;
use super::interests::{AtCall, AtSignal, Signals};
use super::io::{Builtin, Io, WaitFunction};
use super::living::Living;
use super::post_queue::Posts;
use super::random::Random;
use super::spare::Spare;
use super::tasks::Tasks;
use super::time::Time;
use super::trim::Trim;

/// A scheduler. C reads the fields down to `metrics`, in this order.
#[repr(C)]
pub struct Scheduler {
    /// The tasks that are ready.
    pub run_queue: RunQueue,
    /// The tasks that have a timer.
    pub timers: TimerHeap,
    /// The running task; null in the loop.
    pub current_task: VisiblePointer<Task>,
    /// The program's wait function.
    pub wait_function: Cell<Option<WaitFunction>>,
    /// Its last argument.
    pub wait_data: Cell<*mut c_void>,
    /// The public counters.
    pub metrics: Metrics,

    /// Its name, NUL-terminated; empty for none. The handle has a copy for other threads.
    pub name: Cell<Name>,

    /// The switch between tasks.
    pub dispatch: Dispatch,
    /// The clock, timers' serial numbers, and lateness.
    pub time: Time,
    /// What others wait for while it is busy.
    pub delays: Delays,
    /// The task objects and their stacks.
    pub tasks: Tasks,
    /// Whether none of the tasks runs again: it is being destroyed.
    pub is_over: Cell<bool>,
    /// Descriptors and the wait function. Before `remote`, whose descriptor it watches.
    pub io: Io,
    /// What a turn may do in calls that complete without waiting.
    pub(super) budget: Budget,
    /// Whether a task has set a value that new tasks inherit.
    pub(super) inherits: Cell<bool>,
    /// Which tasks do not keep a run going.
    pub(super) daemons: Daemons,
    /// Whether its run goes on without tasks.
    pub(super) is_held: Cell<bool>,
    pub(super) holder: Cell<*const c_void>,
    /// Memory for what outlives the call that has it.
    pub spare: Spare,
    /// Chooses among the ready cases of a select.
    pub random: Random,
    /// When memory is given back.
    pub(super) trim: Trim,
    /// The handle for other threads, and for objects that may outlive the scheduler.
    pub remote: Remote,
    /// What other threads have left to be run.
    pub(super) posts: Posts,
    /// How it is watched for turns that are too long.
    pub(super) watch: Watch,
    /// What libmajjen-hook is told of it.
    pub(super) hook_library: HookLibrary,
    /// The signals that its tasks wait for.
    pub(super) signals: Signals,
    pub(super) options: Options,
    /// What has happened last, while it records.
    pub recorder: Recorder,
    /// What the list of all schedulers has of it.
    pub living: Living,
}

/// What a run installs.
pub(super) struct Options {
    pub handle_signals: bool,
    pub report_overflow: Cell<bool>,
    /// The signal that ended the last run; 0 for none.
    pub signal: Cell<c_int>,
    /// What a signal begins that is to end the run in order.
    pub at_signal: Cell<Option<AtSignal>>,
    /// What the loop calls at a signal that it is told of.
    pub at_call: Cell<Option<AtCall>>,
    /// What is called at the end of each run.
    pub at_run_end: Cell<Option<AtRunEnd>>,
    /// Whether it is in a run, and not being drained.
    pub in_run: Cell<bool>,
}

/// What is called at the end of a run.
///
/// # Safety
/// The scheduler is alive.
pub type AtRunEnd = unsafe fn(SchedulerRef);

/// What this system lacks, in words; it is asked when the words are wanted.
struct Fallbacks<'s>(&'s Clock);

impl fmt::Display for Fallbacks<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counter = ("counter", !self.0.has_counter());
        let mut separator = "";
        for (name, _) in sys::fallbacks().into_iter().chain([counter]).filter(|(_, used)| *used) {
            out.write_str(separator)?;
            out.write_str(name)?;
            separator = ", ";
        }
        out.write_str(if separator.is_empty() { "none" } else { "" })
    }
}

// ---- creating and destroying

impl Scheduler {
    /// Creates a scheduler; `handle_signals` makes its runs handle SIGINT and SIGTERM.
    /// [`destroy`](Self::destroy) releases it.
    pub fn create(handle_signals: bool) -> Result<*mut Scheduler> {
        log::begin();
        sys::check_clock()?;
        let remote = Remote::new()?;
        let time = Time::new();
        let scheduler = Scheduler {
            run_queue: RunQueue::new(),
            timers: TimerHeap::new(),
            current_task: VisiblePointer::new(null()),
            wait_function: Cell::new(None),
            wait_data: Cell::new(null_mut()),
            metrics: Metrics::default(),
            name: Cell::new(Name::default()),
            dispatch: Dispatch::new(&time.clock),
            time,
            delays: Delays::new(),
            tasks: Tasks::new(),
            is_over: Cell::new(false),
            io: Io::new(remote.wake_up_fd())?,
            budget: Budget::new(),
            inherits: Cell::new(false),
            daemons: Daemons::new(),
            is_held: Cell::new(false),
            holder: Cell::new(null()),
            spare: Spare::new(),
            random: Random::new(),
            trim: Trim::new(),
            posts: Posts::new(),
            remote,
            watch: Watch::new(),
            hook_library: HookLibrary::new(),
            signals: Signals::new(),
            options: Options {
                handle_signals,
                report_overflow: Cell::new(handle_signals),
                signal: Cell::new(0),
                at_signal: Cell::new(None),
                at_call: Cell::new(None),
                at_run_end: Cell::new(None),
                in_run: Cell::new(false),
            },
            recorder: Recorder::new(),
            living: Living::new(),
        };
        // SAFETY: the layout is not empty.
        let memory = unsafe { alloc(Layout::new::<Scheduler>()) }.cast::<Scheduler>();
        if memory.is_null() {
            return Err(Error::OutOfMemory);
        }
        // SAFETY: fresh memory of the right layout.
        unsafe { memory.write(scheduler) };
        // SAFETY: written just now.
        let scheduler = unsafe { &*memory };
        scheduler.remote.open(memory.cast());
        scheduler.living.enter();
        scheduler.log_fallbacks();
        if handle_signals {
            log::info(format_args!("Scheduler created with epoll integration"));
        }
        Ok(memory)
    }

    /// Destroys a scheduler and its tasks. [`Error::Busy`] while it runs.
    ///
    /// # Safety
    /// From [`create`](Self::create), and not used again unless it runs.
    pub unsafe fn destroy(address: *mut Scheduler) -> Result<()> {
        // SAFETY: as this function's contract says.
        let scheduler = unsafe { &*address };
        if scheduler.remote.is_running() {
            return Err(Error::Busy);
        }
        scheduler.part();
        for task in scheduler.tasks.iter() {
            // SAFETY: the state belongs to the task, which does not run again.
            unsafe { sys::free(task.user_state.get()) };
            scheduler.dispatch.forget_stack(task);
        }
        // SAFETY: from `create`, and no task is left that could refer to it.
        unsafe {
            drop_in_place(address);
            dealloc(address.cast(), Layout::new::<Scheduler>());
        }
        Ok(())
    }

    /// Nobody finds it any more, nor waits for it.
    pub(super) fn part(&self) {
        // Objects may outlive the scheduler, so their wait queues must not keep its tasks. Unlink
        // them before any is freed: neighbours in a queue point to each other.
        self.tasks.iter().for_each(|task| self.unlink(task));
        // A child of fork() may have closed the descriptors, and opened others under their numbers.
        let _ = self.reinit_after_fork();
        self.finish_all();
        self.abandon_posts();
        self.hook_library.forget(from_ref(self).cast());
        self.remote.close();
        self.living.leave();
    }

    /// Adds a task to the end of the run queue. On success it owns `user_state`.
    #[inline(always)]
    pub fn spawn(
        &self,
        body: Body,
        user_state: *mut c_void,
        words: &'static Words,
    ) -> Result<&Task> {
        if !self.inherits.get()
            && let Some(task) = self.tasks.allocate_now()
        {
            self.begin_task(task, body, user_state, words);
            return Ok(task);
        }
        self.spawn_with_values(body, user_state, words)
    }

    /// [`spawn`](Self::spawn) of a task that inherits nothing.
    pub(super) fn spawn_alone(
        &self,
        body: Body,
        user_state: *mut c_void,
        words: &'static Words,
    ) -> Result<&Task> {
        let task = self.tasks.allocate()?;
        self.begin_task(task, body, user_state, words);
        Ok(task)
    }

    #[inline(always)]
    fn begin_task(&self, task: &Task, body: Body, user_state: *mut c_void, words: &'static Words) {
        task.body.set(Some(body));
        task.user_state.set(user_state);
        task.set_state(State::Runnable);
        task.wake_time_ns.set(0);
        task.deadline_ns.set(u64::MAX);
        task.set_stack_bytes(0);
        task.canceled.set(false);
        task.shielded.set(false);
        task.unhooked.set(false);
        task.returns.set(0);
        task.words.set(Some(words));
        task.turns.set(0);
        task.name.set(Name::default());
        self.run_queue.push(task);
        probe::start(task);
        let metrics = &self.metrics;
        measure::add(&metrics.tasks_created, 1);
        measure::add(&metrics.current_tasks, 1);
        metrics.peak_tasks.set(metrics.peak_tasks.get().max(metrics.current_tasks.get()));
    }
}

impl Scheduler {
    /// [`spawn`](Self::spawn) with a state of the library's own, which is moved to C's heap. It stays at the
    /// address that is returned until the task has ended, and is not dropped.
    pub fn spawn_with<T>(
        &self,
        body: Body,
        state: T,
        words: &'static Words,
    ) -> Result<(&Task, *const T)> {
        const { assert!(!std::mem::needs_drop::<T>()) };
        let memory = sys::allocate::<T>(1);
        if memory.is_null() {
            return Err(Error::OutOfMemory);
        }
        // SAFETY: fresh memory for one.
        unsafe { memory.write(state) };
        let spawned = self.spawn(body, memory.cast(), words);
        if spawned.is_err() {
            // SAFETY: from above, and no task has it.
            unsafe { sys::free(memory.cast()) };
        }
        spawned.map(|task| (task, memory.cast_const()))
    }
}

// ---- settings

impl Scheduler {
    /// Has a function called at the end of each run, also in a child of fork().
    pub fn call_at_run_end(&self, function: AtRunEnd) {
        self.options.at_run_end.set(Some(function));
    }

    /// Sets the wait function; `None` is the default. `builtin` tells which built-in one `function`
    /// is, if it is one.
    pub fn set_wait_function(
        &self,
        function: Option<WaitFunction>,
        data: *mut c_void,
        builtin: Option<Builtin>,
    ) {
        self.wait_function.set(function);
        self.wait_data.set(data);
        self.io.builtin.set(function.zip(builtin));
    }

    /// The signal that ended the last run; 0 for none.
    pub fn signal(&self) -> c_int {
        self.options.signal.get()
    }

    /// Sets whether stack overflows are reported, from the next run on.
    pub fn report_overflow(&self, report: bool) -> Result<()> {
        if self.remote.is_running() {
            return Err(Error::Busy);
        }
        self.options.report_overflow.set(report);
        Ok(())
    }

    /// Sets the clock that deadlines follow; `None` for the monotonic one. Not while it is in use.
    pub fn set_clock(&self, function: Option<ClockFunction>, data: *mut c_void) -> Result<()> {
        if self.remote.is_running() || self.timers.count.get() > 0 {
            return Err(Error::Busy);
        }
        self.time.clock.set_custom(function, data);
        self.living.has_own_clock.store(function.is_some(), Relaxed);
        Ok(())
    }

    /// The epoll descriptor: readable when a descriptor is ready, or another thread has woken the
    /// scheduler. Of its own in a child of fork(), if that succeeds.
    pub fn backend_fd(&self) -> Result<c_int> {
        self.reinit_after_fork()?;
        Ok(self.io.reactor.borrow().fd())
    }
}

// ---- looking in

impl Scheduler {
    /// Writes what this system lacks to the log, at DEBUG.
    pub(super) fn log_fallbacks(&self) {
        log::debug(format_args!("Fallbacks in use: {}", Fallbacks(&self.time.clock)));
    }

    /// Brings the public counters up to date.
    pub fn publish_metrics(&self) {
        let metrics = &self.metrics;
        if self.remote.is_running() {
            measure::add(&metrics.total_loop_time_ns, self.time.take_loop_ns());
        }
        self.dispatch.turn_times.publish(&self.time.clock, metrics);
        let tables = self.tasks.bytes() + self.io.reactor.borrow().bytes() + self.timers.bytes();
        let own = size_of::<Scheduler>() + Remote::BYTES;
        metrics.memory_allocated_bytes.set(own + tables);
        metrics.long_turns.set(self.watch.long_turns());
        self.remote.share_counters(metrics.values());
    }

    /// Resets the counters.
    pub fn reset_metrics(&self) {
        self.publish_metrics();
        self.dispatch.turn_times.reset();
        self.io.reset(); // It counts turns, too.
        self.time.lateness.reset();
        self.delays.reset();
        self.watch.reset();
        self.metrics.reset();
        self.remote.share_counters(self.metrics.values());
    }

    /// The address as C's handle.
    pub fn address(&self) -> *mut Scheduler {
        from_ref(self).cast_mut()
    }

    /// The opaque reference that wait kinds are handed.
    pub fn as_ref(&self) -> SchedulerRef {
        SchedulerRef(from_ref(self).cast())
    }

    /// The scheduler of a [`SchedulerRef`].
    ///
    /// # Safety
    /// From [`as_ref`](Self::as_ref), and alive while the result is in use.
    pub unsafe fn of<'s>(reference: SchedulerRef) -> &'s Scheduler {
        // SAFETY: as this function's contract says.
        unsafe { &*reference.0.cast::<Scheduler>() }
    }
}

/// The scheduler that runs on this thread.
#[inline(always)]
pub fn current<'s>() -> Option<&'s Scheduler> {
    // SAFETY: the thread's own variable. `Entered` sets it to a scheduler that it borrows, and
    // clears it.
    unsafe { (*switch::thread()).scheduler.get().cast::<Scheduler>().as_ref() }
}

/// The task that runs on this thread, and its scheduler.
#[inline(always)]
pub fn running_task<'t>() -> Option<(&'t Scheduler, &'t Task)> {
    let scheduler = current()?;
    // SAFETY: the current task is alive while it has its turn.
    let task = unsafe { scheduler.current_task.get().as_ref() }?;
    Some((scheduler, task))
}
