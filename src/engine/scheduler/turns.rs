//! Turns: how tasks take the thread from each other.
//!
//! The loop runs on the thread's own stack, each task on its own. A task that suspends switches
//! straight to the next ready task, without visiting the loop: [`Scheduler::suspend`] ends its
//! turn, and [`Scheduler::next_context`] picks who is next. It goes back to the loop when no task
//! is ready, when it is time to look at timers and descriptors (`yield_at_ticks`), and when the
//! scheduler is to stop.
//!
//! Who may call what: `dispatch_ready_tasks` the loop, `suspend` and `task_main` a running task. All three
//! leave `current_task` as what it says: the task whose stack is in use, null in the loop.

use std::ffi::c_void;
use std::ptr::{self, null, null_mut};
use std::sync::atomic::Ordering::Relaxed;

use super::object::Scheduler;
use crate::engine::context::sanitizer::{Sanitizer, Target};
use crate::engine::context::{Stack, stack, switch};
use crate::engine::sys::{self, Result};
use crate::engine::task::{State, Task};
use crate::engine::{log, measure};

/// The contexts of so many tasks are not in the caches any more when their turns come. With fewer
/// there is nothing to fetch.
const MANY_TASKS: usize = 500;

/// How many turns ahead contexts are fetched: a turn of its own is too short to wait for memory,
/// and for the page tables before it.
const PREFETCH_DISTANCE: usize = 4;

/// What runs next.
enum Next {
    /// A suspended context to switch to.
    Context(*mut u8),
    /// The caller goes on: it is the suspending task's turn again, or a new task has been given the
    /// stack of the one that ends.
    OnThisStack,
}

impl Scheduler {
    /// Lets the ready tasks run, from the loop, until it is time for the loop again. At least one
    /// runs.
    pub fn dispatch_ready_tasks(&self) {
        if self.run_queue.is_empty() {
            return;
        }
        self.start_prefetch();
        self.dispatch.turn_times.begin(self.time.clock.ticks());
        match self.next_context(null(), None) {
            Next::Context(context) if context != self.dispatch.loop_context.get() => {
                // SAFETY: a suspended context of a living task; no RefCell is borrowed here.
                unsafe { self.switch(self.dispatch.loop_context.as_ptr(), context) };
            }
            _ => {} // No stack could be had for any of them.
        }
    }

    /// Ends the running task's turn, which must be queued or parked, and returns when it has the
    /// next one.
    ///
    /// Nothing is left to do then, and nothing unwinds, so the compiler ends this in a jump to the
    /// switch, which returns to the caller. That saves a frame on each task's stack, and with many
    /// tasks a cache line is what a switch waits for.
    pub extern "C" fn suspend(&self, task: &Task) {
        if !self.dispatch.fast_path {
            return self.suspend_slow(task);
        }
        let now = switch::ticks();
        if !self.end_turn_fast(task, now) {
            return self.suspend_outlier(task, now);
        }
        match self.run_queue.first() {
            Some(next) if self.can_resume_directly(next, now) && !ptr::eq(next, task) => {
                self.run_queue.pop();
                self.resume(next, task);
            }
            _ => self.switch_to_next(task, now),
        }
    }

    /// Queues the running task, if it is not yet, and suspends it.
    #[inline(always)]
    pub fn yield_task(&self, task: &Task) {
        if task.queued.get() {
            return self.suspend(task);
        }
        if !self.dispatch.fast_path {
            self.run_queue.push(task);
            return self.suspend_slow(task);
        }
        let now = switch::ticks();
        if !self.end_turn_fast(task, now) {
            self.run_queue.push(task);
            return self.suspend_outlier(task, now);
        }
        match self.run_queue.first() {
            Some(next) if self.can_resume_directly(next, now) => {
                self.run_queue.rotate(task);
                self.resume(next, task);
            }
            _ => {
                self.run_queue.push(task);
                self.switch_to_next(task, now);
            }
        }
    }

    /// `suspend` where the clock has to be asked for the time, which takes longer than all else, or a
    /// sanitizer told of the switch.
    #[inline(never)]
    extern "C" fn suspend_slow(&self, task: &Task) {
        let now = self.time.clock.ticks();
        self.dispatch.turn_times.end(now);
        task.count_turn();
        self.switch_to_next(task, now);
    }

    /// `suspend` after a turn that was longer than usual, or shorter.
    #[inline(never)]
    extern "C" fn suspend_outlier(&self, task: &Task, now: u64) {
        self.dispatch.turn_times.end_slow(now);
        task.count_turn();
        self.switch_to_next(task, now);
    }

    #[inline(always)]
    fn end_turn_fast(&self, task: &Task, now: u64) -> bool {
        let ended = self.dispatch.turn_times.end_fast(now);
        if ended {
            task.count_turn();
        }
        ended
    }

