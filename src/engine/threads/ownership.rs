//! Which descriptors the library owns: those that it has opened, or that the program has handed over,
//! and that are closed through it.
//!
//! One table for the process, since a descriptor may be accepted on one thread and served on another.
//! A number has a word in it, which is 0 for a raw descriptor:
//!
//! | bits | content |
//! |---|---|
//! | 0 to 19 | the scheduler that has registered it; 0 for none |
//! | 20 | whether a short read has taken all there was: a TCP socket |
//! | 21 to 63 | the number of the ownership, never the same twice |
//!
//! A scheduler's own entry for the descriptor repeats the word, and is valid only if both are equal. So
//! whoever gives up a descriptor need not reach the entries that other threads have for it. The
//! transitions, by any thread:
//!
//! - take: any word -> a new ownership without a scheduler. The number is fresh from the kernel, or no
//!   scheduler has registered it.
//! - register: an ownership without a scheduler -> the same with one, by that scheduler, with a
//!   compare-and-exchange: of two schedulers one gets it, and to the other it is like a raw one.
//! - let go: the same with a scheduler -> without, by that scheduler.
//! - give up: any word -> 0.
//!
//! The word says nothing of other memory, so no order is needed but its own. Each write of it also reads what it
//! replaces, so that loom knows that order: `tests/models/ownership.rs`.
//!
//! Beside the word is how often the library has closed the number: a call that has suspended looks whether
//! it was closed meanwhile, by a task of the same thread, whatever has become of the number since.

use std::ffi::c_int;
use std::ptr::null_mut;
use std::slice;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::sync::atomic::{AtomicPtr, AtomicU32};

use super::atomic::{AtomicU64, Ordering::Relaxed};
use crate::engine::sys::{self, Error, Result};

const SCHEDULER: u64 = (1 << 20) - 1;
const KEEPS_NO_REST: u64 = 1 << 20;
const FIRST: u64 = 1 << 21;

/// The word of a number: see the module.
pub struct Word(AtomicU64);

impl Word {
    #[cfg(loom)]
    pub fn new() -> Word {
        Word(AtomicU64::new(0))
    }

    pub fn load(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// A new ownership, even if there was one.
    pub fn take(&self, ownership: u64) {
        self.0.swap(ownership, AcqRel);
    }

    /// A new ownership, unless another scheduler than this one has registered it.
    pub fn adopt(&self, ownership: u64, scheduler: u64) -> Result<()> {
        let mut known = self.load();
        loop {
            if ![0, scheduler].contains(&(known & SCHEDULER)) {
                return Err(Error::Busy);
            }
            match self.0.compare_exchange(known, ownership, AcqRel, Acquire) {
                Ok(_) => return Ok(()),
                Err(other) => known = other,
            }
        }
    }

    /// Registers an ownership for a scheduler. Returns the word that its entry repeats.
    pub fn register(&self, ownership: u64, scheduler: u64) -> Result<u64> {
        match ownership & SCHEDULER {
            0 => {}
            this if this == scheduler && self.load() == ownership => return Ok(ownership),
            _ => return Err(Error::Busy),
        }
        let registered = ownership | scheduler;
        match self.0.compare_exchange(ownership, registered, AcqRel, Acquire) {
            Ok(_) => Ok(registered),
            Err(_) => Err(Error::Busy),
        }
    }

    /// A scheduler does not have it registered any more.
    pub fn let_go(&self, scheduler: u64) {
        let known = self.load();
        if known & SCHEDULER == scheduler {
            // If it fails somebody else has taken the number, or given it up.
            let _ = self.0.compare_exchange(known, known & !SCHEDULER, AcqRel, Acquire);
        }
    }

    pub fn give_up(&self) {
        self.0.swap(0, AcqRel);
    }
}

/// What is known of a number.
struct Number {
    word: Word,
    closes: AtomicU32,
}

/// So many numbers are allocated together.
const CHUNK: usize = 1024;
/// So that there is room for four million numbers. Larger ones are never owned.
const CHUNKS: usize = 4096;

static TABLE: [AtomicPtr<Number>; CHUNKS] = [const { AtomicPtr::new(null_mut()) }; CHUNKS];
static LATEST: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// What is known of a number, if its chunk is allocated.
#[inline(always)]
fn known(fd: c_int) -> Option<&'static Number> {
    let number = fd as u32 as usize;
    let chunk = TABLE.get(number / CHUNK)?.load(Acquire);
    // SAFETY: null, or a chunk of numbers that is never freed.
    (!chunk.is_null()).then(|| unsafe { &*chunk.add(number % CHUNK) })
}

