//! The scheduler: its state, the loop, and what a running task can ask of it.
//!
//! # Contexts
//!
//! The loop runs on the thread's own stack, each task on its own. A task that suspends switches straight
//! to the next ready task, without visiting the loop: [`Scheduler::suspend`] ends its turn, and
//! [`Scheduler::next_context`] picks who is next. It goes back to the loop when no task is ready, when it is
//! time to look at timers and descriptors (`next_service`), and when the scheduler is to stop.
//!
//! # Borrows
//!
//! C holds pointers to the scheduler and calls back into it from tasks, wait functions and log callbacks. So
//! it is only ever borrowed shared, its fields are cells, and the `RefCell`s (`slab`, `stacks`, `reactor`) are
//! borrowed for the length of one call into them, in which no program code runs and nothing switches or
//! logs.

use std::alloc::{Layout, alloc, dealloc};
use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::ptr::{drop_in_place, from_ref, null, null_mut};
use std::sync::atomic::{
    AtomicBool, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};

use crate::clock::{Clock, Instant};
use crate::error::{Error, Result};
use crate::metrics::{self, Metrics, TurnTimes};
use crate::reactor::{Armed, READABLE, Reactor};
use crate::run_queue::RunQueue;
use crate::stack::{self, Stack, StackPool};
use crate::switch::{self, FloatModes};
use crate::task::{Body, NO_FD, Slab, State, Task};
use crate::timer_heap::{NOT_IN_HEAP, TimerHeap};
use crate::wait::{WaitFunction, wait_epoll};
use crate::{log, signals, sys};

/// While tasks are ready, timers are looked at no later than they are due, and descriptors at least this
/// often.
const SERVICE_NS: u64 = 50_000;

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
    loop_context: Cell<*mut u8>,
    /// In ticks: from then on a task that suspends switches to the loop.
    next_service: Cell<u64>,
    /// The times of turns.
    turns: TurnTimes,
    /// This thread's errno, while running: each task keeps its own value across a suspension.
    errno: Cell<*mut c_int>,
    /// What new tasks start with: the modes of the thread that runs the scheduler.
    float_modes: Cell<FloatModes>,
    /// Deadlines and turns.
    clock: Clock,
    /// Orders timers with equal deadlines.
    timer_serial: Cell<u64>,
    /// In ticks: when descriptors were last looked at.
    last_poll: Cell<u64>,
    /// In nanoseconds: when the current run began, or what was already counted of it.
    loop_began_ns: Cell<u64>,
    /// Whether the last call of the wait function failed, which is logged once in a row.
    wait_failed: Cell<bool>,
    /// Ready tasks whose first turn came when there was no stack, and why. They are queued again as others end.
    held_back: RunQueue,
    held_back_because: Cell<Option<Error>>,

    /// The stack size of tasks that have none of their own.
    stack_bytes: Cell<usize>,
    /// The task objects.
    slab: RefCell<Slab>,
    /// The stacks.
    stacks: RefCell<StackPool>,
    /// Who waits for which descriptor. Before `stop`, whose descriptor it watches.
    reactor: RefCell<Reactor>,
    /// Asks the loop to end, from any thread.
    pub stop: StopFlag,
    /// Whether a run is under way, on any thread.
    running: AtomicBool,
    /// Whether signals are looked after while running.
    looks_after_signals: bool,
}

/// A request to stop, which any thread and any signal handler may raise.
pub struct StopFlag {
    raised: AtomicBool,
    /// Wakes the loop while it waits.
    wake_up_fd: c_int,
}

impl StopFlag {
    pub fn raise(&self) {
        self.raised.store(true, Release);
        sys::eventfd_raise(self.wake_up_fd);
    }

    fn is_raised(&self) -> bool {
        self.raised.load(Acquire)
    }

    /// Takes the request back. The descriptor first: a request that comes in between is kept.
    fn lower(&self) {
        sys::eventfd_clear(self.wake_up_fd);
        self.raised.store(false, Release);
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
        Scheduler::allocate(None, false)
    }

    /// Makes a scheduler that waits by epoll and looks after signals.
    pub fn create_application() -> Result<*mut Scheduler> {
        let scheduler = Scheduler::allocate(Some(wait_epoll), true)?;
        log::info(format_args!("Scheduler created with epoll integration"));
        Ok(scheduler)
    }

