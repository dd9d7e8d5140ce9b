//! Blocking calls of the C library suspend only the task of Majjen that makes them.
//!
//! A program that depends on this crate has functions of its own in the place of `read`, `poll`, `connect`,
//! `nanosleep`, `getaddrinfo` and the like, which the standard library and C libraries call. In a task they
//! suspend the task; elsewhere they do what they always did. So the sockets of `std::net`, and crates on top of
//! them or of C libraries, may be used in tasks as they are. `docs/hook.md` of Majjen says which calls these
//! are, and what is not hooked.
//!
//! The program must name the crate, or it is not linked:
//!
//! ```
//! use majjen_hook as _;
//! use std::time::{Duration, Instant};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let scheduler = majjen::Scheduler::new()?;
//! let began = Instant::now();
//! for _ in 0..100 {
//!     scheduler.spawn(|| std::thread::sleep(Duration::from_millis(10)));
//! }
//! scheduler.run()?;
//! assert!(began.elapsed() < Duration::from_millis(500), "they sleep at the same time");
//! # Ok(())
//! # }
//! ```

use std::ffi::{c_int, c_uint, c_void};

use majjen::Error;

/// Kinds of calls that are hooked.
///
/// ```
/// use majjen_hook::Kinds;
///
/// assert!(Kinds::DEFAULT.has(Kinds::POLL | Kinds::SOCKETS));
/// assert!(!Kinds::DEFAULT.has(Kinds::FILES));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds(c_uint);

impl Kinds {
    /// None.
    pub const NONE: Kinds = Kinds(0);
    /// `poll`, `select`, `epoll_wait` and their kin.
    pub const POLL: Kinds = Kinds(1);
    /// Reading and writing of what can be waited for: sockets, pipes, terminals; `connect`, `accept`.
    pub const SOCKETS: Kinds = Kinds(2);
    /// `sleep`, `nanosleep` and their kin.
    pub const SLEEP: Kinds = Kinds(4);
    /// `getaddrinfo`, `getnameinfo` and their kin.
    pub const NAMES: Kinds = Kinds(8);
    /// Mutexes and rwlocks of pthreads and C11 that another task of the thread holds. Those of `std::sync` are
    /// not among them.
    pub const LOCKS: Kinds = Kinds(16);
    /// Reading and writing of regular files that takes the time of a disk, and waiting for locks of files.
    pub const FILES: Kinds = Kinds(32);
    /// `waitpid` and its kin, `system`, `pclose`.
    pub const CHILDREN: Kinds = Kinds(64);
    /// Those that are hooked unless [`set`] says otherwise: all but files and children.
    pub const DEFAULT: Kinds = Kinds(31);
    /// All.
    pub const ALL: Kinds = Kinds(127);

    /// Whether all of these are among them.
    pub const fn has(self, kinds: Kinds) -> bool {
        self.0 & kinds.0 == kinds.0
    }
}

impl std::ops::BitOr for Kinds {
    type Output = Kinds;

    fn bitor(self, other: Kinds) -> Kinds {
        Kinds(self.0 | other.0)
    }
}

/// What has been hooked in this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[non_exhaustive]
pub struct Counts {
    /// Calls that have suspended their task.
    pub suspended: u64,
    /// Calls that have blocked the thread though they are hooked: `docs/hook.md` says when.
    pub pinned: u64,
    /// Waits for a lock that another task of the thread held.
    pub lock_waits: u64,
}

unsafe extern "C" {
    fn mj_hook_set(scheduler: *mut c_void, kinds: c_uint) -> c_int;
    fn mj_hook_set_enabled(enabled: bool) -> c_int;
    fn mj_hook_get_counts(counts: *mut Counts, bytes: usize) -> c_int;
    fn mj_scheduler_current() -> *mut c_void;
}

/// Sets which kinds of calls are hooked, for all tasks of the scheduler that runs the calling one.
///
/// ```
/// use majjen_hook::Kinds;
///
/// let scheduler = majjen::Scheduler::new()?;
/// let task = scheduler.spawn(|| majjen_hook::set(Kinds::DEFAULT | Kinds::FILES));
/// scheduler.run()?;
/// assert_eq!(task.join().unwrap(), Ok(()));
/// assert_eq!(majjen_hook::set(Kinds::ALL), Err(majjen::Error::NotInTask));
/// # Ok::<(), majjen::Error>(())
/// ```
///
/// # Errors
/// [`Error::NotInTask`] outside tasks; [`Error::OutOfMemory`].
pub fn set(kinds: Kinds) -> Result<(), Error> {
    // SAFETY: no preconditions.
    let scheduler = unsafe { mj_scheduler_current() };
    if scheduler.is_null() {
        return Err(Error::NotInTask);
    }
    // SAFETY: a scheduler that runs.
    match unsafe { mj_hook_set(scheduler, kinds.0) } {
        0 => Ok(()),
        _ => Err(Error::OutOfMemory),
    }
}

/// Sets whether calls of the running task are hooked, which they are at first. Those that are not block the
/// thread.
///
/// ```
/// assert_eq!(majjen_hook::set_enabled(false), Err(majjen::Error::NotInTask));
/// ```
///
/// # Errors
/// [`Error::NotInTask`] outside tasks.
pub fn set_enabled(enabled: bool) -> Result<(), Error> {
    // SAFETY: no preconditions.
    match unsafe { mj_hook_set_enabled(enabled) } {
        0 => Ok(()),
        _ => Err(Error::NotInTask),
    }
}

/// What has been hooked in this process so far.
///
/// ```
/// let scheduler = majjen::Scheduler::new()?;
/// let before = majjen_hook::counts().suspended;
/// scheduler.spawn(|| std::thread::sleep(std::time::Duration::from_millis(1)));
/// scheduler.run()?;
/// assert!(majjen_hook::counts().suspended > before);
/// # Ok::<(), majjen::Error>(())
/// ```
pub fn counts() -> Counts {
    let mut counts = Counts::default();
    // SAFETY: good for as many bytes.
    unsafe { mj_hook_get_counts(&mut counts, size_of::<Counts>()) };
    counts
}
