//! The classes of jobs.

use std::ffi::CStr;

use crate::engine::sys::{self, Error, Result};

/// What kind of work a function does: each has threads of its own.
///
/// ```
/// use majjen::{Scheduler, blocking, blocking::Class};
///
/// let scheduler = Scheduler::new()?;
/// scheduler.spawn(|| blocking::run_in(Class::File, || std::fs::remove_file("/nowhere")));
/// scheduler.run()?;
/// # Ok::<(), majjen::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u32)]
pub enum Class {
    /// It computes.
    Cpu = 0,
    /// It waits for files, or for anything else that blocks.
    File = 1,
    /// It waits for names to be resolved.
    Dns = 2,
}

impl Class {
    pub(super) const ALL: [Class; 3] = [Class::Cpu, Class::File, Class::Dns];

    /// The class of a number.
    pub(crate) fn of(number: u32) -> Result<Class> {
        let found = Class::ALL.into_iter().find(|class| *class as u32 == number);
        found.ok_or(Error::InvalidArgument)
    }

    /// The name of its threads.
    pub(super) fn thread_name(self) -> &'static CStr {
        match self {
            Class::Cpu => c"mj-cpu",
            Class::File => c"mj-file",
            Class::Dns => c"mj-dns",
        }
    }

    /// How many threads it may have at first.
    pub(super) fn first_limit(self) -> usize {
        match self {
            Class::Cpu => sys::processors().max(2),
            Class::File => 64,
            Class::Dns => 32,
        }
    }
}