    /// Whether a task may switch straight to the first one in the queue, which has had a turn.
    #[inline(always)]
    fn can_resume_directly(&self, next: &Task, now: u64) -> bool {
        self.can_switch_directly(now) && !next.context.get().is_null()
    }

    /// Switches to a task that has just been taken from the queue, where turns are plain.
    #[inline(always)]
    fn resume(&self, next: &Task, suspending: &Task) {
        self.current_task.set(next);
        self.prefetch_next();
        // SAFETY: a ready task's context; this one is saved in its task, whoever readies that
        // switches back. No RefCell is borrowed. `Entered` has bound the thread.
        unsafe {
            switch::switch(
                suspending.context.as_ptr(),
                next.context.get(),
                &self.dispatch.thread_state,
            );
        }
    }

    /// Before the first of many turns: fetches the contexts of the first tasks.
    fn start_prefetch(&self) {
        self.dispatch.prefetch_cursor.set(if self.tasks.alive() < MANY_TASKS {
            null()
        } else {
            self.run_queue.head.get()
        });
        for _ in 0..PREFETCH_DISTANCE {
            self.prefetch_next();
        }
    }

    /// Fetches the context of the task that is [`PREFETCH_DISTANCE`] turns away, and the object of the
    /// one after it, while the current one runs.
    #[inline(always)]
    fn prefetch_next(&self) {
        // SAFETY: a slot of the slab, and these are never unmapped. The task may have left the
        // queue since; then what is fetched is of no use, and does no harm.
        if let Some(task) = unsafe { self.dispatch.prefetch_cursor.get().as_ref() } {
            switch::prefetch(task.context.get());
            let next = task.next.get();
            switch::prefetch(next);
            self.dispatch.prefetch_cursor.set(next);
        }
    }

    /// The rest of `suspend`: what comes next is the loop, a new task, or the suspending one.
    #[inline(never)]
    extern "C" fn switch_to_next(&self, task: &Task, now: u64) {
        let errno = sys::ErrnoGuard::save();
        let context = if self.can_switch_directly(now) {
            match self.next_context(task, None) {
                Next::Context(context) => context,
                Next::OnThisStack => return,
            }
        } else {
            self.current_task.set(null());
            self.dispatch.loop_context.get()
        };
        drop(errno);
        // SAFETY: as in `suspend`, or the loop's context.
        unsafe { self.switch(task.context.as_ptr(), context) };
    }

    /// Switches to the context of `current_task`, or the loop's, and returns when somebody switches
    /// back.
    ///
    /// # Safety
    /// As [`switch::switch`].
    #[inline(always)]
    unsafe fn switch(&self, save: *mut *mut u8, context: *mut u8) {
        if self.dispatch.sanitizer.is_some() {
            // SAFETY: as this function's contract says.
            return unsafe { self.switch_with_sanitizer(save, context) };
        }
        // SAFETY: as this function's contract says; `Entered`
        // has bound the thread.
        unsafe { switch::switch(save, context, &self.dispatch.thread_state) };
    }

    #[cold]
    #[inline(never)]
    unsafe extern "C" fn switch_with_sanitizer(&self, save: *mut *mut u8, context: *mut u8) {
        let Some(sanitizer) = &self.dispatch.sanitizer else { return };
        let fake_stack = sanitizer.suspending(&self.target(sanitizer));
        // SAFETY: as in `switch`.
        unsafe { switch::switch(save, context, &self.dispatch.thread_state) };
        sanitizer.resumed(fake_stack);
    }

    /// Where the next switch goes.
    fn target(&self, sanitizer: &Sanitizer) -> Target {
        // SAFETY: the current task is alive.
        match unsafe { self.current_task.get().as_ref() } {
            Some(task) => Target {
                lowest: stack::lowest(task.stack.get(), task.stack_bytes.get()),
                bytes: task.stack_bytes.get(),
                fiber: task.fiber.get(),
            },
            None => sanitizer.the_loop(),
        }
    }

    /// Whether a task may switch to the next one without visiting the loop.
    #[inline(always)]
    fn can_switch_directly(&self, now: u64) -> bool {
        now < self.dispatch.yield_at_ticks.load(Relaxed)
    }

    /// Takes the next ready task and makes it the current one; the loop if there is none.
    ///
    /// A new task is given a stack first: `own`, the one that the caller runs on and is done with,
    /// if it has the right size. That is faster than by way of the pool: a task's whole life takes
    /// 272 instructions instead of 350. `suspending` is the task that calls this, if it may be in
    /// the queue: its context is not saved yet, so there is no switching to it.
    #[inline(always)]
    fn next_context(&self, suspending: *const Task, own: Option<(Stack, usize)>) -> Next {
        while let Some(task) = self.run_queue.pop() {
            self.current_task.set(task);
            if ptr::eq(task, suspending) {
                return Next::OnThisStack;
            }
            self.prefetch_next();
            let context = task.context.get();
            if !context.is_null() {
                return Next::Context(context);
            }
            if !task.alive.get() {
                // Ended while it was in the queue.
                self.tasks.free(task);
                continue;
            }
            let bytes = self.tasks.wanted_stack_bytes(task);
            if let Some((stack, own_bytes)) = own
                && own_bytes == bytes
            {
                task.stack.set(stack);
                task.stack_bytes.set(bytes);
                return Next::OnThisStack;
            }
            match self.first_context(task, bytes) {
                Ok(context) => return Next::Context(context),
                Err(error) => self.tasks.starved.push(task, error),
            }
        }
        self.current_task.set(null());
        Next::Context(self.dispatch.loop_context.get())
    }

