//! The queue and the threads of a class.
//!
//! | a thread is | counted in | becomes |
//! |---|---|---|
//! | coming: about to look at the queue, because it was just made or woken (then it is also *called*), or lingers | `coming` | busy, with the first job; asleep, if there is none; it ends, if there are more than may be |
//! | busy | nothing but `threads` | busy with the next job; coming, if there is none |
//! | asleep, in the list of sleepers | `asleep` | coming, taken out by who adds a job; it ends, when it has slept for long |
//!
//! Who adds a job calls one more thread, unless as many are coming as jobs are queued: wakes the one that
//! fell asleep last, else makes one, if there may be more. One is called at a time: it calls the next when
//! it is there, if there are still more jobs than are coming. For by then those that were awake may have
//! done them. So a job waits only while all threads that may be are busy, or being called, whatever those
//! that run wait for. A thread that falls asleep has seen an empty queue, under the same lock.
//!
//! A thread *lingers* before it falls asleep: it looks at the queue for some microseconds, so that nobody
//! has to wake it. It does so only while jobs follow each other closely, one thread of a class at a time,
//! and never on a single processor.

use std::ffi::{CStr, c_int};
use std::ptr::{NonNull, null};
use std::sync::atomic::AtomicU64;

use super::class::Class;
use super::job::{INLINE, Job, QUEUED};
use super::pace::may_linger;
use super::queue::{ASLEEP, CALLED, Call, DISMISSED, Sleeper, State};
use crate::engine::sys::{self, Result};
use crate::engine::threads::atomic::{
    AtomicUsize,
    Ordering::{Relaxed, Release},
};
use crate::engine::threads::{Futex, Lock};

/// How long a thread sleeps before it ends.
const IDLE_NS: u64 = 10_000_000_000;

