//! How the end of a cluster is asked for, and how each core notices. Checked with loom: `make loom`.
//!
//! Whoever changes what a core is to see puts up its notice, and sends the core's message if the notice was down. The
//! core takes it down before it looks: so what was changed before is seen, and what is changed later sends the message
//! again. It is under way once at most.

use crate::engine::threads::atomic::{
    AtomicBool, AtomicU8,
    Ordering::{AcqRel, Acquire},
};

/// How the end is asked for: not.
pub const NOT: u8 = 0;
/// When the tasks have ended, or else after the grace.
pub const IN_ORDER: u8 = 1;
/// All tasks are canceled.
pub const AT_ONCE: u8 = 2;
/// The runs end, whatever the tasks do.
pub const WITHOUT_TASKS: u8 = 3;

/// One of these, which only rises.
pub struct Urge(AtomicU8);

impl Urge {
    pub fn new() -> Urge {
        Urge(AtomicU8::new(NOT))
    }

    pub fn get(&self) -> u8 {
        self.0.load(Acquire)
    }

    /// Raises it to what `next` makes of it. Returns that, if it is more.
    pub fn raise(&self, next: impl Fn(u8) -> u8) -> Option<u8> {
        let raise = |urge| Some(next(urge)).filter(|next| *next > urge);
        self.0.fetch_update(AcqRel, Acquire, raise).ok().map(next)
    }
}

/// Whether the message that has a core look is under way.
pub struct Notice(AtomicBool);

impl Notice {
    pub fn new() -> Notice {
        Notice(AtomicBool::new(false))
    }

    /// For who has changed something. Returns whether the message is to be sent.
    pub fn put_up(&self) -> bool {
        !self.0.swap(true, AcqRel)
    }

    /// For the core, when the message has come, and before it looks. By a swap: what those have done that did not send
    /// the message is seen too.
    pub fn take_down(&self) {
        self.0.swap(false, AcqRel);
    }
}

#[cfg(all(test, loom))]
#[path = "../../../tests/models/urge.rs"]
mod models;
