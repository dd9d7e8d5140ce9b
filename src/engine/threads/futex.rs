//! A word that threads sleep on until it has another value: futex(2). Whatever blocks a thread of this library
//! until another one goes on waits here. Checked with loom, with what uses it: `make loom`.
//!
//! What the values mean, and who may change them, is said where the word is.
//!
//! *No lost wake-up.* A thread that is about to sleep says for which value, and the kernel looks once more
//! whether the word has it, in one step with the beginning of the sleep. So who changes the word and wakes
//! afterwards finds the thread asleep, or has kept it awake.
//!
//! *A wake-up is of an address.* Once the word has changed, the thread may go on, and the memory of the word be
//! something else's. So [`Futex::wake`] takes no reference; and a thread may be woken for no reason, by a
//! wake-up for what was there before, so each wait is a loop.
//!
//! *fork()*. A child has the words of its parent, and none of the threads that sleep on them.
//!
//! *Without futex(2)*, where a filter refuses it, a wait looks at the word every millisecond: `sys/futex.rs`.

use std::ops::Deref;

use super::atomic::{AtomicU32, Ordering::Acquire};
use crate::engine::sys;

#[cfg(not(loom))]
use kernel::Word;
#[cfg(loom)]
use models as kernel;
#[cfg(loom)]
use models::Word;

/// The word, with the operations of an atomic number.
pub struct Futex(Word);

impl Futex {
    /// In a static, which models do not use.
    pub const fn in_static(value: u32) -> Futex {
        Futex(Word::new(value))
    }

    pub fn new(value: u32) -> Futex {
        let futex = Futex::in_static(value);
        // Loom's number is made when it is first looked at. If two threads did that, it would see a race.
        let _: &AtomicU32 = &futex;
        futex
    }

    /// Sleeps while the word has a value, but not beyond a moment of the monotonic clock. Returns whether it has
    /// another one: then what was done before it was stored, by a release, is seen.
    pub fn wait_while(&self, value: u32, until_ns: Option<u64>) -> bool {
        while self.load(Acquire) == value {
            if until_ns.is_some_and(|ns| sys::monotonic_ns() >= ns) {
                return false;
            }
            kernel::wait(&self.0, value, until_ns);
        }
        true
    }

    /// Wakes one thread, if one sleeps, after the word was changed. Where it was may be anything by now.
    pub fn wake(futex: *const Futex) {
        kernel::wake(futex.cast());
    }
}

impl Deref for Futex {
    type Target = AtomicU32;

    #[inline(always)]
    fn deref(&self) -> &AtomicU32 {
        &self.0
    }
}

#[cfg(not(loom))]
mod kernel {
    pub use std::sync::atomic::AtomicU32 as Word;

    pub use crate::engine::sys::{futex_wait as wait, futex_wake as wake};
}

#[cfg(all(test, loom))]
#[path = "../../../tests/models/futex.rs"]
mod models;