    fn allocate(wait: Option<WaitFunction>, looks_after_signals: bool) -> Result<*mut Scheduler> {
        let stop = StopFlag { raised: AtomicBool::new(false), wake_up_fd: sys::eventfd()? };
        let scheduler = Scheduler {
            run_queue: RunQueue::new(),
            timers: TimerHeap::new(),
            current_task: Cell::new(null()),
            wait_function: Cell::new(wait),
            wait_data: Cell::new(null_mut()),
            metrics: Metrics::default(),
            loop_context: Cell::new(null_mut()),
            next_service: Cell::new(0),
            turns: TurnTimes::new(),
            errno: Cell::new(null_mut()),
            float_modes: Cell::new(FloatModes::default()),
            clock: Clock::start(),
            timer_serial: Cell::new(0),
            last_poll: Cell::new(0),
            loop_began_ns: Cell::new(0),
            wait_failed: Cell::new(false),
            held_back: RunQueue::new(),
            held_back_because: Cell::new(None),
            stack_bytes: Cell::new(stack::DEFAULT_BYTES),
            slab: RefCell::default(),
            stacks: RefCell::default(),
            reactor: RefCell::new(Reactor::create(stop.wake_up_fd)?),
            stop,
            running: AtomicBool::new(false),
            looks_after_signals,
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
        // SAFETY: the state belongs to the task, which does not run again.
        scheduler.slab.borrow().for_each(|task| unsafe { sys::free(task.user_state.get()) });
        // SAFETY: from `allocate`, and no task is left that could refer to it.
        unsafe {
            drop_in_place(address);
            dealloc(address.cast(), Layout::new::<Scheduler>());
        }
    }

    /// Adds a task to the end of the run queue. On success it owns `user_state`.
    #[inline]
    pub fn spawn(&self, body: Body, user_state: *mut c_void) -> Result<&Task> {
        if self.running.load(Relaxed) && !self.runs_on_this_thread() {
            log::error(format_args!("mj_create_task: {}", Error::WrongThread));
            return Err(Error::WrongThread);
        }
        let slot = self.slab.borrow().allocate();
        let task = match slot {
            Some(task) => task,
            None => {
                self.slab.borrow_mut().grow()?;
                self.slab.borrow().allocate().ok_or(Error::OutOfMemory)?
            }
        };
        task.body.set(Some(body));
        task.user_state.set(user_state);
        task.set_state(State::Runnable);
        task.wake_time_ns.set(0);
        task.stack_bytes.set(0);
        task.scheduler.set(self);
        self.run_queue.push(task);
        let metrics = &self.metrics;
        metrics::add(&metrics.tasks_created, 1);
        metrics::add(&metrics.current_tasks, 1);
        metrics.peak_tasks.set(metrics.peak_tasks.get().max(metrics.current_tasks.get()));
        Ok(task)
    }

    /// Sets the stack size of tasks to come.
    pub fn set_stack_size(&self, bytes: usize) -> Result<()> {
        self.stack_bytes.set(stack::valid_size(bytes)?);
        Ok(())
    }

    /// The descriptor that is readable when the reactor or the stop flag has something.
    pub fn backend_fd(&self) -> c_int {
        self.reactor.borrow().fd()
    }
}

// ---- the loop

/// Runs a scheduler on this thread until it is done or stopped.
pub fn run(scheduler: &Scheduler) {
    // SAFETY: the thread's own variable, which lives as long as the thread.
    let thread = unsafe { &*switch::thread() };
    if !thread.scheduler.get().is_null() {
        log::error(format_args!("mj_scheduler_run: a scheduler is running on this thread already"));
        return;
    }
    if scheduler.running.swap(true, AcqRel) {
        log::error(format_args!("mj_scheduler_run: {}", Error::WrongThread));
        return;
    }
    let signals = scheduler.looks_after_signals.then(|| signals::Guard::new(&scheduler.stop));
    scheduler.errno.set(sys::errno_address());
    scheduler.float_modes.set(FloatModes::read());
    thread.scheduler.set(scheduler);
    scheduler.run_queue.append(&scheduler.held_back);
    scheduler.loop_began_ns.set(sys::monotonic_ns());
    log::info(format_args!(
        "Scheduler starting with {} runnable tasks, {} sleeping",
        scheduler.run_queue.count.get(),
        scheduler.timers.count.get()
    ));

    scheduler.run_loop();

    scheduler.publish_metrics();
    let left = scheduler.slab.borrow().alive();
    if left == 0 {
        log::info(format_args!("Scheduler stopped: all tasks completed"));
    } else {
        log::info(format_args!("Scheduler stopped: {left} tasks left"));
    }
    thread.scheduler.set(null());
    drop(signals);
    scheduler.stop.lower();
    scheduler.running.store(false, Release);
}

impl Scheduler {
    fn run_loop(&self) {
        while !self.stop.is_raised() && self.slab.borrow().alive() > 0 {
            metrics::add(&self.metrics.scheduler_loops, 1);
            log::trace(format_args!(
                "Loop iteration: runnable={}, sleeping={}",
                self.run_queue.count.get(),
                self.timers.count.get()
            ));

            // 1. Ready what is due: timers, and from time to time descriptors.
            let now = self.clock.now();
            self.expire_timers(now.ns);
            if !self.run_queue.is_empty() && self.poll_is_due(now) {
                self.wait(0);
            }

            // 2. Run ready tasks until none is left, or it is time for phase 1 again.
            self.run_tasks(now);

            // 3. Wait, if there is nothing else to do.
            self.report_held_back();
            if self.run_queue.is_empty() && !self.stop.is_raised() && self.slab.borrow().alive() > 0
            {
                match self.idle_timeout_ns() {
                    Some(0) => {}
                    Some(timeout_ns) => self.wait(timeout_ns),
                    None => return self.report_deadlock(),
                }
            }
        }
    }