/// Makes a thread of a class, which was called.
#[cfg(not(loom))]
type Make = fn(&'static Workers) -> Result<()>;
#[cfg(loom)]
type Make = Box<dyn Fn(&'static Workers) -> Result<()> + Send + Sync>;

/// How long nobody tries to make a thread after it has failed.
const RETRY_NS: u64 = 10_000_000;

/// What a class does at the moment: [`counts`](crate::blocking::counts).
///
/// ```
/// use majjen::blocking::{self, Class, Counts};
///
/// let Counts { queued, running, .. } = blocking::counts(Class::Dns);
/// assert_eq!(queued + running, 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Threads.
    pub threads: usize,
    /// Those of them that have nothing to do.
    pub idle: usize,
    /// Functions that wait for a thread.
    pub queued: usize,
    /// Functions that run on threads of the class.
    pub running: usize,
    /// Functions that were given to the loops of their schedulers since the process began, because there was
    /// no thread to be had.
    pub ran_in_loop: u64,
}

/// The threads of a class, and its queue.
pub struct Workers {
    class: Class,
    state: Lock<State>,
    /// A copy of `State::queued`, for threads that look without the lock.
    queued: AtomicUsize,
    inline: AtomicU64,
    pub idle_ns: AtomicU64,
    make: Make,
}

impl Workers {
    #[cfg(not(loom))]
    pub const fn new(class: Class, make: Make) -> Workers {
        Workers {
            class,
            state: Lock::in_static(State::NEW),
            queued: AtomicUsize::new(0),
            inline: AtomicU64::new(0),
            idle_ns: AtomicU64::new(IDLE_NS),
            make,
        }
    }

    #[cfg(loom)]
    pub fn new(class: Class, make: Make) -> Workers {
        Workers {
            class,
            state: Lock::new(State::NEW),
            queued: AtomicUsize::new(0),
            inline: AtomicU64::new(0),
            idle_ns: AtomicU64::new(IDLE_NS),
            make,
        }
    }

    /// Begins with no thread and no job, in a new process: before anything else of it uses this.
    pub fn begin(&self) {
        // A thread of the parent may have held it, in the middle of a change: only the limit is looked at,
        // which is a number at any time.
        let mut state = self.state.lock();
        let limit = if state.limit == 0 { self.class.first_limit() } else { state.limit };
        *state = State { limit, ..State::NEW };
        self.queued.store(0, Relaxed);
        self.inline.store(0, Relaxed);
    }

    // ---- for tasks

    /// Adds a job, which a thread of the class runs as soon as there is one.
    ///
    /// # Safety
    /// A new job, which is the pool's from now on.
    pub unsafe fn add(&'static self, job: NonNull<Job>) {
        // SAFETY: as this function's contract says.
        let job = unsafe { job.as_ref() };
        let mut state = self.state.lock();
        state.push(job);
        let call = state.call();
        self.queued.store(state.queued, Relaxed);
        drop(state);
        self.answer(call);
    }

    /// Takes a job out of the queue for its task, which leaves. Returns whether its function has not
    /// begun: then it will not.
    pub fn withdraw(&self, job: &Job) -> Option<NotBegun> {
        let mut state = self.state.lock();
        match job.state.load(Relaxed) {
            QUEUED => {
                state.remove(job);
                self.queued.store(state.queued, Relaxed);
                Some(NotBegun::Free)
            }
            INLINE => Some(NotBegun::Posted),
            _ => None,
        }
    }

    pub fn set_limit(&'static self, limit: usize) {
        self.state.lock().limit = limit;
        loop {
            let call = self.state.lock().call();
            if let Call::Nobody = call {
                return;
            }
            self.answer(call);
        }
    }

    pub fn counts(&self) -> Counts {
        let state = self.state.lock();
        Counts {
            threads: state.threads,
            idle: state.asleep + state.coming.saturating_sub(state.queued),
            queued: state.queued,
            running: state.threads - state.asleep - state.coming,
            ran_in_loop: self.inline.load(Relaxed),
        }
    }

    fn answer(&'static self, call: Call) {
        match call {
            Call::Nobody => {}
            Call::Wake(word) => Futex::wake(word),
            Call::Make => {
                if let Err(error) = (self.make)(self) {
                    self.do_without(error);
                }
            }
        }
    }

    /// A thread could not be made. If there is none at all, the jobs are run by their schedulers.
    #[cold]
    fn do_without(&self, error: sys::Error) {
        let mut state = self.state.lock();
        state.threads -= 1;
        state.coming -= 1;
        state.called -= 1;
        state.retry_at_ns = sys::monotonic_ns() + RETRY_NS;
        if state.threads > 0 {
            return;
        }
        let mut left = null();
        while let Some(job) = state.pop() {
            // SAFETY: it was in the queue, so it is the pool's.
            let job = unsafe { job.as_ref() };
            job.state.store(INLINE, Relaxed);
            job.next.set(left);
            left = job;
            self.inline.fetch_add(1, Relaxed);
        }
        self.queued.store(0, Relaxed);
        let report = !left.is_null() && !std::mem::replace(&mut state.reported, true);
        drop(state);
        let mut in_order = null();
        // SAFETY: as above: jobs that were in the queue, linked just now.
        unsafe {
            while let Some(job) = left.as_ref() {
                left = job.next.replace(in_order);
                in_order = job;
            }
            if let Some(first) = in_order.as_ref().filter(|_| report) {
                first.refusal.set(error.errno());
            }
            while let Some(job) = NonNull::new(in_order.cast_mut()) {
                in_order = job.as_ref().next.get();
                Job::post(job);
            }
        }
    }

    // ---- for the threads of the class

    pub fn thread_name(&self) -> &'static CStr {
        self.class.thread_name()
    }

    /// The next job for a thread that was busy. `None`: it is coming from now on.
    pub fn take(&self) -> Option<NonNull<Job>> {
        let mut state = self.state.lock();
        let job = if state.threads > state.limit { None } else { state.pop() };
        state.coming += usize::from(job.is_none());
        self.queued.store(state.queued, Relaxed);
        job
    }

    /// The next job for a thread that is coming, because it was called or was busy; it waits for one. `None`
    /// if it is to end.
    pub fn next(&'static self, me: &Sleeper, mut was_called: bool) -> Option<NonNull<Job>> {
        loop {
            let mut state = self.state.lock();
            state.coming -= 1;
            state.called -= usize::from(was_called);
            if state.threads > state.limit {
                // What it came for is another one's.
                state.threads -= 1;
                let call = state.call();
                drop(state);
                self.answer(call);
                return None;
            }
            let mut job = state.pop();
            if job.is_none() && me.pace.is_fast() && !state.is_lingering && may_linger() {
                state.is_lingering = true;
                state.coming += 1;
                drop(state);
                me.pace.linger(|| self.queued.load(Relaxed) > 0);
                state = self.state.lock();
                state.is_lingering = false;
                state.coming -= 1;
                job = state.pop();
            }
            if job.is_some() {
                self.queued.store(state.queued, Relaxed);
                let call = state.call();
                drop(state);
                self.answer(call);
                me.pace.begin();
                return job;
            }
            state.lie_down(me);
            drop(state);
            if !self.sleep(me) {
                return None;
            }
            was_called = true;
        }
    }

    /// A thread sleeps until it is taken out of the list. Returns false if nobody has, for long: then
    /// it is to end.
    fn sleep(&self, me: &Sleeper) -> bool {
        let until_ns = sys::monotonic_ns().saturating_add(self.idle_ns.load(Relaxed));
        if !me.word.wait_while(ASLEEP, Some(until_ns)) {
            // Who takes it out has the lock: perhaps somebody just before this.
            let mut state = self.state.lock();
            if me.word.load(Relaxed) == ASLEEP {
                state.get_up(me);
                state.threads -= 1;
                return false;
            }
        }
        me.word.load(Relaxed) == CALLED
    }

    /// Ends a thread that has nothing to do, and returns which; `None` if there is none, and then whether
    /// one may be soon.
    pub fn dismiss(&self) -> std::result::Result<c_int, bool> {
        let mut state = self.state.lock();
        // SAFETY: a thread that sleeps, in the list.
        let Some(sleeper) = (unsafe { state.sleepers.as_ref() }) else {
            return Err(state.coming > state.queued);
        };
        let thread = sleeper.thread;
        state.sleepers = sleeper.below.get();
        state.asleep -= 1;
        state.threads -= 1;
        sleeper.word.store(DISMISSED, Release);
        // It may be gone once the lock is open.
        let word: *const Futex = &sleeper.word;
        drop(state);
        Futex::wake(word);
        Ok(thread)
    }

    /// A busy thread has ended in its function.
    pub fn has_ended(&'static self) {
        let mut state = self.state.lock();
        state.threads -= 1;
        let call = state.call();
        drop(state);
        self.answer(call);
    }
}

/// Where a job is whose function has not begun, and will not.
pub enum NotBegun {
    /// Nowhere.
    Free,
    /// In its scheduler's mailbox.
    Posted,
}

#[cfg(all(test, loom))]
#[path = "../../../tests/models/pool.rs"]
mod models;
