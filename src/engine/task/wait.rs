//! What a task waits for, and how it leaves.
//!
//! A waiting task is in a list of the object that it waits for: a mutex, a descriptor, another
//! task. [`Task::wait`] says which, as an object and a [`WaitKind`]. The kind is all that the
//! scheduler knows of it, so a new thing to wait for is a new kind in a file of its own.
//!
//! A wait ends in one of these ways:
//!
//! - *The object ends it*: it takes the task out of its list, with what the task waited for.
//!   `Task::wait` is [`Wait::NONE`] before the task is made ready.
//! - *Something else ends it* (a cancel, a wake-up): the scheduler asks the kind to let the task go,
//!   by [`WaitKind::leave`], and makes it ready.
//! - *The deadline passes*: the task is made ready, and stays in the list until its turn comes, so
//!   that the object can still end the wait. Then it leaves, by [`WaitKind::leave`].

use std::ffi::{CStr, c_char, c_void};
use std::fmt::{self, Write};
use std::mem::offset_of;
use std::ptr::null;

use super::object::Task;
use crate::engine::sys::Error;

/// The scheduler of a waiting task, as kinds are handed it. `engine::scheduler` makes it from a
/// `Scheduler` and takes it apart again; what is below that only passes it on.
#[derive(Clone, Copy)]
pub struct SchedulerRef(pub *const c_void);

/// What a task waits for: 16 bytes, and no allocation.
#[derive(Clone, Copy)]
#[repr(C)] // For debuggers.
pub struct Wait {
    kind: *const WaitKind,
    object: usize,
}

impl Wait {
    /// The task is in no list.
    pub const NONE: Wait = Wait { kind: null(), object: 0 };

    /// A wait for an object at an address.
    pub fn on<O>(kind: &'static WaitKind, object: *const O) -> Wait {
        Wait { kind, object: object as usize }
    }

    /// A wait for an object that has a number.
    pub fn on_number(kind: &'static WaitKind, object: usize) -> Wait {
        Wait { kind, object }
    }

    /// The kind, if there is a wait.
    pub fn kind(self) -> Option<&'static WaitKind> {
        // SAFETY: null, or from a reference to a static.
        unsafe { self.kind.as_ref() }
    }

    /// The object's address or number.
    pub fn object(self) -> usize {
        self.object
    }

    pub fn is(self, kind: &'static WaitKind) -> bool {
        std::ptr::eq(self.kind, kind)
    }

    /// Whether anything but the object itself may end the wait.
    pub fn is_interruptible(self) -> bool {
        self.kind().is_none_or(|kind| kind.interruptible)
    }

    /// Whether the task leaves as soon as its deadline has passed.
    pub fn expires_at_once(self) -> bool {
        self.kind().is_some_and(|kind| kind.expires_at_once)
    }

    /// Whether an object, given by its address, is what is waited for, or needed when the wait is
    /// over.
    ///
    /// # Safety
    /// The task waits, so that the object is alive.
    pub unsafe fn concerns(self, object: *const c_void) -> bool {
        // SAFETY: as this function's contract says.
        self.kind().is_some_and(|kind| unsafe { (kind.concerns)(self.object, object) })
    }
}

/// A kind of things to wait for: a static of whoever owns the object, made by
/// `WaitKind { .., ..WaitKind::new(name, unlink) }`.
#[repr(C)]
pub struct WaitKind {
    /// In a word or two, ended by a NUL: debuggers print it, and read it here.
    pub name: *const c_char,
    /// What the object's number is.
    pub object: ObjectKind,
    /// Whether anything but the object may end the wait. If not, the task must have no timer.
    pub interruptible: bool,
    /// Whether the task leaves when its deadline passes, and not when its turn comes: the object
    /// keeps nothing that could be for the task in between.
    pub expires_at_once: bool,
    /// Takes a task out of the object's list, without an effect on others. Its `Task::wait` is
    /// [`Wait::NONE`] already.
    pub unlink: Unlink,
    /// In place of `unlink`, when something else than the object ends the wait: takes the task out of
    /// the list, and does what follows from that for others, or for the task itself.
    pub leave: Option<Leave>,
    /// Whether an object, given by its address, is this one, or needed when the wait is over.
    pub concerns: unsafe fn(usize, *const c_void) -> bool,
    /// Writes something better for people than the name and the object.
    pub describe: Option<Describe>,
}

