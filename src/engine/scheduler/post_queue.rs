//! The posts that a scheduler has taken from its inbox; see `posts.rs`.

use std::cell::Cell;

use super::shortage::Shortage;
use crate::engine::threads::Queue;

/// The posts that were taken from the inbox.
pub struct Posts {
    pub queue: Queue,
    /// Why there is no task for the first one: there was no memory.
    pub shortage: Shortage,
    /// Whether the task of the latest post that was begun alone has not come back for the next one.
    pub is_out: Cell<bool>,
    /// How many messages of other threads are sure to come.
    pub expected: Cell<usize>,
    /// How many times the loop is not to look for one before it sleeps, and how often after it has looked
    /// in vain once more.
    pub looks_left_out: Cell<u32>,
    pub doubts: Cell<u32>,
}

impl Posts {
    pub const fn new() -> Posts {
        Posts {
            queue: Queue::new(),
            shortage: Shortage::new(),
            is_out: Cell::new(false),
            expected: Cell::new(0),
            looks_left_out: Cell::new(0),
            doubts: Cell::new(1),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether one waits for memory.
    pub fn is_starved(&self) -> bool {
        self.shortage.is_on()
    }

    /// Logs once why posts wait.
    pub fn report(&self) {
        self.shortage
            .report("make a task for a post", "it and later ones wait until there is memory");
    }

    /// Whether a message is sure to come, or a post to be begun once there is memory.
    pub fn may_come(&self) -> bool {
        self.expected.get() > 0 || self.is_starved()
    }
}