    fn expire_timers(&self, now_ns: u64) {
        while let Some(task) = self.timers.pop_due(now_ns) {
            metrics::add(&self.metrics.timer_expirations, 1);
            metrics::add(&self.metrics.heap_operations, 1);
            task.set_state(State::Runnable);
            self.run_queue.push(task);
        }
    }

    /// Whether it is time to look at descriptors, though tasks are ready.
    fn poll_is_due(&self, now: Instant) -> bool {
        now.ticks.wrapping_sub(self.last_poll.get()) >= self.clock.ns_to_ticks(SERVICE_NS)
            && (self.has_own_wait_function() || self.reactor.borrow().has_waiters())
    }

    fn run_tasks(&self, now: Instant) {
        let until_timer = self.timers.next_deadline_ns().map(|at| at.saturating_sub(now.ns));
        let service_ns = until_timer.unwrap_or(SERVICE_NS).min(SERVICE_NS);
        self.next_service.set(now.ticks.wrapping_add(self.clock.ns_to_ticks(service_ns)).max(1));
        if self.run_queue.is_empty() {
            return;
        }
        self.turns.begin(self.clock.ticks());
        // Even when the next service is due already, one task runs: there is progress in each round.
        let first = self.next_context(null_mut());
        if let Next::Context(context) = first
            && context != self.loop_context.get()
        {
            // SAFETY: a suspended context of a living task; no RefCell is borrowed here.
            unsafe { switch::switch(self.loop_context.as_ptr(), context) };
        }
        self.current_task.set(null());
    }

    /// How long phase 3 may wait; none if nothing could end the wait.
    fn idle_timeout_ns(&self) -> Option<u64> {
        match self.timers.next_deadline_ns() {
            // A deadline past the end of the clock is never.
            Some(u64::MAX) => Some(u64::MAX),
            Some(deadline) => Some(deadline.saturating_sub(sys::monotonic_ns())),
            None if self.has_own_wait_function() || self.reactor.borrow().has_waiters() => {
                Some(u64::MAX)
            }
            None => None,
        }
    }

    fn has_own_wait_function(&self) -> bool {
        let builtin: WaitFunction = wait_epoll;
        self.wait_function.get().is_some_and(|function| !std::ptr::fn_addr_eq(function, builtin))
    }