/// # Safety
/// The scheduler is that of the task; the object is alive and the task in its list.
pub type Unlink = unsafe fn(SchedulerRef, usize, &Task);
/// # Safety
/// As [`Unlink`].
pub type Leave = unsafe fn(SchedulerRef, usize, &Task) -> Left;
/// # Safety
/// The object is alive, since a task waits for it.
pub type Describe = unsafe fn(usize, &mut dyn Write) -> fmt::Result;

// SAFETY: `name` points to a static string, and the rest are functions.
unsafe impl Sync for WaitKind {}

/// What stands for the object of a wait.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)] // For debuggers.
pub enum ObjectKind {
    Address = 0,
    Descriptor = 1,
    Task = 2,
    /// Nothing that people know: the kind's name says all.
    Hidden = 3,
}

/// What has become of a task that was told to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// It is in no list, and can be made ready.
    Now,
    /// It cannot leave yet: the kind has set `Task::wait` to what it waits for until then, and
    /// whoever ends that wait finds the outcome in `Task::outcome`.
    Later,
}

impl WaitKind {
    /// For debuggers.
    pub const NAME_OFFSET: usize = offset_of!(WaitKind, name);
    pub const OBJECT_OFFSET: usize = offset_of!(WaitKind, object);

    /// A kind whose objects have addresses, and whose tasks can leave at any time.
    pub const fn new(name: &'static CStr, unlink: Unlink) -> WaitKind {
        assert!(name.count_bytes() < 16, "longer than debuggers read");
        WaitKind {
            name: name.as_ptr(),
            object: ObjectKind::Address,
            interruptible: true,
            expires_at_once: false,
            unlink,
            leave: None,
            concerns: is_at,
            describe: None,
        }
    }

    pub fn name(&self) -> &'static CStr {
        // SAFETY: from a static string, see `new`.
        unsafe { CStr::from_ptr(self.name) }
    }

    /// See [`Unlink`].
    ///
    /// # Safety
    /// As there.
    pub unsafe fn unlink(&self, scheduler: SchedulerRef, object: usize, task: &Task) {
        // SAFETY: as this function's contract says.
        unsafe { (self.unlink)(scheduler, object, task) }
    }

    /// See [`Leave`].
    ///
    /// # Safety
    /// As [`Unlink`].
    pub unsafe fn leave(&self, scheduler: SchedulerRef, object: usize, task: &Task) -> Left {
        match self.leave {
            // SAFETY: as this function's contract says.
            Some(leave) => unsafe { leave(scheduler, object, task) },
            None => {
                // SAFETY: as above.
                unsafe { (self.unlink)(scheduler, object, task) };
                Left::Now
            }
        }
    }

    /// Writes what is waited for, for people.
    ///
    /// # Safety
    /// The object is alive, since a task waits for it.
    pub unsafe fn describe(&self, object: usize, out: &mut dyn Write) -> fmt::Result {
        let name = self.name().to_string_lossy();
        match (self.describe, self.object) {
            // SAFETY: as this function's contract says.
            (Some(describe), _) => unsafe { describe(object, out) },
            (None, ObjectKind::Descriptor) => write!(out, "{name} {object}"),
            (None, ObjectKind::Task) => {
                // SAFETY: the address of a task, which is alive.
                let id = unsafe { (*(object as *const Task)).id.get() };
                write!(out, "{name} {id:#x}")
            }
            (None, ObjectKind::Hidden) => write!(out, "{name}"),
            (None, ObjectKind::Address) => write!(out, "{name} {object:#x}"),
        }
    }
}

/// The object is the one at an address.
fn is_at(object: usize, address: *const c_void) -> bool {
    object == address as usize
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What was waited for has happened: the events of a descriptor, or 0.
    Ready(u32),
    /// The deadline has passed.
    TimedOut,
    /// Something else made the task ready.
    Interrupted,
    /// The task was canceled.
    Canceled,
    /// The descriptor was closed.
    Closed,
    /// It cannot be waited for.
    Failed(Error),
    /// The mutex was left locked by a task that has ended.
    OwnerDied,
}

impl Outcome {
    /// The result of the call that has waited.
    pub fn result(self) -> Result<u32, Error> {
        match self {
            Outcome::Ready(events) => Ok(events),
            Outcome::TimedOut => Err(Error::TimedOut),
            Outcome::Interrupted => Err(Error::Interrupted),
            Outcome::Canceled => Err(Error::Canceled),
            Outcome::Closed => Err(Error::Os(libc::EBADF)),
            Outcome::Failed(error) => Err(error),
            Outcome::OwnerDied => Err(Error::OwnerDied),
        }
    }
}
