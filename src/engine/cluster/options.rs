//! What a cluster is made of.

use std::ffi::c_void;

use super::object::Core;
use crate::engine::scheduler::{Ended, Scheduler};
use crate::engine::sys::Result;
use crate::engine::task::Name;

/// How an API makes and runs the schedulers of its cores. All are called on the thread of the core, in this order.
pub struct Kind {
    pub create: unsafe fn(&Core) -> Result<*const Scheduler>,
    /// Sets the core up, and runs it. Whoever is asked for something by the program that fails says so in the log.
    pub run: unsafe fn(&Core) -> Result<Ended>,
    /// After the runs of all cores.
    pub tear_down: unsafe fn(&Core),
    pub destroy: unsafe fn(&Core),
    /// Releases the API's own of the cluster, on any thread.
    pub release: unsafe fn(*mut c_void),
}

pub struct Options {
    pub kind: &'static Kind,
    /// The API's own, which is released with the cluster, and if that cannot be made.
    pub data: *mut c_void,
    /// How many cores; `None` for as many processors as this process may use.
    pub cores: Option<usize>,
    /// What the threads and schedulers are called, with a number behind.
    pub name: Name,
    /// Whether each thread is bound to a processor.
    pub pins: bool,
}

/// More threads than any machine has processors that one process uses.
pub const MOST_CORES: usize = 1024;