    /// Gives a new task a stack from the pool.
    fn first_context(&self, task: &Task, bytes: usize) -> Result<*mut u8> {
        let stack = self.tasks.acquire_stack(bytes)?;
        task.stack.set(stack);
        task.stack_bytes.set(bytes);
        if let Some(sanitizer) = &self.dispatch.sanitizer {
            task.fiber.set(sanitizer.new_fiber());
        }
        // SAFETY: the top of a stack that nobody uses, which is much larger than a frame.
        let context = unsafe {
            switch::new_context(
                stack.top,
                task_main,
                ptr::from_ref(self).cast(),
                self.dispatch.float_modes.get(),
            )
        };
        task.context.set(context);
        Ok(context)
    }
}

/// Where every stack begins: calls the current task's body until the task ends, then goes on with
/// another new task or leaves the stack for good.
///
/// # Safety
/// Called once on each new stack, by a switch to it, with the scheduler that runs on this thread.
unsafe extern "C" fn task_main(scheduler: *const c_void) -> ! {
    // SAFETY: alive, since it runs.
    let scheduler = unsafe { &*scheduler.cast::<Scheduler>() };
    if let Some(sanitizer) = &scheduler.dispatch.sanitizer {
        sanitizer.resumed(null_mut());
    }
    loop {
        // SAFETY: the switch to this stack made one of its tasks current, and tasks live in the
        // slab.
        let task = unsafe { &*scheduler.current_task.get() };
        if let Some(body) = task.body.get() {
            // SAFETY: the program's function with the arguments it was registered with.
            unsafe { body(scheduler.address().cast(), task.user_state.get()) };
        }
        if task.is(State::Exited) {
            scheduler.end(task);
        } else {
            scheduler.body_returned(task);
        }
    }
}

impl Scheduler {
    /// The body has returned, and is to be called again: at its next turn, or once it is enqueued
    /// if it has parked itself.
    fn body_returned(&self, task: &Task) {
        if !task.is_parked() || task.queued.get() {
            task.set_state(State::Runnable);
            if !task.queued.get() {
                self.run_queue.push(task);
            }
        }
        self.suspend(task);
    }

    /// Ends a task that runs on this stack. Returns if the stack has been given to a new task,
    /// which is now the current one; else leaves the stack for good.
    fn end(&self, task: &Task) {
        log::debug(format_args!("Task {task:p} exited"));
        let user_state = task.user_state.replace(null_mut());
        if !user_state.is_null() {
            // SAFETY: the state belongs to the task, and its body has returned.
            unsafe { sys::free(user_state) };
        }
        measure::add(&self.metrics.tasks_exited, 1);
        measure::add(&self.metrics.current_tasks, u64::MAX); // one less
        self.ready_joiners(task);
        task.context.set(null_mut());
        let fiber = task.fiber.replace(null_mut());
        let stack = task.stack.replace(Stack::NONE);
        let stack_bytes = task.stack_bytes.get();
        if task.queued.get() {
            // Somebody has enqueued it while it ran. `next_context` frees the slot.
            task.alive.set(false);
        } else {
            self.tasks.free(task);
        }
        self.tasks.starved.retry_one(&self.run_queue);
        let now = self.time.clock.ticks();
        self.dispatch.turn_times.end(now);
        let next = if self.can_switch_directly(now) {
            self.next_context(null(), Some((stack, stack_bytes)))
        } else {
            self.current_task.set(null());
            Next::Context(self.dispatch.loop_context.get())
        };
        match next {
            Next::OnThisStack => {
                // SAFETY: the new task, which has been made the current one.
                unsafe { (*self.current_task.get()).fiber.set(fiber) };
                self.dispatch.float_modes.get().restore();
                self.dispatch.thread_state.clear();
            }
            Next::Context(context) => {
                self.tasks.release_stack(stack);
                if let Some(sanitizer) = &self.dispatch.sanitizer {
                    sanitizer.ending(&self.target(sanitizer), fiber);
                }
                let mut nobody = null_mut();
                // SAFETY: the loop's or a ready task's context. This one is never resumed: its
                // stack is in the pool, where nothing touches it before another context runs.
                unsafe { switch::switch(&mut nobody, context, &self.dispatch.thread_state) };
            }
        }
    }
}
