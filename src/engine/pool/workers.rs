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

use std::cell::Cell;
use std::ffi::c_int;
use std::ptr::{NonNull, from_ref, null};
use std::sync::atomic::{
    AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

use super::Class;
use super::job::{INLINE, Job, QUEUED, RUNNING};
use super::lock::Lock;
use super::pace::{Pace, may_linger};
use super::thread;
use crate::engine::log;
use crate::engine::sys;

/// How long a thread sleeps before it ends.
pub static IDLE_NS: AtomicU64 = AtomicU64::new(10_000_000_000);

/// How long nobody tries to make a thread after it has failed.
const RETRY_NS: u64 = 10_000_000;

pub struct Workers {
    state: Lock<State>,
    /// A copy of `State::queued`, for threads that look without the lock.
    queued: AtomicUsize,
    inline: AtomicU64,
}

struct State {
    first: *const Job,
    last: *const Job,
    queued: usize,
    threads: usize,
    coming: usize,
    /// Of those that are coming, the ones that were called: one at the most.
    called: usize,
    is_lingering: bool,
    asleep: usize,
    /// The one that fell asleep last.
    sleepers: *const Sleeper,
    limit: usize,
    /// No thread is made before.
    retry_at_ns: u64,
    /// Whether it was said that there is none.
    reported: bool,
}

// SAFETY: who has the lock has the jobs and the sleepers in the lists.
unsafe impl Send for State {}

/// A thread that may sleep, in its own frame.
pub struct Sleeper {
    /// [`ASLEEP`] until it is taken out of the list, and told why.
    word: AtomicU32,
    thread: c_int,
    pub pace: Pace,
    below: Cell<*const Sleeper>,
}

const CALLED: u32 = 0;
const ASLEEP: u32 = 1;
const DISMISSED: u32 = 2;

impl Sleeper {
    /// For the calling thread.
    pub fn new() -> Sleeper {
        Sleeper {
            word: AtomicU32::new(CALLED),
            thread: sys::thread_id(),
            pace: Pace::new(),
            below: Cell::new(null()),
        }
    }
}

/// What is to be done for a job, without the lock.
enum Call {
    Nobody,
    Wake(*const AtomicU32),
    Make,
}

impl State {
    fn push(&mut self, job: &Job) {
        job.previous.set(self.last);
        job.next.set(null());
        // SAFETY: a job of the queue.
        match unsafe { self.last.as_ref() } {
            Some(last) => last.next.set(job),
            None => self.first = job,
        }
        self.last = job;
        self.queued += 1;
    }

    fn remove(&mut self, job: &Job) {
        let (previous, next) = (job.previous.get(), job.next.get());
        // SAFETY: null, or jobs of the queue.
        unsafe {
            match previous.as_ref() {
                Some(previous) => previous.next.set(next),
                None => self.first = next,
            }
            match next.as_ref() {
                Some(next) => next.previous.set(previous),
                None => self.last = previous,
            }
        }
        self.queued -= 1;
    }

    fn pop(&mut self) -> Option<NonNull<Job>> {
        let job = NonNull::new(self.first.cast_mut())?;
        // SAFETY: a job of the queue.
        let first = unsafe { job.as_ref() };
        self.remove(first);
        first.state.store(RUNNING, Relaxed);
        Some(job)
    }

    /// Makes one more thread come, if there are more jobs than are coming.
    fn call(&mut self) -> Call {
        if self.queued <= self.coming || self.called > 0 {
            return Call::Nobody;
        }
        // SAFETY: a thread that sleeps, in the list.
        if let Some(sleeper) = unsafe { self.sleepers.as_ref() } {
            self.sleepers = sleeper.below.get();
            self.asleep -= 1;
            self.coming += 1;
            self.called += 1;
            sleeper.word.store(CALLED, Release);
            return Call::Wake(&sleeper.word);
        }
        if self.threads >= self.limit
            || (self.retry_at_ns > 0 && sys::monotonic_ns() < self.retry_at_ns && self.threads > 0)
        {
            return Call::Nobody;
        }
        self.threads += 1;
        self.coming += 1;
        self.called += 1;
        Call::Make
    }

    /// A thread that was not coming goes to sleep.
    fn lie_down(&mut self, sleeper: &Sleeper) {
        sleeper.word.store(ASLEEP, Relaxed);
        sleeper.below.set(self.sleepers);
        self.sleepers = sleeper;
        self.asleep += 1;
    }

    /// A thread that is in the list of sleepers takes itself out.
    fn get_up(&mut self, sleeper: &Sleeper) {
        let mut place = self.sleepers;
        self.asleep -= 1;
        if self.sleepers == from_ref(sleeper) {
            self.sleepers = sleeper.below.get();
            return;
        }
        // SAFETY: threads that sleep.
        while let Some(above) = unsafe { place.as_ref() } {
            if above.below.get() == from_ref(sleeper) {
                return above.below.set(sleeper.below.get());
            }
            place = above.below.get();
        }
    }
}

impl Workers {
    pub const fn new() -> Workers {
        Workers {
            state: Lock::new(State {
                first: null(),
                last: null(),
                queued: 0,
                threads: 0,
                coming: 0,
                called: 0,
                is_lingering: false,
                asleep: 0,
                sleepers: null(),
                limit: 0,
                retry_at_ns: 0,
                reported: false,
            }),
            queued: AtomicUsize::new(0),
            inline: AtomicU64::new(0),
        }
    }

    /// Begins with no thread and no job, in a new process.
    ///
    /// # Safety
    /// No thread of this process uses it.
    pub unsafe fn begin(&self, limit: usize) {
        let anew = |state: &mut State| {
            let limit = if state.limit == 0 { limit } else { state.limit };
            *state = State {
                first: null(),
                last: null(),
                queued: 0,
                threads: 0,
                coming: 0,
                called: 0,
                is_lingering: false,
                asleep: 0,
                sleepers: null(),
                limit,
                retry_at_ns: 0,
                reported: false,
            };
        };
        // SAFETY: as this function's contract says.
        unsafe { self.state.renew(anew) };
        self.queued.store(0, Relaxed);
        self.inline.store(0, Relaxed);
    }

    // ---- for tasks

    /// Adds a job, which a thread of the class runs as soon as there is one.
    ///
    /// # Safety
    /// A new job, which is the pool's from now on.
    pub unsafe fn add(&self, job: NonNull<Job>) {
        // SAFETY: as this function's contract says.
        let job = unsafe { job.as_ref() };
        let class = job.class;
        let mut state = self.state.lock();
        state.push(job);
        let call = state.call();
        self.queued.store(state.queued, Relaxed);
        drop(state);
        self.answer(class, call);
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

    pub fn set_limit(&self, class: Class, limit: usize) {
        self.state.lock().limit = limit;
        loop {
            let call = self.state.lock().call();
            if let Call::Nobody = call {
                return;
            }
            self.answer(class, call);
        }
    }

    pub fn counts(&self) -> super::Counts {
        let state = self.state.lock();
        super::Counts {
            threads: state.threads,
            idle: state.asleep + state.coming.saturating_sub(state.queued),
            queued: state.queued,
            running: state.threads - state.asleep - state.coming,
            ran_in_loop: self.inline.load(Relaxed),
        }
    }

    fn answer(&self, class: Class, call: Call) {
        match call {
            Call::Nobody => {}
            Call::Wake(word) => sys::futex_wake(word),
            Call::Make => {
                if let Err(error) = thread::start(class) {
                    self.do_without(class, error);
                }
            }
        }
    }

    /// A thread could not be made. If there is none at all, the jobs are run by their schedulers.
    #[cold]
    fn do_without(&self, class: Class, error: sys::Error) {
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
        let report = !std::mem::replace(&mut state.reported, true);
        drop(state);
        let mut in_order = null();
        // SAFETY: as above: jobs that were in the queue, linked just now.
        unsafe {
            while let Some(job) = left.as_ref() {
                left = job.next.replace(in_order);
                in_order = job;
            }
            while let Some(job) = NonNull::new(in_order.cast_mut()) {
                in_order = job.as_ref().next.get();
                Job::post(job);
            }
        }
        if report {
            log::warn(format_args!(
                "the pool can have no thread {}: {error}; functions that block are run by the loop, \
                 and block it",
                class.thread_name().to_string_lossy()
            ));
        }
    }

    // ---- for the threads of the class

    /// The next job for a thread, which was busy or was called; it waits for one. `None` if it is to end.
    pub fn next(&self, class: Class, me: &Sleeper, mut was_called: bool) -> Option<NonNull<Job>> {
        loop {
            let mut state = self.state.lock();
            state.coming -= usize::from(was_called);
            state.called -= usize::from(was_called);
            if state.threads > state.limit {
                // What it came for is another one's.
                state.threads -= 1;
                let call = state.call();
                drop(state);
                self.answer(class, call);
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
                self.answer(class, call);
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
        let until_ns = sys::monotonic_ns() + IDLE_NS.load(Relaxed);
        loop {
            let left_ns = until_ns.saturating_sub(sys::monotonic_ns());
            if left_ns > 0 {
                sys::futex_wait(&me.word, ASLEEP, Some(until_ns));
            }
            match me.word.load(Acquire) {
                ASLEEP if left_ns > 0 => continue,
                ASLEEP => {}
                told => return told == CALLED,
            }
            {
                let mut state = self.state.lock();
                match me.word.load(Relaxed) {
                    ASLEEP => {}
                    told => return told == CALLED,
                }
                state.get_up(me);
                state.threads -= 1;
                return false;
            }
        }
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
        let word: *const AtomicU32 = &sleeper.word;
        drop(state);
        sys::futex_wake(word);
        Ok(thread)
    }

    /// A busy thread has ended in its function.
    pub fn has_ended(&self, class: Class) {
        let mut state = self.state.lock();
        state.threads -= 1;
        let call = state.call();
        drop(state);
        self.answer(class, call);
    }
}

/// Where a job is whose function has not begun, and will not.
pub enum NotBegun {
    /// Nowhere.
    Free,
    /// In its scheduler's mailbox.
    Posted,
}
