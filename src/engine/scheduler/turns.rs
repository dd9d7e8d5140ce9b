//! Turns: a turn is the time from a switch to a task until that task suspends or ends.
//!
//! The loop runs on the thread's own stack, each task on its own. A task that suspends switches
//! straight to the next ready task, without visiting the loop: [`Scheduler::suspend`] ends its
//! turn, and [`Scheduler::next_context`] picks who is next. A task switches to the loop when no
//! task is ready, when timers or I/O are due (`yield_at_ticks`), and when the scheduler is to stop.
//!
//! The loop calls `dispatch_ready_tasks`; a running task calls `suspend` and `task_main`. All three
//! keep the invariant of `current_task`: the task whose stack is in use, null in the loop.

use std::ffi::c_void;
use std::ptr::{self, null, null_mut};
use std::sync::atomic::Ordering::Relaxed;

use super::object::Scheduler;
use crate::engine::context::sanitizer::{Sanitizer, Target};
use crate::engine::context::{Stack, probe, stack, switch};
use crate::engine::sys::{self, Result};
use crate::engine::task::{self, State, Task};
use crate::engine::{log, measure};

/// From this many tasks on, contexts have left the caches when their turns come. With fewer there
/// is nothing to prefetch.
const MANY_TASKS: usize = 500;

/// How many turns ahead contexts are prefetched: one turn is too short for the memory access and
/// its page walk.
const PREFETCH_DISTANCE: usize = 4;

/// What to run next.
enum Next {
    /// A suspended context to switch to.
    Context(*mut u8),
    /// Continue on the current stack: the suspending task is the next one, or a new task has taken
    /// over the stack of the task that ends.
    OnThisStack,
}

impl Scheduler {
    /// Runs ready tasks until the loop is due. At least one runs.
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

    /// Suspends the running task, which must be queued or parked, until its next turn.
    ///
    /// Nothing is left to do then, and nothing unwinds, so the compiler ends this in a jump to the
    /// switch, which returns to the caller. That saves a frame on each task's stack, and with many
    /// tasks a cache line is what a switch waits for.
    pub extern "C" fn suspend(&self, task: &Task) {
        if !self.dispatch.fast_path {
            return self.suspend_slow::<true>(task);
        }
        let now = switch::ticks();
        task.waits_since_ticks.set(now);
        if !self.end_turn_fast(task, now) {
            return self.suspend_outlier::<true>(task, now);
        }
        self.resume_first(task, now);
    }

    /// Switches to the first task of the queue, if that can be resumed.
    #[inline(always)]
    fn resume_first(&self, task: &Task, now: u64) {
        match self.run_queue.first() {
            Some(next) if self.can_resume_directly(next, now) && !ptr::eq(next, task) => {
                self.run_queue.pop();
                self.resume(next, task);
            }
            _ => self.switch_to_next(task, now),
        }
    }

    /// Yields: queues the running task, if it is not queued yet, and suspends it.
    #[inline(always)]
    pub fn yield_task(&self, task: &Task) {
        if task.queued.get() {
            return self.suspend(task);
        }
        if !self.dispatch.fast_path {
            self.run_queue.push(task);
            return self.suspend_slow::<false>(task);
        }
        let now = switch::ticks();
        if !self.end_turn_fast(task, now) {
            self.run_queue.push(task);
            return self.suspend_outlier::<false>(task, now);
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

    /// `suspend` without a cycle counter, where reading the clock dominates, or with a sanitizer,
    /// which must be told of the switch. Not `WAITS`: the task has yielded.
    #[inline(never)]
    extern "C" fn suspend_slow<const WAITS: bool>(&self, task: &Task) {
        let now = self.time.clock.ticks();
        if WAITS {
            task.waits_since_ticks.set(now);
        }
        if WAITS {
            self.end_turn(now);
        } else if !self.dispatch.turn_times.end_fast(now) && !self.record_yield(task, now) {
            self.end_other_turn(now);
        }
        task.count_turn();
        self.switch_to_next(task, now);
    }

    /// `suspend` after an outlier: a turn that is longer than the histogram's fast range, or a new
    /// minimum or maximum; or when the clock is to be asked; or when turns are recorded.
    #[inline(never)]
    extern "C" fn suspend_outlier<const WAITS: bool>(&self, task: &Task, now: u64) {
        if WAITS {
            self.end_turn_slow(now);
        } else if !self.record_yield(task, now) {
            self.end_other_turn(now);
        }
        task.count_turn();
        self.resume_first(task, now);
    }

    #[inline(always)]
    fn end_turn(&self, now: u64) {
        if !self.dispatch.turn_times.end_fast(now) {
            self.end_turn_slow(now);
        }
    }

    #[inline(always)]
    fn end_turn_fast(&self, task: &Task, now: u64) -> bool {
        let ended = self.dispatch.turn_times.end_fast(now);
        if ended {
            task.count_turn();
        }
        ended
    }

    /// Whether a task may switch directly to `next`, the first in the queue: it has a context
    /// already.
    #[inline(always)]
    fn can_resume_directly(&self, next: &Task, now: u64) -> bool {
        self.can_switch_directly(now) && !next.context.get().is_null()
    }

    /// Switches to a task that has just been taken from the queue, on the fast path.
    #[inline(always)]
    fn resume(&self, next: &Task, suspending: &Task) {
        self.current_task.set(next);
        self.prefetch_next();
        probe::switch(next.context.get());
        // SAFETY: a ready task's context; this one is saved in its task, and resumed from there. No
        // RefCell is borrowed. `Entered` has bound the thread.
        unsafe {
            switch::switch(
                suspending.context.as_ptr(),
                next.context.get(),
                &self.dispatch.thread_state,
            );
        }
    }

    /// Prefetches the contexts of the first tasks, before the first turn.
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

    /// Prefetches the context of the task that is [`PREFETCH_DISTANCE`] turns away, and the object
    /// of the task after it.
    #[inline(always)]
    fn prefetch_next(&self) {
        // SAFETY: a slot of the slab, and these are never unmapped. The task may have left the
        // queue since; then the prefetch is useless, but harmless.
        if let Some(task) = unsafe { self.dispatch.prefetch_cursor.get().as_ref() } {
            switch::prefetch(task.context.get());
            let next = task.next.get();
            switch::prefetch(next);
            self.dispatch.prefetch_cursor.set(next);
        }
    }

    /// The rest of `suspend`: next is the loop, a new task, or the suspending task itself.
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

    /// Switches to the context of `current_task`, or of the loop, and returns when this context is
    /// resumed.
    ///
    /// # Safety
    /// As [`switch::switch`].
    #[inline(always)]
    unsafe fn switch(&self, save: *mut *mut u8, context: *mut u8) {
        probe::switch(context);
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
                lowest: stack::lowest(task.stack.get(), task.stack_bytes()),
                bytes: task.stack_bytes(),
                fiber: task.fiber.get(),
            },
            None => sanitizer.the_loop(),
        }
    }

