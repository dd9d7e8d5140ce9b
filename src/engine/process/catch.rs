//! The signals that a scheduler's tasks wait for: what the scheduler has of the process.

use std::ffi::c_int;

use super::handler::{self, For};
use super::places::{Place, bit};
use crate::engine::sys::{LAST_SIGNAL, Result};
use crate::engine::threads::{Arrivals, Remote};

pub use super::places::take_left;

/// Has signals handled for the tasks of a scheduler.
pub struct Catcher {
    place: &'static Place,
    /// The handle in the place.
    _remote: Remote,
}

impl Catcher {
    /// # Safety
    /// The arrivals are there before a signal is added, and stay where they are until this has been dropped.
    pub unsafe fn new(remote: &Remote, arrivals: *mut Arrivals) -> Result<Catcher> {
        let (place, remote) = (Place::take()?, remote.clone());
        place.begin_tasks(&remote, arrivals);
        Ok(Catcher { place, _remote: remote })
    }

    /// In a child of fork() that has not gone on with the run: has the signals go elsewhere.
    ///
    /// # Safety
    /// As [`new`](Self::new).
    pub unsafe fn set_arrivals(&self, arrivals: *mut Arrivals) {
        self.place.set_arrivals(arrivals);
    }

    /// Has a signal handled for one task more, whatever it does now. An error if it cannot be.
    pub fn add(&self, signal: c_int) -> Result<()> {
        // Before there is the handler, which a signal may call at once.
        self.place.want(bit(signal));
        handler::begin_use(signal, For::Tasks).map(drop)
    }

    /// Undoes [`add`](Self::add) for each of some signals. Those that are `gone`, for which no task is left, do not
    /// arrive any more when this returns.
    pub fn remove(&self, signals: u64, gone: u64) {
        let removed = (1..=LAST_SIGNAL).filter(|signal| signals & bit(*signal) != 0);
        removed.for_each(handler::end_use);
        if gone != 0 {
            self.place.forgo(gone);
        }
    }
}

impl Drop for Catcher {
    fn drop(&mut self) {
        self.place.leave();
    }
}