    /// Calls the wait function.
    fn wait(&self, timeout_ns: u64) {
        self.publish_metrics();
        metrics::add(&self.metrics.wait_calls, 1);
        let began_ns = sys::monotonic_ns();
        let function = self.wait_function.get().unwrap_or(wait_epoll);
        // SAFETY: the built-in function, or the program's, which its setter promised to keep callable.
        let result = unsafe { function(self.address(), timeout_ns, self.wait_data.get()) };
        if self.has_own_wait_function() && self.reactor.borrow().has_waiters() {
            // It knows nothing of the descriptors in the reactor, or only that one is ready. An error
            // shows again at the next wait.
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
        metrics::add(&self.metrics.total_wait_time_ns, now.ns.saturating_sub(began_ns));
        self.last_poll.set(now.ticks);
    }

    /// Waits for the reactor's descriptors, and readies those who wait for them.
    pub fn poll_reactor(&self, timeout_ns: u64) -> Result<usize> {
        let events = self.reactor.borrow_mut().poll(timeout_ns, |task| self.ready(task))?;
        metrics::add(&self.metrics.io_events, events as u64);
        Ok(events)
    }

    fn report_deadlock(&self) {
        let left = self.slab.borrow().alive();
        if self.held_back.is_empty() {
            log::error(format_args!(
                "all {left} tasks are parked, without a timer, a descriptor or a wait function to wake \
                 one: the run ends"
            ));
        } else {
            log::error(format_args!(
                "{} tasks cannot get a stack, and no other task is left to give one back: the run \
                 ends; they start with the next run",
                self.held_back.count.get()
            ));
        }
    }

    fn report_held_back(&self) {
        if let Some(error) = self.held_back_because.take() {
            log::error(format_args!(
                "no stack for a new task: {error}; tasks wait for others to end"
            ));
        }
    }
}

// ---- switching

/// What runs next.
enum Next {
    /// A suspended context to switch to.
    Context(*mut u8),
    /// A new task, which has been given the stack that the caller runs on.
    OnThisStack,
}

impl Scheduler {
    /// Ends the running task's turn, which must be queued or parked, and returns when it has the next one.
    #[inline(always)]
    fn suspend(&self, task: &Task) {
        let errno_address = self.errno.get();
        // SAFETY: this thread's errno, while the scheduler runs here.
        let errno = unsafe { *errno_address };
        let now = self.clock.ticks();
        self.turns.end(now, &self.metrics);
        let context = if self.may_hand_off(now) {
            if self.run_queue.starts_with(task) {
                self.run_queue.pop();
                return; // Nobody else is ready.
            }
            match self.next_context(null_mut()) {
                Next::Context(context) => context,
                Next::OnThisStack => self.loop_context.get(), // Unreachable: no stack has this address.
            }
        } else {
            self.current_task.set(null());
            self.loop_context.get()
        };
        // SAFETY: the loop's or a ready task's context; this one is saved in its task, whoever readies that
        // switches back. No RefCell is borrowed.
        unsafe { switch::switch(task.context.as_ptr(), context) };
        // SAFETY: as above; a task resumes on the thread that it runs on now.
        unsafe { *errno_address = errno };
    }

    /// Whether a task may switch to the next one without visiting the loop.
    #[inline(always)]
    fn may_hand_off(&self, now: u64) -> bool {
        now < self.next_service.get() && !self.stop.raised.load(Relaxed)
    }

    /// Takes the next ready task and makes it the current one; the loop if there is none. A new task is given a
    /// stack first: the one at `free_stack_top`, which the caller still runs on, if it is next in the pool.
    #[inline(always)]
    fn next_context(&self, free_stack_top: *mut u8) -> Next {
        while let Some(task) = self.run_queue.pop() {
            self.current_task.set(task);
            let context = task.context.get();
            if !context.is_null() {
                return Next::Context(context);
            }
            if !task.alive.get() {
                // Ended while it was in the queue.
                self.slab.borrow().free(task);
                continue;
            }
            match self.first_context(task, free_stack_top) {
                Ok(next) => return next,
                Err(error) => {
                    if self.held_back.is_empty() {
                        self.held_back_because.set(Some(error));
                    }
                    self.held_back.push(task);
                }
            }
        }
        self.current_task.set(null());
        Next::Context(self.loop_context.get())
    }