    /// Whether a task may switch to the next one without visiting the loop.
    #[inline(always)]
    pub(super) fn can_switch_directly(&self, now: u64) -> bool {
        now < self.dispatch.yield_at_ticks.load(Relaxed)
    }

    /// Takes the next ready task and makes it the current one; the loop if there is none.
    ///
    /// A new task gets a stack first: `own`, the caller's stack, if the caller ends and the size
    /// fits. That is faster than the pool: a task's whole life takes 272 instructions instead of
    /// 350. `suspending` is the calling task, if it may be in the queue: its context is not saved
    /// yet, so it must not be switched to.
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
                task.set_stack_bytes(bytes);
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
        task.set_stack_bytes(bytes);
        if let Some(sanitizer) = &self.dispatch.sanitizer {
            task.fiber.set(sanitizer.begin_stack(stack::lowest(stack, bytes), bytes));
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

/// The entry function of every stack: calls the current task's body until the task ends, then
/// continues with another new task, or leaves the stack for good.
///
/// # Safety
/// Called once on each new stack, by a switch to it, with the scheduler that runs on this thread.
unsafe extern "C-unwind" fn task_main(scheduler: *const c_void) -> ! {
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
        if !task.is(State::Exited) {
            scheduler.count_return(task);
        }
        if task.is(State::Exited) {
            scheduler.end(task);
        } else {
            scheduler.body_returned(task);
        }
    }
}

/// From how many returns in a row on a task is reported that has not ended.
const MANY_RETURNS: u16 = 1000;

impl Scheduler {
    /// Counts that the body has returned without ending the task. Once for each task, reports that it
    /// does nothing else: mostly because its end was forgotten. Called before anything is done about the
    /// return, since the program's log callback may end the task.
    fn count_return(&self, task: &Task) {
        let turns = task.turns.get();
        let is_next = task.returned_at.replace(turns) == turns.wrapping_sub(1);
        let returns = match task.returns.get() {
            u16::MAX => return, // It has been reported.
            earlier if is_next && !task.is_parked() => earlier + 1,
            _ => 1,
        };
        task.returns.set(if returns < MANY_RETURNS { returns } else { u16::MAX });
        if returns == MANY_RETURNS {
            log::warn(format_args!(
                "the function of task {:#x} has returned {returns} times without waiting, and is \
                 called again each time: if the task is to end, the function calls {} before it returns",
                task.id.get(),
                task.words().exit
            ));
        }
    }

    /// The body has returned without ending the task, so it is called again: in the next turn, or,
    /// if it has parked itself, once it is enqueued.
    fn body_returned(&self, task: &Task) {
        if !task.is_parked() || task.queued.get() {
            task.set_state(State::Runnable);
            if !task.queued.get() {
                self.run_queue.push(task);
            }
        }
        self.suspend(task);
    }

    /// Ends the task that runs on this stack. Returns if a new task has taken over the stack, and
    /// is the current one; else leaves the stack for good.
    fn end(&self, task: &Task) {
        log::debug(format_args!("Task {task:p} exited"));
        task::probe::end(task);
        if task.at_end.get().is_some() {
            self.end_belongings(task);
        }
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
        let stack_bytes = task.stack_bytes();
        if task.queued.get() {
            // It was enqueued while it ran, so `next_context` frees the slot.
            task.alive.set(false);
        } else {
            self.tasks.free(task);
        }
        self.tasks.starved.retry_one(&self.run_queue);
        let now = self.time.clock.ticks();
        self.end_turn(now);
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
                    sanitizer.end_stack(stack::lowest(stack, stack_bytes), stack_bytes);
                    sanitizer.ending(&self.target(sanitizer), fiber);
                }
                let mut nobody = null_mut();
                probe::switch(context);
                // SAFETY: the loop's or a ready task's context. This one is never resumed: its
                // stack is in the pool, where nothing touches it before another context runs.
                unsafe { switch::switch(&mut nobody, context, &self.dispatch.thread_state) };
            }
        }
    }
}
