//! The timeout that a stream or socket has for its calls.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::time::to_ns;

/// How long a call may wait, in nanoseconds; 0 for ever. Any thread may read and set it.
#[derive(Default)]
pub struct Timeout(AtomicU64);

impl Timeout {
    pub fn get(&self) -> Option<Duration> {
        match self.0.load(Relaxed) {
            0 => None,
            ns => Some(Duration::from_nanos(ns)),
        }
    }

    /// As the standard library has it, a timeout of nothing is a mistake.
    pub fn set(&self, timeout: Option<Duration>) -> io::Result<()> {
        if timeout == Some(Duration::ZERO) {
            return Err(io::Error::new(ErrorKind::InvalidInput, "a timeout of zero"));
        }
        self.0.store(timeout.map_or(0, to_ns), Relaxed);
        Ok(())
    }
}

impl Clone for Timeout {
    fn clone(&self) -> Timeout {
        Timeout(AtomicU64::new(self.0.load(Relaxed)))
    }
}