/// [`known`], which is allocated if need be.
fn known_or_new(fd: c_int) -> Result<&'static Number> {
    if let Some(known) = known(fd) {
        return Ok(known);
    }
    let number = usize::try_from(fd).map_err(|_| Error::Os(libc::EBADF))?;
    let place = TABLE.get(number / CHUNK).ok_or(Error::OutOfMemory)?;
    let chunk = sys::allocate::<Number>(CHUNK);
    if chunk.is_null() {
        return Err(Error::OutOfMemory);
    }
    // SAFETY: fresh memory for as many numbers, for which zero is a value.
    unsafe { chunk.write_bytes(0, CHUNK) };
    if place.compare_exchange(null_mut(), chunk, AcqRel, Acquire).is_err() {
        // SAFETY: from `allocate`, and nobody has seen it.
        unsafe { sys::free(chunk.cast()) };
    }
    known(fd).ok_or(Error::OutOfMemory)
}

/// The ownership of a descriptor, as it was when it was asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Ownership(u64);

impl Ownership {
    #[inline(always)]
    pub fn of(fd: c_int) -> Ownership {
        Ownership(known(fd).map_or(0, |known| known.word.load()))
    }

    /// The number of a new scheduler. They repeat after a million, which would let two schedulers take
    /// themselves for one.
    pub fn next_scheduler() -> u64 {
        static LATEST: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        LATEST.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % SCHEDULER + 1
    }

    fn next(keeps_no_rest: bool) -> u64 {
        let number = LATEST.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        number.wrapping_mul(FIRST) | if keeps_no_rest { KEEPS_NO_REST } else { 0 }
    }

    /// Takes a descriptor that the kernel has just opened. Without memory it is raw.
    pub fn take(fd: c_int, keeps_no_rest: bool) {
        match known_or_new(fd) {
            Ok(known) => known.word.take(Ownership::next(keeps_no_rest)),
            Err(_) => Ownership::give_up(fd),
        }
    }

    /// Takes over a descriptor of the program. [`Error::Busy`] if another scheduler than the numbered
    /// one, which may be 0, has registered it.
    pub fn adopt(fd: c_int, keeps_no_rest: bool, scheduler: u64) -> Result<()> {
        known_or_new(fd)?.word.adopt(Ownership::next(keeps_no_rest), scheduler)
    }

    /// The number is the program's again.
    pub fn give_up(fd: c_int) {
        if let Some(known) = known(fd) {
            known.word.give_up();
        }
    }

    /// The library closes the number.
    pub fn close(fd: c_int) {
        if let Some(known) = known(fd) {
            known.closes.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            known.word.give_up();
        }
    }

    /// How often the library has closed a number since it was asked for the first time. Without memory
    /// for that it is always the same.
    pub fn closes(fd: c_int) -> u32 {
        known_or_new(fd).map_or(0, |known| known.closes.load(std::sync::atomic::Ordering::Relaxed))
    }

    /// Registers it for a scheduler. Returns the word that its entry repeats; `None` for a raw one, and
    /// one that another scheduler has, which is like that here.
    pub fn register(self, fd: c_int, scheduler: u64) -> Option<u64> {
        known(fd).filter(|_| self.is_owned())?.word.register(self.0, scheduler).ok()
    }

    /// The scheduler with this number is destroyed.
    pub fn let_go_all(scheduler: u64) {
        for chunk in &TABLE {
            let chunk = chunk.load(Acquire);
            if chunk.is_null() {
                continue;
            }
            // SAFETY: a chunk of numbers that is never freed.
            let numbers = unsafe { slice::from_raw_parts(chunk, CHUNK) };
            numbers.iter().for_each(|number| number.word.let_go(scheduler));
        }
    }

    pub fn is_owned(self) -> bool {
        self.0 != 0
    }

    /// Whether a scheduler other than the numbered one has registered it.
    #[inline(always)]
    pub fn is_of_another(self, scheduler: u64) -> bool {
        ![0, scheduler].contains(&(self.0 & SCHEDULER))
    }

    /// Whether a short read has taken all there was.
    #[inline(always)]
    pub fn keeps_no_rest(self) -> bool {
        self.0 & KEEPS_NO_REST != 0
    }

    /// What stays the same until the descriptor is given up.
    pub fn identity(self) -> u64 {
        self.0 & !SCHEDULER
    }

    /// The word that a scheduler's entry repeats.
    #[inline(always)]
    pub fn word(self) -> u64 {
        self.0
    }
}

/// A descriptor, as it was when a call began.
#[derive(Clone, Copy)]
pub struct Generation {
    fd: c_int,
    closes: u32,
}

impl Generation {
    pub fn of(fd: c_int) -> Generation {
        Generation { fd, closes: Ownership::closes(fd) }
    }

    /// EBADF if the library has closed it since: its number may be another file's. To be asked, by any thread,
    /// before the number is used after the task has suspended.
    pub fn check(self) -> Result<()> {
        if Ownership::closes(self.fd) != self.closes {
            return Err(Error::Os(libc::EBADF));
        }
        Ok(())
    }
}

#[cfg(all(test, loom))]
#[path = "../../../tests/models/ownership.rs"]
mod models;
