//! What the lock of a class guards: its queue, its sleepers, and how many threads do what. The table is in
//! `workers.rs`.
//!
//! Each thread of a class has a word to sleep on, which is changed under the lock, but read without:
//!
//! | [`Sleeper::word`] | is | goes to | by whom |
//! |---|---|---|---|
//! | [`CALLED`] | it is coming or busy, and not in the list | [`ASLEEP`] | the thread: it has found no job, and enters the list |
//! | [`ASLEEP`] | it is in the list | [`CALLED`] | who has a job for one more thread, and takes it out |
//! | | | [`DISMISSED`] | who takes it out since the process ends |
//! | | | none | the thread, which takes itself out, for it has slept for long: it ends |
//! | [`DISMISSED`] | not in the list, and to end | none | |

use std::cell::Cell;
use std::ffi::c_int;
use std::ptr::{NonNull, from_ref, null};

use super::job::{Job, RUNNING};
use super::pace::Pace;
use crate::engine::sys;
use crate::engine::threads::Futex;
use crate::engine::threads::atomic::Ordering::{Relaxed, Release};

pub struct State {
    pub first: *const Job,
    pub last: *const Job,
    pub queued: usize,
    pub threads: usize,
    pub coming: usize,
    /// Of those that are coming, the ones that were called: one at the most.
    pub called: usize,
    pub is_lingering: bool,
    pub asleep: usize,
    /// The one that fell asleep last.
    pub sleepers: *const Sleeper,
    pub limit: usize,
    /// No thread is made before.
    pub retry_at_ns: u64,
    /// Whether it was said that there is none.
    pub reported: bool,
}

// SAFETY: who has the lock has the jobs and the sleepers in the lists.
unsafe impl Send for State {}

/// A thread that may sleep, in its own frame.
pub struct Sleeper {
    /// See the module.
    pub word: Futex,
    pub thread: c_int,
    pub pace: Pace,
    pub below: Cell<*const Sleeper>,
}

pub const CALLED: u32 = 0;
pub const ASLEEP: u32 = 1;
pub const DISMISSED: u32 = 2;

impl Sleeper {
    /// For the calling thread.
    pub fn new() -> Sleeper {
        Sleeper {
            word: Futex::new(CALLED),
            thread: sys::thread_id(),
            pace: Pace::new(),
            below: Cell::new(null()),
        }
    }
}

/// What is to be done for a job, without the lock.
pub enum Call {
    Nobody,
    Wake(*const Futex),
    Make,
}

impl State {
    pub const NEW: State = State {
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
    };

    pub fn push(&mut self, job: &Job) {
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

    pub fn remove(&mut self, job: &Job) {
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

    pub fn pop(&mut self) -> Option<NonNull<Job>> {
        let job = NonNull::new(self.first.cast_mut())?;
        // SAFETY: a job of the queue.
        let first = unsafe { job.as_ref() };
        self.remove(first);
        first.state.store(RUNNING, Relaxed);
        Some(job)
    }

    /// Makes one more thread come, if there are more jobs than are coming.
    pub fn call(&mut self) -> Call {
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
    pub fn lie_down(&mut self, sleeper: &Sleeper) {
        sleeper.word.store(ASLEEP, Relaxed);
        sleeper.below.set(self.sleepers);
        self.sleepers = sleeper;
        self.asleep += 1;
    }

    /// A thread that is in the list of sleepers takes itself out.
    pub fn get_up(&mut self, sleeper: &Sleeper) {
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
