//! Why a cluster goes on. Checked with loom: `make loom`.
//!
//! Who holds it may take another hold, and gives each up once. So the count comes to 0 once, and whoever brings it
//! there tells the cores. Others, who hold nothing, may be too late: a count of 0 is never raised.

use crate::engine::threads::atomic::{
    AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed},
};

pub struct Holds(AtomicUsize);

impl Holds {
    /// One, of who makes the cluster.
    pub fn new() -> Holds {
        Holds(AtomicUsize::new(1))
    }

    /// Takes one; false if it is over.
    pub fn take(&self) -> bool {
        let more = |count| if count == 0 { None } else { Some(count + 1) };
        self.0.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    /// Gives one up. Returns whether it was the last: what was done before any was given up is seen then.
    pub fn give_up(&self) -> bool {
        self.0.fetch_sub(1, AcqRel) == 1
    }

    pub fn are_over(&self) -> bool {
        self.0.load(Acquire) == 0
    }
}

#[cfg(all(test, loom))]
#[path = "../../../tests/models/holds.rs"]
mod models;