    /// Gives a new task its stack.
    fn first_context(&self, task: &Task, free_stack_top: *mut u8) -> Result<Next> {
        let bytes = match task.stack_bytes.get() {
            0 => self.stack_bytes.get(),
            bytes => bytes,
        };
        let stack = self.stacks.borrow_mut().acquire(bytes)?;
        task.stack.set(stack);
        if stack.top == free_stack_top {
            return Ok(Next::OnThisStack);
        }
        // SAFETY: the top of a stack that nobody uses, which is much larger than a frame.
        let context = unsafe { switch::new_context(stack.top, self, self.float_modes.get()) };
        task.context.set(context);
        Ok(Next::Context(context))
    }
}

/// Where every stack begins: calls the current task's body until the task ends, then goes on with another new
/// task or leaves the stack for good.
///
/// # Safety
/// Called once on each new stack, by a switch to it, with the scheduler that runs on this thread.
pub unsafe extern "C" fn task_main(scheduler: *const Scheduler) -> ! {
    // SAFETY: alive, since it runs.
    let scheduler = unsafe { &*scheduler };
    // SAFETY: this thread's errno. A new task starts without an error.
    unsafe { *scheduler.errno.get() = 0 };
    loop {
        // SAFETY: the switch to this stack made one of its tasks current, and tasks live in the slab.
        let task = unsafe { &*scheduler.current_task.get() };
        if let Some(body) = task.body.get() {
            // SAFETY: the program's function with the arguments it was registered with.
            unsafe { body(scheduler.address(), task.user_state.get()) };
        }
        if task.is(State::Exited) {
            scheduler.end(task);
        } else {
            scheduler.body_returned(task);
        }
    }
}

impl Scheduler {
    /// The body has returned, and is to be called again: at its next turn, or once it is enqueued if it
    /// has parked itself.
    fn body_returned(&self, task: &Task) {
        let parked = task.is(State::Sleeping) || task.is(State::WaitingIo);
        if !parked || task.queued.get() {
            task.set_state(State::Runnable);
            if !task.queued.get() {
                self.run_queue.push(task);
            }
        }
        self.suspend(task);
    }

    /// Ends a task that runs on this stack. Returns if the stack has been given to a new task, which is now the
    /// current one; else leaves the stack for good.
    fn end(&self, task: &Task) {
        log::debug(format_args!("Task {task:p} exited"));
        // SAFETY: the state belongs to the task, and its body has returned.
        unsafe { sys::free(task.user_state.replace(null_mut())) };
        metrics::add(&self.metrics.tasks_exited, 1);
        metrics::add(&self.metrics.current_tasks, u64::MAX); // one less
        task.context.set(null_mut());
        let stack = task.stack.replace(Stack::NONE);
        if task.queued.get() {
            // Somebody has enqueued it while it ran. `next_context` frees the slot.
            task.alive.set(false);
        } else {
            self.slab.borrow().free(task);
        }
        self.stacks.borrow_mut().release(stack);
        if let Some(waiting) = self.held_back.pop() {
            self.run_queue.push(waiting);
        }
        let now = self.clock.ticks();
        self.turns.end(now, &self.metrics);
        let next = if self.may_hand_off(now) {
            self.next_context(stack.top)
        } else {
            self.current_task.set(null());
            Next::Context(self.loop_context.get())
        };
        match next {
            Next::OnThisStack => {
                self.float_modes.get().restore();
                // SAFETY: as in `task_main`.
                unsafe { *self.errno.get() = 0 };
            }
            Next::Context(context) => {
                let mut nobody = null_mut();
                // SAFETY: the loop's or a ready task's context. This one is never resumed: its stack is in the
                // pool, and stays as it is until some other context takes it out.
                unsafe { switch::switch(&mut nobody, context) };
            }
        }
    }

    /// Makes a task ready that was parked in a descriptor's list, from which it has been taken.
    fn ready(&self, task: &Task) {
        self.cancel_timer(task);
        task.set_state(State::Runnable);
        if !task.queued.get() {
            self.run_queue.push(task);
        }
    }

    fn cancel_timer(&self, task: &Task) {
        if task.heap_index.get() != NOT_IN_HEAP {
            self.timers.remove(task);
            metrics::add(&self.metrics.timer_cancellations, 1);
            metrics::add(&self.metrics.heap_operations, 1);
        }
    }

    /// Makes a task ready, whatever it waits for.
    pub fn enqueue(&self, address: *const Task) -> Result<()> {
        let found = self.slab.borrow().find(address);
        let task = match found {
            Some(task) if !task.is(State::Exited) => task,
            _ => {
                log::warn(format_args!(
                    "enqueue_runnable: {address:p} is not a living task of this scheduler"
                ));
                return Err(Error::InvalidArgument);
            }
        };
        if !task.queued.get() {
            if task.waits_for.get() != NO_FD {
                self.reactor.borrow_mut().forget(task);
            }
            self.ready(task);
        }
        Ok(())
    }

