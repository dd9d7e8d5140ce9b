//! A job: its states, which the pool's head has, and how its function is run.

use std::cell::Cell;
use std::ffi::c_void;
use std::mem::offset_of;
use std::ptr::{NonNull, from_ref, null};

use super::class::Class;
use crate::engine::context::{callback, sanitizer, switch};
use crate::engine::log;
use crate::engine::scheduler::{Scheduler, current};
use crate::engine::sys::{self, Error, Result};
use crate::engine::task::{ObjectKind, Outcome, SchedulerRef, Task, Wait, WaitKind};
use crate::engine::threads::atomic::{
    AtomicU32,
    Ordering::{AcqRel, Acquire, Relaxed},
};
use crate::engine::threads::{Message, Poster, this_process};

/// What a job runs. Nothing may unwind out of it.
pub type Function = unsafe extern "C" fn(*mut c_void);

/// What is to be run.
#[derive(Clone, Copy)]
pub struct Work {
    pub function: Function,
    pub argument: *mut c_void,
    /// What releases the argument if the call does not wait for the function. `None`: it does.
    pub abandon: Option<Function>,
}

impl Work {
    /// The call does not return, or not for the function.
    ///
    /// # Safety
    /// Work that was given to [`call::run`](super::call::run), and nobody else uses its argument.
    pub unsafe fn abandon(&self) {
        // SAFETY: as this function's contract says.
        unsafe { callback::abandon(self.abandon, self.argument) };
    }
}

/// The task goes on with its call when it has its turn: what it was to wait for is over, or has not begun. If
/// it never has one, since its scheduler is destroyed, the argument is abandoned.
pub static CALL: WaitKind = WaitKind {
    object: ObjectKind::Hidden,
    is_yield: true,
    ..WaitKind::new(c"its turn", unlink_call)
};

/// # Safety
/// As [`WaitKind::unlink`].
unsafe fn unlink_call(_: SchedulerRef, work: usize, _: &Task) {
    // SAFETY: on the stack of the task, which is in `call::run`, and does not go on.
    unsafe { (*(work as *const Work)).abandon() };
}

pub const QUEUED: u32 = 0;
pub const INLINE: u32 = 1;
pub const IN_LOOP: u32 = 2;
pub const RUNNING: u32 = 3;
pub const GIVEN_UP: u32 = 4;
pub const ABANDONED: u32 = 5;
pub const DONE: u32 = 6;

#[repr(C)]
pub struct Job {
    message: Message,
    /// Who has what it is of: the queue, under the class's lock.
    pub next: Cell<*const Job>,
    pub previous: Cell<*const Job>,
    pub work: Work,
    /// The task that waits; null once it has left. Only for its scheduler's thread.
    pub task: Cell<*const Task>,
    /// What the task has of the work, while it waits.
    of_call: *const Work,
    /// By which it is posted to its scheduler: of who runs the function.
    poster: Cell<Option<Poster>>,
    /// In nanoseconds: when it was given to the pool; and from its function on, how long that was before.
    delay_ns: Cell<u64>,
    /// The process that it is of.
    process: u32,
    pub state: AtomicU32,
    pub class: Class,
    /// Of a job that the loop is to run: why, as an errno value, if that is to be told.
    pub refusal: Cell<i32>,
}

const _: () = assert!(offset_of!(Job, message) == 0);
#[cfg(not(loom))] // Whose atomics are larger.
const _: () = assert!(size_of::<Job>() <= crate::engine::scheduler::SPARE_BYTES);

impl Job {
    /// A job in memory of its own.
    pub fn allocate(
        (scheduler, task): (&Scheduler, &Task),
        class: Class,
        work: &Work,
    ) -> Result<NonNull<Job>> {
        let memory = scheduler.spare.take().ok_or(Error::OutOfMemory)?.cast::<Job>();
        let job = Job { of_call: work, ..Job::new(class, *work) };
        job.task.set(task);
        // SAFETY: memory of enough bytes that nobody uses.
        unsafe { memory.write(job) };
        Ok(memory)
    }

    /// The task begins to wait, and who has the job may post it.
    pub fn begin(&self, scheduler: &Scheduler) {
        self.poster.set(Some(scheduler.remote.poster()));
        self.delay_ns.set(sys::monotonic_ns());
        scheduler.expect_message();
    }

    /// A job that no task waits for.
    pub fn new(class: Class, work: Work) -> Job {
        Job {
            message: Message::new(arrive, forget),
            next: Cell::new(null()),
            previous: Cell::new(null()),
            work,
            task: Cell::new(null()),
            of_call: null(),
            poster: Cell::new(None),
            delay_ns: Cell::new(0),
            process: this_process(),
            state: AtomicU32::new(QUEUED),
            class,
            refusal: Cell::new(0),
        }
    }

    /// Whether it is of this process, and not of one that this is a child of.
    pub fn is_of_this_process(&self) -> bool {
        self.process == this_process()
    }

    /// Runs the function on this thread.
    pub fn run(&self) {
        // SAFETY: the thread's own variable, which lives as long as the thread.
        let running = unsafe { &(*switch::thread()).job };
        let before = running.replace(from_ref(self).cast());
        self.delay_ns.set(sys::monotonic_ns().saturating_sub(self.delay_ns.get()));
        let arguments = [self.work.argument as usize, 0, 0];
        // SAFETY: the function and its argument, from `call::run`.
        unsafe {
            let what = c"a function that was given to the pool";
            callback::call(self.work.function as *const c_void, arguments, what);
        }
        running.set(before);
    }

