//! The posts that a scheduler has taken from its inbox; see `posts.rs`.

use std::cell::Cell;

use crate::engine::threads::Queue;

/// The posts that were taken from the inbox.
pub struct Posts {
    pub queue: Queue,
    /// Whether there was no memory for the task of the first one.
    pub starved: Cell<bool>,
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
            starved: Cell::new(false),
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
        self.starved.get()
    }

    /// Whether a message is sure to come, or a post to be begun once there is memory.
    pub fn may_come(&self) -> bool {
        self.expected.get() > 0 || self.is_starved()
    }
}
