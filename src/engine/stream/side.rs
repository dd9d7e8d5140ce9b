//! One direction of a stream.

use std::cell::Cell;

use super::buffer::Buffer;

/// A buffer, and whether a call uses it.
pub struct Side {
    pub buffer: Buffer,
    /// What its calls wait for.
    pub events: u32,
    pub in_use: Cell<bool>,
}

impl Side {
    pub fn new(buffer: Buffer, events: u32) -> Side {
        Side { buffer, events, in_use: Cell::new(false) }
    }
}