    /// The function has ended. Returns whether the task is to be told, by
    /// [`arrive`](Self::arrive); if it has left, the job is gone.
    ///
    /// # Safety
    /// The caller has run the function, and does not use the job if it is gone.
    pub unsafe fn end(job: NonNull<Job>) -> bool {
        // SAFETY: the caller's, while its function runs.
        let this = unsafe { job.as_ref() };
        if this.state.swap(DONE, AcqRel) != ABANDONED {
            return true;
        }
        sanitizer::acquire(&this.state);
        if let Some(poster) = this.poster.take() {
            poster.forget();
        }
        // SAFETY: the function has run, and the task has left.
        unsafe { this.work.abandon() };
        // SAFETY: the task has left, so nobody else has it.
        unsafe { Job::free(job) };
        false
    }

    /// Posts the job to its scheduler, from any thread.
    ///
    /// # Safety
    /// Its state is `DONE` or `INLINE`, and the caller does not use it afterwards.
    pub unsafe fn post(job: NonNull<Job>) {
        // SAFETY: the caller's.
        if let Some(poster) = unsafe { job.as_ref() }.poster.take() {
            // SAFETY: the message of a job, in memory of its own.
            unsafe { poster.post(job.cast()) };
        }
    }

    /// Nobody posts it, in this process. Returns whether nobody has before either.
    pub fn forget_poster(&self) -> bool {
        self.poster.take().is_some()
    }

    /// The task wants to leave while the function runs. Returns whether it has, and the job is of who runs it;
    /// without `abandon` it is only said to the function.
    pub fn try_abandon(&self) -> bool {
        sanitizer::release(&self.state);
        let next = if self.work.abandon.is_some() { ABANDONED } else { GIVEN_UP };
        let may_leave = next == ABANDONED;
        self.state.compare_exchange(RUNNING, next, AcqRel, Acquire).is_ok() && may_leave
    }

    pub fn is_done(&self) -> bool {
        self.state.load(Acquire) == DONE
    }

    /// What the task waits for once it only has to have its turn.
    pub fn goes_on(&self) -> Wait {
        Wait::on(&CALL, self.of_call)
    }

    /// The task does not wait any more.
    pub fn leave(&self, scheduler: &Scheduler) {
        self.task.set(null());
        scheduler.message_has_come();
    }

    /// Gives the memory back.
    ///
    /// # Safety
    /// From `allocate`, and nobody uses it.
    pub unsafe fn free(job: NonNull<Job>) {
        // SAFETY: as this function's contract says.
        unsafe {
            job.drop_in_place();
            sys::free(job.as_ptr().cast());
        }
    }

    /// [`free`](Self::free) on the scheduler's thread, for the next job.
    ///
    /// # Safety
    /// As there.
    pub unsafe fn keep(job: NonNull<Job>, scheduler: &Scheduler) {
        // SAFETY: as this function's contract says.
        unsafe {
            job.drop_in_place();
            scheduler.spare.keep(job.cast());
        }
    }
}

/// The loop has found a job in the mailbox: it is done, or to be run inline.
///
/// # Safety
/// The message of a job.
unsafe fn arrive(message: NonNull<Message>) {
    let job = message.cast::<Job>();
    // SAFETY: as this function's contract says.
    let this = unsafe { job.as_ref() };
    let Some(scheduler) = current() else { return };
    if this.state.load(Relaxed) == INLINE && !this.task.get().is_null() {
        this.state.store(IN_LOOP, Relaxed);
        this.run();
        this.state.store(DONE, Relaxed); // Nobody abandons what the loop runs.
    }
    // SAFETY: a task that waits is alive.
    if let Some(task) = unsafe { this.task.get().as_ref() } {
        scheduler.delays.of_jobs.record(this.delay_ns.get());
        this.leave(scheduler);
        task.wait.set(this.goes_on());
        scheduler.ready(task, Outcome::Ready(0));
    }
    let (class, refusal) = (this.class, this.refusal.get());
    // SAFETY: it is out of the mailbox, and no thread of the pool has it.
    unsafe { Job::keep(job, scheduler) };
    // Here, and not where the thread could not be made: a log callback may do anything, and the task was in
    // the middle of its call.
    if refusal != 0 {
        log::warn(format_args!(
            "the pool can have no thread {}: {}; functions that block are run by the loop, and block it",
            class.thread_name().to_string_lossy(),
            Error::Os(refusal)
        ));
    }
}

/// The scheduler was destroyed first, whose tasks have left before.
///
/// # Safety
/// The message of a job.
unsafe fn forget(message: NonNull<Message>) {
    // SAFETY: as this function's contract says.
    unsafe { Job::free(message.cast()) };
}

/// Whether this thread runs a function that a task waits for.
pub fn is_thread_of_it() -> bool {
    // SAFETY: the thread's own variable, which lives as long as the thread.
    !unsafe { &*switch::thread() }.job.get().is_null()
}

/// Whether the task that waits for the function that calls this is canceled, or has timed out.
pub fn is_canceled() -> bool {
    // SAFETY: the thread's own variable, which lives as long as the thread.
    let running = unsafe { &*switch::thread() }.job.get().cast::<Job>();
    // SAFETY: null, or a job whose function runs on this thread.
    unsafe { running.as_ref() }
        .is_some_and(|job| matches!(job.state.load(Acquire), GIVEN_UP | ABANDONED))
}
