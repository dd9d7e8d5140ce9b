//! How many posts may wait for a scheduler. Checked with loom: `make loom`.
//!
//! | field | who may change it |
//! |---|---|
//! | `posted` | who leaves a post, on any thread and in signal handlers |
//! | `begun` | the owner, who begins it, and needs no locked instruction for that |
//! | `most` | anybody |
//!
//! Who leaves a post takes a number, which is how many have been left before, and then reads how many have
//! begun. Between the two steps others may leave posts, and the owner may begin them: then more have begun than
//! the number says, and there is room. One that is refused counts until it has been.

use super::atomic::{AtomicUsize, Ordering::Relaxed, step};

pub struct Quota {
    posted: AtomicUsize,
    begun: AtomicUsize,
    most: AtomicUsize,
}

impl Quota {
    pub fn new(most: usize) -> Quota {
        Quota {
            posted: AtomicUsize::new(0),
            begun: AtomicUsize::new(0),
            most: AtomicUsize::new(most),
        }
    }

    /// Counts a post that is about to be left. False, and it is not counted, if as many wait as may.
    pub fn take(&self) -> bool {
        let number = self.posted.fetch_add(1, Relaxed);
        step();
        let waiting = number.wrapping_sub(self.begun.load(Relaxed));
        let has_been_passed = waiting.cast_signed() < 0;
        let may_wait = has_been_passed || waiting < self.most.load(Relaxed);
        if !may_wait {
            self.give_back();
        }
        may_wait
    }

    /// About the number of the next post.
    pub fn next_number(&self) -> usize {
        self.posted.load(Relaxed)
    }

    /// How many have begun.
    pub fn begun(&self) -> usize {
        self.begun.load(Relaxed)
    }

    /// The post has not been left.
    pub fn give_back(&self) {
        self.posted.fetch_sub(1, Relaxed);
    }

    /// It does not wait any more. For the owner.
    pub fn count_begun(&self) {
        self.begun.store(self.begun.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Sets how many may wait.
    pub fn set_most(&self, most: usize) {
        self.most.store(most, Relaxed);
    }
}

#[cfg(all(test, loom))]
#[path = "../../../tests/models/quota.rs"]
mod models;