    /// Takes the first ready task out of the queue; null if there is none.
    pub fn dequeue(&self) -> *const Task {
        while let Some(task) = self.run_queue.pop() {
            if task.alive.get() {
                return task;
            }
            self.slab.borrow().free(task);
        }
        null()
    }

    /// Brings the public counters up to date.
    pub fn publish_metrics(&self) {
        let metrics = &self.metrics;
        self.turns.publish(&self.clock, metrics);
        if self.running.load(Relaxed) {
            let now_ns = sys::monotonic_ns();
            let began_ns = self.loop_began_ns.replace(now_ns);
            metrics::add(&metrics.total_loop_time_ns, now_ns.saturating_sub(began_ns));
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
        self.metrics.reset();
    }

    fn runs_on_this_thread(&self) -> bool {
        current().is_some_and(|scheduler| std::ptr::eq(scheduler, self))
    }

    fn address(&self) -> *mut Scheduler {
        from_ref(self).cast_mut()
    }
}

// ---- what a task asks for

/// The scheduler that runs on this thread.
#[inline(always)]
pub fn current<'s>() -> Option<&'s Scheduler> {
    // SAFETY: the thread's own variable. `run` sets it to a scheduler that it borrows, and clears it.
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

/// The same for a call that suspends: nothing, if the task is marked as ended, or, with a line that names the
/// call, outside a task.
#[inline(always)]
fn suspending_task<'t>(call: &str) -> Option<(&'t Scheduler, &'t Task)> {
    let running = running_task();
    if running.is_none() {
        refuse(call);
    }
    running.filter(|(_, task)| !task.is(State::Exited))
}

#[cold]
fn refuse(call: &str) {
    log::warn(format_args!("{call}: {}", Error::NotInTask));
}

/// Marks the running task as ended.
pub fn exit() {
    match running_task() {
        Some((_, task)) => task.set_state(State::Exited),
        None => refuse("mj_task_exit"),
    }
}

/// Lets the other ready tasks run.
pub fn yield_now() {
    if let Some((scheduler, task)) = suspending_task("mj_task_yield") {
        scheduler.yield_task(task);
    }
}

impl Scheduler {
    #[inline(always)]
    fn yield_task(&self, task: &Task) {
        if !task.queued.get() {
            self.run_queue.push(task);
        }
        self.suspend(task);
    }
}

/// Suspends the running task for at least `ns` nanoseconds.
pub fn sleep(ns: u64) {
    let Some((scheduler, task)) = suspending_task("mj_task_sleep") else {
        return;
    };
    if task.queued.get() {
        return scheduler.suspend(task); // Woken already.
    }
    let now = scheduler.clock.now();
    let deadline_ns = now.ns.saturating_add(ns);
    let serial = scheduler.timer_serial.get();
    if let Err(error) = scheduler.timers.insert(task, deadline_ns, serial) {
        log::error(format_args!("mj_task_sleep: task {task:p} goes on without sleeping: {error}"));
        return scheduler.yield_task(task);
    }
    scheduler.timer_serial.set(serial + 1);
    metrics::add(&scheduler.metrics.heap_operations, 1);
    task.set_state(State::Sleeping);
    // The loop must come round in time for this timer, if it is earlier than the others.
    if ns < SERVICE_NS {
        let due = now.ticks.wrapping_add(scheduler.clock.ns_to_ticks(ns)).max(1);
        scheduler.next_service.set(scheduler.next_service.get().min(due));
    }
    scheduler.suspend(task);
}

/// Suspends the running task until a descriptor is readable.
pub fn wait_readable(fd: c_int) {
    let Some((scheduler, task)) = suspending_task("mj_task_wait_readable") else {
        return;
    };
    if task.queued.get() {
        return scheduler.suspend(task); // Woken already.
    }
    log::debug(format_args!("Task {task:p} waiting for fd {fd} to become readable"));
    let armed = scheduler.reactor.borrow_mut().wait(task, fd, READABLE);
    match armed {
        Ok(Armed::Waiting) => {
            task.set_state(State::WaitingIo);
            scheduler.suspend(task);
        }
        // Others still get their turn, and a loop around the call can be stopped.
        Ok(Armed::AlwaysReady) => scheduler.yield_task(task),
        Err(error) => {
            log::error(format_args!(
                "mj_task_wait_readable: task {task:p} cannot wait for fd {fd}: {error}"
            ));
            scheduler.yield_task(task);
        }
    }
}
